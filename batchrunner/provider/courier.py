"""Bytes to and from the provider's storage, at presigned addresses. Needs no key, and is never given one.

What opens connections for it is made in `connections`: whatever public host an address points at. A download goes where
it is redirected to, each step under the same guard, since what is paid for has to come home; an upload does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
import re
from typing import Final, cast
from urllib.parse import urldefrag, urljoin

from batchrunner import __version__
from batchrunner.errors import NeverSent, NoAnswer
from batchrunner.provider import speed
from batchrunner.provider.coding import is_gzip, opened, unpacker
from batchrunner.provider.connections import Carrier, Connections, Timeouts, Transport
from batchrunner.provider.failures import as_transfer, raise_for_storage, translated
from batchrunner.provider.guard import Guard
from batchrunner.provider.lean import httpx
from batchrunner.provider.proxies import Proxies

AGENT: Final = {"User-Agent": f"batchrunner/{__version__}", "Accept-Encoding": "identity"}
"""Answers and files as they are: what has no coding needs no undoing, and is what its length says."""

LONGEST_NUMBER = 18
"""Digits of a length in a header; more are no length of a file."""

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

MOST_REDIRECTS = 5
"""Of one download; a circle has no end."""

LARGEST_ERROR = 64 * 1024
"""Bytes read of what the storage says about an error; S3 needs less than two kilobytes."""


class Reply:
    """A download under way: what the storage announced, and the bytes as they come.

    What is said to be packed, though nobody asked for that, has its version, its length and its ranges of the packed
    bytes: they are no use to who writes the others.

    Attributes:
        start: first byte of a range, and `end` the last; None where it is none, or not told.
        total: bytes of the whole file, whether this is all of it or a range.
    """

    def __init__(self, response: httpx.Response, *, window_s: float) -> None:
        self._response = response
        self._window_s = window_s
        self.status = response.status_code
        self._may_be_packed = is_gzip(response.headers.get("content-encoding", ""))
        self.etag: str | None = None
        self.length: int | None = None
        self.start: int | None = None
        self.end: int | None = None
        self.total: int | None = None
        if self._may_be_packed:
            return
        self.etag = response.headers.get("etag")
        self.length = _number(response.headers.get("content-length"))
        self.total = self.length if self.status == 200 else None
        told = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if self.status == 206 and told is not None:
            self.start, self.end, self.total = (int(number) for number in told.groups())

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body, piece by piece, as it travels, but for gzip that is said to be gzip: the file's check judges it.

        Raises:
            TransferError: the connection broke before the end, or was slower than the least speed.
        """
        with as_transfer(), translated(str(self._response.url)):
            raw = cast("AsyncGenerator[bytes]", self._response.aiter_raw())
            async with (
                aclosing(raw),
                aclosing(speed.received(raw, window_s=self._window_s)) as received,
                aclosing(opened(received) if self._may_be_packed else received) as chunks,
            ):
                async for chunk in chunks:
                    yield chunk


_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class Courier:
    """Brings bytes to presigned addresses, and from there."""

    def __init__(self, transport: Transport, timeouts: Timeouts, *, owned: Connections | None = None) -> None:
        """Send by `transport`, and close what is `owned` at the end; nothing is sent yet."""
        self._owned = owned
        self._timeouts = timeouts
        self._storage = Carrier(transport, timeouts, headers=AGENT)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._storage.aclose()
        if self._owned is not None:
            await self._owned.aclose()

    async def put(self, url: str, chunks: AsyncIterator[bytes], *, length: int) -> None:
        """Send `length` bytes to a presigned address.

        Raises:
            AddressExpired: the address is no longer accepted.
            TransferError: they did not arrive; the whole upload can be repeated with a new address.
        """
        headers = {
            "Content-Length": str(length),
            "Content-Type": "application/octet-stream",
            "Connection": "close",
        }
        limits = self._timeouts
        with as_transfer(), translated(url):
            async with asyncio.timeout(limits.pool_s + limits.write_s) as deadline:
                content = speed.sent(chunks, deadline, window_s=limits.write_s, answer_s=limits.read_s)
                request = self._storage.build_request("PUT", url, content=content, headers=headers)
                response = await self._storage.send(request)
                try:
                    said = await _error_text(response)
                finally:
                    await response.aclose()
        raise_for_storage(response, said)

    @asynccontextmanager
    async def fetch(self, url: str, *, offset: int = 0, etag: str | None = None) -> AsyncIterator[Reply]:
        """Open a presigned address for reading, from byte `offset` on if the file is still the one of `etag`.

        A refusal of the range itself (416) is an answer, too: the whole can still be asked for. A redirect is followed,
        under the guard; no address carries more than its own query.

        Raises:
            AddressExpired: the address is no longer accepted.
            TransferError: nothing usable came.
        """
        headers = {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if etag:
                headers["If-Range"] = etag
        limits = self._timeouts
        response = await self._ask(url, headers)
        for _ in range(MOST_REDIRECTS):
            onward = _onward(url, response)
            if onward is None:
                break
            await response.aclose()
            url = onward
            response = await self._ask(url, headers)
        try:
            if response.status_code not in ({200, 206, 416} if offset else {200, 206}):
                raise_for_storage(response, await _error_text(response))
            yield Reply(response, window_s=limits.read_s)
        finally:
            with as_transfer(), translated(url):
                await response.aclose()

    async def _ask(self, url: str, headers: dict[str, str]) -> httpx.Response:
        """The head of what an address answers."""
        with as_transfer(), translated(url):
            # A head that trickles has no end otherwise.
            async with asyncio.timeout(self._timeouts.pool_s + self._timeouts.read_s):
                return await self._storage.send(self._storage.build_request("GET", url, headers=headers))


def _onward(url: str, response: httpx.Response) -> str | None:
    """The whole address that a redirect leads to, as it stands there; None where there is none."""
    location = response.headers.get("location", "")
    if response.status_code not in REDIRECTS or not location:
        return None
    try:
        return str(urldefrag(urljoin(url, location)).url)
    except ValueError:  # a bracket that is not closed
        return None


def independent(guard: Guard, proxies: Proxies) -> Courier:
    """A courier with connections of its own, for who has no client of the API."""
    owned = Connections(guard, proxies)
    return Courier(owned.transports().storage, Timeouts(), owned=owned)


async def collect(response: httpx.Response, received: bytearray, *, most: int) -> None:
    """Add the body to what was received, piece by piece, so that a broken answer leaves what came of it.

    Stops beyond `most` bytes, of those that came as well as of what they hold.

    Raises:
        ValueError: it is in a content coding that cannot be undone.
    """
    unpack, came = unpacker(response.headers.get("content-encoding", ""), most=most), 0
    async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_raw())) as chunks:
        async for chunk in chunks:
            came += len(chunk)
            try:
                received += unpack(chunk)
            except ValueError:
                received += chunk  # an id may stand in it, in the clear
                raise
            if max(came, len(received)) > most:
                return


async def _error_text(response: httpx.Response) -> bytes:
    """As much as can be read of what the storage says about an error; the status alone says what it means."""
    received = bytearray()
    if response.status_code >= 300:
        with suppress(NoAnswer, NeverSent), translated(""):
            await collect(response, received, most=LARGEST_ERROR)
    return bytes(received)


def _number(text: str | None) -> int | None:
    """A length as it was announced; None where none was, or none that a file could have."""
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER
    return int(text) if is_number and text is not None else None
