"""A run: the state file is locked, the attempts to be made are on record.

    begin → assembly.engine → (its run)

Part of the composition, as `batch` and `access`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
import secrets

from batchrunner import collector, room, storage, store
from batchrunner.access import Access, owners, refusal_of
from batchrunner.batch import Batch
from batchrunner.caps import Flags, refuse_vain_caps
from batchrunner.clock import WallClock
from batchrunner.core import events, evidence, job as machine, lostlog, pins as pinning, priced, remarks
from batchrunner.core.events import Event
from batchrunner.core.job import Job, State
from batchrunner.core.pins import Pins
from batchrunner.core.plan import BUYS, Do, Entry, Plan, Wishes
from batchrunner.core.retry import Instant
from batchrunner.core.selection import EVERYTHING, Selection, facts_of, refuse_unmatched
from batchrunner.errors import BatchrunnerError, PlanMoved, StateUnusable
from batchrunner.marks import NOWHERE, Marks
from batchrunner.planning import Looked, Preview, elsewhere, listed, look, plan, trusted
from batchrunner.provider import wire
from batchrunner.stateview import Finished
from batchrunner.store import Store, Told
from batchrunner.waiting import NOT_AT_ALL, Waits


class Goal(Enum):
    """What a run is for."""

    BUY = auto()
    COLLECT = auto()
    JUDGE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked of a run.

    Attributes:
        goal: to buy what the wishes say and to collect it; only to collect, with every job on record whatever the
            manifest says now, and the files of finished jobs that are gone; or only to learn what became of lost
            submissions. Nothing is bought but for the first.
        wishes: what to buy beyond new and unfinished jobs.
        flags: caps, and how to go about it.
        seen: what would have been done a moment ago; None where nobody looked. What is as it was then is neither read
            nor worked out again.
        history: a folder whose state files tell what was charged before, beside this batch's own.
        agreed: what the person was shown and agreed to; None where nothing is spent, so nobody was asked.
        waits: when may be bought, and what is waited for before it begins.
        tells_all: whether every job is asked for at the end; where only to collect, who asks for no more than counts
            saves reading those that are at rest.
    """

    goal: Goal = Goal.BUY
    wishes: Wishes = field(default_factory=Wishes)
    flags: Flags = field(default_factory=Flags)
    seen: Preview | None = None
    history: Path | None = None
    agreed: Pins | None = None
    waits: Waits = NOT_AT_ALL
    tells_all: bool = True

    @property
    def buys(self) -> bool:
        """Whether credits may be spent."""
        return self.goal is Goal.BUY


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A run that has begun: the state file is locked, and every job to be done is on record.

    Attributes:
        plan: what is done with each job; without entries where nothing is bought, since that asks no manifest.
        jobs: those that the run looks after.
        on_record: every job as it is on record, but for those at rest.
        at_rest: jobs that are done, with nothing left to do or to ask for, where they are not among `jobs`.
    """

    batch: Batch
    order: Order
    plan: Plan
    store: Store
    jobs: tuple[Job, ...]
    on_record: tuple[Job, ...]
    at_rest: tuple[Finished, ...] = ()

    def attempts(self) -> list[Job]:
        """Every attempt on record, but for the jobs that are at rest."""
        return [*self.store.earlier(), *self.on_record]

    def every_job(self, moved: Mapping[str, Job]) -> tuple[Job, ...]:
        """Every job of the run as it is now, those at rest included; `moved` has the others."""
        if not self.at_rest:
            return tuple(moved.values())
        return tuple({**{job.id: job for job in self.store.jobs()}, **moved}.values())


@contextmanager
def begin(
    batch: Batch,
    order: Order,
    *,
    access: Access,
    account: wire.Account,
    run_id: str | None = None,
    told: Told | None = None,
    marks: Marks = NOWHERE,
) -> Iterator[Session]:
    """Lock the state file, plan against it and record the attempts to be made; give the lock back at the end.

    Args:
        batch: what is asked for.
        order: what is asked of the run.
        access: the provider.
        account: as it was just read.
        run_id: what the run is called in the log.
        told: told of events once they are on disk.
        marks: how far the state file had come, noted apart from it.

    Raises:
        StateLocked: another run holds it.
        StateUnusable: it cannot be used, or is an older copy of itself and something is to be bought.
        PlanMoved: it would not buy what was agreed to.
        UsageError: it records the projects of another provider or account, there is no room for the results, or a cap
            cannot be computed.
    """
    if order.buys:
        refuse_vain_caps(batch, account)
    now = WallClock().now()
    with (
        store.open_for_run(batch.state, run_id=run_id or secrets.token_hex(6), now=now, told=told) as opened,
        _ending(opened),
    ):
        _claim(opened, access, account)
        with _marked(opened, marks, order, now=now):
            if order.buys:
                yield _to_buy(batch, order, opened, tier=account.tier, now=now)
            else:
                yield _to_collect(batch, order, opened, now=now)


@contextmanager
def _ending(opened: Store) -> Iterator[None]:
    """Put on record how a run ended that was refused, or could not go on: it was not cut short."""
    try:
        yield
    except BatchrunnerError as error:
        with suppress(BatchrunnerError):  # a file that cannot be written any more has said so
            opened.end_run(at=WallClock().now(), exit_code=error.exit_code)
        raise


@contextmanager
def _marked(opened: Store, marks: Marks, order: Order, *, now: Instant) -> Iterator[None]:
    """Note how far the state file has come, before anything is bought and in the end; an older copy buys nothing."""
    if order.buys:
        marks.refuse_older(opened, now=now)
    elif marks.ahead_of(opened) is not None:
        yield  # what is in it can be collected; that it lacks something is not to be forgotten
        return
    marks.note(opened, at=now)
    try:
        yield
    finally:
        with suppress(StateUnusable):  # a file that cannot be read any more has said so
            marks.note(opened, at=WallClock().now())


@collector.paused()
def _to_buy(batch: Batch, order: Order, opened: Store, *, tier: str | None, now: Instant) -> Session:
    """A run that buys what its plan says; raises as `begin`."""
    opened.remember_files(order.seen.files if order.seen is not None else ())
    known = {job.id: job for job in opened.jobs()}
    made = _planned(batch, order, opened, known, tier=tier)
    _refuse(batch, order, made)
    entries = _openings(made, now)
    opened.append_now(entries)
    jobs = known | {job.id: job for _, job in entries}
    jobs |= _leave_to_a_person(opened, jobs.values(), manifest=batch.manifest.name, now=now)
    priorities = {job.id: job.priority for job in batch.jobs}
    return Session(
        batch=batch,
        order=order,
        plan=made,
        store=opened,
        jobs=_to_run(made, jobs, priorities),
        on_record=tuple(jobs.values()),
    )


@collector.paused()
def _to_collect(batch: Batch, order: Order, opened: Store, *, now: Instant) -> Session:
    """A run that buys nothing: it takes up what is on record, whatever the manifest says now.

    Where lost submissions are judged, the rest is evidence, and goes no further.
    """
    at_rest = _at_rest(batch, order, opened, now=now)
    known = {job.id: job for job in (opened.jobs() if at_rest is None else at_rest.others)}
    jobs = known | _leave_to_a_person(opened, known.values(), manifest=batch.manifest.name, now=now)
    chosen = tuple(job for job in jobs.values() if order.goal is Goal.COLLECT or job.state is State.SUBMITTING)
    resting = at_rest.jobs if at_rest is not None else ()
    return Session(
        batch=batch,
        order=order,
        plan=Plan(entries=()),
        store=opened,
        jobs=chosen,
        on_record=tuple(jobs.values()),
        at_rest=resting,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _AtRest:
    """The jobs for which nothing is left to do, and the others."""

    jobs: tuple[Finished, ...]
    others: Sequence[Job]


def _at_rest(batch: Batch, order: Order, opened: Store, *, now: Instant) -> _AtRest | None:
    """What a run that collects need not read, since most of a large batch is done; None where it must read all.

    At rest is what is done, with its file where it was put, and nothing that the books could still ask for.

    Raises:
        TransferError: of a file in a bucket nobody can tell.
    """
    if order.goal is not Goal.COLLECT or order.wishes.selection != EVERYTHING or opened.lost_log() is not None:
        return None
    finished = opened.finished()
    gone = storage.missing(batch.root, (file for job in finished for file in job.files))
    resting = [job for job in finished if _rests(job, now=now) and not (gone and _lacks(job, gone))]
    others = opened.jobs_not_done(*({job.id for job in finished} - {job.id for job in resting}))
    if any(job.spec.waits_for for job in others):
        return None  # what such a job waits for is told of it, and may be at rest
    return _AtRest(jobs=tuple(resting), others=others)


def _rests(job: Finished, *, now: Instant) -> bool:
    is_settled = evidence.is_settled(charged=job.charged, ended_at=job.ended_at, decided_at=job.decided_at, now=now)
    return is_settled and job.suspect is None


def _lacks(job: Finished, gone: AbstractSet[tuple[str, int]]) -> bool:
    return not gone.isdisjoint(job.files)


def _planned(batch: Batch, order: Order, opened: Store, known: Mapping[str, Job], *, tier: str | None) -> Plan:
    """The plan against the state file, which is ours now."""
    refuse_unmatched(order.wishes.selection, listed(batch, known))
    seen: Looked = look(batch, remembered=trusted(opened.files(), known.values()), tier=tier)
    opened.remember_files(seen.fresh)
    earlier = opened.earlier()
    own = [*earlier, *known.values()]
    before, wishes = order.seen, order.wishes
    if before is not None and before.still_holds(seen, own, wishes, tier=tier, history_folder=order.history):
        return before.plan
    past = [*own, *elsewhere(batch, order.history)]
    history = priced.history_of(past, batch.catalog, tier=tier)
    return plan(batch, seen, known, wishes, tier=tier, history=history, earlier=earlier)


def _refuse(batch: Batch, order: Order, made: Plan) -> None:
    """Refuse what must not be bought, or is not what was agreed to.

    Raises:
        UsageError: no price, no room, or another plan.
    """
    remarks.refuse_unpriced(made, batch.manifest.budget)
    if not order.flags.ignores_disk_space:
        room.refuse_if_too_small(batch.root, made)
    room.refuse_if_closed(batch.root, made)
    if order.agreed is not None:
        _refuse_other(order.agreed, made)


def _claim(opened: Store, access: Access, account: wire.Account) -> None:
    """Bind a state file to its provider and account: what one holds, the other knows nothing of.

    Renders of the sandbox must never pass for paid ones, and a balance is evidence for its own account only.
    """
    refusal = refusal_of(opened.path, opened.fact, access, account)
    if refusal is not None:
        raise refusal
    for name, mine in owners(access, account):
        if opened.fact(name) is None and mine:
            opened.note_fact(name, mine)


def _refuse_other(agreed: Pins, made: Plan) -> None:
    """Refuse to carry out another plan than the one that was agreed to a moment ago.

    Raises:
        PlanMoved: naming what moved.
    """
    moved = pinning.what_moved(agreed, pinning.pins(made))
    if moved:
        raise PlanMoved(
            "this is no longer what was agreed to:\n" + "\n".join(f"  {line}" for line in moved),
            hint="nothing was bought; run it again to see the plan of now",
        )


def _openings(made: Plan, now: Instant) -> list[tuple[Event, Job]]:
    """The attempts to open, as events and the jobs they give."""
    entries: list[tuple[Event, Job]] = []
    for entry in made.entries:
        if entry.action in BUYS and entry.spec is not None:
            attempt = entry.known.attempt + 1 if entry.known else 1
            event = events.Opened(at=now, id=entry.id, attempt=attempt, spec=entry.spec)
            entries.append((event, machine.advance(entry.known, event)))
    return entries


def _leave_to_a_person(opened: Store, jobs: Iterable[Job], *, manifest: str, now: Instant) -> dict[str, Job]:
    """Make uncertain what may have been bought in a log that is lost, each attempt once; the jobs that changed."""
    lost = opened.lost_log()
    if lost is None:
        return {}
    doubts = lostlog.doubted(
        lost, jobs, name=lambda job: submission_name(manifest, job, tag=lostlog.UNKNOWN_TAG), now=now
    )
    opened.append_now([entry for entries in doubts for entry in entries])
    changed = {job.id: job for entries in doubts for _, job in entries}
    opened.note_lost_log(lost.without(changed))
    return changed


def _to_run(made: Plan, jobs: Mapping[str, Job], priorities: Mapping[str, int]) -> tuple[Job, ...]:
    """The jobs of a run that buys, the highest priority first, else in the plan's order.

    One that the manifest no longer names counts only as long as something of it is to be collected.
    """
    there = [entry for entry in made.entries if entry.id in jobs]
    chosen = [jobs[entry.id] for entry in there if _counts(entry, jobs[entry.id])]
    return tuple(sorted(chosen, key=lambda job: -priorities.get(job.id, 0)))


def _counts(entry: Entry, job: Job) -> bool:
    """Whether a job, as it is now, is part of a run that does with it what the plan says."""
    if entry.action is not Do.SKIP:
        return True
    if not entry.is_selected:
        # What nobody can tell of is part of every run: it stands in the way of judging others.
        return job.state is State.UNCERTAIN and entry.spec is not None
    # One that was opened by an earlier run and is left alone now would be bought if it were here.
    is_open = entry.known is not None and entry.known.state in {State.READY, State.UPLOADED}
    return entry.spec is not None and not is_open


def submission_name(manifest: str, job: Job, *, tag: str) -> str:
    """What a submission is called at the provider: the manifest, the job, and a tag that no other submission has.

    It is all there is to find a lost submission by, in the web library or in a notice.
    """
    return f"{manifest}/{job.id} [{job.attempt}-{tag}]"


# --- fetching again --------------------------------------------------------------------------------------------------


def missing_outputs(batch_root: Path, jobs: Sequence[Job]) -> list[Job]:
    """Jobs that are done and whose file is not where it was put, or not as long as it was.

    Raises:
        TransferError: of a file in a bucket nobody can tell.
    """
    done = [job for job in jobs if job.state is State.DONE]
    gone = storage.missing(batch_root, ((each.path, each.bytes) for job in done for each in job.outputs))
    return [job for job in done if any((each.path, each.bytes) in gone for each in job.outputs)] if gone else []


def selected(session: Session) -> list[Job]:
    """The jobs of a session that are selected, by what is on record; those of a run that buys were chosen by its plan.

    Raises:
        UsageError: a word of the selection fits no job.
    """
    if session.order.buys:
        return list(session.jobs)
    selection: Selection = session.order.wishes.selection
    refuse_unmatched(selection, map(facts_of, session.jobs))
    chosen = selection.choose(map(facts_of, session.jobs))
    return [job for job in session.jobs if job.id in chosen]
