"""One method per endpoint of the provider, and bytes to and from its storage.

Three pools of connections, because they must not share anything:

- `api`: reads, with the bearer; connections are kept.
- `paid`: the two POSTs that cost credits, with the bearer, each on a fresh connection. On a kept one, a connection
  that died while idle looks like an answer lost after sending; on a fresh one, a failure to connect proves that
  nothing was sent.
- `storage`: presigned addresses, without the bearer, whatever public host they point at; never a redirect. Downloads
  keep their connections, uploads do not.

The connections themselves are made in `connections`, and foreign exceptions become ours in `failures`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
import re
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from urllib.parse import quote

from batchrunner import __version__
from batchrunner.core.redact import Redactor
from batchrunner.errors import NeverSent, NoAnswer, ProviderError
from batchrunner.provider import speed, wire
from batchrunner.provider.coding import unpacker
from batchrunner.provider.connections import Carrier, Connections, Timeouts, Transports
from batchrunner.provider.failures import as_transfer, raise_for_status, raise_for_storage, translated
from batchrunner.provider.guard import guard_of
from batchrunner.provider.lean import httpx
from batchrunner.provider.proxies import Proxies
from batchrunner.provider.watched import Heard, watched

if TYPE_CHECKING:
    from types import TracebackType

BASE_URL = "https://api.magichour.ai"
"""Provider documentation, every version."""

LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes read of an API answer; real ones have a few kilobytes."""

LONGEST_NUMBER = 18
"""Digits of a length in a header; more are no length of a file."""

LARGEST_ERROR = 64 * 1024
"""Bytes read of what the storage says about an error; S3 needs less than two kilobytes."""

T = TypeVar("T")


class Reply:
    """A download under way: what the storage announced, and the bytes as they come.

    Attributes:
        start: first byte of a range, and `end` the last; None where it is none, or not told.
        total: bytes of the whole file, whether this is all of it or a range.
    """

    def __init__(self, response: httpx.Response, *, window_s: float) -> None:
        self._response = response
        self._window_s = window_s
        self.status = response.status_code
        self.etag: str | None = response.headers.get("etag")
        self.length = _number(response.headers.get("content-length"))
        self.start: int | None = None
        self.end: int | None = None
        self.total = self.length if self.status == 200 else None
        told = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if self.status == 206 and told is not None:
            self.start, self.end, self.total = (int(number) for number in told.groups())

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body, piece by piece, as it travels, whatever coding it is said to be in: the file's check judges it.

        Raises:
            TransferError: the connection broke before the end, or was slower than the least speed.
        """
        with as_transfer(), translated(str(self._response.url)):
            raw = cast("AsyncGenerator[bytes]", self._response.aiter_raw())
            async with aclosing(raw), aclosing(speed.received(raw, window_s=self._window_s)) as chunks:
                async for chunk in chunks:
                    yield chunk


_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class Client:
    """The provider's API. Use as an async context manager."""

    def __init__(
        self,
        *,
        base_url: str,
        key: str,
        transports: Transports | None = None,
        heard: Heard | None = None,
        timeouts: Timeouts | None = None,
        read_attempts: int = 3,
        read_wait_s: float = 0.3,
        proxies: Proxies | None = None,
    ) -> None:
        """Prepare the connections; nothing is sent yet.

        Args:
            base_url: where the API is, without `/v1`.
            key: the API key; sent to that host only.
            transports: replaces the real connections.
            heard: told of every request, without its secrets.
            timeouts: replaces the usual ones.
            read_attempts: how often a read is tried before its failure is reported.
            read_wait_s: first wait between those, in seconds; 0 makes every wait 0.
            proxies: what connections with TLS go through; none by default.
        """
        self._owned = Connections(guard_of(base_url), proxies) if transports is None else None
        carried = transports or self._owned.transports()  # type: ignore[union-attr]
        carried = carried if heard is None else watched(carried, heard)
        # Nothing that the provider says may carry the key into an event, a log or an error.
        self._hide = Redactor([key]).known
        self._timeouts = timeouts or Timeouts()
        # Answers and files as they are: what has no coding needs no undoing, and is what its length says.
        agent = {"User-Agent": f"batchrunner/{__version__}", "Accept-Encoding": "identity"}
        bearer = agent | {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        self._api = Carrier(carried.api, self._timeouts, headers=bearer, base_url=base_url)
        once = {"Connection": "close"}
        self._paid = Carrier(carried.paid, self._timeouts, headers=bearer | once, base_url=base_url)
        self._storage = Carrier(carried.storage, self._timeouts, headers=agent)
        self._read_attempts = read_attempts
        self._read_wait_s = read_wait_s

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
        return await self._read("GET", "/v1/account", lambda body: wire.account(body, hide=self._hide))

    async def upload_targets(self, files: Sequence[tuple[str, str]]) -> list[wire.UploadTarget]:
        """`POST /v1/files/upload-urls`: where to put files, given as pairs of media and extension. Free of charge."""
        return await self._read(
            "POST",
            "/v1/files/upload-urls",
            lambda body: wire.upload_targets(body, expected=len(files), hide=self._hide),
            json=wire.upload_request(files),
        )

    async def project(self, project_id: str) -> wire.Project:
        """`GET /v1/video-projects/{id}`: how far a render is, what it cost, where its result lies."""
        path = f"/v1/video-projects/{quote(project_id, safe='')}"
        return await self._read("GET", path, lambda body: wire.project(body, project_id=project_id, hide=self._hide))

    async def _read(self, method: str, path: str, read: Callable[[bytes], T], **options: Any) -> T:
        def once() -> Awaitable[T]:
            return self._read_once(method, path, read, **options)

        try:
            return await once()
        except ProviderError as error:
            from batchrunner.provider.again import read_again  # noqa: PLC0415 - nearly all are answered at once

            return await read_again(once, error, attempts=self._read_attempts, wait_s=self._read_wait_s)

    async def _read_once(self, method: str, path: str, read: Callable[[bytes], T], **options: Any) -> T:
        answer = await self._ask(self._api, self._api.build_request(method, path, **options))
        try:
            return read(answer)
        except wire.Unreadable as error:
            raise NoAnswer(f"{method} {path}: {error}") from error

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
            return wire.created(answer, hide=self._hide)
        except wire.Unreadable as error:
            raise NoAnswer(f"POST {path}: {error}", project_id=error.project_id) from error

    async def _ask(self, client: Carrier, request: httpx.Request) -> bytes:
        """Send one request to the API, once; the body of its answer.

        Raises:
            NeverSent: surely not received.
            Rejected: answered with an error status, whether or not the rest of that answer could be read.
            NoAnswer: anything else; with the project id, where the part of the answer that came names one.
        """
        response: httpx.Response | None = None
        received = bytearray()
        try:
            with translated(request.url.path, self._hide):
                async with asyncio.timeout(self._timeouts.whole_s):
                    response = await client.send(request)
                    try:
                        await _collect(response, received, most=LARGEST_ANSWER)
                    finally:
                        await response.aclose()
        except (NoAnswer, NeverSent) as error:
            if response is None:
                raise
            raise_for_status(response, bytes(received), hide=self._hide)
            # The answer broke off; what came may still name the project.
            raise NoAnswer(str(error), project_id=wire.rescued_id(bytes(received), hide=self._hide)) from error
        raise_for_status(response, bytes(received), hide=self._hide)
        return bytes(received)

    # --- storage: presigned addresses, no bearer ---

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

        A refusal of the range itself (416) is an answer, too: the whole can still be asked for.

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
        with as_transfer(), translated(url):
            async with asyncio.timeout(limits.pool_s + limits.read_s):  # a head that trickles has no end otherwise
                request = self._storage.build_request("GET", url, headers=headers)
                response = await self._storage.send(request)
        try:
            if response.status_code not in ({200, 206, 416} if offset else {200, 206}):
                raise_for_storage(response, await _error_text(response))
            yield Reply(response, window_s=limits.read_s)
        finally:
            with as_transfer(), translated(url):
                await response.aclose()


async def _collect(response: httpx.Response, received: bytearray, *, most: int) -> None:
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
            await _collect(response, received, most=LARGEST_ERROR)
    return bytes(received)


def _number(text: str | None) -> int | None:
    """A length as it was announced; None where none was, or none that a file could have."""
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER
    return int(text) if is_number and text is not None else None
