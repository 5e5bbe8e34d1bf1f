"""Batches and their account books as JSON, as docs/json.md tells it. Fields are added; none is renamed or removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchrunner import commands, inwords
from batchrunner.commands import Typed
from batchrunner.core import awaited
from batchrunner.core.figures import moment_utc, time_utc
from batchrunner.core.job import Job
from batchrunner.core.ledger import MONEY, Line, due_of
from batchrunner.core.selection import OPEN
from batchrunner.core.totals import Totals, by_state, estimated
from batchrunner.provider import LIBRARY

if TYPE_CHECKING:
    from batchrunner.core.forecast import Forecast

# --- how far a batch is ----------------------------------------------------------------------------------------------


def status(
    manifest: Path,
    state: Path,
    jobs: Sequence[Job],
    totals: Totals,
    typed: Typed,
    *,
    earlier: Iterable[Job] = (),
    among: Iterable[Job] | None = None,
) -> dict[str, Any]:
    """The batch as JSON; fields may be added, none renamed. Credits of a job are its current attempt's.

    `earlier` has the attempts that were followed by another; those of other jobs are left out. `among` are
    the jobs that these may wait for, where they are more.
    """
    known = {job.id: job for job in among or jobs}
    before: dict[str, list[Job]] = {}
    for attempt in earlier:
        before.setdefault(attempt.id, []).append(attempt)
    return {
        "manifest": str(manifest),
        "state_file": str(state),
        "jobs": [_job(job, typed, before.get(job.id, ()), known) for job in jobs],
        "totals": {
            "jobs": len(jobs),
            "by_state": by_state(jobs),
            "credits": {
                "estimated": estimated(jobs),
                "held": totals.held,
                "charged": totals.charged,
                "refunded": totals.refunded,
            },
        },
    }


def one_status(job: Job, typed: Typed) -> dict[str, Any]:
    """One job by itself, as `status` has it, without the attempts before it."""
    told = _job(job, typed, (), {job.id: job})
    del told["earlier"]
    return told


def _job(job: Job, typed: Typed, earlier: Iterable[Job], known: Mapping[str, Job]) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "tags": list(job.spec.tags),
        **_attempt(job),
        "reason": inwords.note(job, known),
        "waits_for": list(awaited.missing(job, known)) if job.state in OPEN else [],
        "next_try_at": None if job.is_final else time_utc(job.again_at),
        "tries": job.tries,
        "of": job.most_tries,
        "uncertain": _doubt(job, typed) if job.state == "uncertain" else None,
        "earlier": [_attempt(each) for each in earlier],
    }


def _doubt(job: Job, typed: Typed) -> dict[str, Any]:
    """What a person needs to decide about a lost submission."""
    adopt, resolve = commands.answers(job, typed)
    return {
        "sent_at": time_utc(job.submitted_at),
        "sent_as": job.name,
        "is_paid": job.is_paid,
        "library": LIBRARY,
        "adopt": adopt,
        "resolve": resolve,
    }


def _attempt(job: Job) -> dict[str, Any]:
    """What is told of every attempt of a job."""
    return {
        "state": job.state,
        "attempt": job.attempt,
        "project_id": job.project_id,
        "credits": {"estimated": job.spec.expected, "held": job.held, "charged": job.charged},
        "outputs": [{"path": each.path, "bytes": each.bytes, "sha256": each.sha256} for each in job.outputs],
        "error": {"code": job.trouble.code, "message": job.trouble.message} if job.trouble else None,
        "suspect": job.suspect,
        "set": list(job.spec.edits),
    }


def of_forecast(forecast: Forecast | None) -> dict[str, Any] | None:
    """When it will be done."""
    if forecast is None:
        return None
    return {
        "median": time_utc(forecast.median_at),
        "nine_in_ten": time_utc(forecast.late_at),
        "left": forecast.left,
        "basis": forecast.basis,
    }


# --- where the credits went ------------------------------------------------------------------------------------------


def line_of(line: Line) -> dict[str, Any]:
    """A line of the account book."""
    return asdict(line) | {"at": moment_utc(line.at)}


def _by(lines: Iterable[Line], key: Callable[[Line], str]) -> dict[str, int]:
    """What remains charged, by something a line tells."""
    totals: dict[str, int] = {}
    for line in lines:
        if line.move in MONEY:
            totals[key(line)] = totals.get(key(line), 0) + line.credits
    return totals


def sums(lines: Sequence[Line]) -> dict[str, Any]:
    """What the lines add up to, as JSON."""
    moves: dict[str, int] = dict.fromkeys(("reserved", "released", "charged", "settled", "refunded"), 0)
    for line in lines:
        if line.move in moves:
            moves[line.move] += line.credits
    return moves | {
        "net": moves["charged"] + moves["settled"] + moves["refunded"],
        "still_reserved": moves["reserved"] + moves["released"],
        "by_kind": _by(lines, lambda line: line.kind),
        "by_model": _by(lines, lambda line: line.model),
        "by_day": _by(lines, lambda line: moment_utc(line.at)[:10]),
        "by_job": _by(lines, lambda line: line.job),
    }


DUE = ("job", "attempt", "project_id", "credits", "accepted_at", "ended_at", "error", "message")
"""What is told of a refund that has not come."""


def due(job: Job) -> dict[str, Any]:
    """A refund that is due, as JSON."""
    told = asdict(due_of(job))
    return told | {key: moment_utc(told[key]) if told[key] else None for key in ("accepted_at", "ended_at")}
