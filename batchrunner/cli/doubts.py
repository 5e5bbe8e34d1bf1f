"""What to tell about a submission that only a person can judge: where to look, and the exact commands to type."""

from __future__ import annotations

from collections.abc import Iterator
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchrunner.commands import Typed
    from batchrunner.core.job import Job


def lines(job: Job, typed: Typed, *, project_id: str | None = None) -> Iterator[str]:
    """An uncertain job in words; `project_id` is what a notice of the provider called it, if one came."""
    from batchrunner import commands
    from batchrunner.provider import LIBRARY

    yield f"uncertain: {job.id}, sent {sent_at(job)} as {job.name!r}: {job.trouble.message if job.trouble else ''}"
    if project_id is not None:
        yield "hint: a notice of the provider names the project it became; adopt checks it, then run again:"
        yield f"        {typed.command('adopt', job.id, project_id)}"
        return
    yield f"hint: look for it in {LIBRARY}; then, with its id or because it is not there:"
    for words in commands.answers(job, typed):
        yield f"        {words}"


def sent_at(job: Job) -> str:
    """When the last submission left, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.submitted_at or job.updated_at))
