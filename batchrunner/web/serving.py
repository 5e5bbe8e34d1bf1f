"""What the servers of this package share: a socket that queues from now on, and a server that leaves signals alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
import ipaddress
import logging
import socket

from starlette.types import ASGIApp
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from batchrunner import system
from batchrunner.errors import UsageError

CONNECTIONS = 100
"""Open at once."""

LONGEST_HEAD_S = 5.0
"""Seconds that the head of a request may take; who sends none takes the place of another for no longer."""


class Server(uvicorn.Server):
    """A server that leaves the signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take none."""
        yield


class Protocol(H11Protocol):
    """HTTP that closes a connection on which no request is under way, whatever comes on it in drops."""

    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch = self.loop.call_later(LONGEST_HEAD_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr]  # None at first
            self.transport.close()
        else:
            self._watch = self.loop.call_later(LONGEST_HEAD_S, self._look)


@asynccontextmanager
async def serving(
    application: ASGIApp,
    listener: socket.socket,
    *,
    grace_s: int,
    closing: Callable[[], None] = lambda: None,
) -> AsyncIterator[None]:
    """Serve an application as long as the block runs; then `closing` is called, and answers have `grace_s` left."""
    server = Server(
        uvicorn.Config(
            application,
            lifespan="off",
            http=Protocol,
            ws="none",
            log_config=None,
            # What strangers send is no news: not their addresses, not their mistakes.
            log_level=logging.CRITICAL,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=grace_s,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        closing()
        server.should_exit = True
        await task


def listen(host: str, port: int, *, what: str, hint: str) -> socket.socket:
    """A socket that queues connections from now on, so that the address can be told.

    Raises:
        UsageError: nothing can listen there.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            system.take_port_again(listener)
            listener.bind(address)
            listener.listen(CONNECTIONS)
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:  # UnicodeError: a label of a host name that is too long
        why = error.strerror if isinstance(error, OSError) else "this is no host name"
        raise UsageError(f"cannot listen for {what} on {host}:{port}: {why}", hint=hint) from error
    return listener


def address(listener: socket.socket) -> str:
    """Where it listens, as the beginning of an address."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def address_for_people(listener: socket.socket) -> str:
    """As `address`, where it listens on every address of this machine: one of them that others can go to."""
    host, port = listener.getsockname()[:2]
    if not ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        return address(listener)
    # Of a datagram socket nothing is sent: this only asks which address would be used (RFC 5737 keeps that one free).
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))
            found = asked.getsockname()[0]
        except OSError:
            found = "127.0.0.1"
    return f"http://{found}:{port}"


def own_names() -> frozenset[str]:
    """What this machine is called by itself and on its own network, in small letters."""
    name = socket.gethostname().lower()
    first = name.partition(".")[0]
    return frozenset({name, first, f"{first}.local"})
