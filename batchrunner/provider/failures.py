"""Foreign failures and answers that are errors, as errors of ours.

Every foreign exception becomes one of ours in `translated`, and nowhere else. The aiohttp transport's own mapping
to httpx names a lost answer `ConnectTimeout`, so what an error proves is read from aiohttp's exception beneath it.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
import os
from typing import TYPE_CHECKING

import aiohttp

from batchrunner.core.redact import by_form, without_queries
from batchrunner.core.retry import is_about_credits
from batchrunner.errors import (
    AddressExpired,
    KeyRefused,
    NeverSent,
    NoAnswer,
    OutOfCredits,
    ProviderError,
    Rejected,
    TransferError,
)
from batchrunner.provider import wire
from batchrunner.provider.guard import Forbidden
from batchrunner.provider.lean import httpx
from batchrunner.provider.speed import TooSlow

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_WORDS = 2000
"""Characters kept of what a library says went wrong; some repeat the answer."""

LONGEST_WAIT_S = 24 * 3600.0
"""The longest wait in seconds that a `Retry-After` is believed to mean."""


# --- exceptions ------------------------------------------------------------------------------------------------------


@contextmanager
def translated(target: str, hide: wire.Hide = wire.as_it_is) -> Iterator[None]:
    """Foreign exceptions as ours; `ValueError` is what the libraries raise on answers they cannot decode.

    `hide` takes the key out of their words, which may repeat what was answered.

    The foreign one is not kept as the cause: its text holds the whole address, and a log would show the signature.
    """
    try:
        yield
    except (
        httpx.HTTPError,
        httpx.InvalidURL,
        httpx.StreamError,
        aiohttp.ClientError,
        TimeoutError,
        OSError,
        ValueError,
    ) as error:
        address, _, query = target.partition("?")
        where, words = without_queries(address), hide(_words(error, secret=query))[:LONGEST_WORDS]
        if _proves_unsent(error):
            raise NeverSent(f"cannot connect to {where}: {words}") from None
        raise NoAnswer(f"no answer from {where}: {words}") from None


def _proves_unsent(error: BaseException) -> bool:
    """Whether the failure happened before the first byte of the request could leave."""
    beneath = error.__cause__
    if isinstance(beneath, aiohttp.ClientError | TimeoutError):
        return isinstance(beneath, _UNSENT_BENEATH)
    return isinstance(error, _UNSENT)


class NoTunnel(aiohttp.ClientConnectionError):
    """A proxy was reached, or nearly, and no tunnel came about: of the request nothing has left."""


_UNSENT_BENEATH = (
    aiohttp.ClientConnectorError,  # name lookup, refused, TLS, certificate
    NoTunnel,
    aiohttp.ConnectionTimeoutError,  # also the wait for a place in the pool
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)
_UNSENT = (
    *_UNSENT_BENEATH,
    Forbidden,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
    httpx.LocalProtocolError,
)


def _words(error: BaseException, *, secret: str) -> str:
    """What went wrong, in the words of the innermost error that has any; without the query of the address."""
    if isinstance(error, TooSlow | Forbidden):
        return error.strerror or str(error)
    if isinstance(error, TimeoutError):
        return "it took too long"
    deepest = error.__cause__ or error
    if isinstance(deepest, aiohttp.ClientConnectorError) and not isinstance(deepest, aiohttp.ClientSSLError):
        return by_form(_unreached(deepest))
    text = str(deepest) or str(error) or type(deepest).__name__
    return by_form(text.replace(secret, "…") if secret else text)


def _unreached(error: aiohttp.ClientConnectorError) -> str:
    """Which host could not be connected to, and why: in the system's words where it has a number for it, or in ours."""
    number, said = error.os_error.errno, error.os_error.strerror
    is_of_the_system = number is not None and number > 0 and not isinstance(error.os_error, Forbidden)
    why = os.strerror(number or 0) if is_of_the_system else said or str(error.os_error)
    return f"{error.host}:{error.port}: {why}"


@contextmanager
def as_transfer() -> Iterator[None]:
    """A transfer has no unclear outcome: whatever happened, it is done again."""
    try:
        yield
    except ProviderError as error:
        raise TransferError(str(error)) from error


def may_pass(error: BaseException) -> bool:
    """Whether the same read may succeed in a moment.

    A 429 is left to the shared pace, and an answer that asks for patience to the verdict that honours it.
    """
    if getattr(error, "retry_after_s", None) is not None:
        return False
    if isinstance(error, Rejected):
        return error.status >= 500
    return isinstance(error, NeverSent | NoAnswer)


# --- answers ---------------------------------------------------------------------------------------------------------


def raise_for_status(response: httpx.Response, body: bytes, *, hide: wire.Hide) -> None:
    """Raise the error that an API answer is; nothing for 2xx. Some services repeat the key that they refuse."""
    status = response.status_code
    if 200 <= status < 300:
        return
    said = wire.error_body(body, hide=hide)
    message = f"HTTP {status}" + (f": {said.message}" if said.message else "")
    kind: type[Rejected] = Rejected
    if status == 401:
        kind = KeyRefused
    elif is_about_credits(status, code=said.code, message=said.message):
        kind = OutOfCredits
    raise kind(message, status=status, code=said.code, retry_after_s=_retry_after(response))


def raise_for_storage(response: httpx.Response, body: bytes) -> None:
    """Raise what a storage answer means; S3 and its kin answer 403 to an address that expired, Google's also 400."""
    status = response.status_code
    if 200 <= status < 300:
        return
    said = wire.storage_error(body)
    message = f"the storage answered HTTP {status}" + (f": {said.message}" if said.message else "")
    is_expired = status in {401, 403, 404, 410} or said.code == "ExpiredToken"
    kind = AddressExpired if is_expired else TransferError
    raise kind(message, retry_after_s=_retry_after(response))


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds to wait, from either form of Retry-After; dates are read against the server's own clock."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:10]), LONGEST_WAIT_S))
    until, now = _date(value), _date(response.headers.get("date", "")) or datetime.now(UTC)
    return min(max(0.0, (until - now).total_seconds()), LONGEST_WAIT_S) if until else None


def _date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):  # what the standard library raises on other text
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
