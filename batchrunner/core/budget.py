"""The cap that holds during a run: reservation, never check-then-act.

Every job counts for what it may still cost: nothing before it is submitted, its hold from the moment the intent to
submit is recorded, or more where it is charged more, what it settled at once it is rendered, what remains after a
refund. Admitting a submit and
reserving its hold are one step of the one loop, so that what is reserved and charged together never passes a cap,
however many are in flight and however late their answers come.

A limit that cannot be computed is not a limit: a job without a known price does not fit any cap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
import json
import math
from typing import Any, Final

from batchrunner.core.job import Job, State
from batchrunner.core.kind import DEFAULT, Kind
from batchrunner.core.retry import UNCERTAIN, Instant
from batchrunner.core.spec import Spec

WARN_AT = Decimal("0.8")
"""Share of a cap at which a warning is due."""

FAR_OFF = Decimal("1.5")
"""A charge above this many times its hold stops further buying of its group."""


class Cutoff(StrEnum):
    """What happens when a cap is reached: `soft` collects what was bought, `hard` leaves at once."""

    SOFT = "soft"
    HARD = "hard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a manifest's `budget` says. Credits are whole numbers, dollars `Decimal`; None where there is no limit."""

    credits: int | None = None
    usd: Decimal | None = None
    per_job: int | None = None
    per_model: Mapping[str, int] = field(default_factory=dict)
    per_day: int | None = None
    warn_at: Decimal = WARN_AT
    cutoff: Cutoff = Cutoff.SOFT
    keep_balance: int | None = None
    allows_unpriced: bool = False

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Budget:
        """The budget of checked values, as they stand in the manifest."""
        usd = said.get("usd")
        return cls(
            credits=said.get("credits"),
            usd=None if usd is None else Decimal(str(usd)),
            per_job=said.get("per_job"),
            per_model=dict(said.get("per_model", {})),
            per_day=said.get("per_day"),
            warn_at=Decimal(str(said.get("warn_at", WARN_AT))),
            cutoff=Cutoff(said.get("cutoff", Cutoff.SOFT)),
            keep_balance=said.get("keep_balance"),
            allows_unpriced=said.get("unpriced") == "allow",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Limits in whole credits; None where there is none.

    Attributes:
        batch: everything this state file has ever bought, refunds taken off.
        usd: `batch` in dollars, already turned into credits.
        run: what this run buys.
        per_job: one attempt.
        per_model: everything of one model (for video-to-video, of its style's model) or of one kind, by name.
        per_day: what is bought in one calendar day, over all manifests of the folder.
        keep_balance: the account's balance is not to fall below this.
        warn_at: share of a cap at which to warn.
        cutoff: what to do at a cap.
    """

    batch: int | None = None
    usd: int | None = None
    run: int | None = None
    per_job: int | None = None
    per_model: Mapping[str, int] = field(default_factory=dict)
    per_day: int | None = None
    keep_balance: int | None = None
    warn_at: Decimal = WARN_AT
    cutoff: Cutoff = Cutoff.SOFT


_NOT_ASKED_FOR: Final = frozenset({State.READY, State.UPLOADED})
_CAME_TO_NOTHING: Final = frozenset({State.FAILED, State.CANCELED})


def reserved_above(job: Job) -> int:
    """Credits of the hold that stay reserved beside what was charged, since the render may still settle at all of it.

    What is charged when a render is queued is the provider's estimate, at 30 frames a second for video-to-video, and
    is put right by the frames that really render (OpenAPI 2026-09): up, too, for a faster clip.
    """
    is_estimate = job.state is State.RENDERING and job.broke_at is None
    if not is_estimate or job.charged is None or job.spec.hold is None:
        return 0
    return max(0, job.spec.hold - job.charged)


def exposure(job: Job) -> int:
    """Credits that must be assumed for this attempt now."""
    if job.state in _NOT_ASKED_FOR:
        return 0
    if job.charged is not None:
        return job.charged + reserved_above(job)
    # Asked for, and nobody said yet what it costs; or failed before it was ever accepted. One that was written off
    # while nobody could tell may have been accepted, and is counted for good.
    is_written_off = job.trouble is not None and job.trouble.code == UNCERTAIN
    if job.state in _CAME_TO_NOTHING and job.project_id is None and not is_written_off:
        return 0
    return job.spec.hold or 0


@dataclass(frozen=True, slots=True)
class Group:
    """Jobs that caps and guards count together: those of one kind that one model renders."""

    kind: Kind
    model: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which `per_model` may cap it."""
        return (str(self.kind),) if self._is_plain else (str(self.kind), self.model)

    @property
    def _is_plain(self) -> bool:
        return self.kind is Kind.VIDEO_TO_VIDEO and self.model == DEFAULT

    def __str__(self) -> str:
        """The model, or the kind where that says more."""
        if self.kind is Kind.IMAGE_TO_VIDEO:
            return self.model
        return str(self.kind) if self._is_plain else f"{self.kind} with {self.model}"


def group(spec: Spec) -> Group:
    """The group of a job; one that was recorded without its model is counted by the name it asked for."""
    return group_of(spec.kind, spec.model, "" if spec.model is not None else spec.request)


@lru_cache(maxsize=16_384)
def group_of(kind: Kind, model: str | None, request: str) -> Group:
    """The same by the parts that matter; the request, which may be "" otherwise, where there is no model.

    Asked for with nearly every event of a job, and a request takes long to read.
    """
    if model is not None:
        return Group(kind, model)
    body = json.loads(request)
    asked = body.get("style", {}) if kind is Kind.VIDEO_TO_VIDEO else body
    return Group(kind, str(asked.get("model", DEFAULT)))


@dataclass(slots=True, kw_only=True)
class Spending:
    """What is reserved and charged, by everything that can be capped. Counts as it goes; no event costs a rescan.

    Attributes:
        day_of: the calendar day of a time, as text.
        batch: over every attempt ever made.
        run: of attempts submitted in this run.
        by_name: as `batch`, by model and by kind.
        by_day: by the day on which the attempt was submitted.
        balance: the account's balance when the run began; None where it is not known.
        drawn: what has left that balance since, or may have: what this run buys, and what others settle above.
        far_off: by group, the attempt on record whose charge was far above its hold, the dearest for a second.
        dearer: by group, the dearest second of an attempt without a known price that was charged above its hold.
        excess: by group, how many times its hold a charge was that came in this run, where that is above 1.
        unreadable: a state file that may hold what was bought today, and cannot be read; None where there is none.
    """

    day_of: Callable[[Instant], str]
    batch: int = 0
    run: int = 0
    by_name: dict[str, int] = field(default_factory=dict)
    by_day: dict[str, int] = field(default_factory=dict)
    balance: int | None = None
    drawn: int = 0
    far_off: dict[Group, Job] = field(default_factory=dict)
    dearer: dict[Group, Fraction] = field(default_factory=dict)
    excess: dict[Group, Fraction] = field(default_factory=dict)
    unreadable: str | None = None
    _bought_now: set[tuple[str, int]] = field(default_factory=set)

    def begin(self, jobs: Iterable[Job]) -> None:
        """Count what is there when the run starts; the balance has it off already, where it was charged."""
        for job in jobs:
            amount = exposure(job)
            if amount:
                self._count(job, amount)
            if is_far_off(job):
                counted_as = group(job.spec)
                known = self.far_off.get(counted_as)
                self.far_off[counted_as] = job if known is None or _rate(job) > _rate(known) else known
            self._learn(job)

    def saw(self, before: Job, after: Job) -> int:
        """Count one job's change; how many credits it added (less than zero when something was given back)."""
        if before.state is State.UPLOADED and after.state is State.SUBMITTING:
            self._bought_now.add((after.id, after.attempt))
        change = exposure(after) - (exposure(before) if before.attempt == after.attempt else 0)
        is_own = (after.id, after.attempt) in self._bought_now
        if change:
            self._count(after, change)
            self.run += change if is_own else 0
            # What an earlier run bought is off the balance already, but for what it settles above.
            self.drawn += change if is_own else max(0, change)
        if is_charged_otherwise(before, after):
            self._learn(after)
            self._compare(after)
        return change

    def reserved_for(self, spec: Spec) -> int | None:
        """What must be assumed of a job until it settles: its hold, or more where its like was charged more."""
        if spec.hold is None:
            return None
        counted_as = group(spec)
        hold = spec.hold * self.excess.get(counted_as, Fraction(1))
        if not spec.is_priced:
            hold = max(Fraction(spec.hold), self.dearer.get(counted_as, Fraction(0)) * Fraction(spec.seconds or 1))
        return math.ceil(hold)

    def _learn(self, job: Job) -> None:
        """Keep the rate of a job without a known price whose own hold was too low."""
        if job.spec.is_priced or job.spec.hold is None:
            return
        counted_as, charge = group(job.spec), dearest_charge(job) or 0
        if charge > job.spec.hold:
            self.dearer[counted_as] = max(_rate(job), self.dearer.get(counted_as, Fraction(0)))

    def _compare(self, job: Job) -> None:
        """Keep how far a charge of this run is above its hold; those of earlier runs are in the holds of now."""
        counted_as, charge = group(job.spec), dearest_charge(job) or 0
        if job.spec.hold and charge > job.spec.hold:
            self.excess[counted_as] = max(Fraction(charge, job.spec.hold), self.excess.get(counted_as, Fraction(1)))

    @property
    def has_bought(self) -> bool:
        """Whether this run has submitted anything."""
        return bool(self._bought_now)

    def add(self, amount: int, counted_as: Group, day: str | None) -> None:
        """Count credits of one group, on one day."""
        self.batch += amount
        for name in counted_as.names:
            self.by_name[name] = self.by_name.get(name, 0) + amount
        if day is not None:
            self.by_day[day] = self.by_day.get(day, 0) + amount

    def count_elsewhere(self, jobs: Iterable[Job]) -> None:
        """Count what another manifest of the same folder and account bought: it counts for the day alone."""
        for job in jobs:
            if job.submitted_at is not None:
                day = self.day_of(job.submitted_at)
                self.by_day[day] = self.by_day.get(day, 0) + exposure(job)

    def _count(self, job: Job, amount: int) -> None:
        self.add(amount, group(job.spec), None if job.submitted_at is None else self.day_of(job.submitted_at))


DAYS_BACK_S: Final = 2 * 86400.0
"""A day of the longest, and for how long before it the date of a file may say that it was written."""


def may_count_for_day(*, written_at: Instant, now: Instant) -> bool:
    """Whether a batch that was last written then may have bought something today."""
    return written_at + DAYS_BACK_S > now


def caps_of(
    budget: Budget, *, usd_per_credit: Decimal | None, run: int | None, per_job: int | None, cutoff: str | None
) -> Caps:
    """The caps of one run: the manifest's budget, and the flags where they are tighter.

    `usd_per_credit` is the dearest band's rate, so that a cap in dollars holds all month; it must be known if
    `budget.usd` is set.
    """
    usd = None
    if budget.usd is not None:
        assert usd_per_credit is not None
        usd = int((budget.usd / usd_per_credit).to_integral_value(rounding=ROUND_FLOOR))
    return Caps(
        batch=budget.credits,
        usd=usd,
        run=run,
        per_job=min((cap for cap in (budget.per_job, per_job) if cap is not None), default=None),
        per_model=budget.per_model,
        per_day=budget.per_day,
        keep_balance=budget.keep_balance,
        warn_at=budget.warn_at,
        cutoff=Cutoff(cutoff or budget.cutoff),
    )


def distrusts(spec: Spec, spending: Spending) -> str | None:
    """Why the manifest's own hold of a job is not believed, with the figures; None when it is.

    Something like it was charged far more in an earlier run, and this hold is still below that for its length. Where
    the catalogue has a price, the hold follows what was charged by itself.
    """
    if spec.is_priced or spec.hold is None or not spending.far_off:
        return None
    dear = spending.far_off.get(group(spec))
    if dear is None or spec.hold >= _rate(dear) * Fraction(spec.seconds):
        return None
    return far_off_words(dear)


def far_off_words(job: Job) -> str:
    """A charge that stops its group, with the figures."""
    charge, hold = dearest_charge(job) or 0, job.spec.hold or 0
    return (
        f"{job.id} was charged {charge:,} credits where at most {hold:,} were expected;"
        f" nothing more of {group(job.spec)} is bought"
    )


def _rate(job: Job) -> Fraction:
    """What a second of it was charged."""
    return Fraction(dearest_charge(job) or 0) / Fraction(job.spec.seconds or 1)


_OF_ONE_JOB: Final = "the cap of one job (budget.per_job, or --max-credits-per-job)"


def refuses(spec: Spec, caps: Caps, spending: Spending, *, now: Instant) -> str | None:
    """Why a job may not be bought under these caps now, with the figures; None when it may."""
    hold = spending.reserved_for(spec)
    if hold is None:
        return "its price is not known, so no cap can hold"
    if caps.per_day is not None and spending.unreadable is not None:
        return f"budget.per_day cannot be counted: {spending.unreadable} cannot be read; mend it, or move it away"
    mine = group(spec).names
    checks = (
        (caps.per_job, 0, _OF_ONE_JOB),
        *((cap, spent, label) for cap, spent, label, name in _sums(caps, spending, now) if name in {None, *mine}),
    )
    for cap, spent, label in checks:
        if cap is not None and spent + hold > cap:
            return f"{label} is {cap:,}: {spent:,} spent or reserved, and this job may cost {hold:,}"
    return _refuses_balance(hold, caps, spending)


def _refuses_balance(hold: int, caps: Caps, spending: Spending) -> str | None:
    if caps.keep_balance is None:
        return None
    if spending.balance is None:
        return f"budget.keep_balance is {caps.keep_balance:,}, and the account's balance is not known"
    left = spending.balance - spending.drawn
    if left - hold < caps.keep_balance:
        if not caps.keep_balance:
            return f"the account has {left:,} credits left, and this job may cost {hold:,}"
        return f"budget.keep_balance is {caps.keep_balance:,}: {left:,} left, and this job may cost {hold:,}"
    return None


def _sums(caps: Caps, spending: Spending, now: Instant) -> Iterator[tuple[int | None, int, str, str | None]]:
    """Each cap on a sum: the cap, what counts against it, what it is called, and the only name that it concerns."""
    yield caps.batch, spending.batch, "budget.credits", None
    yield caps.usd, spending.batch, "budget.usd, in credits,", None
    yield caps.run, spending.run, "--max-credits", None
    for name, cap in caps.per_model.items():
        yield cap, spending.by_name.get(name, 0), f"budget.per_model.{name}", name
    if caps.per_day is not None:  # which day it is takes longer to say than all the rest
        yield caps.per_day, spending.by_day.get(spending.day_of(now), 0), "budget.per_day", None


def passed(job: Job, caps: Caps, spending: Spending, *, now: Instant) -> str | None:
    """The cap that a job's charge has passed, with the figures: it was charged more than could be known before."""
    sums = ((cap, spent, label) for cap, spent, label, name in _sums(caps, spending, now) if _is_of(job, name))
    for cap, spent, label in ((caps.per_job, exposure(job), _OF_ONE_JOB), *sums):
        if cap is not None and spent > cap:
            return f"{label} is {cap:,} and was passed: {spent:,} spent or reserved, since {_dearer_words(job)}"
    if caps.keep_balance is not None and spending.balance is not None:
        left = spending.balance - spending.drawn
        if left < caps.keep_balance:
            return f"budget.keep_balance is {caps.keep_balance:,} and {left:,} are left, since {_dearer_words(job)}"
    return None


def _is_of(job: Job, name: str | None) -> bool:
    return name is None or name in group(job.spec).names


def _dearer_words(job: Job) -> str:
    return f"{job.id} was charged {job.charged or 0:,} where at most {job.spec.hold or 0:,} were expected"


def left_out(wanted: Iterable[tuple[str, Spec]], caps: Caps, spending: Spending, *, now: Instant) -> dict[str, str]:
    """Which jobs a run could not buy if each cost its hold, in the order given, and why; nothing is spent by asking.

    What settles below its hold makes room again, so a run may get further than this.
    """
    counted = replace(spending, by_name=dict(spending.by_name), by_day=dict(spending.by_day))
    caps = replace(caps, keep_balance=None if counted.balance is None else caps.keep_balance or 0)
    out = {}
    for job_id, spec in wanted:
        why = distrusts(spec, counted) or refuses(spec, caps, counted, now=now)
        if why is not None:
            out[job_id] = why
        else:
            reserved = counted.reserved_for(spec) or 0
            counted.add(reserved, group(spec), counted.day_of(now))
            counted.run += reserved
            counted.drawn += reserved
    return out


def nears(caps: Caps, spending: Spending, *, now: Instant) -> list[str]:
    """The caps whose warning share is passed, in words."""
    return [
        f"{label.rstrip(',')}: {spent:,} of {cap:,} credits spent or reserved"
        for cap, spent, label, _ in _sums(caps, spending, now)
        if cap is not None and spent >= cap * caps.warn_at
    ]


def dearest_charge(job: Job) -> int | None:
    """The most that an attempt was charged at any time, as far as it is known: when accepted, or as it stands."""
    dearest = job.dearest
    for each in (job.held, job.charged):
        if each is not None and (dearest is None or each > dearest):
            dearest = each
    return dearest


def is_charged_otherwise(before: Job, after: Job) -> bool:
    """Whether the most that is known to have been charged changed with an event; few of them tell of charges."""
    told = (before.dearest, before.held, before.charged) != (after.dearest, after.held, after.charged)
    return told and dearest_charge(before) != dearest_charge(after)


def has_other_price(job: Job) -> bool:
    """Whether a charge is above the hold, or the first one not the price that was taken to be exact."""
    charge, hold = dearest_charge(job), job.spec.hold
    if charge is None or hold is None:
        return False
    is_exact = job.spec.low == hold and job.spec.is_priced
    return charge > hold or (is_exact and job.held is not None and job.held != hold)


def is_far_off(job: Job) -> bool:
    """Whether the provider charged so much more than the hold that nothing like it may be bought again."""
    charge = dearest_charge(job)
    return charge is not None and job.spec.hold is not None and charge > job.spec.hold * FAR_OFF
