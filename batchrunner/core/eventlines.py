"""One event of a job as programs read it: in Python, as a line of the file that `run --events` writes, and in the log.

The shape is documented in docs/events.md. Fields may be added; none is renamed or changes its meaning without a new
`version`. It is not the shape of the state file's own log, which is nobody's business but ours (see `record`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
import re
from typing import Any, Final

from batchrunner.core import plain
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.retry import Again, GiveUp, Instant, Leave
from batchrunner.core.spec import Output

VERSION: Final = 1

_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def name_of(event: type[Event]) -> str:
    """What an event is called outside: `SubmitStarted` is `submit-started`."""
    return _hyphened(event.__name__)


@cache
def _hyphened(name: str) -> str:
    return _WORD.sub("-", name).lower()


def moment(at: Instant) -> str:
    """A time as ISO 8601, in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credits:
    """Credits of an attempt: the likely price, what was charged when it was accepted, and now; None where not known."""

    estimated: int | None
    held: int | None
    charged: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """What went wrong, as a word for programs and in words for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """What happened to a job, and the job as it is after it; the fields are those of docs/events.md.

    Attributes:
        at: when, as ISO 8601 in UTC.
        run: the run's id; the same in every event of one run.
        state: of the job, after it.
        submission: the name under which it was sent last.
        then: what follows from a failure: `again`, `left to the next run`, `given up`.
        again_at: when it is tried again, as `at`.
        suspect: why the result is in doubt, in words; the job is done all the same.
    """

    version: int = VERSION
    at: str
    run: str
    job: str
    kind: str
    attempt: int
    event: str
    state: str
    project_id: str | None
    submission: str | None
    credits: Credits
    failure: Reason | None
    evidence: str | None
    then: str | None
    again_at: str | None
    outputs: tuple[Output, ...]
    suspect: str | None

    def line(self) -> dict[str, Any]:
        """The event in figures and words that JSON can hold, as `run --events` writes it."""
        return _fields(self) | {
            "credits": _fields(self.credits),
            "failure": None if self.failure is None else _fields(self.failure),
            "outputs": [_fields(each) for each in self.outputs],
        }


def _fields(value: JobEvent | Credits | Reason | Output) -> dict[str, Any]:
    """A value's fields as they are; `asdict` copies all that is in them, which takes ten times as long."""
    return {each.name: getattr(value, each.name) for each in fields(value)}


def told_of(event: Event, job: Job, *, run: str) -> JobEvent:
    """The event and the job as it is after it.

    Args:
        event: what happened.
        job: as it is now.
        run: the run's id.
    """
    failure = getattr(event, "failure", None)
    verdict = getattr(event, "verdict", None)
    return JobEvent(
        at=moment(event.at),
        run=run,
        job=job.id,
        kind=str(job.kind),
        attempt=job.attempt,
        event=name_of(type(event)),
        state=str(job.state),
        project_id=job.project_id,
        submission=job.name,
        credits=Credits(estimated=job.spec.expected, held=job.held, charged=job.charged),
        failure=None if failure is None else Reason(code=failure.code, message=failure.message),
        evidence=getattr(event, "evidence", None),
        then=_then(verdict),
        again_at=moment(verdict.at) if isinstance(verdict, Again) else None,
        outputs=job.outputs,
        suspect=job.suspect,
    )


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


_CHARGES: Final = frozenset({"accepted", "rendered", "render-failed", "canceled", "corrected", "adopted", "reappeared"})


def words(told: JobEvent) -> str:
    """What an event adds to what was known before, for people."""
    parts: list[str] = []
    if told.event == "submit-started":
        parts.append(f"sent as {told.submission!r}")
    if told.event in {"accepted", "adopted", "reappeared"}:
        parts.append(f"project {told.project_id}")
    if told.event in _CHARGES and told.credits.charged is not None:
        parts.append(f"{told.credits.charged:,} credits")
    if told.failure is not None:
        parts.append(f"{told.failure.code}: {plain.clause(told.failure.message)}")
    if told.evidence is not None:
        parts.append(told.evidence)
    if told.then is not None:
        parts.append(f"again at {told.again_at}" if told.again_at else told.then)
    if told.event == "downloaded":
        parts += [f"{each.path} ({each.bytes:,} bytes)" for each in told.outputs]
    return "; ".join(parts)
