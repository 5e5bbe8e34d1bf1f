"""The provider's API on loopback: routes, who may use them, and what each does to the account.

What a body must look like is in intake.py, what things cost in prices.py, whose bytes are where in storage.py.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
import contextlib
import json
import os
import socket
import threading
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
import uvicorn

from batchrunner import system
from batchrunner.errors import UsageError
from batchrunner.sandbox import (
    answers,
    assets,
    faults,
    intake,
    orders,
    passage,
    prices,
    problems,
    sending,
    webhooks,
    wire,
)
from batchrunner.sandbox.books import Books, Project, new_id
from batchrunner.sandbox.farm import Farm
from batchrunner.sandbox.journal import Journal
from batchrunner.sandbox.orders import Order, Source
from batchrunner.sandbox.passage import AS_USUAL, Altered, Call, Event, Foretell, Passage, Step
from batchrunner.sandbox.settings import API_KEY, Settings
from batchrunner.sandbox.storage import OUTPUT_NAME, OUTPUT_PREFIX, UPLOAD_PREFIX, Storage
from batchrunner.sandbox.webhooks import Courier

Handler = Callable[[Request], Awaitable[Response]]

_GRACE_S: Final = 3
_BACKLOG: Final = 2048
_DOWNLOADS_KEPT: Final = 10_000


class Sandbox:
    """One running sandbox: its settings, books, files and farm, and a handler for each step of the API."""

    def __init__(
        self,
        settings: Settings,
        books: Books,
        *,
        through: Passage = passage.straight,
        foretell: Foretell = passage.ordinary,
        courier: Courier | None = None,
        base_url: str = "",
    ) -> None:
        """A sandbox whose notices are posted by `courier`, and name results below `base_url`."""
        self._settings = settings
        self._books = books
        self._through = through
        self._storage = Storage(settings.data_dir, secret=books.secret, asset_ttl_s=settings.asset_ttl_s)
        self.courier = courier or Courier()
        self._base_url = base_url
        self.farm = Farm(
            books=books, storage=self._storage, settings=settings, foretell=foretell, announce=self._announce
        )
        self._requests: Counter[str] = Counter()
        self._sent: deque[sending.Sent] = deque(maxlen=_DOWNLOADS_KEPT)

    def routes(self) -> list[Route]:
        """Every endpoint: the provider's, the presigned addresses, and the controls that only a sandbox has."""
        return [
            self._api("GET", "/v1/account", "account", self._account),
            self._api("POST", "/v1/files/upload-urls", "upload-urls", self._upload_urls),
            self._api("POST", "/v1/video-to-video", "create", self._create_from_clip),
            self._api("POST", "/v1/image-to-video", "create", self._create_from_still),
            self._api("GET", "/v1/video-projects/{id}", "project", self._poll),
            self._api("DELETE", "/v1/video-projects/{id}", "delete", self._delete),
            self._presigned("PUT", UPLOAD_PREFIX + "{file_path:path}", "upload", self._receive),
            self._presigned("GET", OUTPUT_PREFIX + "{id}/" + OUTPUT_NAME, "download", self._download),
            Route("/_sandbox/health", _health),
            Route("/_sandbox/ledger", self._ledger),
            Route("/_sandbox/credits", _answering(self._credit), methods=["POST"]),
            Route("/_sandbox/projects/{id}/cancel", _answering(self._cancel), methods=["POST"]),
            Route("/_sandbox/projects/{id}/disable", _answering(self._disable), methods=["POST"]),
        ]

    # --- the way of every request

    def _api(self, method: str, path: str, step: Step, handler: Handler) -> Route:
        async def authorized(request: Request) -> Response:
            if request.headers.get("authorization") != f"Bearer {API_KEY}":
                raise problems.unauthorized()
            return await handler(request)

        return self._route(method, path, step, authorized)

    def _presigned(self, method: str, path: str, step: Step, handler: Handler) -> Route:
        async def signed(request: Request) -> Response:
            self._storage.check(request.method, request.scope["path"], request.url.query, request.headers)
            return await handler(request)

        return self._route(method, path, step, signed)

    def _route(self, method: str, path: str, step: Step, handler: Handler) -> Route:
        answer = _answering(handler)

        async def endpoint(request: Request) -> Response:
            self._requests[f"{request.method} {path}"] += 1

            async def proceed(altered: Altered = AS_USUAL) -> Response:
                request.state.altered = altered
                return await answer(request)

            try:
                return await self._through(await self._call(step, request), proceed)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it

        return Route(path, endpoint, methods=[method])

    async def _call(self, step: Step, request: Request) -> Call:
        """What a request is about, as far as it tells."""
        if step == "create":
            kind, body = request.url.path.rpartition("/")[2], None
            with contextlib.suppress(ValueError, RecursionError):
                body = json.loads(await request.body())
            name = body.get("name") if isinstance(body, dict) else None
            job = name if isinstance(name, str) else None
            model, given = passage.model_of(kind, body), passage.input_of(body)
            return Call(step=step, job=job, kind=kind, model=model, input=given)
        project = self._books.projects.get(request.path_params.get("id", ""))
        return Call(step=step) if project is None else passage.call_of(step, project)

    # --- the provider's endpoints

    async def _account(self, _request: Request) -> Response:
        return JSONResponse(answers.account(self._books, tier=self._settings.tier, plan=self._settings.plan))

    async def _upload_urls(self, request: Request) -> Response:
        items = intake.read_upload_items(intake.read_json(await request.body()))
        addresses = []
        for item in items:
            file_path = f"api-assets/{self._books.account}/{new_id()}.{item.extension}"
            signed = self._storage.sign(
                "PUT", UPLOAD_PREFIX + file_path, ttl_s=_lives_s(request, self._settings.upload_ttl_s)
            )
            addresses.append(
                {
                    "upload_url": _absolute(request, signed.path),
                    "expires_at": signed.expires_at,
                    "file_path": file_path,
                }
            )
        return JSONResponse({"items": addresses})

    async def _create_from_clip(self, request: Request) -> Response:
        body = intake.read_json(await request.body())
        asked = intake.read_clip_request(body)
        if asked.is_youtube:
            source = Source(origin="elsewhere", ref=asked.address)
        else:
            source = self._resolve(request, asked.address, "video")
        order = orders.ClipOrder(
            source=source,
            start_s=asked.start_s,
            end_s=asked.end_s,
            fps_resolution=asked.fps_resolution,
            art_style=asked.art_style,
        )
        held = prices.clip_hold(start_s=asked.start_s, end_s=asked.end_s, fps_resolution=asked.fps_resolution)
        fps = float(prices.HELD_FRAMES_PER_SECOND) / (2 if asked.fps_resolution == "HALF" else 1)
        return self._accept(request, order, name=asked.name, body=body, held=held, fps=fps)

    async def _create_from_still(self, request: Request) -> Response:
        body = intake.read_json(await request.body())
        asked = intake.read_still_request(body)
        terms = prices.still_terms(
            model=asked.model,
            resolution=asked.resolution,
            seconds=asked.end_s,
            audio=asked.audio,
            has_end_image=asked.end_image is not None,
            tier=self._settings.tier,
        )
        order = orders.StillOrder(
            image=self._resolve(request, asked.image, "image"),
            end_image=None if asked.end_image is None else self._resolve(request, asked.end_image, "image"),
            end_s=asked.end_s,
            resolution=terms.resolution,
            fps=terms.fps,
            audio=terms.audio,
            prompt=asked.prompt,
        )
        return self._accept(request, order, name=asked.name, body=body, held=terms.credits, fps=terms.fps)

    def _resolve(self, request: Request, address: str, medium: assets.Medium) -> Source:
        return assets.resolve(
            address, medium, own_netloc=request.base_url.netloc, books=self._books, storage=self._storage
        )

    def _accept(
        self, request: Request, order: Order, *, name: str | None, body: dict[str, Any], held: int, fps: float
    ) -> Response:
        charge = _altered(request).charge.instead_of(held)
        project = self._books.accept(order, name=name, body=body, held=charge, fps=fps)
        self.farm.submit(project.id)
        return JSONResponse(answers.created(project))

    async def _poll(self, request: Request) -> Response:
        project = self._books.visible(request.path_params["id"])
        lives_s = _lives_s(request, self._settings.download_ttl_s)
        return JSONResponse(self._shown(project, base_url=str(request.base_url).rstrip("/"), lives_s=lives_s))

    def _shown(self, project: Project, *, base_url: str, lives_s: float) -> dict[str, Any]:
        """A project as a look and a notice show it, with a fresh address of its result that lives its full time."""
        downloads = []
        if project.status == "complete":
            path = f"{OUTPUT_PREFIX}{project.id}/{OUTPUT_NAME}"
            signed = self._storage.sign("GET", path, ttl_s=lives_s)
            downloads.append({"url": base_url + signed.path, "expires_at": signed.expires_at})
        return answers.video_project(project, downloads=downloads)

    def _announce(self, event: Event, project: Project) -> None:
        def payload() -> dict[str, Any]:
            return self._shown(project, base_url=self._base_url, lives_s=self._settings.download_ttl_s)

        self.courier.announce(event, project, payload)

    async def _delete(self, request: Request) -> Response:
        project = self._books.visible(request.path_params["id"])
        self.farm.end(project.id, "deleted")
        return Response(status_code=204)

    # --- presigned addresses

    async def _receive(self, request: Request) -> Response:
        length = request.headers.get("content-length")
        if length is None:
            raise problems.StorageError(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        if int(length) > self._settings.plan.upload_bytes:
            raise problems.StorageError(
                400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size."
            )
        await self._storage.receive(request.path_params["file_path"], request.stream(), expected_bytes=int(length))
        return Response()

    async def _download(self, request: Request) -> Response:
        project = self._books.projects.get(request.path_params["id"])
        if project is None or project.is_deleted or project.status != "complete":
            raise problems.StorageError(404, "NoSuchKey", "The specified key does not exist.")
        note = sending.note_of(request, project.id)
        self._sent.append(note)
        return sending.Result(self._storage.output(project.id), etag=_altered(request).etag, note=note)

    # --- what only a sandbox has

    async def _ledger(self, _request: Request) -> Response:
        downloads = [note.to_json() for note in self._sent]
        return JSONResponse(answers.ledger(self._books, requests=self._requests, downloads=downloads))

    async def _cancel(self, request: Request) -> Response:
        """Cancel as a person does in the web app; the provider's API has no such call."""
        project = self._books.visible(request.path_params["id"])
        if not project.is_open:
            raise problems.unprocessable(f"The project is {project.status} and cannot be canceled")
        self.farm.end(project.id, "canceled")
        return JSONResponse(answers.video_project(self._books.visible(project.id), downloads=[]))

    async def _disable(self, request: Request) -> Response:
        """Switch a project off, which shows as `enabled: false`; when the provider does it is not documented."""
        project = self._books.visible(request.path_params["id"])
        self.farm.end(project.id, "disabled")
        return JSONResponse(answers.video_project(self._books.visible(project.id), downloads=[]))

    async def _credit(self, request: Request) -> Response:
        """Credits bought, or spent in the web app: `{"credits": n}`, negative for spent."""
        body = intake.read_json(await request.body())
        credits = body.get("credits")
        if not isinstance(credits, int) or isinstance(credits, bool):
            raise problems.invalid_request("Missing required field: credits (expected integer)")
        self._books.credit(credits)
        return JSONResponse({"credits": self._books.balance})


def create_app(
    settings: Settings,
    books: Books,
    *,
    through: Passage = passage.straight,
    foretell: Foretell = passage.ordinary,
    courier: Courier | None = None,
    base_url: str = "",
    controls: Sequence[Route] = (),
    on_ready: Callable[[], None] | None = None,
) -> Starlette:
    """The sandbox as an ASGI application; its farm works while the application runs."""
    sandbox = Sandbox(settings, books, through=through, foretell=foretell, courier=courier, base_url=base_url)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        sandbox.farm.start()
        if on_ready is not None:
            on_ready()
        yield
        await sandbox.farm.stop()
        await sandbox.courier.stop()

    return Starlette(
        routes=[*sandbox.routes(), *sandbox.courier.routes(), *controls],
        lifespan=lifespan,
        exception_handlers={HTTPException: _unknown_route},
    )


def run(
    settings: Settings,
    *,
    on_ready: Callable[[str], None] | None = None,
    exit_with_parent: bool = False,
) -> None:
    """Serve until interrupted; `on_ready` is given the base URL once connections are accepted.

    With `exit_with_parent` the end of standard input ends the server: whoever holds the other end of that pipe
    cannot leave one behind, however it dies.

    Raises:
        BatchrunnerError: the port is taken, the data folder in use or damaged, or the fault file or the webhook wrong.
    """
    trouble = faults.trouble_of(settings)
    target = webhooks.registered(settings.webhook_url, os.environ)
    with _listen(settings) as listener, contextlib.closing(_open_books(settings)) as books:
        app = create_app(
            settings,
            books,
            through=trouble.through,
            foretell=trouble.foretell,
            courier=Courier(target, sending=trouble.sending),
            base_url=_base_url(listener),
            controls=trouble.routes(),
            on_ready=None if on_ready is None else lambda: on_ready(_base_url(listener)),
        )
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                lifespan="on",
                loop="asyncio",
                http=wire.Line,
                ws="none",
                log_config=None,
                access_log=False,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        if exit_with_parent:
            threading.Thread(target=_watch_stdin, args=(server,), daemon=True).start()
        # Ctrl-C is how a person ends it.
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def _open_books(settings: Settings) -> Books:
    return Books(Journal(settings.data_dir, is_synced=not settings.no_render), credits=settings.credits)


def _listen(settings: Settings) -> socket.socket:
    """A socket that queues connections from now on, so that being ready means being reachable."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        # Named as TCP, so that asyncio switches off Nagle's algorithm: it costs 40 ms an answer otherwise.
        listener = socket.socket(family, kind, protocol)
        try:
            system.take_port_again(listener)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        why = f"cannot listen on {settings.host}:{settings.port}: {error.strerror}"
        raise UsageError(why, hint="name another --port, or none for a free one") from error
    return listener


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _watch_stdin(server: uvicorn.Server) -> None:
    # Not through sys.stdin: a thread that holds its lock stops the interpreter from ending.
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    server.should_exit = True


def _answering(handler: Handler) -> Handler:
    """The handler with its refusals turned into the answers they are."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except problems.ApiError as error:
            return answers.refusal(error)
        except problems.StorageError as error:
            return answers.storage_refusal(error)

    return answer


async def _unknown_route(_request: Request, _error: Exception) -> Response:
    """A path or method the API does not have: 404 `not_found` for both (OpenAPI 2026-09)."""
    return answers.refusal(problems.not_found())


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _altered(request: Request) -> Altered:
    """What is to be done otherwise than usual with this request."""
    altered: Altered = request.state.altered
    return altered


def _lives_s(request: Request, usual_s: float) -> float:
    """Seconds that an address in the answer lives."""
    asked = _altered(request).address_ttl_s
    return usual_s if asked is None else asked


def _absolute(request: Request, path: str) -> str:
    return str(request.base_url).rstrip("/") + path
