"""One event of a job as programs read it: a line of the file that `run --events` writes, and of the log.

The shape is documented in docs/events.md. Fields may be added; none is renamed or changes its meaning without a new
`version`. It is not the shape of the state file's own log, which is nobody's business but ours (see `record`).
"""

from __future__ import annotations

from datetime import UTC, datetime
import re
from typing import Any, Final

from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.retry import Again, GiveUp, Instant, Leave

VERSION: Final = 1

_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def name_of(event: Event) -> str:
    """What an event is called outside: `SubmitStarted` is `submit-started`."""
    return _WORD.sub("-", type(event).__name__).lower()


def moment(at: Instant) -> str:
    """A time as ISO 8601, in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line_of(event: Event, job: Job, *, run: str) -> dict[str, Any]:
    """The event and the job as it is after it, in figures and words that JSON can hold.

    Args:
        event: what happened.
        job: as it is now.
        run: the run's id; the same in every line of one run.
    """
    failure = getattr(event, "failure", None)
    verdict = getattr(event, "verdict", None)
    return {
        "version": VERSION,
        "at": moment(event.at),
        "run": run,
        "job": job.id,
        "kind": str(job.kind),
        "attempt": job.attempt,
        "event": name_of(event),
        "state": str(job.state),
        "project_id": job.project_id,
        "submission": job.name,
        "credits": {"estimated": job.spec.expected, "held": job.held, "charged": job.charged},
        "failure": None if failure is None else {"code": failure.code, "message": failure.message},
        "evidence": getattr(event, "evidence", None),
        "then": _then(verdict),
        "again_at": moment(verdict.at) if isinstance(verdict, Again) else None,
        "outputs": [{"path": each.path, "bytes": each.bytes, "sha256": each.sha256} for each in job.outputs],
    }


def _then(verdict: object) -> str | None:
    """What follows from a failure."""
    match verdict:
        case Again():
            return "again"
        case Leave():
            return "left to the next run"
        case GiveUp():
            return "given up"
        case _:
            return None
