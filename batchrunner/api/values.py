"""What the functions give back: frozen values, with the figures and words of the commands' JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Protocol, TypeVar

from batchrunner import inwords, outlook as outlooks
from batchrunner.batch import Batch
from batchrunner.core import address as addresses, awaited, plan as planning
from batchrunner.core.eventlines import Credits, Reason
from batchrunner.core.forecast import Forecast
from batchrunner.core.inputs import Inspected
from batchrunner.core.job import Job, State
from batchrunner.core.plan import Do, Wishes
from batchrunner.core.problem import Problem
from batchrunner.core.selection import OPEN
from batchrunner.core.spec import Output, Spec
from batchrunner.core.window import Hours
from batchrunner.errors import Exit
from batchrunner.present import Wait
from batchrunner.provider import LIBRARY
from batchrunner.room import Room
from batchrunner.running import Report
from batchrunner.store import Totals
from batchrunner.waiting import Asked


class _Named(Protocol):
    """What has an id."""

    @property
    def id(self) -> str: ...


_AnyJob = TypeVar("_AnyJob", bound=_Named)


def _by_id(jobs: Iterable[_AnyJob], job_id: str) -> _AnyJob:
    """One of the jobs; raises `KeyError`: a `StopIteration` would end a generator of the caller's in silence."""
    for job in jobs:
        if job.id == job_id:
            return job
    raise KeyError(job_id)


# --- a plan ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Credits: the least it can cost if it renders, the likely price, and the most that must be assumed."""

    low: int
    expected: int
    hold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """What a run would do for one job.

    Attributes:
        action: `render`, `rerender`, `retry`, `resume` or `skip`.
        price: None where no price is known, or the job is no longer in the manifest.
        basis: what the likely price was learned from, if it was.
        warnings: what is worth a second look.
        waits_for: jobs that come first.
    """

    id: str
    kind: str
    action: str
    reason: str
    model: str | None
    price: Price | None
    basis: str | None
    warnings: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do with every job, why, and what it costs. `run` it, and just that is bought.

    Attributes:
        jobs: every job of the manifest, then those that only the state file knows.
        to_render: how many would be bought.
        in_question: those of them whose submission is lost, and which are bought again only if that proves unpaid.
        price: of all of them; those without a known price count for nothing here.
        unpriced: how many have no known price.
        usd: what the hold costs at the dearest rate of the account's plan; None where that is not known.
        balance: credits of the account; None where there was no key to read it with.
        tier: its plan; None as above. The prices are then the most that any plan pays.
        warnings: what is worth saying of the inputs.
        disks: where results go, and how much room there is.
        hours: when a run that begins now may buy: `opens_at`, `stops_at`, `finish_by`, in seconds since 1970 or None.
        forecast: when it would be done, begun now: `median_at`, `late_at` (in 9 of 10 cases earlier), `left` by the
            window, and its `basis`; None where there is nothing to do.
    """

    batch: Batch
    jobs: tuple[PlannedJob, ...]
    to_render: int
    in_question: int
    price: Price
    unpriced: int
    usd: Decimal | None
    balance: int | None
    tier: str | None
    warnings: tuple[Problem, ...]
    disks: tuple[Room, ...]
    hours: Hours
    forecast: Forecast | None
    made: planning.Plan = field(repr=False)
    wishes: Wishes = field(repr=False)
    files: tuple[Inspected, ...] = field(repr=False)
    history: Path | None = field(repr=False)
    text_hash: str = field(repr=False)
    asked: Asked = field(repr=False)

    def __getitem__(self, job_id: str) -> PlannedJob:
        """One job by its id.

        Raises:
            KeyError: there is none.
        """
        return _by_id(self.jobs, job_id)

    @property
    def has_changes(self) -> bool:
        """Whether a run would do anything."""
        return any(job.action != Do.SKIP for job in self.jobs)

    def save(self, path: str | Path) -> None:
        """Keep it for `batchrunner run --plan`, or for `run(batch, saved=…)`.

        Raises:
            UsageError: it cannot be written.
        """
        outlooks.save(Path(path), self.batch, self.made, tier=self.tier)


def price_of(spec: Spec | None) -> Price | None:
    """The price of an attempt."""
    if spec is None or spec.hold is None:
        return None
    return Price(low=spec.low or 0, expected=spec.expected or 0, hold=spec.hold)


# --- what is on record -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One purchase of a job.

    Attributes:
        outputs: files on disk, relative to the manifest's folder.
        error: why it came to nothing, or why its last step did not succeed.
        suspect: why the result may not be what was paid for, if so.
        set: the fields that were set for this attempt alone (`plan_redo`).
    """

    number: int
    state: str
    project_id: str | None
    submission: str | None
    credits: Credits
    outputs: tuple[Output, ...]
    error: Reason | None
    suspect: str | None
    set: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """One job as it is on record.

    Attributes:
        attempt: the one that counts; `state`, `credits` and the rest are its own.
        files: its results, as they can be opened; those in a bucket are in `attempt.outputs` alone.
        next_try_at: when what failed is tried again, in seconds since 1970.
        tries: failures in a row of the step it is at, `of` how many that are allowed.
        reason: what it waits for, or why it has no file, in words.
        waits_for: jobs that have to come first.
        sent_at: when it was submitted last, in seconds since 1970; under which name says `attempt.submission`.
        is_paid: of an uncertain submission: whether what left the account is what it costs.
        earlier: the attempts that were followed by another.
    """

    id: str
    kind: str
    tags: tuple[str, ...]
    attempt: Attempt
    files: tuple[Path, ...]
    reason: str
    waits_for: tuple[str, ...]
    next_try_at: float | None
    tries: int
    of: int | None
    sent_at: float | None
    is_paid: bool
    earlier: tuple[Attempt, ...] = ()

    @property
    def state(self) -> str:
        """`ready`, `uploaded`, `submitting`, `rendering`, `rendered`, `uncertain`, `done`, `failed` or `canceled`."""
        return self.attempt.state

    @property
    def library(self) -> str | None:
        """Where a person looks for an uncertain submission at the provider; None for any other job."""
        return LIBRARY if self.state == State.UNCERTAIN else None

    @property
    def credits(self) -> Credits:
        """Of its last attempt."""
        return self.attempt.credits

    @property
    def error(self) -> Reason | None:
        """Of its last attempt."""
        return self.attempt.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a batch is.

    Attributes:
        totals: credits over every attempt that is listed.
        pauses: what waits for another time, and why, by step.
        is_running: whether a run goes on, and `is_paused` whether its buying was paused from the dashboard.
        waits: what that run holds back: `step`, how many `jobs`, and `why`; `stalls`, why nothing moves at all.
        forecast: when it will be done; None where none goes on, or its buying is paused.
    """

    manifest: Path
    state_file: Path
    jobs: tuple[JobStatus, ...]
    totals: Totals
    pauses: Mapping[str, str] = field(default_factory=dict)
    is_running: bool = False
    is_paused: bool = False
    waits: tuple[Wait, ...] = ()
    stalls: tuple[str, ...] = ()
    forecast: Forecast | None = None

    def __getitem__(self, job_id: str) -> JobStatus:
        """One job by its id.

        Raises:
            KeyError: there is none.
        """
        return _by_id(self.jobs, job_id)

    @property
    def by_state(self) -> dict[str, int]:
        """How many jobs are in each state."""
        states: dict[str, int] = {}
        for job in self.jobs:
            states[job.state] = states.get(job.state, 0) + 1
        return states


def job_statuses(
    jobs: Sequence[Job], earlier: Iterable[Job], root: Path, *, among: Iterable[Job] | None = None
) -> tuple[JobStatus, ...]:
    """Jobs as they are told, with the attempts before them.

    `among` are the jobs that these may wait for, where they are more.
    """
    before: dict[str, list[Attempt]] = {}
    for each in earlier:
        before.setdefault(each.id, []).append(_attempt(each))
    known = {job.id: job for job in (jobs if among is None else among)}
    return tuple(_job(job, root, tuple(before.get(job.id, ())), known) for job in jobs)


def _job(job: Job, root: Path, earlier: tuple[Attempt, ...], known: Mapping[str, Job]) -> JobStatus:
    return JobStatus(
        id=job.id,
        kind=str(job.kind),
        tags=job.spec.tags,
        attempt=_attempt(job),
        files=tuple(root / output.path for output in job.outputs if not addresses.is_object(output.path)),
        reason=inwords.note(job, known),
        waits_for=tuple(awaited.missing(job, known)) if job.state in OPEN else (),
        next_try_at=None if job.is_final else job.again_at,
        tries=job.tries,
        of=job.most_tries,
        sent_at=job.submitted_at,
        is_paid=job.is_paid,
        earlier=earlier,
    )


def _attempt(job: Job) -> Attempt:
    return Attempt(
        number=job.attempt,
        state=str(job.state),
        project_id=job.project_id,
        submission=job.name,
        credits=Credits(estimated=job.spec.expected, held=job.held, charged=job.charged),
        outputs=job.outputs,
        error=Reason(code=job.trouble.code, message=job.trouble.message) if job.trouble else None,
        suspect=job.suspect,
        set=job.spec.edits,
    )


# --- a run -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run came to.

    Attributes:
        exit_code: as of the command; `Exit.OK` when all is done.
        jobs: those of the run.
        totals: credits over every attempt on record.
        stopped: why buying stopped, if it did.
        error: the failure behind it, if there was one.
        held_back: jobs that were not bought because they fit no cap, and why.
        passed: the cap that a charge above its hold has passed, with the figures.
        far_off: the charge that stopped buying because it was far above its hold, with the figures.
        again_at: when another run can do something for what is left, in seconds since 1970; None where that is now.
        canary: why canaries stopped the run, if they did.
        missing: finished jobs whose file is not where it was put; `download` fetches them.
        named: projects that the provider's notices named, by the name they were submitted under.
        missed_events: events that a consumer was too slow for.
    """

    exit_code: Exit
    jobs: tuple[JobStatus, ...]
    totals: Totals
    stopped: str | None
    error: Reason | None
    held_back: int
    held_back_why: str | None
    passed: str | None
    far_off: str | None
    again_at: float | None
    canary: str | None
    missing: int
    named: Mapping[str, str]
    missed_events: int = 0

    def __getitem__(self, job_id: str) -> JobStatus:
        """One job by its id.

        Raises:
            KeyError: there is none.
        """
        return _by_id(self.jobs, job_id)

    @property
    def is_complete(self) -> bool:
        """Whether every job is done and on disk."""
        return self.exit_code is Exit.OK


def result_of(report: Report, root: Path, *, missed_events: int) -> RunResult:
    """A report as it is told."""
    outcome = report.outcome
    trouble = outcome.trouble
    return RunResult(
        exit_code=report.exit_code,
        jobs=job_statuses(report.jobs, report.earlier, root),
        totals=report.totals,
        stopped=None if outcome.stop is None else str(outcome.stop),
        error=Reason(code=trouble.code, message=trouble.message) if trouble else None,
        held_back=outcome.held_back,
        held_back_why=outcome.held_back_why,
        passed=outcome.passed,
        far_off=outcome.far_off,
        again_at=outcome.again_at,
        canary=outcome.canaries.stops if outcome.canaries is not None else None,
        missing=report.missing,
        named=dict(report.named),
        missed_events=missed_events,
    )
