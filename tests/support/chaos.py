"""What a network can do to a request, on loopback: servers of bytes, and a proxy that spoils connections.

Nothing here knows HTTP beyond where a request ends, so that it can break it anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
import re
import socket
import ssl
import struct

GARBAGE = b"220 this is no web server\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived: everything up to the empty line, and the body."""

    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        return self.head.partition(b"\r\n")[0].decode()

    def header(self, name: str) -> str | None:
        found = re.search(rb"(?mi)^" + name.encode() + rb":[ ]*([^\r\n]*)", self.head)
        return found[1].decode("latin-1") if found else None


class Connection:
    """One accepted connection."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> Request:
        """The next request, whole; it is noted at the server."""
        head = await self.head()
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        request = Request(head, await self.reader.readexactly(int(length[1])) if length else b"")
        self.server.requests.append(request)
        self.server.changed.set()
        return request

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def close(self) -> None:
        """End it, and come back when that was sent."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        """End with RST instead of FIN."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Server:
    """What arrived at a server of bytes so far."""

    port: int = 0
    accepted: int = 0
    requests: list[Request] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    listener: asyncio.Server | None = None

    def accept_no_more(self) -> None:
        """Refuse new connections; those that are there go on."""
        assert self.listener is not None
        self.listener.close()

    async def until_accepted(self, count: int) -> None:
        """Come back when so many connections were accepted."""
        while self.accepted < count:
            await self._change()

    async def until_requested(self, count: int) -> None:
        """Come back when so many requests have arrived whole."""
        while len(self.requests) < count:
            await self._change()

    async def _change(self) -> None:
        self.changed.clear()
        await asyncio.wait_for(self.changed.wait(), 10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Handler = Callable[[Connection], Awaitable[None]]


@asynccontextmanager
async def serving(handle: Handler, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on a free port of loopback whose every connection is given to `handle`, and then closed."""
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.accepted += 1
        server.changed.set()
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            # A client that goes away is what most of this is for.
            with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
                await handle(Connection(server, reader, writer))
        finally:
            tasks.discard(task)
            writer.close()
            with suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()

    listener = server.listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()


def answer(
    body: bytes = b"{}", *, status: int | str = 200, headers: str = "Content-Type: application/json\r\n"
) -> bytes:
    """A whole answer with its length, after which the connection may be used again."""
    words = f"{status} Whatever" if isinstance(status, int) else status
    return f"HTTP/1.1 {words}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


def answering(*answers: bytes, closing: bool = False) -> Handler:
    """Answers each request with the next of these, and from then on with the last, over all connections."""
    left = list(answers)

    async def handle(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(left.pop(0) if len(left) > 1 else left[0])
            if closing:
                return

    return handle


def answers(*pieces: bytes, closing: bool = True) -> AbstractAsyncContextManager[Server]:
    """A server that answers so, and closes each connection after one answer unless told otherwise."""
    return serving(answering(*pieces, closing=closing))


async def silence(connection: Connection) -> None:
    """Read all there is and never say anything."""
    while await connection.reader.read(65536):
        pass


async def deafness(connection: Connection) -> None:
    """Neither read nor answer."""
    connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.Event().wait()


def closed_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@asynccontextmanager
async def full_backlog() -> AsyncIterator[int]:
    """A port of loopback where connecting neither succeeds nor fails: its queue is full and nobody accepts."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()


class Mode(StrEnum):
    """What the proxy does to a connection; every name says where the request got to."""

    PASS = "all passes"
    TRICKLE = "all passes, the answer byte by byte"
    REFUSE = "the port is closed"
    RESET_BEFORE = "reset before anything was read"
    RESET_IN_REQUEST = "reset in the middle of the request"
    STALL_BEFORE = "nothing is read, nothing is said"
    RESET_AFTER = "reset after the server had answered"
    CLOSE_AFTER = "closed without a word after the server had answered"
    STALL_AFTER = "silence after the server had answered"
    GARBAGE_AFTER = "garbage in place of the server's answer"
    CUT_HEAD = "the answer is cut in its head"
    CUT_BODY = "the answer is cut in its body"
    CUT_END = "the answer is cut one byte before its end"


REACHES_SERVER = frozenset(Mode) - {Mode.REFUSE, Mode.RESET_BEFORE, Mode.RESET_IN_REQUEST, Mode.STALL_BEFORE}


@asynccontextmanager
async def proxy(target_port: int, mode: Mode) -> AsyncIterator[Server]:
    """A proxy in front of a server on loopback that does `mode` to every connection."""
    if mode is Mode.REFUSE:
        yield Server(port=closed_port())
        return

    async def handle(connection: Connection) -> None:
        await _spoil(connection, mode, target_port)

    async with serving(handle) as server:
        yield server


async def _spoil(connection: Connection, mode: Mode, target_port: int) -> None:
    match mode:
        case Mode.RESET_BEFORE:
            connection.reset()
        case Mode.STALL_BEFORE:
            await deafness(connection)
        case Mode.RESET_IN_REQUEST:
            await connection.head()
            await connection.reader.readexactly(10)
            connection.reset()
        case _:
            request = await connection.request()
            await _spoil_answer(connection, mode, await _asked(target_port, request))


async def _asked(port: int, request: Request) -> bytes:
    """The whole answer of the server: it has done its work by then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(re.sub(rb"(?mi)^connection: [^\r\n]*\r\n", b"", request.head[:-2]) + b"Connection: close\r\n\r\n")
        writer.write(request.body)
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def _spoil_answer(connection: Connection, mode: Mode, whole: bytes) -> None:
    body = whole.index(b"\r\n\r\n") + 4
    match mode:
        case Mode.PASS:
            await connection.send(whole)
        case Mode.TRICKLE:
            await connection.send(*(whole[at : at + 1] for at in range(len(whole))))
        case Mode.RESET_AFTER:
            connection.reset()
        case Mode.STALL_AFTER:
            await silence(connection)
        case Mode.GARBAGE_AFTER:
            await connection.send(GARBAGE)
        case Mode.CUT_HEAD:
            await connection.send(whole[: body // 2])
        case Mode.CUT_BODY:
            await connection.send(whole[: body + 5])
        case Mode.CUT_END:
            await connection.send(whole[:-1])
        case _:
            assert mode is Mode.CLOSE_AFTER


@asynccontextmanager
async def tunnelling(
    target_port: int, *, refusal: bytes | None = None, cut_after: int | None = None
) -> AsyncIterator[Server]:
    """A proxy that makes tunnels, wherever they are to lead, to a port of loopback; it notes what it is asked.

    Args:
        target_port: where every tunnel ends.
        refusal: what it says instead of making one, if given, before it hangs up.
        cut_after: resets a tunnel once so many bytes went in.
    """

    async def handle(connection: Connection) -> None:
        await connection.request()
        if refusal is not None:
            await connection.send(refusal)
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", target_port)
        try:
            await connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = asyncio.create_task(_pour(reader, connection.writer))
            await _pour(connection.reader, writer, most=cut_after)
            if cut_after is not None:
                connection.reset()
            await back
        finally:
            writer.close()

    async with serving(handle) as server:
        yield server


async def _pour(source: asyncio.StreamReader, into: asyncio.StreamWriter, *, most: int | None = None) -> None:
    """Pass bytes on until their end, or until there were `most` of them."""
    passed = 0
    with suppress(ConnectionError):
        while (most is None or passed < most) and (piece := await source.read(65536)):
            into.write(piece)
            await into.drain()
            passed += len(piece)
        if most is None and into.can_write_eof():
            into.write_eof()
