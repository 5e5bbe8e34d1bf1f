"""What the servers of this package share: a socket that queues from now on, and a server that leaves signals alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
import logging
import os
import socket
from typing import Literal

from starlette.types import ASGIApp
import uvicorn

from batchrunner.errors import UsageError

CONNECTIONS = 100
"""Open at once."""


class Server(uvicorn.Server):
    """A server that leaves the signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take none."""
        yield


@asynccontextmanager
async def serving(
    application: ASGIApp,
    listener: socket.socket,
    *,
    grace_s: int,
    protocol: type[asyncio.Protocol] | Literal["auto"] = "auto",
    closing: Callable[[], None] = lambda: None,
) -> AsyncIterator[None]:
    """Serve an application as long as the block runs; then `closing` is called, and answers have `grace_s` left."""
    server = Server(
        uvicorn.Config(
            application,
            lifespan="off",
            http=protocol,
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
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
