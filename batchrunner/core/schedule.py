"""Admission: who may start what now, when to look again, and when to stop.

Everything here is a function of counts and limits, so that "why is nothing starting?" has one answer, and the same
answer can be shown to the person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from batchrunner.core import events
from batchrunner.core.events import Event
from batchrunner.core.job import IN_FLIGHT, Action, Job, State, next_action
from batchrunner.core.manifest import Limits
from batchrunner.core.retry import DISK_FULL, Failure, Instant, Leave, Policy, Step
from batchrunner.errors import Exit

POLLS_AT_ONCE = 32
"""Looks under way at the same time; each is a small request, and more only queue up in the connection pool."""

SUBMITS_AT_ONCE = 1
"""Paid requests under way at the same time. With one, a crash or a lost answer leaves one doubtful submission, and the
balance can tell whether that one was charged; of two at the same price it could only tell that one of them was."""


class Stop(StrEnum):
    """Why a run buys no more; the gravest first."""

    KEY_REFUSED = "key refused"
    INTERRUPTED = "interrupted"
    OUT_OF_CREDITS = "out of credits"
    DISK_FULL = "disk full"
    UNREACHABLE = "provider not reachable"
    CANARY = "the canaries are to be looked at"
    WINDOW_OVER = "the window is over"
    COLLECTING = "only collecting what was bought"


def after_a_bug(action: Action, *, at: Instant, error: str) -> Event:
    """What becomes of a job when something unexpected happened in doing a step of it; `error` names it.

    Nobody knows whether a paid request left; everything else is left to the next run.
    """
    failure = Failure(code="bug", message=f"unexpected: {error}; the log has it")
    if action is Action.SUBMIT:
        return events.AnswerLost(at=at, failure=failure)
    return events.StepFailed(at=at, failure=failure, verdict=Leave())


def graver(one: Stop | None, other: Stop) -> Stop:
    """The reason that counts when there are two."""
    order = list(Stop)
    return other if one is None else min(one, other, key=order.index)


@dataclass(slots=True, kw_only=True)
class Load:
    """What is going on now. Mutable: the engine counts as it goes, so that no event costs a rescan.

    `doubtful` submissions wait for another charge to be judged; `in_line` jobs are uploaded and wait to be submitted.
    """

    running: dict[Step, int] = field(default_factory=lambda: dict.fromkeys(Step, 0))
    by_state: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    doubtful: int = 0
    in_line: int = 0

    @property
    def in_flight(self) -> int:
        """Renders that the provider is, or may be, working on."""
        return sum(self.by_state[state] for state in IN_FLIGHT) - self.doubtful


STEP_OF: Mapping[Action, Step] = {
    Action.UPLOAD: Step.UPLOAD,
    Action.SUBMIT: Step.SUBMIT,
    Action.POLL: Step.POLL,
    Action.DOWNLOAD: Step.DOWNLOAD,
}


def step_after(job: Job) -> Step | None:
    """The step that a job waits for; None where it waits for a person, or for evidence."""
    action = next_action(job)
    return None if action is None else STEP_OF.get(action)


ACTION_OF: Mapping[Step, Action] = {step: action for action, step in STEP_OF.items()}

BUYING = frozenset({Step.UPLOAD, Step.SUBMIT})
"""Steps that lead to new spending; collecting what was paid for is the rest."""

STEPS = tuple(Step)
COLLECTING = tuple(step for step in STEPS if step not in BUYING)
"""All steps, and those that lead to no new spending; kept, since each turn of the engine goes through them."""

PAYS = frozenset({Action.UPLOAD, Action.SUBMIT})
"""The actions of those steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What stands in the way of starting anything, whatever the counts say."""

    stop: Stop | None = None
    is_paused: bool = False
    is_reconciling: bool = False
    holds_until: Instant | None = None
    awaits_credits: bool = False


def refuses(step: Step, load: Load, limits: Limits, gate: Gate) -> str | None:
    """Why `step` may not start for one more job now, in words; None when it may."""
    if gate.stop is Stop.KEY_REFUSED:
        return "the API key was refused"
    if step in BUYING and (gate.stop is not None or gate.is_paused):
        is_over = gate.stop is not None
        return f"buying has stopped: {gate.stop}" if is_over else "a person has paused the buying, and may resume it"
    match step:
        case Step.UPLOAD:
            return _refuses_upload(load, limits)
        case Step.SUBMIT:
            return _refuses_submit(load, limits, gate)
        case Step.POLL:
            return None if load.running[step] < POLLS_AT_ONCE else f"{POLLS_AT_ONCE} looks are under way"
        case Step.DOWNLOAD:
            full = load.running[step] >= limits.downloads
            return f"{limits.downloads} downloads are under way (limits.downloads)" if full else None
        case _:
            assert_never(step)


def _refuses_upload(load: Load, limits: Limits) -> str | None:
    if load.running[Step.UPLOAD] >= limits.uploads:
        return f"{limits.uploads} uploads are under way (limits.uploads)"
    # An upload far ahead of its submission only ages: the provider deletes it after seven days.
    if load.in_line + load.running[Step.UPLOAD] >= limits.in_flight:
        return "enough jobs are uploaded and wait for a render to finish (limits.in_flight)"
    return None


def _refuses_submit(load: Load, limits: Limits, gate: Gate) -> str | None:
    if gate.holds_until is not None:
        return "a render without a known project may be refunded; nothing is bought until that would show"
    if gate.is_reconciling:
        return "it is not known yet whether a submission was charged; nothing is bought meanwhile"
    if gate.awaits_credits:
        return "the account is out of credits; a top-up is waited for"
    if load.in_flight >= limits.in_flight:
        return f"{limits.in_flight} renders are in flight (limits.in_flight)"
    if load.running[Step.SUBMIT] >= SUBMITS_AT_ONCE:
        return "a submission is under way"
    return None


LONGEST_WAIT_S = 25 * 3600.0
"""A date further off than any wait we ever set is a clock that was set back meanwhile."""


def believable(at: Instant | None, *, since: Instant, now: Instant) -> Instant | None:
    """The date of a verdict that was stored at `since`.

    Where that lies ahead, the clock was set back meanwhile: then the wait is counted from now. One that is longer than
    any of ours is not waited for.
    """
    if at is None:
        return None
    date = now + max(0.0, at - since) if since > now else at
    return now if date - now > LONGEST_WAIT_S else date


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A time that somebody waits for to start a step.

    `is_own` where nobody asked for it: the next look at a render, a rate of ours, an endpoint that is to be probed.
    """

    step: Step
    until: Instant
    is_own: bool = False


def is_worth_waiting(waits: Iterable[Wait], policy: Policy, *, now: Instant) -> bool:
    """Whether a run that can do nothing now waits for what it can do later; else it is left to another run.

    A wait that was asked for is worth it up to the time for which its step is tried in all: a run that sits there for
    a day holds up the account's other runs, and looks as if it hung.
    """
    return any(wait.is_own or wait.until - now <= policy.steps[wait.step].total_s for wait in waits)


def run_again_at(dates: Iterable[Instant | None], *, now: Instant) -> Instant | None:
    """When another run can do something, by the date of each job that is left (None: now); None where that is now."""
    earliest = min((now if at is None else at for at in dates), default=now)
    return earliest if earliest > now else None


def stop_for(failure: Failure) -> Stop | None:
    """Whether a failure says something about more than its job, so that the run must stop buying."""
    if failure.status == 401:
        return Stop.KEY_REFUSED
    # One that blames the plan concerns that job only.
    if failure.is_about_credits:
        return Stop.OUT_OF_CREDITS
    # What cannot be put anywhere is not bought; what was bought and is small enough still is fetched.
    return Stop.DISK_FULL if failure.code == DISK_FULL else None


def exit_code(
    jobs: Mapping[State, int],
    *,
    stop: Stop | None = None,
    is_unreachable: bool = False,
    held_back: int = 0,
    is_too_dear: bool = False,
    not_fetched: int = 0,
    left_out: int = 0,
) -> Exit:
    """The exit code of a run: where several hold, the first of 6, 9, 7, 8, 5, 10, 4, 3; 130 if interrupted.

    Canaries that are to be looked at come before what may be wrong with them.

    Args:
        jobs: how many jobs are in each state.
        stop: why buying stopped, if it did.
        is_unreachable: whether work is left because the provider could not be talked to.
        held_back: jobs that were not bought because they fit no cap.
        is_too_dear: whether a charge far above its hold stopped buying, or one above its hold passed a cap.
        not_fetched: finished jobs whose file is missing and could not be fetched.
        left_out: jobs that were to be bought and are not in the run, since what they wait for does not come.
    """
    left = sum(n for state, n in jobs.items() if state in UNFINISHED) + not_fetched + left_out
    if stop is Stop.INTERRUPTED and left:
        return Exit.INTERRUPTED
    checks = (
        (stop is Stop.KEY_REFUSED, Exit.KEY_REFUSED),
        (jobs.get(State.UNCERTAIN, 0) > 0, Exit.UNCERTAIN),
        (stop is Stop.OUT_OF_CREDITS, Exit.OUT_OF_CREDITS),
        (stop is Stop.CANARY and left > 0, Exit.INCOMPLETE),
        (held_back > 0 or is_too_dear, Exit.BUDGET_REACHED),
        (is_unreachable and left > 0, Exit.UNREACHABLE),
        (stop is Stop.WINDOW_OVER and left > 0, Exit.WINDOW_OVER),
        (jobs.get(State.FAILED, 0) + jobs.get(State.CANCELED, 0) > 0, Exit.JOBS_FAILED),
        (left > 0, Exit.INCOMPLETE),
    )
    return next((code for holds, code in checks if holds), Exit.OK)


UNFINISHED = frozenset(State) - {State.DONE, State.FAILED, State.CANCELED, State.UNCERTAIN}
