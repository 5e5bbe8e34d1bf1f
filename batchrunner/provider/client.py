"""One method per endpoint of the provider, and bytes to and from its storage.

Three pools of connections, because they must not share anything:

- `api`: reads, with the bearer; connections are kept.
- `paid`: the two POSTs that cost credits, with the bearer, each on a fresh connection. On a kept one, a connection
  that died while idle looks like an answer lost after sending; on a fresh one, a failure to connect proves that
  nothing was sent. The next one may be opened a moment ahead.
- `storage`: presigned addresses, without the bearer, whatever public host they point at, by a redirect of a download,
  too. Downloads keep their connections, uploads do not.

The connections themselves are made in `connections` and `connector`, and foreign exceptions become ours in `failures`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

from batchrunner.core.redact import Redactor
from batchrunner.errors import NeverSent, NoAnswer, ProviderError
from batchrunner.provider import wire
from batchrunner.provider.connections import Carrier, Connections, Timeouts, Transports
from batchrunner.provider.courier import AGENT, Courier, collect
from batchrunner.provider.failures import raise_for_status, translated
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

T = TypeVar("T")


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
        bearer = AGENT | {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        self._api = Carrier(carried.api, self._timeouts, headers=bearer, base_url=base_url)
        once = {"Connection": "close"}
        self._paid = Carrier(carried.paid, self._timeouts, headers=bearer | once, base_url=base_url)
        self._courier = Courier(carried.storage, self._timeouts)
        self.put = self._courier.put
        self.fetch = self._courier.fetch
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
        for client in (self._api, self._paid, self._courier):
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
                        await collect(response, received, most=LARGEST_ANSWER)
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
