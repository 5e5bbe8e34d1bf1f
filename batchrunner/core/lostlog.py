"""What a person accepts with a state file whose log is lost: purchases that are on no record.

The log held the end of a run that was cut short. Every attempt that was open before it, or could be opened in it, may
have been bought there. None of them is bought again by a machine: it counts as a submission that nobody can judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
import json
from typing import Final

from batchrunner.core import events, job as machine
from batchrunner.core.events import Event
from batchrunner.core.job import BOUGHT, Job, State
from batchrunner.core.retry import Instant
from batchrunner.core.spec import Asset

FACT: Final = "lost_log"
"""The fact under which a state file keeps it."""

UNKNOWN_TAG: Final = "…"
"""In place of the tag of a submission whose name is lost with its log."""

EVIDENCE: Final = "the log of a run that was cut short is lost, and this submission may have stood in it"

OPEN: Final = frozenset({State.READY, State.UPLOADED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What may have happened in a log that is lost.

    Attributes:
        at: when a person accepted that it is.
        open: attempts that may have been bought in it, by job id; not yet judged.
        flying: attempts that were bought before it and may have failed and started over in it.
    """

    at: Instant
    open: Mapping[str, int]
    flying: Mapping[str, int]

    def and_before(self, earlier: Lost | None) -> Lost:
        """Together with what was lost earlier and is not judged yet."""
        if earlier is None:
            return self
        return replace(self, open={**earlier.open, **self.open}, flying={**earlier.flying, **self.flying})

    def without(self, ids: Iterable[str]) -> Lost:
        """What remains when these open attempts are judged."""
        judged = set(ids)
        return replace(self, open={job: attempt for job, attempt in self.open.items() if job not in judged})


def lost(jobs: Iterable[Job], *, asked_for: Iterable[str], at: Instant) -> Lost:
    """What may have happened, given the current attempts on record and the ids that the manifest asks for."""
    possible, flying = dict.fromkeys(asked_for, 1), {}
    for job in jobs:
        # One that is over, or was about to be, may have been opened again.
        possible[job.id] = job.attempt if job.state in OPEN else job.attempt + 1
        if job.state in BOUGHT:
            flying[job.id] = job.attempt
    return Lost(at=at, open=possible, flying=flying)


def to_text(found: Lost) -> str:
    """As it is kept in the state file."""
    return json.dumps({"at": found.at, "open": dict(found.open), "flying": dict(found.flying)})


def from_text(text: str) -> Lost:
    """What `to_text` wrote.

    Raises:
        ValueError: the text is something else.
    """
    try:
        data = json.loads(text)
        possible, flying = ({str(job): int(n) for job, n in data[key].items()} for key in ("open", "flying"))
        return Lost(at=float(data["at"]), open=possible, flying=flying)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("it does not say what was lost") from error


def doubted(
    found: Lost, jobs: Iterable[Job], *, name: Callable[[Job], str], now: Instant
) -> list[list[tuple[Event, Job]]]:
    """For each of these jobs that may have been bought already, the events that leave it to a person."""
    return [
        _doubt(found, job, name=name(job), now=now)
        for job in jobs
        if job.state in OPEN and found.open.get(job.id) == job.attempt
    ]


def _doubt(found: Lost, job: Job, *, name: str, now: Instant) -> list[tuple[Event, Job]]:
    """The submission that may have left, as if its intent were on record, and that nobody can judge it."""
    # If it is to be bought after all, its inputs are sent first: these are known to be gone.
    missing = tuple(
        Asset(field=each.field, file_path="", expires_at=0.0) for each in job.spec.inputs if each.path is not None
    )
    happened: list[Event] = [events.Uploaded(at=now, assets=missing)] if job.state is State.READY else []
    happened += [events.SubmitStarted(at=found.at, name=name), events.Unknowable(at=now, evidence=EVIDENCE)]
    entries = []
    for event in happened:
        job = machine.advance(job, event)
        entries.append((event, job))
    return entries


def known_name(job: Job, told: str | None) -> str | None:
    """The name that the provider tells for a project; as the job has it, if only the tag is lost that it ends with."""
    mine, ending = job.name or "", f"{UNKNOWN_TAG}]"
    if told is not None and mine.endswith(ending) and told.startswith(mine.removesuffix(ending)):
        return mine
    return told
