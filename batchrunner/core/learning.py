"""What an event tells of a job, besides the state it leads to. Part of the job machine; `job` has the table.

Each function gives the fields that change, as `advance` puts them into the next value of the job.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, assert_never

from batchrunner.core.events import (
    Accepted,
    AddressExpired,
    Adopted,
    AnswerLost,
    AssetsExpired,
    Canceled,
    Corrected,
    Downloaded,
    Event,
    Looked,
    ProvedUnpaid,
    Reappeared,
    RefundAwaited,
    Refused,
    Rendered,
    RenderFailed,
    Resolved,
    StepFailed,
    SubmitStarted,
    Unknowable,
    Uploaded,
)
from batchrunner.core.retry import UNCERTAIN, Again, Failure, GiveUp, History, Instant, Leave, Verdict
from batchrunner.errors import IllegalTransition

if TYPE_CHECKING:
    from batchrunner.core.job import Job


def learned(job: Job, event: Event) -> dict[str, Any]:  # noqa: C901, PLR0911, PLR0912 - one case an event, no logic
    """The fields that `event` changes, besides the state and what a change of state resets."""
    match event:
        case Uploaded():
            return {"assets": event.assets}
        case AssetsExpired():
            return {"assets": ()}
        case SubmitStarted():
            return _submit_started(job, event)
        case Accepted():
            return _accepted(event)
        case Adopted():
            return _accepted(event) | {"is_paid": False, "decided_at": event.at, "doubted_at": None}
        case Looked() | Rendered() | Canceled() | RenderFailed() | RefundAwaited() | Corrected():
            return _told(job, event)
        case Reappeared():
            return _reappeared(job, event)
        case Downloaded():
            return {"outputs": event.outputs, "suspect": event.suspect, **UNTROUBLED}
        case Refused():
            return _setback(job, event, event.failure, event.verdict) | _given_up_assets(job, event)
        case StepFailed():
            return _setback(job, event, event.failure, event.verdict)
        case AddressExpired():
            expired = Failure(code="address_expired", message="the download address expired")
            return _setback(job, event, expired, event.verdict)
        case AnswerLost():
            return {"trouble": event.failure}
        case ProvedUnpaid():
            return _setback(job, event, Failure(code="not_charged", message=event.evidence), event.verdict)
        case Unknowable():
            return {"trouble": Failure(code=UNCERTAIN, message=event.evidence), "is_paid": event.is_paid}
        case Resolved():
            trouble = job.trouble if isinstance(event.verdict, GiveUp) else None
            return {"trouble": trouble, "is_paid": False, "decided_at": event.at, "doubted_at": job.submitted_at}
        case _:
            raise IllegalTransition(f"{event!r} is not handled")


def _told(job: Job, event: Looked | Rendered | Canceled | RenderFailed | RefundAwaited | Corrected) -> dict[str, Any]:
    """What the provider told of a render."""
    match event:
        case Looked():
            return _news(job, status=event.status, charged=event.credits)
        case Rendered():
            seen = {"rendered_at": event.at, "is_seen_late": event.is_late}
            return _news(job, status=event.status, charged=event.credits) | seen
        case Canceled():
            return _came_to_nothing(job, status="canceled", charged=event.credits)
        case RenderFailed():
            failed = _came_to_nothing(job, status="error", charged=event.credits)
            failed |= {"trouble": event.failure, "broke_at": None}
            return failed | (_free_retry(job, event) if isinstance(event.verdict, Again) else {})
        case RefundAwaited():
            return _refund_awaited(job, event)
        case Corrected():
            return {} if event.credits == job.charged else _corrected(job, event)
        case _:
            assert_never(event)


def _submit_started(job: Job, event: SubmitStarted) -> dict[str, Any]:
    tries, since = _failed_before(job, event.at)
    return {
        "name": event.name,
        "submits": job.submits + 1,
        "submitted_at": event.at,
        "tries": tries,
        "failing_since": since,
    }


def _accepted(event: Accepted | Adopted) -> dict[str, Any]:
    return {
        "project_id": event.project_id,
        "accepted_at": event.at,
        "held": event.credits,
        "charged": event.credits,
    }


def _news(job: Job, *, status: str, charged: int | None) -> dict[str, Any]:
    """What a look at the provider tells that was not known; nothing when all of it was.

    A charge that the provider leaves out, or gives as null, is not news: the last known one stands.
    A step that had failed before and now succeeded is news in itself.
    """
    news: dict[str, Any] = {}
    if status != job.status:
        news["status"] = status
    if charged is not None and charged != job.charged:
        news["charged"] = charged
        if job.held is None:
            news["held"] = charged
    if job.tries or job.is_left:
        news |= UNTROUBLED
    return news


def _came_to_nothing(job: Job, *, status: str, charged: int | None) -> dict[str, Any]:
    """What is told of a render that brings nothing: what is charged less for it now has come back."""
    news = _news(job, status=status, charged=charged)
    if job.charged is not None and "charged" in news:
        news["returned"] = job.returned + job.charged - news["charged"]
    return news


def _corrected(job: Job, event: Corrected) -> dict[str, Any]:
    news: dict[str, Any] = {"charged": event.credits}
    if job.state != "done" and job.charged is not None:
        news["returned"] = job.returned + job.charged - event.credits
    return news


def _reappeared(job: Job, event: Reappeared) -> dict[str, Any]:
    """What was told of its failure is taken back: it is charged again what had come back, if anything had."""
    news: dict[str, Any] = {"project_id": event.project_id, "status": event.status, "ended_at": None}
    if event.credits is None:
        return news
    news |= {"charged": event.credits, "held": event.credits if job.held is None else job.held}
    if job.charged is not None:
        news["returned"] = max(0, job.returned + job.charged - event.credits)
    return news


def _refund_awaited(job: Job, event: RefundAwaited) -> dict[str, Any]:
    news = _came_to_nothing(job, status="error", charged=event.credits)
    if job.broke_at is None:
        news["broke_at"] = event.at
    if "trouble" in news or job.trouble != event.failure:
        news["trouble"] = event.failure
    return news


UNTROUBLED: Final[dict[str, Any]] = {
    "tries": 0,
    "failing_since": None,
    "most_tries": None,
    "again_at": None,
    "is_left": False,
    "trouble": None,
}
"""What a step that succeeds wipes out."""

PAUSE_S: Final = 900.0
"""A try that comes so long after its time was not held up by anything of the provider's: nobody was running, or the
machine slept. Its failures are counted anew, as in any new run."""


def history(job: Job, *, at: Instant) -> History:
    """The failures of a job's current step in a row, with one more at `at`."""
    tries, since = _failed_before(job, at)
    return History(tries=tries + 1, since=at if since is None else since)


def _failed_before(job: Job, at: Instant) -> tuple[int, Instant | None]:
    """Failures of the current step in a row, and since when, as they count for a try at `at`."""
    was_paused = job.again_at is not None and at - job.again_at > PAUSE_S
    return (0, None) if job.is_left or was_paused else (job.tries, job.failing_since)


def _setback(job: Job, event: Event, failure: Failure, verdict: Verdict) -> dict[str, Any]:
    so_far = history(job, at=event.at)
    changes: dict[str, Any] = {**UNTROUBLED, "trouble": failure, "tries": so_far.tries, "failing_since": so_far.since}
    match verdict:
        case Again():
            changes |= {"again_at": verdict.at, "most_tries": verdict.of}
        case Leave():
            changes |= {"again_at": verdict.until, "is_left": True}
        case GiveUp():  # where the table knows no end, giving up is leaving it to the next run
            changes["is_left"] = True
        case _:
            assert_never(verdict)
    return changes


def _given_up_assets(job: Job, event: Refused) -> dict[str, Any]:
    """What was uploaded counts as expired from now on, if the refusal is put down to it; that happens only once."""
    if not event.blames_inputs:
        return {}
    return {"assets": tuple(replace(asset, expires_at=event.at) for asset in job.assets), "is_renewed": True}


def _free_retry(job: Job, event: RenderFailed) -> dict[str, Any]:
    """A failed render that cost nothing starts over within the same attempt, with fresh inputs and no project.

    How the failed project was called stays in the log. Nothing of it is charged any more, so nothing of it is missed;
    but what it was charged at first is what the next will be.
    """
    assert isinstance(event.verdict, Again)
    charges = (each for each in (job.dearest, job.held, job.charged) if each is not None)
    return {
        "again_at": event.verdict.at,
        "retried": (*job.retried, event.failure.code),
        "project_id": None,
        "accepted_at": None,
        "assets": (),
        "status": None,
        "dearest": max(charges, default=None),
        "charged_first": job.charged_first + (job.held or 0),
        "held": None,
        "charged": None,
    }
