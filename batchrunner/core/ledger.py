"""Where every credit went: the log of events, read as an account book.

Append-only like the log it is read from. A line is one movement of one attempt: reserved when the intent to submit was
recorded, released when the submission was surely not accepted, charged when the provider took it (what was reserved
beyond that stays so until the render is over), settled when it corrected the charge, refunded when it gave back what a
failed or canceled render cost. What a person gave up while
nobody could tell whether it was charged is written off: that moves nothing, and it stays reserved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from batchrunner.core import events, job as machine
from batchrunner.core.budget import group, reserved_above
from batchrunner.core.events import Event
from batchrunner.core.evidence import Baseline
from batchrunner.core.job import Job
from batchrunner.core.kind import Kind
from batchrunner.core.retry import GiveUp, Instant


class Move(StrEnum):
    """What a line does to the ledger."""

    RESERVED = "reserved"
    RELEASED = "released"
    CHARGED = "charged"
    SETTLED = "settled"
    REFUNDED = "refunded"
    WRITTEN_OFF = "written off"


MONEY: Final = frozenset({Move.CHARGED, Move.SETTLED, Move.REFUNDED})
"""Movements of what is charged; the others move what is reserved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One movement.

    Attributes:
        credits: what moved, in whole credits; less than zero when it came back.
        net: what this attempt is charged after it, reservations not counted.
        source: what it was read from, such as `create`, `look`, `evidence`.
    """

    at: Instant
    job: str
    attempt: int
    kind: Kind
    model: str
    project_id: str | None
    move: Move
    credits: int
    net: int
    source: str


_SOURCES: dict[type[Event], str] = {
    events.SubmitStarted: "intent",
    events.Accepted: "create",
    events.Adopted: "a person",
    events.Refused: "create",
    events.ProvedUnpaid: "balance",
    events.Resolved: "a person",
    events.Looked: "look",
    events.Rendered: "look",
    events.RenderFailed: "look",
    events.RefundAwaited: "look",
    events.Canceled: "look",
    events.Reappeared: "look",
}


def lines(log: Iterable[tuple[str, int, Event]]) -> Iterator[Line]:
    """The movements in a log of job ids, attempts and events, oldest first."""
    for before, after, event in machine.replay_all(log):
        if before is not None and before.attempt == after.attempt:
            yield from _movements(before, after, event)
            yield from _kept(before, after, event)


def _movements(before: Job, after: Job, event: Event) -> Iterator[Line]:
    hold = after.spec.hold or 0
    match event:
        case events.SubmitStarted():
            yield _line(after, event, Move.RESERVED, hold)
        case events.Resolved() if isinstance(event.verdict, GiveUp):
            # Nothing comes back: it may have been charged, and stays reserved for good.
            yield _line(after, event, Move.WRITTEN_OFF, 0)
        case events.Refused() | events.ProvedUnpaid() | events.Resolved():
            yield _line(after, event, Move.RELEASED, -hold)
        case events.Accepted() | events.Adopted():
            yield from _change(before, after, event, Move.CHARGED)
        case events.RenderFailed() if before.project_id is not None and after.project_id is None:
            # It starts over: the job no longer knows what the failed project was charged, and the book must.
            failed = replace(before, state=machine.State.FAILED, charged=event.credits)
            yield from _change(before, failed, event, Move.REFUNDED)
        case events.RenderFailed() | events.RefundAwaited() | events.Canceled():
            yield from _change(before, after, event, Move.REFUNDED)
        case events.Corrected():
            came_to_nothing = after.state is not machine.State.DONE
            yield from _change(before, after, event, Move.REFUNDED if came_to_nothing else Move.SETTLED)
        case _:
            yield from _change(before, after, event, Move.SETTLED)


def _change(before: Job, after: Job, event: Event, move: Move) -> Iterator[Line]:
    if before.charged is None and after.charged is not None:
        # What was never told stays reserved until it is: it is owed, though nobody says how much.
        yield _line(after, event, Move.RELEASED, reserved_above(after) - (after.spec.hold or 0))
        yield _line(after, event, Move.CHARGED, after.charged)
    elif after.charged is not None and after.charged != before.charged:
        yield _line(after, event, move, after.charged - (before.charged or 0))


def _kept(before: Job, after: Job, event: Event) -> Iterator[Line]:
    """What stayed reserved beside an estimate, and is released when that is final."""
    kept = reserved_above(after) - reserved_above(before)
    if before.charged is not None and kept:
        yield _line(after, event, Move.RESERVED if kept > 0 else Move.RELEASED, kept)


def _line(job: Job, event: Event, move: Move, credits: int) -> Line:
    return Line(
        at=event.at,
        job=job.id,
        attempt=job.attempt,
        kind=job.kind,
        model=str(group(job.spec)),
        project_id=job.project_id,
        move=move,
        credits=credits,
        net=job.charged or 0,
        source=_SOURCES.get(type(event), "look"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What the account lost between two quiet moments, and how much of it the ledger knows."""

    since: Instant
    until: Instant
    account_fell: int
    ledger_explains: int

    @property
    def unexplained(self) -> int:
        """Credits that left (or, below zero, came) without a line of the ledger."""
        return self.account_fell - self.ledger_explains


def drift(baselines: Sequence[Baseline]) -> Drift | None:
    """The account against the ledger over all quiet moments on record; None where there are fewer than two."""
    if len(baselines) < 2:
        return None
    first, last = baselines[0], baselines[-1]
    return Drift(
        since=first.at,
        until=last.at,
        account_fell=first.credits - last.credits,
        ledger_explains=last.ledger - first.ledger,
    )


def refunds_due(attempts: Iterable[Job]) -> list[Job]:
    """Attempts that came to nothing, or to something else than what was asked for, and are or may be still charged."""
    ended = {machine.State.FAILED, machine.State.CANCELED}
    came_to_nothing = (job for job in attempts if job.state in ended or job.suspect is not None)
    return [job for job in came_to_nothing if job.project_id is not None and job.charged != 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What to tell support about a refund that has not come; credits are None where the charge was never told."""

    job: str
    attempt: int
    project_id: str | None
    credits: int | None
    accepted_at: Instant | None
    ended_at: Instant | None
    error: str | None
    message: str | None


def due_of(job: Job) -> Due:
    """An attempt of `refunds_due`, as support needs it."""
    trouble = job.trouble
    return Due(
        job=job.id,
        attempt=job.attempt,
        project_id=job.project_id,
        credits=job.charged,
        accepted_at=job.accepted_at,
        ended_at=job.ended_at,
        error="suspect" if job.suspect else trouble.code if trouble else None,
        message=job.suspect or (trouble.message if trouble else None),
    )


def over_time(lines: Iterable[Line]) -> list[tuple[Instant, int]]:
    """What was charged, refunds taken off, after each movement that changed it."""
    net, points = 0, []
    for line in lines:
        if line.move in MONEY:
            net += line.credits
            points.append((line.at, net))
    return points
