"""The engine of a session, with its real parts in it. Part of the composition, as `batch` and `session`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
import random
import secrets
from typing import TYPE_CHECKING

from batchrunner import collector, store, witness
from batchrunner.access import Access
from batchrunner.caps import another_batch, caps, spending
from batchrunner.carrying import Carrier, Here
from batchrunner.clock import WallClock, time_of
from batchrunner.core import canary, evidence, forecast, looks, pace as pacing, retry
from batchrunner.core.budget import Caps
from batchrunner.core.events import Event
from batchrunner.core.job import BOUGHT, Job
from batchrunner.core.plan import Plan
from batchrunner.core.retry import Instant, Policy
from batchrunner.engine import Engine
from batchrunner.errors import StateUnusable
from batchrunner.following import Following
from batchrunner.governor import Governor
from batchrunner.inquiry import Money
from batchrunner.perform import Performer
from batchrunner.provider import wire
from batchrunner.provider.client import Client
from batchrunner.purse import Purse
from batchrunner.seams import Outside, Settings
from batchrunner.session import Session, submission_name
from batchrunner.stateview import Finished
from batchrunner.till import Till
from batchrunner.timetable import Timetable
from batchrunner.viewers import Viewers

if TYPE_CHECKING:
    from batchrunner.distributed import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long things may take at a provider, in seconds.

    Attributes:
        grace_s: after its answer was lost, or its sender died, a submission may still be taken in for so long.
        life_s: from its submission to the end of the slowest render, its refund included.
        refund_wait_s: the refund of a failed render is waited for; None leaves it to the manifest's policy.
        unknown_project: how a project is asked for that the provider does not know.
        top_up_check_s: between two looks at the balance of an account that ran out of credits.
        between_readings_s: between the two readings of the evidence that must agree.
        hints: renders are said to take so long, by kind.
    """

    grace_s: float
    life_s: float
    refund_wait_s: float | None
    unknown_project: retry.Patience
    top_up_check_s: float
    between_readings_s: float
    hints: Mapping[str, float]


PROVIDER = Patience(
    grace_s=120.0,
    life_s=2 * 3600.0,
    refund_wait_s=None,
    unknown_project=retry.UNKNOWN_PROJECT,
    top_up_check_s=180.0,
    between_readings_s=3.0,
    hints=looks.HINTS,
)
"""Longer than gateways wait for what is behind them. The provider's median renders take 74 s and 772 s, and its queue
is longer at its worst."""

SANDBOX = Patience(
    grace_s=3.0,
    life_s=10.0,
    refund_wait_s=10.0,
    unknown_project=replace(retry.UNKNOWN_PROJECT, first_s=0.1, longest_s=0.5),
    top_up_check_s=0.5,
    between_readings_s=0.3,
    hints={},
)
"""A sandbox on this machine is done in a moment; at its worst it takes a submission in after two seconds."""


@collector.paused()
def engine(
    session: Session,
    *,
    client: Client,
    access: Access,
    account: wire.Account,
    till: Till,
    observe: Callable[[Event, Job], None],
    tell: Callable[[str], None],
    near_cap: Callable[[str], None] | None = None,
    fetch_again: Collection[str] = (),
    cluster: Cluster | None = None,
    viewers: Viewers | None = None,
) -> tuple[Engine, Performer]:
    """The engine of a session with the real parts in it.

    `account` is as it was just read, with the till taken by whoever means to buy. `viewers` are the programs that look
    into results, which end with the run; without them a thread does.
    """
    if session.order.buys:
        _tell_waiting(session.plan, tell)
    patience, flags = SANDBOX if access.is_sandbox else PROVIDER, session.order.flags
    attempts = session.attempts()
    settings = _settings(session, patience)
    is_chained = any(job.spec.waits_for for job in session.jobs)
    following = Following(session.jobs, {job.id: job for job in session.store.jobs()} if is_chained else None)
    here = Here(put=client.put, fetch=client.fetch, viewers=viewers)
    carrier = here if cluster is None else cluster.carrier(here)
    performer = _performer(session, client, settings.policy, following, carrier)
    _tidy(performer, attempts, session.at_rest, fetch_again)
    governor = _governor(session, attempts, patience, now=WallClock().now(), tell=tell)
    made = Engine(
        jobs=session.jobs,
        outside=Outside(
            journal=session.store,
            perform=performer,
            witness=partial(witness.read, client, now=WallClock().now),
            clock=WallClock(),
            observe=observe,
        ),
        settings=settings,
        money=_money(session, attempts, account, till, life_s=patience.life_s),
        purse=_purse(session, attempts, account, till, tell=tell, near_cap=near_cap),
        governor=governor,
        timetable=_timetable(session, governor),
        fetch_again=fetch_again,
        canaries=canary.choose(session.jobs, flags.canary) if flags.canary is not None else None,
        following=following,
        at_rest=len(session.at_rest),
    )
    return made, performer


def _tidy(
    performer: Performer, attempts: Collection[Job], at_rest: Iterable[Finished], fetch_again: Collection[str]
) -> None:
    """Remove what earlier runs left of downloads that nobody goes on with; workers leave more, where they died."""
    performer.sweep(job for job in attempts if job.is_final and job.id not in fetch_again)
    performer.sweep_renders((job.output, job.id, job.project_id) for job in at_rest)
    performer.sweep((job for job in attempts if job.state in BOUGHT), only_own=True)


MOST_TOLD = 10
"""Jobs that wait for what does not come and are named; the rest is counted."""


def _tell_waiting(made: Plan, tell: Callable[[str], None]) -> None:
    waiting = made.waiting()
    for entry in waiting[:MOST_TOLD]:
        tell(f"{entry.id} is not bought: {entry.waits}")
    if len(waiting) > MOST_TOLD:
        tell(f"{len(waiting) - MOST_TOLD:,} more jobs are not bought, since what they wait for does not come")


def _settings(session: Session, patience: Patience) -> Settings:
    manifest = session.batch.manifest
    policy = replace(manifest.retry, unknown_project=patience.unknown_project)
    if patience.refund_wait_s is not None:
        policy = replace(policy, refund_wait_s=patience.refund_wait_s)
    return Settings(
        limits=manifest.limits,
        name=lambda job: submission_name(manifest.name, job, tag=secrets.token_hex(5)),
        grace_s=patience.grace_s,
        life_s=patience.life_s,
        between_readings_s=patience.between_readings_s,
        jitter=_jitter,
        policy=policy,
        top_up_check_s=patience.top_up_check_s if session.order.flags.waits_for_credits else None,
    )


def _performer(session: Session, client: Client, policy: Policy, following: Following, carrier: Carrier) -> Performer:
    opened = session.store
    return Performer(
        client=client,
        root=session.batch.root,
        now=WallClock().now,
        jitter=_jitter,
        policy=policy,
        held=opened.uploads() if session.order.flags.reuses_uploads else None,
        upload_log=opened,
        state_folder=opened.path.parent,
        never_again=lost.flying if (lost := opened.lost_log()) else {},
        sources=following,
        carrier=carrier,
    )


def _money(session: Session, attempts: Iterable[Job], account: wire.Account, till: Till, *, life_s: float) -> Money:
    """What the balance is held against."""
    opened, now = session.store, WallClock().now()
    baseline = opened.baseline()
    # Where there was no quiet moment yet, the first comes now, or later.
    since = now if baseline is None else evidence.quiet_since(baseline, now=now)
    return Money(
        credits=account.credits,
        moves=opened.balance_moves(),
        baseline=baseline,
        ledger=opened.ledger(),
        past=_past(attempts, session.jobs),
        elsewhere=_elsewhere(session, account, till, since=since, life_s=life_s),
    )


def _governor(
    session: Session, attempts: Iterable[Job], patience: Patience, *, now: Instant, tell: Callable[[str], None]
) -> Governor:
    """What the last nights taught: the pace that the provider took, and how long its renders are out."""
    limits = session.batch.manifest.limits
    stored = session.store.learned(pacing.PACE)
    return Governor(
        limits=limits,
        pace=pacing.from_learned(
            stored,
            most_in_flight=limits.in_flight,
            most_per_minute=limits.submits_per_minute,
            now=now,
        ),
        past=looks.latest([*looks.times_of(attempts), *_times(session.at_rest)]),
        show=time_of,
        tell=tell,
        cooldowns=pacing.from_kept(session.store.learned(pacing.COOLDOWNS), now=now),
        hints=patience.hints,
    )


def _times(at_rest: Iterable[Finished]) -> Iterator[looks.Times]:
    for job in at_rest:
        if job.rendered_at is not None and job.accepted_at is not None and not job.is_seen_late:
            yield job.group, job.accepted_at, job.rendered_at


def _timetable(session: Session, governor: Governor) -> Timetable:
    """When may be bought, and how long it takes until what is bought is on disk."""
    hours = session.order.waits.hours
    landing_s = 0.0 if hours.finish_by is None else forecast.learned(session.store.all_attempts()).landing_late_s
    return Timetable(hours, takes_s=lambda job: governor.takes_s(job) + landing_s, when=time_of)


def _past(attempts: Iterable[Job], jobs: Iterable[Job]) -> tuple[Job, ...]:
    """Attempts on record that are not among the jobs of a run."""
    mine = {(job.id, job.attempt) for job in jobs}
    return tuple(job for job in attempts if (job.id, job.attempt) not in mine)


def _jitter() -> float:
    return 1.0 - random.random()  # noqa: S311 - spreads waits


def _elsewhere(
    session: Session, account: wire.Account, till: Till, *, since: Instant, life_s: float
) -> tuple[Job, ...]:
    """Attempts of the account's other batches whose charge may have changed after `since`, as far as can be read."""
    paths = {noted.state.resolve() for noted in till.batches()} - {session.store.path}
    provider = session.store.fact("provider")
    attempts: list[Job] = []
    for path in sorted(paths):
        if evidence.may_be_open(written_at=store.written_at(path), since=since, life_s=life_s):
            with suppress(StateUnusable), another_batch(path, account, provider=provider) as view:
                attempts += filter(evidence.is_loose_elsewhere, view.unsettled() if view is not None else ())
    return tuple(attempts)


def _purse(
    session: Session,
    attempts: Iterable[Job],
    account: wire.Account,
    till: Till,
    *,
    tell: Callable[[str], None],
    near_cap: Callable[[str], None] | None,
) -> Purse:
    # What is only collected is held against nothing, so what was spent before need not be added up.
    bought = attempts if session.order.buys else ()
    counted = spending(session.batch, bought, account, provider=session.store.fact("provider"), till=till)
    if counted.unreadable is not None:
        tell(f"{counted.unreadable} cannot be read, so budget.per_day cannot be counted; mend it, or move it away")
    # What is only collected is paid for: a cap that cannot be computed must not stand in its way.
    limits = caps(session.batch, session.order.flags, tier=account.tier) if session.order.buys else Caps()
    permitted = session.plan.permitted() if session.order.buys else frozenset()
    return Purse(caps=limits, spending=counted, tell=tell, near_cap=near_cap, permitted=permitted)
