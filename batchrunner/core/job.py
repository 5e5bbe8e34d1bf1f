"""The job machine: what is known about one job, and what may happen to it next.

Rules of this file:

1. Everything that can change a job's state stands in `TABLE`. The table is data, total over the states, and tested
   as data. What does not fit it goes into `_target`, beside it, and nowhere else.
2. The state says what is *known*, never what somebody is busy with. The next action follows from the state alone,
   so a crash at any moment loses nothing but work that can be repeated.
3. An event the table does not allow is a bug of ours and raises `IllegalTransition` with the job's history. What the
   provider may repeat or deliver late is turned into an allowed event, or dropped, before it gets here.

How it works: `advance(job, event)` gives back a new `Job`. An event that tells nothing new gives back the *same*
object, and the caller then has nothing to record. `next_action(job)` names the one thing to do next, or None when the
job is final or waits for a person. `replay(events)` is `advance` folded over a log and gives exactly the stored state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from batchrunner.core.assets import is_reliable
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
    Opened,
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
from batchrunner.core.kind import Kind
from batchrunner.core.learning import UNTROUBLED, learned
from batchrunner.core.retry import Failure, GiveUp, Instant, Verdict
from batchrunner.core.spec import Asset, Output, Spec
from batchrunner.errors import IllegalTransition


class State(StrEnum):
    """What is known about a job's current attempt."""

    READY = "ready"
    UPLOADED = "uploaded"
    SUBMITTING = "submitting"
    RENDERING = "rendering"
    RENDERED = "rendered"
    UNCERTAIN = "uncertain"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


FINAL: Final = frozenset({State.DONE, State.FAILED, State.CANCELED})
"""Nothing leaves these but the opening of the next attempt, which keeps the old one; and a render that failed, where
the provider says later that it did not."""

IN_FLIGHT: Final = frozenset({State.SUBMITTING, State.RENDERING})
"""The provider is, or may be, working on it."""

BOUGHT: Final = frozenset({State.SUBMITTING, State.RENDERING, State.RENDERED, State.UNCERTAIN})
"""Credits are, or may be, spent, and the result is not on disk yet."""


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class Job:
    """One attempt of one job, as far as it is known.

    Attributes:
        tries: failures of the current step in a row.
        failing_since: when the first of them was.
        most_tries: how many the step has in all, where that is counted.
        again_at: the current step must not start before this.
        trouble: the last failure, until the step succeeds; the final error of a failed job.
        is_left: this run has tried enough; the next one starts the step again.
        is_renewed: its inputs were sent anew because a refusal was put down to them; done once an attempt.
        name: the name the last submission was sent under; it carries a tag unique to that submission.
        submits: submissions so far in this attempt, those proved unpaid included.
        submitted_at: when the last submission was about to leave.
        status: the provider's last word, as it stood.
        held: credits charged when it was accepted; an estimate of the provider's until it settles.
        charged: credits charged as last seen; 0 after a refund.
        returned: credits that came back of what its renders were charged that failed or were canceled.
        charged_first: credits that its earlier renders were first charged, which then started over.
        dearest: the most that a render of this attempt was charged that then started over at no cost.
        suspect: why the result may not be what was paid for, although it is whole and can be played.
        broke_at: when the provider's error was first seen, while its refund is waited for.
        retried: the codes of render errors for which this attempt started over, at no cost.
        decided_at: when a person last decided about a submission of it that nobody could judge.
        doubted_at: when that one was sent, where it was not named: what became of it is still not known.
        is_paid: while it is uncertain: what is missing from the account is what this submission costs.
    """

    id: str
    kind: Kind
    attempt: int
    state: State
    spec: Spec
    opened_at: Instant
    updated_at: Instant
    tries: int = 0
    failing_since: Instant | None = None
    most_tries: int | None = None
    again_at: Instant | None = None
    trouble: Failure | None = None
    is_left: bool = False
    assets: tuple[Asset, ...] = ()
    is_renewed: bool = False
    name: str | None = None
    submits: int = 0
    submitted_at: Instant | None = None
    project_id: str | None = None
    accepted_at: Instant | None = None
    status: str | None = None
    held: int | None = None
    charged: int | None = None
    returned: int = 0
    charged_first: int = 0
    dearest: int | None = None
    broke_at: Instant | None = None
    retried: tuple[str, ...] = ()
    decided_at: Instant | None = None
    doubted_at: Instant | None = None
    is_paid: bool = False
    rendered_at: Instant | None = None
    is_seen_late: bool = False
    outputs: tuple[Output, ...] = ()
    ended_at: Instant | None = None
    suspect: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether this attempt is over."""
        return self.state in FINAL


# --- the table ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Two targets: one while there is hope, one when the event's verdict is to give up."""

    hope: State
    give_up: State


TABLE: Final[Mapping[State, Mapping[type[Event], State | Fork]]] = {
    State.READY: {
        Uploaded: State.UPLOADED,
        StepFailed: Fork(hope=State.READY, give_up=State.FAILED),
        Opened: State.READY,
    },
    State.UPLOADED: {
        SubmitStarted: State.SUBMITTING,
        AssetsExpired: State.READY,
        Opened: State.READY,
    },
    State.SUBMITTING: {
        Accepted: State.RENDERING,
        Refused: Fork(hope=State.UPLOADED, give_up=State.FAILED),
        AnswerLost: State.SUBMITTING,
        ProvedUnpaid: State.UPLOADED,
        Unknowable: State.UNCERTAIN,
    },
    State.RENDERING: {
        Looked: State.RENDERING,
        RefundAwaited: State.RENDERING,
        StepFailed: State.RENDERING,
        Rendered: State.RENDERED,
        RenderFailed: Fork(hope=State.READY, give_up=State.FAILED),
        Canceled: State.CANCELED,
    },
    State.RENDERED: {
        Downloaded: State.DONE,
        AddressExpired: State.RENDERED,
        StepFailed: State.RENDERED,
        RenderFailed: Fork(hope=State.READY, give_up=State.FAILED),
    },
    State.UNCERTAIN: {
        Adopted: State.RENDERING,
        Resolved: Fork(hope=State.UPLOADED, give_up=State.FAILED),
    },
    # A finished job whose file was deleted is fetched again at no cost: whatever comes of it, it stays done.
    State.DONE: {
        Downloaded: State.DONE,
        AddressExpired: State.DONE,
        StepFailed: State.DONE,
        Corrected: State.DONE,
        Opened: State.READY,
    },
    State.FAILED: {Corrected: State.FAILED, Reappeared: State.RENDERING, Opened: State.READY},
    State.CANCELED: {Corrected: State.CANCELED, Opened: State.READY},
}


EVENTS: Final[frozenset[type[Event]]] = frozenset(event for row in TABLE.values() for event in row)
"""Every event there is."""


def _target(job: Job, event: Event) -> State:
    """The state that `event` leads to; what the table cannot say in one entry is said here.

    Raises:
        IllegalTransition: the table does not know this event in this state.
    """
    target = TABLE[job.state].get(type(event))
    if target is None:
        raise IllegalTransition(f"{type(event).__name__} in state {job.state} of job {job.id!r}: {job!r} <- {event!r}")
    if isinstance(target, State):
        return target
    verdict: Verdict = getattr(event, "verdict")  # noqa: B009 - every forked event has one; a test says so
    return target.give_up if isinstance(verdict, GiveUp) else target.hope


# --- actions: what to do next, in the imperative -----------------------------------------------------------------


class Action(StrEnum):
    """The next thing to do for a job. Everything an action needs stands in the job itself."""

    UPLOAD = "upload"
    SUBMIT = "submit"
    RECONCILE = "reconcile"
    POLL = "poll"
    DOWNLOAD = "download"


_NEXT: Final[Mapping[State, Action | None]] = {
    State.READY: Action.UPLOAD,
    State.UPLOADED: Action.SUBMIT,
    State.SUBMITTING: Action.RECONCILE,
    State.RENDERING: Action.POLL,
    State.RENDERED: Action.DOWNLOAD,
    State.UNCERTAIN: None,
    State.DONE: None,
    State.FAILED: None,
    State.CANCELED: None,
}


def next_action(job: Job) -> Action | None:
    """What to do next for a job; None when it is final or waits for a person."""
    return _NEXT[job.state]


def has_stale_assets(job: Job, *, now: Instant) -> bool:
    """Whether an uploaded input may be gone by the time the render starts."""
    return any(not is_reliable(asset.expires_at, now=now) for asset in job.assets)


# --- the one function that changes a job -------------------------------------------------------------------------


def advance(job: Job | None, event: Event) -> Job:
    """The job after `event`; the very same object when the event tells nothing new.

    Raises:
        IllegalTransition: our own code made an event that cannot happen in this state.
    """
    if isinstance(event, Opened):
        return _opened(job, event)
    if job is None:
        raise IllegalTransition(f"{type(event).__name__} for a job that was never opened: {event!r}")
    state = _target(job, event)
    changes = learned(job, event)
    if not changes and state is job.state:
        return job
    if state is not job.state:
        changes = UNTROUBLED | changes
        if state in FINAL:
            changes |= {"ended_at": event.at, "is_left": False}
    return replace(job, state=state, updated_at=event.at, **changes)


def replay(events: Iterable[Event]) -> Job:
    """The job that a log of events, oldest first, describes.

    Raises:
        IllegalTransition: the log is empty or holds an event that could not follow.
    """
    job: Job | None = None
    for event in events:
        job = advance(job, event)
    if job is None:
        raise IllegalTransition("an empty log describes no job")
    return job


def replay_all(log: Iterable[tuple[str, int, Event]]) -> Iterator[tuple[Job | None, Job, Event]]:
    """Each event of a log of job ids, attempts and events, with its job before and after it.

    An event of an earlier attempt (a late refund) changes that one and leaves the current one alone.

    Raises:
        IllegalTransition: the log holds an event that could not follow.
    """
    attempts: dict[tuple[str, int], Job] = {}
    newest: dict[str, int] = {}
    for job_id, attempt, event in log:
        before = attempts.get((job_id, newest.get(job_id, 0) if isinstance(event, Opened) else attempt))
        after = attempts[job_id, attempt] = advance(before, event)
        newest[job_id] = max(attempt, newest.get(job_id, 0))
        yield before, after, event


def _opened(job: Job | None, event: Opened) -> Job:
    if job is not None:
        _target(job, event)
    expected = 1 if job is None else job.attempt + 1
    if event.attempt != expected:
        raise IllegalTransition(f"attempt {event.attempt} of {event.id!r} was opened where {expected} was due")
    return Job(
        id=event.id,
        kind=event.spec.kind,
        attempt=event.attempt,
        state=State.READY,
        spec=event.spec,
        opened_at=event.at,
        updated_at=event.at,
    )
