"""What to tell about a submission that only a person can judge: where to look, and the exact commands to type."""

from __future__ import annotations

from collections.abc import Iterator
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchrunner.cli.advice import Typed
    from batchrunner.core.job import Job


def lines(job: Job, typed: Typed, *, project_id: str | None = None) -> Iterator[str]:
    """An uncertain job in words; `project_id` is what a notice of the provider called it, if one came."""
    from batchrunner.provider import LIBRARY

    yield f"uncertain: {job.id}, sent {sent_at(job)} as {job.name!r}: {job.trouble.message if job.trouble else ''}"
    if project_id is not None:
        yield "hint: a notice of the provider names the project it became; adopt checks it, then run again:"
        yield f"        {typed.command('adopt', job.id, project_id)}"
        return
    yield f"hint: look for it in {LIBRARY}; then, with its id or because it is not there:"
    for words in answers(job, typed):
        yield f"        {words}"


def answers(job: Job, typed: Typed) -> tuple[str, str]:
    """The two commands of which a person types one: the project that it became, or that it became nothing."""
    resolve = typed.command("resolve", job.id, not_created=True, force=job.is_paid)
    return typed.command("adopt", job.id, "PROJECT_ID"), resolve


def shape(job: Job, typed: Typed) -> dict[str, Any]:
    """An uncertain job as JSON."""
    from batchrunner.cli import show
    from batchrunner.provider import LIBRARY

    adopt, resolve = answers(job, typed)
    return {
        "sent_at": show.time_utc(job.submitted_at),
        "sent_as": job.name,
        "is_paid": job.is_paid,
        "library": LIBRARY,
        "adopt": adopt,
        "resolve": resolve,
    }


def sent_at(job: Job) -> str:
    """When the last submission left, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.submitted_at or job.updated_at))
