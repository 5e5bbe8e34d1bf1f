"""The two places where trouble can be put in: every request passes one, every render's outcome the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from starlette.responses import Response

from batchrunner.sandbox.books import Project
from batchrunner.sandbox.renderer import Rendered, RenderError

Step = Literal["account", "upload-urls", "upload", "create", "poll", "delete", "download"]
Outcome = Rendered | RenderError


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request about to be handled. `job` is the name the client gave the job, where the request tells it."""

    step: Step
    job: str | None


Proceed = Callable[[], Awaitable[Response]]
Passage = Callable[[Call, Proceed], Awaitable[Response]]
"""Given a call and the way to handle it, the answer to send."""

OutcomeFilter = Callable[[Project, Outcome], Outcome]
"""Given a project and what its render came to, what the provider says it came to."""


async def straight(_call: Call, proceed: Proceed) -> Response:
    """Handle the request, and answer what came out."""
    return await proceed()


def unaltered(_project: Project, outcome: Outcome) -> Outcome:
    """What happened is what is told."""
    return outcome
