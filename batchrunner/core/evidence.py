"""Was a lost submission charged? The account's balance against our own ledger.

The API has no idempotency key and no list of projects, so a submission whose answer was lost can be judged by one
thing only: whether the balance fell by more than everything we know was charged. The rules, each on the side that
does not pay twice:

1. Only a balance that the ledger explains to the credit acquits; anything missing leaves every lost one in doubt.
2. It must be read twice with the same result, after the longest time a request may still be on its way, with no
   submission of ours under way.
3. A balance that was never seen to move proves nothing (accounts billed afterwards may show a constant). What kind of
   account it is said to be is no proof either.
4. While what an accepted submission is charged has not been told, nothing is explained by anything.
5. Whatever remains unexplained is undecided, and a person decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
import math
from typing import Final

from batchrunner.core.job import Job, State
from batchrunner.core.retry import PROJECT_GONE, UNCERTAIN, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A quiet moment: the balance then, and what our ledger of charges added up to at that same moment."""

    at: Instant
    credits: int
    ledger: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """A baseline to remember, and whether this account's balance is known to follow charges.

    Later submissions are judged from it, so it is recorded together with what was found about earlier ones: a baseline
    alone would hold their charges, and acquit them when a run that was killed in between is gone on with.
    """

    baseline: Baseline
    moves: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the provider says now: the balance, and the charge of each project that had not settled.

    `statuses` has its word on each of these projects that is there, and not deleted.
    """

    at: Instant
    credits: int | None
    charges: Mapping[str, int]
    statuses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A reading beside the ledger brought up to date with it; `spent` is the ledger's sum with those charges.

    `untold` counts accepted submissions that the balance may have taken off and the ledger does not know: their charge
    was not told yet. `awaited` are those of them that are under way, of which it may still be told.
    """

    at: Instant
    credits: int | None
    spent: int
    untold: int = 0
    awaited: int = 0

    def is_same_as(self, other: Observation) -> bool:
        """Whether both leave the same unexplained: what was charged and what left the account differ alike."""
        if self.credits is None or other.credits is None:
            return self.credits is other.credits
        return self.credits + self.spent == other.credits + other.spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A submission that may have been accepted, and what it would have cost: at least `low`, at most `hold`.

    `hold` is None when no price is known; it can then explain any amount.
    """

    job_id: str
    low: int | None
    hold: int | None


class Finding(StrEnum):
    """What the evidence says about one claim; too early when the next charge will tell whether the balance moves."""

    UNPAID = "unpaid"
    PAID = "paid"
    UNDECIDED = "undecided"
    TOO_EARLY = "too early"


_NEVER_MOVED = "this account's balance has not been seen to follow charges"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A finding for every claim, and the sentence that explains it to a person.

    `moves` when the account's balance is known by it to follow charges, `is_frozen` when it is known not to.
    """

    findings: Mapping[str, Finding]
    reason: str
    moves: bool = False
    is_frozen: bool = False


def has_moved(baseline: Baseline, seen: Observation) -> bool:
    """Whether this observation shows that the balance follows our charges on this account."""
    return seen.spent != baseline.ledger and _missing(baseline, seen) == 0


def is_still(baseline: Baseline, seen: Observation) -> bool:
    """Whether nothing has left the account since, beyond what the ledger knows."""
    return _missing(baseline, seen) == 0


def judge(
    baseline: Baseline | None,
    first: Observation,
    second: Observation,
    claims: Sequence[Claim],
    *,
    moves: bool,
    slack: int | None = 0,
) -> Judgement:
    """What two observations, taken one after the other in a quiet moment, say about each claim.

    Args:
        baseline: the last quiet moment before the claims' submissions; None if there was none.
        first: the earlier observation.
        second: the later observation.
        claims: every submission whose answer was lost.
        moves: whether this account's balance is known to follow charges.
        slack: credits that may have come back since the baseline without our seeing it, because a project whose id
            was lost settled below its hold; None when no bound is known.
    """
    if not claims:
        return Judgement(findings={}, reason="nothing is in question")
    missing = None if baseline is None else _missing(baseline, first)
    if baseline is None or missing is None:
        return _all(claims, Finding.UNDECIDED, "the balance was not known before the submission")
    if missing != _missing(baseline, second):
        return _all(claims, Finding.UNDECIDED, "the balance was still moving: two readings differ")
    if second.untold:
        # What is missing may be theirs; and where nothing is, theirs is not in it yet, and so may another's not be.
        reason = f"{_words(missing)}, but the provider has not told what all of the others are charged"
        return _all(claims, Finding.UNDECIDED, reason)
    if moves or has_moved(baseline, second):
        return replace(_explain(missing, claims, slack), moves=True)
    return _first_charge(missing, claims, slack, has_charges=second.spent != baseline.ledger)


def _first_charge(missing: int, claims: Sequence[Claim], slack: int | None, *, has_charges: bool) -> Judgement:
    """On an account whose balance was never seen to move: a fall by what the one lost submission costs is its charge.

    Where nothing has moved, nothing can be said before the next charge: the balance may stand still for good.
    """
    explained = _explain(missing, claims, slack)
    if Finding.PAID in explained.findings.values():
        return replace(explained, moves=True)
    is_still = not has_charges and missing == 0 and slack == 0
    judgement = _all(claims, Finding.TOO_EARLY if is_still else Finding.UNDECIDED, _NEVER_MOVED)
    return replace(judgement, is_frozen=has_charges and missing < 0)


HOLD_S = 600.0
"""How long nothing is bought, at most, after a submission that has no known project and may be charged.

Its render may fail and be refunded, or settle below its hold, at any moment until it is over; a charge that is lost
just then would not show in the balance. Renders in flight go on meanwhile, so a wait of this length costs a night
little; the provider's published medians are 74 s and 772 s a render.
"""


def slack(loose: Iterable[Job], *, since: Instant, life_s: float) -> int | None:
    """Credits that may have come back unseen after the quiet moment `since`; None when that has no known bound.

    A render without a known project may settle below its hold, or fail and be refunded, until it is over, `life_s`
    seconds after it was submitted.
    """
    total = 0
    for job in loose:
        if over_at(job, life_s) <= since:
            continue
        if job.spec.hold is None:
            return None
        total += job.charged or job.spec.hold
    return total


def is_loose(job: Job) -> bool:
    """Whether credits of this attempt may come back without any look of ours, or did before one.

    No project of it is known to ask for, or the provider has deleted it; or a person decided about a submission, and
    what its render was given back until then is not in the ledger.
    """
    if job.state is State.UNCERTAIN or job.decided_at is not None:
        return True
    return job.state is State.FAILED and (_was_given_up(job) or is_gone(job))


def _was_given_up(job: Job) -> bool:
    return job.project_id is None and job.trouble is not None and job.trouble.code == UNCERTAIN


def is_gone(job: Job) -> bool:
    """Whether an attempt failed because its project was not known any more, and is still paid for."""
    has_gone = job.trouble is not None and job.trouble.code == PROJECT_GONE
    return job.state is State.FAILED and has_gone and job.charged != 0


ENDED_IN_NOTHING: Final = frozenset({"error", "canceled"})
"""The provider's words for a render that brings nothing (OpenAPI 2026-09)."""


def has_come_back(job: Job, status: str | None) -> bool:
    """Whether an attempt that failed has a render after all, by the provider's word on its project; None for none.

    One that was not known any more is there whatever it does, unless it failed meanwhile; one that had failed would
    have to be complete, since other words may only be new ones for a failure.
    """
    if job.state is not State.FAILED or status is None:
        return False
    return status == "complete" or (is_gone(job) and status not in ENDED_IN_NOTHING)


def is_loose_elsewhere(job: Job) -> bool:
    """As `is_loose`, for an attempt of another batch: this run does not look at it, whether or not it could."""
    if job.state in {State.SUBMITTING, State.RENDERING, State.RENDERED} or is_loose(job):
        return True
    return job.state in {State.FAILED, State.CANCELED} and bool(job.charged)


CLOCKS_DIFFER_S: Final = 86400.0
"""By how much the date of a file may be off, in seconds: another machine's disk, or the time zone of an archive."""


def may_be_open(*, written_at: Instant, since: Instant, life_s: float) -> bool:
    """Whether a batch that was last written then may have an attempt that was not over at `since`.

    What it has on record happened before; so of those that were last written long ago, none needs to be read.
    """
    return written_at + life_s + CLOCKS_DIFFER_S > since


def over_at(job: Job, life_s: float) -> Instant:
    """When a loose attempt is surely over and its charge final: only a quiet moment after that has all of it."""
    if is_gone(job):
        return (job.ended_at or job.updated_at) + life_s
    if job.decided_at is not None:
        # One that was named is asked for from then on; what became of any other stays open.
        return job.decided_at if job.doubted_at is None else max(job.decided_at, job.doubted_at + life_s)
    return (job.submitted_at or job.updated_at) + life_s


def quiet_since(baseline: Baseline | None, *, now: Instant) -> Instant:
    """The quiet moment since which credits may have come back unseen; without end where none is known.

    One that is dated ahead was before the clock was set back, nobody knows how long.
    """
    return -math.inf if baseline is None or baseline.at > now else baseline.at


def no_later(job: Job, now: Instant) -> Job:
    """The attempt with nothing dated later than now: that was written before the clock was set back.

    When it was, nobody can tell; so it is taken to be as young as it can be, and may give back credits the longest.
    """

    def cut(at: Instant | None) -> Instant | None:
        return None if at is None else min(at, now)

    return replace(
        job,
        updated_at=min(job.updated_at, now),
        submitted_at=cut(job.submitted_at),
        decided_at=cut(job.decided_at),
        doubted_at=cut(job.doubted_at),
        ended_at=cut(job.ended_at),
    )


_CHARGED: Final = frozenset({State.RENDERING, State.RENDERED})
_CAME_TO_NOTHING: Final = frozenset({State.FAILED, State.CANCELED})


def may_change(job: Job, *, now: Instant) -> bool:
    """Whether the charge of this attempt may still be corrected by the provider, and can be asked for."""
    if job.project_id is None:
        return False
    if job.state is not State.DONE:
        return job.state in _CHARGED or (job.state in _CAME_TO_NOTHING and job.charged != 0)
    # A charge that was never told is asked for again in every run.
    is_late = job.ended_at is not None and now - job.ended_at <= LATE_S
    return job.charged is None or (is_late and may_settle(job))


LATE_S = 600.0
"""How long after its end a render is still looked at when the evidence is read: charges settle as it completes."""


def is_settled(*, charged: int | None, ended_at: Instant | None, decided_at: Instant | None, now: Instant) -> bool:
    """Whether nothing of a render that is done is left to ask for, by little of it.

    Where it is, the render neither `may_change`, nor `is_loose`; where it is not, either may be so.
    """
    return charged is not None and decided_at is None and ended_at is not None and now - ended_at > LATE_S


def may_settle(job: Job) -> bool:
    """Whether a finished render is charged what was held for it, though it may settle for less."""
    spec = job.spec
    can_settle = spec.low is None or spec.hold is None or spec.low < spec.hold
    return job.state is State.DONE and can_settle and job.charged == job.held


def is_untold(job: Job, charges: Mapping[str, int]) -> bool:
    """Whether an attempt was accepted and its charge never told, by a reading's charges either."""
    return job.project_id is not None and job.charged is None and job.project_id not in charges


def due_in_books(unsettled: Iterable[Job]) -> list[Job]:
    """Of attempts whose charge may still change, those that are asked for when a run begins and ends."""
    return [job for job in unsettled if job.state is not State.DONE or job.charged is None or may_settle(job)]


def misfit(job: Job, *, project_type: str | None, name: str | None) -> str | None:
    """Why a project cannot be what a lost submission became; None when it fits.

    The provider's types are the kinds in capitals with underscores (SDK 0.90.0), and it may leave a name out (OpenAPI
    2026-09): what is not told is no objection.
    """
    wanted = job.kind.upper().replace("-", "_")
    if project_type is not None and project_type != wanted:
        return f"it is of the type {project_type}, and the job's is {wanted}"
    if name is not None and name != job.name:
        return f"it is named {name!r}, and the submission was named {job.name!r}"
    return None


def _missing(baseline: Baseline, seen: Observation) -> int | None:
    """Credits that left the account and that the ledger does not know of; None when the balance was not readable."""
    if seen.credits is None:
        return None
    return baseline.credits - (seen.spent - baseline.ledger) - seen.credits


def _explain(missing: int, claims: Sequence[Claim], slack: int | None) -> Judgement:
    """What the difference says: nothing missing acquits all; anything missing convicts or leaves open, never acquits.

    Prices are our own estimate, so no claim is ever called unpaid because another one seems to fit the figure better.
    """
    reason = _words(missing)
    if _cannot_hide(missing, claims, slack):
        return _all(claims, Finding.UNPAID, reason)
    if missing <= 0 and slack != 0:
        reason += ", but credits that another attempt may have given back unseen could hide a charge"
    sole = claims[0] if len(claims) == 1 else None
    is_paid = sole is not None and _can_cost(sole, missing, slack)
    return _all(claims, Finding.PAID if is_paid else Finding.UNDECIDED, reason)


def _cannot_hide(missing: int, claims: Sequence[Claim], slack: int | None) -> bool:
    """Whether nothing is missing, and what may have come back unseen is too little to cover any claim's charge."""
    if slack is None or not -slack <= missing <= 0:
        return False
    return slack == 0 or slack < min(max(1, claim.low or 1) for claim in claims)


def _can_cost(claim: Claim, missing: int, slack: int | None) -> bool:
    """Whether this claim, charged, leaves `missing` credits unexplained when up to `slack` came back."""
    reaches = slack is None or max(1, claim.low or 1) <= missing + slack
    return missing > 0 and reaches and (claim.hold is None or missing <= claim.hold)


def _words(missing: int) -> str:
    if missing == 0:
        return "the ledger explains the balance to the credit, twice"
    if missing < 0:
        return f"the balance is {-missing} credits above what the ledger explains"
    return f"{missing} credits left the account that the ledger does not explain"


def _all(claims: Sequence[Claim], finding: Finding, reason: str) -> Judgement:
    return Judgement(findings={claim.job_id: finding for claim in claims}, reason=reason)
