"""Trouble below the API: connections that end, bodies that stop or crawl, and bodies that make no sense.

Each is a response like any other; what it needs of the connection comes with the request, put there by `Line`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
from pathlib import Path
import re
import socket
import struct
from typing import Any, Final, Literal

from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_EXTENSION: Final = "sandbox.transport"
_TICKS_PER_SECOND: Final = 20
_NO_LINGER: Final = struct.pack("ii", 1, 0)
_ID: Final = re.compile(rb'"(?:id|file_path)":\s*"[^"]*"')

PROXY_PAGE: Final = (
    "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1></center>"
    "\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)
"""What stands between us and the provider answers in HTML."""


class Line(H11Protocol):
    """uvicorn's connection, with itself handed to the application: ASGI knows no way to hang up."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:
            scope["extensions"] = {_EXTENSION: transport}
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:
                # Only the end of the server cancels a request: one that hangs is hung up on.
                await _hang_up(scope, receive, by="reset")

        self.app = with_transport


class Cut(Response):
    """No answer at all: the connection is reset, or closed without a word."""

    def __init__(self, *, by: Literal["reset", "close"]) -> None:
        super().__init__()
        self._by = by

    async def __call__(self, scope: Scope, receive: Receive, _send: Send) -> None:
        await _hang_up(scope, receive, by=self._by)


class Paced(Response):
    """A response whose body stops early or crawls, under headers that promise all of it.

    `limit` in bytes, or below 1 the share of the announced length; it always stops at least one byte early. `rate`
    in bytes a second.
    """

    def __init__(self, inner: Response, *, limit: float | None, rate: float | None) -> None:
        super().__init__()
        self._inner = inner
        self._limit = limit
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport: asyncio.Transport = scope["extensions"][_EXTENSION]
        left: float = float("inf")

        async def paced(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.start":
                left = self._allowed(message)
                await send(message)
                return
            body, more = message.get("body", b""), message.get("more_body", False)
            allowed = body[: int(min(left, len(body)))]
            for piece in self._pieces(allowed):
                if transport.is_closing():
                    raise _Stopped
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if self._rate is not None:
                    await asyncio.sleep(len(piece) / self._rate)
            left -= len(allowed)
            if left <= 0:
                raise _Stopped
            if not more:
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        try:
            await self._inner(scope, receive, paced)
        except _Stopped:
            await _hang_up(scope, receive, by="close")

    def _allowed(self, start: Message) -> float:
        """Bytes of the body that may pass."""
        length = next((int(value) for key, value in start["headers"] if key.lower() == b"content-length"), 0)
        if self._limit is None or not length:
            return float("inf")
        return min(self._limit if self._limit >= 1 else int(length * self._limit), length - 1)

    def _pieces(self, body: bytes) -> list[bytes]:
        if self._rate is None:
            return [body] if body else []
        size = max(1, int(self._rate / _TICKS_PER_SECOND))
        return [body[start : start + size] for start in range(0, len(body), size)]


class _Stopped(Exception):
    """What may be sent has been sent."""


async def _hang_up(scope: Scope, receive: Receive, *, by: Literal["reset", "close"]) -> None:
    """End the connection, and wait until the server knows it: it would answer 500 for us otherwise."""
    transport: asyncio.Transport = scope["extensions"][_EXTENSION]
    if by == "reset":
        # Without lingering the kernel sends a reset instead of a farewell.
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()
    else:
        transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


def garbled(how: str, body: bytes) -> Response:
    """A 200 whose body is no answer; `truncated` still holds the id that the whole answer had."""
    match how:
        case "html":
            return Response(PROXY_PAGE.format(status=200, reason="OK"), media_type="text/html")
        case "truncated":
            ids = list(_ID.finditer(body))
            return _as_json(body[: max(ids[-1].end() if ids else 0, len(body) * 2 // 3)])
        case "empty":
            return _as_json(b"")
        case "array":
            return _as_json(b"[]")
        case _:
            return _as_json(b'\xff\xfe{"ok": maybe, \x00\x1b[2J')


def _as_json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def rewritten(answer: Response, *, changes: dict[str, Any], without: tuple[str, ...] = ()) -> Response:
    """A JSON answer with keys of its top level changed or taken out; any other answer as it is."""
    try:
        content = json.loads(bytes(answer.body))
    except (AttributeError, ValueError):
        return answer
    if answer.status_code != 200 or not isinstance(content, dict):
        return answer
    content = {key: value for key, value in (content | changes).items() if key not in without}
    return Response(json.dumps(content), media_type="application/json")


def previewed(answer: Response) -> Response:
    """A look at a finished project with a picture before its clip, which is not there to be fetched."""
    try:
        downloads = json.loads(bytes(answer.body))["downloads"]
    except (AttributeError, ValueError, KeyError):
        return answer
    if not downloads:
        return answer
    preview = downloads[0] | {"url": downloads[0]["url"].replace(".mp4", ".jpg", 1)}
    return rewritten(answer, changes={"downloads": [preview, *downloads]})


def packed(answer: Response) -> Response:
    """A file as gzip, whole, whatever part of it was asked for; any other answer as it is."""
    if not isinstance(answer, FileResponse):
        return answer
    body = gzip.compress(Path(answer.path).read_bytes())
    headers = {"Content-Encoding": "gzip", "ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}
    return Response(body, headers=headers, media_type=answer.media_type)
