"""Being told of every request: its method, where it went, how it ended and how long that took.

Never of what it carried: no header, no query, no body. The exception is the server's own clock, for comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
import time

from batchrunner.provider.connections import Transport, Transports
from batchrunner.provider.lean import httpx


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and what came of it.

    Attributes:
        host: where it went.
        path: without the query, where signatures stand.
        status: of the answer; None where none came.
        ms: milliseconds until the head of the answer, or until it failed.
        trouble: the sort of failure, where no answer came.
        date: the server's `Date` header, as it stands.
    """

    method: str
    host: str
    path: str
    status: int | None
    ms: int
    trouble: str | None = None
    date: str | None = None


Heard = Callable[[Exchange], None]
"""Told of every exchange; must not raise."""


def watched(transports: Transports, heard: Heard) -> Transports:
    """The same transports, telling of every request."""
    return Transports(
        api=_Watched(transports.api, heard),
        paid=_Watched(transports.paid, heard),
        storage=_Watched(transports.storage, heard),
    )


class _Watched(httpx.AsyncBaseTransport):
    """A transport that is told of; failures pass through untouched, since what they prove is read from them."""

    def __init__(self, inner: Transport, heard: Heard) -> None:
        self._inner = inner
        self._heard = heard

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        began = time.monotonic()
        seen = Exchange(method=request.method, host=request.url.host, path=request.url.path, status=None, ms=0)
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            self._heard(replace(seen, ms=_ms_since(began), trouble=type(error).__name__))
            raise
        date = response.headers.get("date")
        self._heard(replace(seen, ms=_ms_since(began), status=response.status_code, date=date))
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
