"""The three places where trouble can be put in: every request, every accepted project and every notice passes one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from starlette.responses import Response

from batchrunner.sandbox.books import Project
from batchrunner.sandbox.renderer import RenderError

Step = Literal["account", "upload-urls", "upload", "create", "project", "download", "delete", "render", "webhook"]
STEPS: Final[tuple[Step, ...]] = (
    "account",
    "upload-urls",
    "upload",
    "create",
    "project",
    "download",
    "delete",
    "render",
    "webhook",
)
"""What a request is for; `render` for what becomes of an accepted project, `webhook` for a notice about one; `project`
is a look at one."""

Ending = Literal["canceled", "deleted", "disabled"]

Event = Literal["video.started", "video.completed", "video.errored"]
"""What is announced of a render; for a canceled one there is no word."""

Etag = Literal["right", "new", "weak", "none"]
"""The entity tag of a result: its own, another at every request, one that promises nothing, or no tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Something about to happen, as far as it tells: a request to be handled, or a project to be rendered.

    `job` is the name the client gave the job, `model` the one it asked for (`default` when it asked for none;
    none at all for video-to-video), `input` the clip or still as the request names it. `event` is what a notice
    announces.
    """

    step: Step
    job: str | None = None
    kind: str | None = None
    model: str | None = None
    input: str | None = None
    event: Event | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A wrong number of credits: a share of the right one, or one of its own."""

    factor: float = 1.0
    credits: int | None = None

    def instead_of(self, right: int) -> int:
        return round(right * self.factor) if self.credits is None else self.credits


RIGHT: Final = Amount()


@dataclass(frozen=True, slots=True, kw_only=True)
class Altered:
    """What a handler does otherwise than usual: the charge, the seconds that addresses live (None: usual), the tag."""

    charge: Amount = RIGHT
    address_ttl_s: float | None = None
    etag: Etag = "right"


AS_USUAL: Final = Altered()


class Proceed(Protocol):
    """The way to handle a request."""

    async def __call__(self, altered: Altered = AS_USUAL) -> Response: ...


Passage = Callable[[Call, Proceed], Awaitable[Response]]
"""Given a call and the way to handle it, the answer to send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of an accepted project; times in seconds.

    `queue_s`: waits so long before it is rendered. `error` instead of a result, `error_after_s` from the start of
    the render (None: as long as a render takes), its refund `refund_after_s` later (None: never). `ending`
    overtakes the project `ending_after_s` from its acceptance, whether it is rendered by then or not. `settle` and
    `settle_after_s`: what it costs in the end and how long after the result. `seconds` is the length of the
    result where it is not the asked one, `is_black` makes it show nothing.
    """

    queue_s: float = 0.0
    error: RenderError | None = None
    error_after_s: float | None = None
    refund_after_s: float | None = 0.0
    ending: Ending | None = None
    ending_after_s: float = 0.0
    settle: Amount = RIGHT
    settle_after_s: float = 0.0
    seconds: float | None = None
    is_black: bool = False


ORDINARY: Final = Fate()

Foretell = Callable[[Project], Fate]
"""Given an accepted project, what becomes of it; asked once, and again after a restart if it is still open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How a notice arrives: not at all, or so often and so late; `stale_s` too old, or with a wrong signature."""

    is_lost: bool = False
    copies: int = 1
    late_s: float = 0.0
    stale_s: float = 0.0
    is_forged: bool = False


USUAL: Final = Delivery()

Sending = Callable[[Event, Project], Delivery]
"""Given what is announced of which project, how that arrives."""

Announce = Callable[[Event, Project], None]
"""Told when a render begins or ends."""


def silent(_event: Event, _project: Project) -> None:
    """Nobody is told."""


async def straight(_call: Call, proceed: Proceed) -> Response:
    """Handle the request, and answer what came out."""
    return await proceed()


def ordinary(_project: Project) -> Fate:
    """It is rendered, settled and stays."""
    return ORDINARY


def call_of(step: Step, project: Project) -> Call:
    """A call about a project that exists."""
    kind, body = project.order.kind, project.body
    return Call(step=step, job=project.name, kind=kind, model=model_of(kind, body), input=input_of(body))


def input_of(body: object) -> str | None:
    """The clip or still that a request asks to be rendered, as it names it."""
    assets = body.get("assets") if isinstance(body, dict) else None
    if not isinstance(assets, dict):
        return None
    named = (assets.get(key) for key in ("video_file_path", "image_file_path", "youtube_url"))
    return next((each for each in named if isinstance(each, str)), None)


def model_of(kind: str, body: object) -> str | None:
    """The model that a request of this kind asks for."""
    if kind != "image-to-video" or not isinstance(body, dict):
        return None
    model = body.get("model", "default")
    return model if isinstance(model, str) else None
