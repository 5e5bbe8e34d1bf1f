"""The dashboard's server: pages without content, and what fills them as JSON, server-sent events, pictures and files.

It is handed a desk, which knows the batches; nothing of an address ever chooses a file: batches and jobs are looked up
by what the desk itself has named.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib import resources
import json
from pathlib import Path
import socket
import threading
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from batchrunner.errors import BatchrunnerError
from batchrunner.web import guard as guards, serving
from batchrunner.web.guard import Guard

TICK_S: Final = 1.0
"""Seconds between two looks for news, for each page that is open."""

BEAT_S: Final = 15.0
"""After so long without news a page is sent a sign of life."""

LARGEST_BODY: Final = 200_000
_GRACE_S: Final = 1
_MOST_DIGITS: Final = 9

PAGE: Final = "dashboard.html"
STATIC: Final[Mapping[str, str]] = {
    "report.css": "text/css",
    "dashboard.css": "text/css",
    "dashboard.js": "text/javascript",
}


class Desk(Protocol):
    """What the server may ask, and be told to do; all but `picture` and `carry_out` may take a moment in a thread."""

    def overview(self) -> list[dict[str, Any]]:
        """Every batch in figures."""

    def news(self, batch: str, mark: str | None) -> dict[str, Any] | None:
        """What is new in a batch since a mark; None where there is no such batch."""

    async def picture(self, batch: str, job: int, which: str) -> tuple[bytes | None, str]:
        """A picture as WebP, or why there is none.

        Raises:
            KeyError: there is no such batch, job or picture.
        """

    def log(self, batch: str, job: int) -> list[dict[str, Any]]:
        """All that happened to a job, oldest first.

        Raises:
            KeyError: there is no such batch or job.
            BatchrunnerError: it cannot be read.
        """

    def file(self, batch: str, job: int, number: int) -> Path | None:
        """A result on disk; None where there is none, or it is no longer what was recorded."""

    def ask(self, batch: str, action: str, jobs: Sequence[int] | None) -> dict[str, Any]:
        """What an action would do and cost, with a ticket to carry out just that.

        Raises:
            BatchrunnerError: it cannot be done.
            KeyError: there is no such batch or action.
        """

    async def carry_out(self, batch: str, ticket: str) -> str:
        """Do what was shown under a ticket; what was done, in words.

        Raises:
            BatchrunnerError: it cannot be done.
            KeyError: there is no such ticket.
        """


@asynccontextmanager
async def serving_desk(desk: Desk, listener: socket.socket, guard: Guard) -> AsyncIterator[None]:
    """Serve a desk as long as the block runs."""
    closing = asyncio.Event()
    application = app(desk, guard, closing=closing)
    async with serving.serving(application, listener, grace_s=_GRACE_S, closing=closing.set):
        yield


def app(desk: Desk, guard: Guard, *, closing: asyncio.Event) -> ASGIApp:
    """The application behind its guard; what is sent without an end ends when it is `closing`."""
    pages = _Pages(desk=desk, guard=guard, closing=closing)
    routes = [
        Route("/", pages.page),
        Route("/m/{batch}", pages.page),
        Route("/favicon.ico", pages.no_icon),
        Route("/static/{name}", pages.static),
        Route(guards.SESSION, pages.session, methods=["POST"]),
        Route("/api/overview", pages.overview),
        Route("/api/overview/events", pages.overview_events),
        Route("/api/m/{batch}", pages.news),
        Route("/api/m/{batch}/events", pages.news_events),
        Route("/api/m/{batch}/jobs/{job}/log", pages.log),
        Route("/api/m/{batch}/jobs/{job}/{which}.webp", pages.picture),
        Route("/api/m/{batch}/jobs/{job}/files/{number}", pages.file),
        Route("/api/m/{batch}/ask", pages.ask, methods=["POST"]),
        Route("/api/m/{batch}/do", pages.carry_out, methods=["POST"]),
    ]
    return guards.guarded(Starlette(routes=routes), guard)


class _Pages:
    def __init__(self, *, desk: Desk, guard: Guard, closing: asyncio.Event) -> None:
        self._closing = closing
        self._desk = desk
        self._guard = guard
        self._lock = threading.Lock()
        self._wholes: dict[str, tuple[str, str]] = {}

    # --- the empty page ---

    async def page(self, _request: Request) -> Response:
        return Response(_text(PAGE), media_type="text/html; charset=utf-8")

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            raise HTTPException(404)
        return Response(_text(name), media_type=f"{STATIC[name]}; charset=utf-8")

    async def no_icon(self, _request: Request) -> Response:
        """There is none; a browser asks for it all the same."""
        return Response(status_code=204)

    async def session(self, _request: Request) -> Response:
        """Give a browser what lets it read; the guard has seen the token."""
        answer = Response(status_code=204)
        answer.set_cookie(guards.COOKIE, self._guard.cookie, httponly=True, samesite="strict", path="/")
        return answer

    # --- reading ---

    async def overview(self, _request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(self._desk.overview))

    async def overview_events(self, request: Request) -> Response:
        async def told() -> AsyncIterator[Told | None]:
            before = None
            while True:
                now = await asyncio.to_thread(self._desk.overview)
                yield (None, json.dumps({"batches": now})) if now != before else None
                before = now

        return _stream(request, told(), self._closing)

    async def news(self, request: Request) -> Response:
        found = await asyncio.to_thread(self._desk.news, request.path_params["batch"], request.query_params.get("mark"))
        if found is None:
            raise HTTPException(404)
        text = await asyncio.to_thread(self._text, request.path_params["batch"], found)
        return Response(text, media_type="application/json")

    def _text(self, batch: str, found: Mapping[str, Any]) -> str:
        """News as JSON; takes its time, but what many pages ask for at once is written once."""
        if not found["is_all"]:
            return json.dumps(found)
        with self._lock:
            mark, jobs = self._wholes.get(batch, ("", ""))
            if mark != found["mark"]:
                jobs = json.dumps(found["jobs"])
                self._wholes[batch] = (found["mark"], jobs)
        rest = json.dumps({name: value for name, value in found.items() if name != "jobs"})
        return f'{{"jobs": {jobs}, {rest[1:]}'

    async def news_events(self, request: Request) -> Response:
        batch = request.path_params["batch"]
        first = await asyncio.to_thread(self._desk.news, batch, request.headers.get("last-event-id"))
        if first is None:
            raise HTTPException(404)

        async def told() -> AsyncIterator[Told | None]:
            now: dict[str, Any] | None = first
            before = None
            while now is not None:
                is_news = before is None or now["jobs"] or now["log"] or now["summary"] != before["summary"]
                if is_news or now["is_all"]:
                    yield str(now["mark"]), await asyncio.to_thread(self._text, batch, now)
                else:
                    yield None
                before = now
                now = await asyncio.to_thread(self._desk.news, batch, now["mark"])

        return _stream(request, told(), self._closing)

    async def picture(self, request: Request) -> Response:
        where = request.path_params
        try:
            data, why = await self._desk.picture(where["batch"], _number(where["job"]), where["which"])
        except KeyError:
            raise HTTPException(404) from None
        if data is None:
            return JSONResponse({"error": why}, status_code=404)
        return Response(data, media_type="image/webp", headers={"Cache-Control": "private, max-age=3600"})

    async def log(self, request: Request) -> Response:
        where = request.path_params
        try:
            told = await asyncio.to_thread(self._desk.log, where["batch"], _number(where["job"]))
        except KeyError:
            raise HTTPException(404) from None
        except BatchrunnerError as error:
            return _refused(error)
        return JSONResponse({"log": told})

    async def file(self, request: Request) -> Response:
        where = request.path_params
        path = await asyncio.to_thread(self._desk.file, where["batch"], _number(where["job"]), _number(where["number"]))
        if path is None:
            raise HTTPException(404)
        kind = "video/mp4" if path.suffix.lower() == ".mp4" else "application/octet-stream"
        return FileResponse(path, media_type=kind, filename=path.name, content_disposition_type="inline")

    # --- acting ---

    async def ask(self, request: Request) -> Response:
        said = await _body(request)
        jobs = said.get("jobs")
        is_list = isinstance(jobs, list) and all(isinstance(each, int) for each in jobs)
        if not isinstance(said.get("action"), str) or not (jobs is None or is_list):
            raise HTTPException(400)
        try:
            return JSONResponse(
                await asyncio.to_thread(self._desk.ask, request.path_params["batch"], said["action"], jobs)
            )
        except KeyError:
            raise HTTPException(404) from None
        except BatchrunnerError as error:
            return _refused(error)

    async def carry_out(self, request: Request) -> Response:
        said = await _body(request)
        try:
            done = await self._desk.carry_out(request.path_params["batch"], str(said.get("ticket")))
        except KeyError:
            return JSONResponse({"error": "this was asked too long ago; ask again"}, status_code=409)
        except BatchrunnerError as error:
            return _refused(error)
        return JSONResponse({"said": done})


def _number(text: str) -> int:
    """A number of an address.

    Raises:
        HTTPException: it is none, or larger than any there is.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise HTTPException(404)
    return int(text)


def _refused(error: BatchrunnerError) -> Response:
    return JSONResponse({"error": str(error), "hint": error.hint}, status_code=409)


async def _body(request: Request) -> dict[str, Any]:
    """What was sent, as JSON."""
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST_BODY:
                raise HTTPException(413)
        said = json.loads(bytes(body))
    except (ValueError, RecursionError, ClientDisconnect):
        raise HTTPException(400) from None
    if not isinstance(said, dict):
        raise HTTPException(400)
    return said


def _text(name: str) -> bytes:
    return (resources.files("batchrunner.data") / name).read_bytes()


Told = tuple[str | None, str]
"""A mark, by which a page goes on, and JSON."""


def _stream(request: Request, told: AsyncIterator[Told | None], closing: asyncio.Event) -> StreamingResponse:
    """Server-sent events of what is told; None is no news (html.spec.whatwg.org, 9.2)."""

    async def lines() -> AsyncIterator[str]:
        silent_s = 0.0
        async for each in told:
            if closing.is_set() or await request.is_disconnected():
                return
            if each is not None:
                mark, text = each
                head = f"id: {mark}\n" if mark is not None else ""
                yield f"{head}data: {text}\n\n"
                silent_s = 0.0
            elif silent_s >= BEAT_S:
                yield ": still here\n\n"
                silent_s = 0.0
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await closing.wait()
            silent_s += TICK_S

    return StreamingResponse(lines(), media_type="text/event-stream")
