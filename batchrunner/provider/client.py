"""One method per endpoint of the provider, and bytes to and from its storage. The only module that knows httpx.

Three pools of connections, because they must not share anything:

- `api`: reads, with the bearer; connections are kept.
- `paid`: the two POSTs that cost credits, with the bearer, each on a fresh connection. On a kept one, a connection
  that died while idle looks like an answer lost after sending; on a fresh one, a failure to connect proves that
  nothing was sent.
- `storage`: presigned addresses, without the bearer, whatever host they point at; never a redirect.

Every foreign exception becomes one of ours in `_translated`, and nowhere else. The aiohttp transport's own mapping
to httpx names a lost answer `ConnectTimeout`, so what an error proves is read from aiohttp's exception beneath it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
import ssl
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from urllib.parse import quote

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential
from yarl import URL

from batchrunner import __version__
from batchrunner.core.retry import PLAN_CODES
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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

BASE_URL = "https://api.magichour.ai"
"""Provider documentation, every version."""

LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes read of an API answer; real ones have a few kilobytes."""

LARGEST_ERROR = 64 * 1024
"""Bytes read of what the storage says about an error; S3 needs less than two kilobytes."""

LONGEST_WAIT_S = 24 * 3600.0
"""The longest wait in seconds that a `Retry-After` is believed to mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds that each part of a request may take; a transfer as a whole has no limit.

    Attributes:
        connect_s: for one attempt to connect to one address.
        read_s: between two pieces of an answer.
        write_s: for the peer to take one piece of an upload.
        pool_s: for a connection, the wait for a free place, name lookup and TLS included.
        whole_s: for one request to the API, from the first to the last byte.
    """

    connect_s: float = 10.0
    read_s: float = 60.0
    write_s: float = 60.0
    pool_s: float = 30.0
    whole_s: float = 120.0


Transport = httpx.AsyncBaseTransport
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transports:
    """What carries the requests; handed in by tests that need a hand on the wire."""

    api: Transport
    paid: Transport
    storage: Transport


class Reply:
    """A download under way: what the storage announced, and the bytes as they come."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.etag = response.headers.get("etag")
        self.length = _number(response.headers.get("content-length"))
        self.total = self._total()

    def _total(self) -> int | None:
        """Bytes of the whole file, whether this is all of it or a range."""
        if self.status != 206:
            return self.length
        return _number(self._response.headers.get("content-range", "").rpartition("/")[2])

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body, piece by piece.

        Raises:
            TransferError: the connection broke before the end.
        """
        with _as_transfer(), _translated(str(self._response.url)):
            async for chunk in self._response.aiter_raw():
                yield chunk


class Client:
    """The provider's API. Use as an async context manager."""

    def __init__(
        self,
        *,
        base_url: str,
        key: str,
        transports: Transports | None = None,
        timeouts: Timeouts | None = None,
        read_attempts: int = 3,
        read_wait_s: float = 0.3,
    ) -> None:
        """Prepare the connections; nothing is sent yet.

        Args:
            base_url: where the API is, without `/v1`.
            key: the API key; sent to that host only.
            transports: replaces the real connections.
            timeouts: replaces the usual ones.
            read_attempts: how often a read is tried before its failure is reported.
            read_wait_s: first wait between those, in seconds; 0 makes every wait 0.
        """
        self._owned = _Connections() if transports is None else None
        carried = transports or self._owned.transports()  # type: ignore[union-attr]
        self._key = key
        self._timeouts = timeouts or Timeouts()
        agent = {"User-Agent": f"batchrunner/{__version__}"}
        bearer = agent | {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        self._api = _carrier(carried.api, self._timeouts, headers=bearer, base_url=base_url)
        once = {"Connection": "close"}
        self._paid = _carrier(carried.paid, self._timeouts, headers=bearer | once, base_url=base_url)
        self._storage = _carrier(carried.storage, self._timeouts, headers=agent | once)
        self._reads = AsyncRetrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(read_attempts),
            wait=wait_random_exponential(multiplier=read_wait_s, max=10 * read_wait_s),
            reraise=True,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        for client in (self._api, self._paid, self._storage):
            await client.aclose()
        if self._owned:
            await self._owned.aclose()

    # --- reads: repeated a few times, since they cost nothing ---

    async def account(self) -> wire.Account:
        """`GET /v1/account`: balance and plan.

        Raises:
            ProviderError: as every read; `Rejected` with status 404 where the deployment has no such endpoint.
        """
        return await self._read("GET", "/v1/account", wire.account)

    async def upload_targets(self, files: Sequence[tuple[str, str]]) -> list[wire.UploadTarget]:
        """`POST /v1/files/upload-urls`: where to put files, given as pairs of media and extension. Free of charge."""
        return await self._read(
            "POST",
            "/v1/files/upload-urls",
            lambda body: wire.upload_targets(body, expected=len(files)),
            json=wire.upload_request(files),
        )

    async def project(self, project_id: str) -> wire.Project:
        """`GET /v1/video-projects/{id}`: how far a render is, what it cost, where its result lies."""
        path = f"/v1/video-projects/{quote(project_id, safe='')}"
        return await self._read("GET", path, lambda body: wire.project(body, project_id=project_id))

    async def _read(self, method: str, path: str, read: Callable[[bytes], T], **options: Any) -> T:
        # A copy each: tenacity keeps a call's count on the object, and reads run side by side.
        async for attempt in self._reads.copy():
            with attempt:
                answer = await self._ask(self._api, self._api.build_request(method, path, **options))
                try:
                    return read(answer)
                except wire.Unreadable as error:
                    raise NoAnswer(f"{method} {path}: {error}") from error
        raise AssertionError("tenacity re-raises the last failure")

    # --- the paid request: sent once, whatever happens ---

    async def create(self, kind: str, body: dict[str, Any]) -> wire.Created:
        """`POST /v1/<kind>`: submit one render. Costs credits; never repeated in here.

        Raises:
            NeverSent: surely not received.
            Rejected: answered with an error status; what that proves is the caller's to judge.
            NoAnswer: anything else, an answer without a project id included.
        """
        path = f"/v1/{kind}"
        answer = await self._ask(self._paid, self._paid.build_request("POST", path, json=body))
        try:
            return wire.created(answer)
        except wire.Unreadable as error:
            raise NoAnswer(f"POST {path}: {error}", project_id=error.project_id) from error

    async def _ask(self, client: httpx.AsyncClient, request: httpx.Request) -> bytes:
        """Send one request to the API, once; the body of its answer.

        Raises:
            NeverSent: surely not received.
            Rejected: answered with an error status, whether or not the rest of that answer could be read.
            NoAnswer: anything else; with the project id, where the part of the answer that came names one.
        """
        response: httpx.Response | None = None
        received = bytearray()
        try:
            with _translated(request.url.path):
                async with asyncio.timeout(self._timeouts.whole_s):
                    response = await client.send(request, stream=True)
                    try:
                        await _collect(response, received, most=LARGEST_ANSWER)
                    finally:
                        await response.aclose()
        except (NoAnswer, NeverSent) as error:
            if response is None:
                raise
            self._raise_for_status(response, bytes(received))
            # The answer broke off; what came may still name the project.
            raise NoAnswer(str(error), project_id=wire.rescued_id(bytes(received))) from error
        self._raise_for_status(response, bytes(received))
        return bytes(received)

    def _raise_for_status(self, response: httpx.Response, body: bytes) -> None:
        """Raise the error that an API answer is; nothing for 2xx."""
        status = response.status_code
        if 200 <= status < 300:
            return
        said = wire.error_body(body)
        words = said.message.replace(self._key, "…")  # some services repeat the key that they refuse
        message = f"HTTP {status}" + (f": {words}" if words else "")
        kind: type[Rejected] = Rejected
        if status == 401:
            kind = KeyRefused
        elif status == 402 and said.code not in PLAN_CODES:
            kind = OutOfCredits
        raise kind(message, status=status, code=said.code, retry_after_s=_retry_after(response))

    # --- storage: presigned addresses, no bearer ---

    async def put(self, url: str, chunks: AsyncIterator[bytes], *, length: int) -> None:
        """Send `length` bytes to a presigned address.

        Raises:
            AddressExpired: the address is no longer accepted.
            TransferError: they did not arrive; the whole upload can be repeated with a new address.
        """
        headers = {"Content-Length": str(length), "Content-Type": "application/octet-stream"}
        limits = self._timeouts
        with _as_transfer(), _translated(url):
            async with asyncio.timeout(limits.pool_s + limits.write_s) as deadline:
                content = _watched(chunks, deadline, limits)
                request = self._storage.build_request("PUT", url, content=content, headers=headers)
                response = await self._storage.send(request, stream=True)
                try:
                    said = await _error_text(response)
                finally:
                    await response.aclose()
        _raise_for_storage(response.status_code, said)

    @asynccontextmanager
    async def fetch(self, url: str, *, offset: int = 0, etag: str | None = None) -> AsyncIterator[Reply]:
        """Open a presigned address for reading, from byte `offset` on if the file is still the one of `etag`.

        Raises:
            AddressExpired: the address is no longer accepted.
            TransferError: nothing usable came.
        """
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if etag:
                headers["If-Range"] = etag
        with _as_transfer(), _translated(url):
            request = self._storage.build_request("GET", url, headers=headers)
            response = await self._storage.send(request, stream=True)
        try:
            if response.status_code not in {200, 206}:
                _raise_for_storage(response.status_code, await _error_text(response))
            yield Reply(response)
        finally:
            with _as_transfer(), _translated(url):
                await response.aclose()


# --- connections ---


class _Connections:
    """The real connections: aiohttp beneath httpx, one session a purpose."""

    def __init__(self) -> None:
        tls = ssl.create_default_context()
        self._sessions = {
            "api": _Session(limit=64, tls=tls, is_kept=True),
            "paid": _Session(limit=64, tls=tls, is_kept=False),
            # Not kept either: aiohttp repeats a PUT on a kept connection that died, with a body already read.
            "storage": _Session(limit=128, tls=tls, is_kept=False),
        }
        self._tls = tls

    def transports(self) -> Transports:
        made = {name: AiohttpTransport(verify=self._tls, client=session) for name, session in self._sessions.items()}
        return Transports(**made)

    async def aclose(self) -> None:
        for session in self._sessions.values():
            await session.aclose()


class _Session:
    """An aiohttp session that sends addresses as they stand.

    aiohttp rewrites `%2F` in a query to `/`, and a presigned address is signed as it was written. The transport takes
    any callable that gives a session, and asks it before each request; so this is both.
    """

    def __init__(self, *, limit: int, tls: ssl.SSLContext, is_kept: bool) -> None:
        self._options: dict[str, Any] = {"limit": limit, "ssl": tls, "force_close": not is_kept}
        if is_kept:
            self._options["keepalive_timeout"] = 30.0
        self._session: aiohttp.ClientSession | None = None

    def __call__(self) -> Any:
        if self._session is None:  # made here, since aiohttp wants a running loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(**self._options), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self

    def request(self, *, method: str, url: str, **options: Any) -> Any:
        assert self._session is not None
        return _Exchange(self._session.request(method, URL(url, encoded=True), **options))

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


class _Exchange:
    """One request under way. The transport encodes the reason phrase strictly, and stumbles over bytes that are none.

    It would do so after the answer came, with an error that names no connection and leaves the answer open.
    """

    def __init__(self, pending: Any) -> None:
        self._pending = pending

    async def __aenter__(self) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await self._pending.__aenter__()
        response.reason = (response.reason or "").encode("ascii", "replace").decode()
        return response


def _carrier(
    transport: Transport, timeouts: Timeouts, *, headers: dict[str, str], base_url: str = ""
) -> httpx.AsyncClient:
    """A client that sends what it is told and nothing else: no cookies, no proxy or password of the environment."""
    timeout = httpx.Timeout(
        connect=timeouts.connect_s, read=timeouts.read_s, write=timeouts.write_s, pool=timeouts.pool_s
    )
    cookies = CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(
        transport=transport, timeout=timeout, headers=headers, base_url=base_url, cookies=cookies, trust_env=False
    )


# --- reading answers ---


async def _collect(response: httpx.Response, received: bytearray, *, most: int) -> None:
    """Add the body to what was received, piece by piece, so that a broken answer leaves what came of it."""
    async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as chunks:
        async for chunk in chunks:
            received += chunk
            if len(received) > most:
                return


async def _error_text(response: httpx.Response) -> bytes:
    """As much as can be read of what the storage says about an error; the status alone says what it means."""
    received = bytearray()
    if response.status_code >= 300:
        with suppress(NoAnswer, NeverSent), _translated(""):
            await _collect(response, received, most=LARGEST_ERROR)
    return bytes(received)


def _raise_for_storage(status: int, body: bytes) -> None:
    """Raise what a storage answer means; S3 and its kin answer 403 to an address that expired, Google's also 400."""
    if 200 <= status < 300:
        return
    said = wire.storage_error(body)
    message = f"the storage answered HTTP {status}" + (f": {said.message}" if said.message else "")
    is_expired = status in {401, 403, 404, 410} or said.code == "ExpiredToken"
    raise AddressExpired(message) if is_expired else TransferError(message)


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


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


# --- translating failures ---


def _may_pass(error: BaseException) -> bool:
    """Whether the same read may succeed in a moment; a 429 is left to the shared pace."""
    if isinstance(error, Rejected):
        return error.status >= 500
    return isinstance(error, NeverSent | NoAnswer)


@contextmanager
def _translated(target: str) -> Iterator[None]:
    """Foreign exceptions as ours; `ValueError` is what the libraries raise on answers they cannot decode.

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
        where, words = wire.without_secrets(address), _words(error, secret=query)
        if _proves_unsent(error):
            raise NeverSent(f"cannot connect to {where}: {words}") from None
        raise NoAnswer(f"no answer from {where}: {words}") from None


def _proves_unsent(error: BaseException) -> bool:
    """Whether the failure happened before the first byte of the request could leave."""
    beneath = error.__cause__
    if isinstance(beneath, aiohttp.ClientError | TimeoutError):
        return isinstance(beneath, _UNSENT_BENEATH)
    return isinstance(error, _UNSENT)


_UNSENT_BENEATH = (
    aiohttp.ClientConnectorError,  # name lookup, refused, TLS, certificate
    aiohttp.ConnectionTimeoutError,  # also the wait for a place in the pool
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)
_UNSENT = (
    *_UNSENT_BENEATH,
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
    if isinstance(error, TimeoutError):
        return "it took too long"
    deepest = error.__cause__ or error
    text = str(deepest) or str(error) or type(deepest).__name__
    return wire.without_secrets(text.replace(secret, "…") if secret else text)


@contextmanager
def _as_transfer() -> Iterator[None]:
    """A transfer has no unclear outcome: whatever happened, it is done again."""
    try:
        yield
    except ProviderError as error:
        raise TransferError(str(error)) from error


async def _watched(chunks: AsyncIterator[bytes], deadline: asyncio.Timeout, limits: Timeouts) -> AsyncIterator[bytes]:
    """The chunks, moving the deadline with each: aiohttp itself has no limit on a peer that stops reading."""
    loop = asyncio.get_running_loop()
    async for chunk in chunks:
        deadline.reschedule(loop.time() + limits.write_s)
        yield chunk
    deadline.reschedule(loop.time() + limits.write_s + limits.read_s)
