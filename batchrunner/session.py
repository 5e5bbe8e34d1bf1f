"""A run: the state file is locked, the attempts to be made are on record, and the engine has its real parts.

    begin → engine → (its run)

Part of the composition, as `batch` and `access`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
import random
import secrets

from batchrunner import room, store
from batchrunner.access import Access
from batchrunner.batch import Batch, elsewhere, listed, look, plan, refuse_unmatched, refuse_unpriced, trusted
from batchrunner.clock import WallClock
from batchrunner.core import (
    budget as budgeting,
    canary,
    events,
    job as machine,
    looks,
    lostlog,
    pace as pacing,
    plan as planning,
)
from batchrunner.core.budget import Caps, Spending
from batchrunner.core.canary import Mode
from batchrunner.core.catalog import Catalog
from batchrunner.core.events import Event
from batchrunner.core.inputs import Inspected
from batchrunner.core.job import Job, State
from batchrunner.core.plan import BUYS, Do, Entry, Pins, Plan, Wishes
from batchrunner.core.retry import Instant
from batchrunner.core.selection import Selection, facts_of
from batchrunner.engine import Engine
from batchrunner.errors import StateUnusable, UsageError
from batchrunner.following import Following
from batchrunner.governor import PACE, Governor
from batchrunner.inquiry import Money
from batchrunner.perform import Performer
from batchrunner.provider import wire
from batchrunner.provider.client import Client
from batchrunner.purse import Purse
from batchrunner.seams import Settings
from batchrunner.store import Store, Told, View
from batchrunner.till import Till

GRACE_S = 120.0
SANDBOX_GRACE_S = 1.5
"""Seconds after its answer was lost, or its sender died, that a submission may still be taken in: longer than gateways
wait for what is behind them, and a moment for a sandbox on this machine."""

LIFE_S = 2 * 3600.0
SANDBOX_LIFE_S = 10.0
"""Seconds from its submission to the end of the slowest render, its refund included. The provider's medians are 74 s
and 772 s, and its queue is longer at its worst; a sandbox is done in a moment."""

SANDBOX_REFUND_WAIT_S = 10.0
"""Seconds for which a sandbox's refund of a failed render is waited for; the provider's is in `retry`."""

TOP_UP_CHECK_S = 180.0
SANDBOX_TOP_UP_CHECK_S = 0.5
"""Seconds between two looks at the balance of an account that ran out of credits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What was asked for this run: caps in credits, on top of the manifest's, and how to go about it.

    Attributes:
        waits_for_credits: goes on after a top-up when credits run out.
        ignores_disk_space: buys even where the results surely do not fit.
        reuses_uploads: relies on what earlier runs uploaded.
        canary: renders and checks one job of every group first, if given.
    """

    max_credits: int | None = None
    max_credits_per_job: int | None = None
    cutoff: str | None = None
    waits_for_credits: bool = False
    ignores_disk_space: bool = False
    reuses_uploads: bool = True
    canary: Mode | None = None


# --- beginning -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A run that has begun: the state file is locked, and every job to be done is on record."""

    batch: Batch
    plan: Plan
    store: Store
    jobs: tuple[Job, ...]
    is_collecting: bool


@contextmanager
def begin(
    batch: Batch,
    *,
    wishes: Wishes,
    access: Access,
    account: wire.Account,
    files: Sequence[Inspected] = (),
    is_collecting: bool = False,
    run_id: str | None = None,
    told: Told | None = None,
    ignores_disk_space: bool = False,
    history_folder: Path | None = None,
    agreed: Pins | None = None,
) -> Iterator[Session]:
    """Lock the state file, plan against it and record the attempts to be made; give the lock back at the end.

    Args:
        batch: what is asked for.
        wishes: what to buy beyond new and unfinished jobs.
        access: the provider.
        account: as it was just read.
        files: what was read of the inputs a moment ago.
        run_id: what the run is called in the log.
        told: told of events once they are on disk.
        is_collecting: every job on record is part of the session, whatever the manifest says now; nothing is bought.
        ignores_disk_space: begins although the results surely do not fit on the disk.
        history_folder: whose state files tell what was charged before, beside this batch's own.
        agreed: what the person was shown and agreed to; None where nothing is spent, so nobody was asked.

    Raises:
        StateLocked: another run holds it.
        StateUnusable: it cannot be used.
        UsageError: it records the projects of another provider or account, there is no room for the results, a cap
            cannot be computed, or it would not buy what was agreed to.
    """
    if not is_collecting:
        refuse_vain_caps(batch, account)
    now = WallClock().now()
    with store.open_for_run(batch.state, run_id=run_id or secrets.token_hex(6), now=now, told=told) as opened:
        _claim(opened, access, account)
        opened.remember_files(files)
        known = {job.id: job for job in opened.jobs()}
        if not is_collecting:
            refuse_unmatched(wishes.selection, listed(batch, known))
        seen = look(batch, remembered=trusted(opened.files(), known.values()), tier=account.tier)
        opened.remember_files(seen.fresh)
        past = [*opened.all_attempts(), *elsewhere(batch, history_folder)]
        history = planning.history_of(past, batch.catalog, tier=account.tier)
        made = plan(batch, seen, known, wishes, tier=account.tier, history=history)
        refuse_unpriced(batch, made)
        if not is_collecting and not ignores_disk_space:
            room.refuse_if_too_small(batch.root, made)
        if agreed is not None:
            _refuse_other(agreed, made)
        entries = _openings(made, now)
        opened.append_now(entries)
        jobs = known | {job.id: job for _, job in entries}
        jobs |= _leave_to_a_person(opened, jobs.values(), manifest=batch.manifest.name, now=now)
        priorities = {job.id: job.priority for job in batch.jobs}
        chosen = _to_run(made, jobs, priorities, is_collecting=is_collecting)
        yield Session(batch=batch, plan=made, store=opened, jobs=chosen, is_collecting=is_collecting)


def _claim(opened: Store, access: Access, account: wire.Account) -> None:
    """Bind a state file to its provider and account: what one holds, the other knows nothing of.

    Renders of the sandbox must never pass for paid ones, and a balance is evidence for its own account only.
    """
    for name, mine in (("provider", access.provider), ("account", account.id)):
        recorded = opened.fact(name)
        if recorded is None and mine:
            opened.note_fact(name, mine)
        elif recorded is not None and mine and recorded != mine:
            raise UsageError(
                f"{opened.path} records renders of the {name} {recorded!r}, and this run would use {mine!r}",
                hint="use the key they were made with, name another state file with --state, or move this one"
                " (with its -wal and -shm, if they are there) and its renders away",
            )


def _refuse_other(agreed: Pins, made: Plan) -> None:
    """Refuse to carry out another plan than the one that was agreed to a moment ago.

    Raises:
        UsageError: naming what moved.
    """
    moved = planning.what_moved(agreed, planning.pins(made))
    if moved:
        raise UsageError(
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


def only_lost(session: Session) -> Session:
    """The session with nothing but the submissions whose answer was lost; the rest is evidence, and goes no further."""
    return replace(session, jobs=tuple(job for job in session.jobs if job.state is State.SUBMITTING))


def _to_run(
    made: Plan, jobs: Mapping[str, Job], priorities: Mapping[str, int], *, is_collecting: bool
) -> tuple[Job, ...]:
    """The jobs of a run, the highest priority first, else in the plan's order.

    One that the manifest no longer names counts only as long as something of it is to be collected.
    """
    counted = [
        entry for entry in made.entries if entry.id in jobs and (is_collecting or _counts(entry, jobs[entry.id]))
    ]
    chosen = [jobs[entry.id] for entry in counted]
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


# --- the engine ------------------------------------------------------------------------------------------------------


def engine(
    session: Session,
    *,
    client: Client,
    access: Access,
    account: wire.Account,
    till: Till,
    observe: Callable[[Event, Job], None],
    tell: Callable[[str], None],
    flags: Flags | None = None,
    fetch_again: Collection[str] = (),
) -> tuple[Engine, Performer]:
    """The engine of a session with the real parts in it.

    `account` is as it was just read, with the till taken by whoever means to buy.
    """
    if not session.is_collecting:
        _tell_waiting(session.plan, tell)
    clock = WallClock()
    policy = session.batch.manifest.retry
    if access.is_sandbox:
        policy = replace(policy, refund_wait_s=SANDBOX_REFUND_WAIT_S)
    opened = session.store
    flags = flags or Flags()
    is_chained = any(job.spec.waits_for for job in session.jobs)
    following = Following(session.jobs, {job.id: job for job in opened.jobs()} if is_chained else None)
    performer = Performer(
        client=client,
        root=session.batch.root,
        now=clock.now,
        jitter=_jitter,
        policy=policy,
        held=opened.uploads() if flags.reuses_uploads else None,
        upload_log=opened,
        state_folder=opened.path.parent,
        never_again=lost.flying if (lost := opened.lost_log()) else {},
        sources=following,
    )
    money = Money(
        credits=account.credits,
        moves=opened.balance_moves(),
        baseline=opened.baseline(),
        ledger=opened.ledger(),
        past=_past(opened, session.jobs),
        elsewhere=_elsewhere(session, account, till),
    )
    top_up_check_s = SANDBOX_TOP_UP_CHECK_S if access.is_sandbox else TOP_UP_CHECK_S
    settings = Settings(
        limits=session.batch.manifest.limits,
        name=lambda job: submission_name(session.batch.manifest.name, job, tag=secrets.token_hex(5)),
        grace_s=SANDBOX_GRACE_S if access.is_sandbox else GRACE_S,
        life_s=SANDBOX_LIFE_S if access.is_sandbox else LIFE_S,
        between_readings_s=0.3 if access.is_sandbox else 3.0,
        jitter=_jitter,
        policy=policy,
        top_up_check_s=top_up_check_s if flags.waits_for_credits else None,
    )
    performer.sweep(job for job in opened.all_attempts() if job.is_final and job.id not in fetch_again)
    made = Engine(
        jobs=session.jobs,
        journal=opened,
        perform=performer,
        witness=performer.read_evidence,
        clock=clock,
        settings=settings,
        money=money,
        purse=_purse(session, account, flags, till, tell=tell),
        governor=_governor(session, now=clock.now(), tell=tell),
        observe=observe,
        fetch_again=fetch_again,
        canaries=canary.choose(session.jobs, flags.canary) if flags.canary is not None else None,
        following=following,
    )
    return made, performer


MOST_TOLD = 10
"""Jobs that wait for what does not come and are named; the rest is counted."""


def _tell_waiting(made: Plan, tell: Callable[[str], None]) -> None:
    waiting = made.waiting()
    for entry in waiting[:MOST_TOLD]:
        tell(f"{entry.id} is not bought: {entry.waits}")
    if len(waiting) > MOST_TOLD:
        tell(f"{len(waiting) - MOST_TOLD:,} more jobs are not bought, since what they wait for does not come")


def _governor(session: Session, *, now: Instant, tell: Callable[[str], None]) -> Governor:
    """What the last nights taught: the pace that the provider took, and how long its renders are out."""
    limits = session.batch.manifest.limits
    stored = session.store.learned(PACE)
    return Governor(
        limits=limits,
        pace=pacing.from_learned(
            stored,
            most_in_flight=limits.in_flight,
            most_per_minute=limits.submits_per_minute,
            now=now,
        ),
        past=looks.past_of(session.store.all_attempts()),
        show=lambda at: _time_of(at, now),
        tell=tell,
    )


def _time_of(at: Instant, now: Instant) -> str:
    """A time for people, with its day where that is not today."""
    when, today = datetime.fromtimestamp(at).astimezone(), datetime.fromtimestamp(now).astimezone()
    return when.strftime("%H:%M:%S" if when.date() == today.date() else "%Y-%m-%d %H:%M:%S")


def _past(opened: Store, jobs: Iterable[Job]) -> tuple[Job, ...]:
    """Attempts on record that are not among the jobs of a run."""
    mine = {(job.id, job.attempt) for job in jobs}
    return tuple(job for job in opened.all_attempts() if (job.id, job.attempt) not in mine)


def _jitter() -> float:
    return 1.0 - random.random()  # noqa: S311 - spreads waits


def submission_name(manifest: str, job: Job, *, tag: str) -> str:
    """What a submission is called at the provider: the manifest, the job, and a tag that no other submission has.

    It is all there is to find a lost submission by, in the web library or in a notice.
    """
    return f"{manifest}/{job.id} [{job.attempt}-{tag}]"


# --- caps ------------------------------------------------------------------------------------------------------------


def caps(batch: Batch, flags: Flags, *, tier: str | None) -> Caps:
    """Every cap of a run.

    Raises:
        UsageError: a cap in dollars cannot be turned into credits.
    """
    rate = usd_per_credit(batch.catalog, tier)
    if batch.manifest.budget.usd is not None and rate is None:
        raise UsageError(
            f"budget.usd cannot hold: no price of a credit is published for the plan {tier or 'of this account'}",
            hint="use budget.credits instead",
        )
    return budgeting.caps_of(
        batch.manifest.budget,
        usd_per_credit=rate,
        run=flags.max_credits,
        per_job=flags.max_credits_per_job,
        cutoff=flags.cutoff,
    )


def refuse_vain_caps(batch: Batch, account: wire.Account) -> None:
    """Refuse to begin under a cap that cannot be computed, since it would not hold.

    Raises:
        UsageError: naming the cap, and what to use instead.
    """
    caps(batch, Flags(), tier=account.tier)
    if batch.manifest.budget.keep_balance is not None and account.credits is None:
        raise UsageError(
            "budget.keep_balance cannot hold: the provider does not tell the balance of this account",
            hint="use budget.credits instead",
        )


def usd_per_credit(catalog: Catalog, tier: str | None) -> Decimal | None:
    """Dollars for one credit at the dearest band of a plan; None where none is published."""
    rates = (band.usd_per_credit.get(tier or "") for band in catalog.price_bands)
    return max((rate for rate in rates if rate is not None), default=None)


def spending(
    batch: Batch, attempts: Iterable[Job], account: wire.Account, *, provider: str | None, till: Till | None = None
) -> Spending:
    """What counts against the caps already: all of this batch, and today's of the folder's other manifests.

    `provider` is whose account it is, as far as that is known. A state file that cannot be read may hold any amount.
    """
    counted = Spending(day_of=_local_day, balance=account.credits)
    counted.begin(attempts)
    if batch.manifest.budget.per_day is not None:
        noted = {each.state.resolve() for each in (till.batches() if till else ()) if each.root == batch.root}
        beside = {path.resolve() for path in batch.root.glob("*.state.db")}
        for path in sorted((noted | beside) - {batch.state.resolve()}):
            try:
                counted.count_elsewhere(_bought_with(path, account, provider))
            except StateUnusable:
                counted.unreadable = str(path)
    return counted


def _bought_with(path: Path, account: wire.Account, provider: str | None) -> list[Job]:
    """Every attempt in another state file that is, or may be, of the same account.

    Raises:
        StateUnusable: it cannot be read.
    """
    with store.open_to_read(path) as view:
        return view.all_attempts() if view is not None and _may_be_same(view, account, provider) else []


def _may_be_same(view: View, account: wire.Account, provider: str | None) -> bool:
    """Whether a state file may be of an account: where one of both has no name, the provider must do."""
    theirs = view.fact("account")
    if theirs and account.id:
        return theirs == account.id
    return provider is not None and view.fact("provider") == provider


def _elsewhere(session: Session, account: wire.Account, till: Till) -> tuple[Job, ...]:
    """Attempts of the account's other batches, as far as they can be read."""
    paths = {noted.state.resolve() for noted in till.batches()} - {session.store.path}
    attempts: list[Job] = []
    for path in sorted(paths):
        with suppress(StateUnusable):
            attempts += _bought_with(path, account, session.store.fact("provider"))
    return tuple(attempts)


def _purse(session: Session, account: wire.Account, flags: Flags, till: Till, *, tell: Callable[[str], None]) -> Purse:
    opened = session.store
    counted = spending(session.batch, opened.all_attempts(), account, provider=opened.fact("provider"), till=till)
    if counted.unreadable is not None:
        tell(f"{counted.unreadable} cannot be read, so budget.per_day cannot be counted; mend it, or move it away")
    # What is only collected is paid for: a cap that cannot be computed must not stand in its way.
    limits = Caps() if session.is_collecting else caps(session.batch, flags, tier=account.tier)
    permitted = frozenset() if session.is_collecting else session.plan.permitted()
    return Purse(caps=limits, spending=counted, tell=tell, permitted=permitted)


def _local_day(at: Instant) -> str:
    return datetime.fromtimestamp(at).astimezone().date().isoformat()


# --- fetching again --------------------------------------------------------------------------------------------------


def missing_outputs(batch_root: Path, jobs: Sequence[Job]) -> list[Job]:
    """Jobs that are done and whose file is not where it was put, or not as long as it was."""
    return [job for job in jobs if job.state is State.DONE and not all(_is_there(batch_root, job))]


def selected(session: Session, selection: Selection) -> list[Job]:
    """The jobs of a session that are selected, by what is on record; those of a run that buys were chosen by its plan.

    Raises:
        UsageError: a word of the selection fits no job.
    """
    if not session.is_collecting:
        return list(session.jobs)
    refuse_unmatched(selection, map(facts_of, session.jobs))
    chosen = selection.choose(map(facts_of, session.jobs))
    return [job for job in session.jobs if job.id in chosen]


def _is_there(root: Path, job: Job) -> Iterable[bool]:
    for output in job.outputs:
        try:
            yield (root / output.path).stat().st_size == output.bytes
        except OSError:
            yield False
