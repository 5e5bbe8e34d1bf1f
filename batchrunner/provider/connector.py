"""What opens connections: each for a request that can rely on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
import selectors
from typing import Any, Final

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection

from batchrunner.provider.failures import NoTunnel

AHEAD_S: Final = 3.0
"""Seconds that a connection opened ahead waits for its request at the most, and between two requests that make a third
likely. Servers close one that says nothing, but hardly one within five seconds; so ours is gone before."""


class Connector(aiohttp.TCPConnector):
    """Makes connections, and tells a tunnel that did not come about from an answer that was lost."""

    async def connect(self, req: Any, *args: Any, **options: Any) -> Connection:
        """A connection for a request, of which nothing was sent yet.

        Never one on which something came that nobody had asked for: the next request would take it for its answer. That
        is another job's clip, or another file's address. aiohttp asks only whether such a connection is still open.
        """
        try:
            for _ in range(self.limit + 1):
                connection = await super().connect(req, *args, **options)
                if connection.protocol is None or not connection.protocol.should_close:
                    return connection
                connection.close()
            raise aiohttp.ClientConnectionError("the server speaks before it is asked")
        except (aiohttp.ClientError, OSError) as error:
            # A time-out is aiohttp's to name; what it names itself stays as it is.
            if req.proxy is None or isinstance(error, TimeoutError | aiohttp.ClientConnectorError):
                raise
            if isinstance(error, aiohttp.ClientHttpProxyError):
                raise NoTunnel(f"the proxy {req.proxy} answered HTTP {error.status}") from None
            raise NoTunnel(f"the proxy {req.proxy} made no tunnel: {error}") from None


class FreshConnector(Connector):
    """Makes a connection for every request, for those that must not be sent twice: it carries that one alone.

    To open one with TLS takes twice as long as the request's own way there and back. So where requests follow each
    other closely, the next one's connection is opened while one is under way.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(force_close=True, **options)
        self._ahead: _Ahead | None = None
        self._asked_at = float("-inf")

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Connection:  # noqa: ASYNC109 - it is aiohttp's
        """A connection that has carried nothing yet; has the next one opened where it will be wanted."""
        before, self._asked_at = self._asked_at, asyncio.get_running_loop().time()
        connection = await self._take(req.connection_key)
        if connection is None:
            connection = await super().connect(req, traces, timeout)
        # What goes through a proxy has that proxy's words written into the request that it is opened for.
        if self._ahead is None and self._asked_at - before <= AHEAD_S and req.proxy is None:
            self._ahead = _Ahead(req.connection_key, partial(super().connect, req, [], timeout))
        return connection

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close all connections, that without a request included."""
        try:
            await super().close(abort_ssl=abort_ssl)  # first: from then on, none is opened
        finally:
            ahead, self._ahead = self._ahead, None
            if ahead is not None:
                await ahead.leave()

    async def _take(self, key: ConnectionKey) -> Connection | None:
        """The connection that was opened ahead, if it leads to that server and is as good as a new one."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return None
        try:
            return await ahead.take(key)
        except asyncio.CancelledError:
            await ahead.leave()
            raise


class _Ahead:
    """A connection that is opened before there is a request for it.

    It is not given out where it would prove less than one that is opened now: when it is older than a moment, or when
    the server has said anything on it, its farewell included.
    """

    def __init__(self, key: ConnectionKey, connect: Callable[[], Coroutine[Any, Any, Connection]]) -> None:
        """Begin to open it; `key` says where it leads."""
        self._key = key
        self._expiry: asyncio.TimerHandle | None = None
        self._opening = asyncio.create_task(self._open(connect))

    async def take(self, key: ConnectionKey) -> Connection | None:
        """The connection; None where it is not to be had, leads elsewhere, or is not as good as a new one."""
        await asyncio.wait([self._opening])  # which takes less than to open another
        connection = self._opening.result()
        if connection is None:
            return None
        if key == self._key and not connection.closed and _is_untouched(connection):
            self._stop_waiting()
            return connection
        await self.leave()
        return None

    async def leave(self) -> None:
        """Close it, or open it no further; also where nobody waits until that is done."""
        self._opening.cancel()
        self._opening.add_done_callback(self._close)
        await asyncio.wait([self._opening])

    def _close(self, opening: asyncio.Task[Connection | None]) -> None:
        self._stop_waiting()
        if not opening.cancelled() and (connection := opening.result()) is not None:
            connection.close()

    async def _open(self, connect: Callable[[], Coroutine[Any, Any, Connection]]) -> Connection | None:
        """The connection; None where it does not come about: the next request tries for itself, and tells why."""
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            connection = await connect()
            self._expiry = asyncio.get_running_loop().call_later(AHEAD_S, connection.close)
            return connection
        return None

    def _stop_waiting(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()


_Selector: Final[type[selectors.BaseSelector]] = getattr(selectors, "PollSelector", selectors.SelectSelector)
"""One that takes no file descriptor: where none is left, a request that was never sent would count as lost."""


def _is_untouched(connection: Connection) -> bool:
    """Whether nothing has come on it, neither read so far nor waiting to be."""
    if connection.transport is None or connection.protocol is None or connection.protocol.should_close:
        return False
    with _Selector() as selector:
        selector.register(connection.transport.get_extra_info("socket"), selectors.EVENT_READ)
        return not selector.select(timeout=0)
