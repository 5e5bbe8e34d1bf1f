"""What the servers of this package share: a socket that queues from now on, and a server that leaves signals alone."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
import os
import socket

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
