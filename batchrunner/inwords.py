"""What happens to jobs, in words: the same in the terminal, in the report and on the dashboard."""

from __future__ import annotations

from collections.abc import Mapping

from batchrunner.clock import now, time_of
from batchrunner.core import awaited, events, figures, plain
from batchrunner.core.assets import is_by_address
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.retry import Again, GiveUp


def of_event(event: Event, job: Job) -> str | None:  # noqa: C901, PLR0911, PLR0912 - one line an event, no logic
    """An event as a person would tell it; None for what is not worth a line."""
    match event:
        case events.Uploaded():
            return _brought(event, job) if event.assets else None
        case events.SubmitStarted():
            return "submitting"
        case events.Accepted() | events.Adopted():
            return f"accepted as project {job.project_id}, {figures.credits(job.charged)} credits"
        case events.Looked():
            return event.status if event.status != "queued" else None
        case events.Rendered():
            return f"rendered, {figures.credits(job.charged)} credits"
        case events.Downloaded():
            done = "done: " + ", ".join(f"{output.path} ({figures.bytes_(output.bytes)})" for output in job.outputs)
            return f"{done}, but suspect: {event.suspect}" if event.suspect else done
        case events.Canceled():
            return "canceled at the provider"
        case events.RenderFailed():
            said = f"{event.failure.code}: {plain.clause(event.failure.message)}"
            return f"failed: {said}" if isinstance(event.verdict, GiveUp) else f"{said}; refunded, it starts over"
        case events.Reappeared():
            return f"project {event.project_id} is there after all: {event.status}"
        case events.RefundAwaited():
            said = f"{event.failure.code}: {plain.clause(event.failure.message)}"
            return f"{said}; it starts over when its refund is seen"
        case events.Refused() | events.StepFailed():
            return next_try(job) or event.failure.message
        case events.AddressExpired():
            return next_try(job)
        case events.AnswerLost():
            return f"no answer to the submission; it is checked whether it was charged ({event.failure.message})"
        case events.ProvedUnpaid():
            return f"was not charged: {event.evidence}{_then(event.verdict)}"
        case events.Unknowable():
            return f"uncertain: {event.evidence}"
        case _:
            return None


def _brought(event: events.Uploaded, job: Job) -> str:
    if job.spec.source is None:
        return "uploaded"
    how = "by its address" if is_by_address(event.assets[0]) else "uploaded"
    return f"takes the render of {job.spec.source}, {how}"


def _then(verdict: object) -> str:
    if isinstance(verdict, Again):
        return f"; next try {time_of(verdict.at)}"
    return ""


def note(job: Job, known: Mapping[str, Job]) -> str:
    """What a job that has no file waits for, or why it has none; `known` has the jobs that it may wait for."""
    if (waits := awaited.words(job, known)) is not None:
        return waits
    waiting = None if job.is_final else next_try(job)
    if waiting is not None:
        return waiting
    if job.broke_at is not None and job.trouble is not None:
        said = f"{job.trouble.code}: {plain.clause(job.trouble.message)}"
        return f"{said}; it starts over when its refund is seen"
    if job.trouble is not None:
        return f"{job.trouble.code}: {job.trouble.message}"
    return _rendering(job) if job.state == "rendering" else f"project {job.project_id}" if job.project_id else ""


SLOW_S = 3600.0
"""After so long a render is slow, whatever it is of: the provider's medians are 74 s and 772 s (2026-07)."""


def _rendering(job: Job) -> str:
    """The project, and how long it has been under way where that is long; it is never given up, since it may come."""
    age_s = 0.0 if job.accepted_at is None else now() - job.accepted_at
    if age_s < SLOW_S:
        return f"project {job.project_id}"
    said = f"slow: {job.status or 'no word yet'} after {figures.seconds(age_s)}"
    return f"project {job.project_id}, {said}; the provider's support finds it by this id"


def next_try(job: Job) -> str | None:
    """When a job's step that failed is tried again, and why it has to be; None when nothing failed."""
    if not job.tries or job.trouble is None:
        return None
    clock = "" if job.again_at is None else time_of(job.again_at)
    if job.is_left:
        wait = f", not before {clock}" if clock else ""
        return f"left to the next run after {figures.plural(job.tries, 'failure')}{wait}: {job.trouble.message}"
    if not clock:
        return None
    count = f", {job.tries + 1} of {job.most_tries}" if job.most_tries else ""
    return f"next try {clock}{count}, {job.trouble.message}"
