"""Was a lost submission charged? The account's balance against our own ledger.

The API has no idempotency key and no list of projects, so a submission whose answer was lost can be judged by one
thing only: whether the balance fell by more than everything we know was charged. The rules, each on the side that
does not pay twice:

1. Only a difference that is exactly nothing, or that only some of the lost submissions can explain, says anything.
2. It must be read twice with the same result, after the longest time a request may still be on its way, with no
   submission of ours under way.
3. A balance that was never seen to move proves nothing (accounts billed afterwards may show a constant).
4. Whatever remains unexplained is undecided, and a person decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from batchrunner.core.job import Job
from batchrunner.core.retry import Instant

MOST_CLAIMS = 12
"""Above this many lost submissions at once, only a difference of exactly nothing is judged (2**n explanations)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A quiet moment: the balance then, and what our ledger of charges added up to at that same moment."""

    at: Instant
    credits: int
    ledger: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the provider says now: the balance, and the charge of each project that had not settled."""

    at: Instant
    credits: int | None
    charges: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A reading beside the ledger brought up to date with it; `spent` is the ledger's sum with those charges."""

    at: Instant
    credits: int | None
    spent: int

    def is_same_as(self, other: Observation) -> bool:
        """Whether both say the same, at whatever time."""
        return (self.credits, self.spent) == (other.credits, other.spent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A submission that may have been accepted, and what it would have cost: at least `low`, at most `hold`.

    `hold` is None when no price is known; it can then explain any amount.
    """

    job_id: str
    low: int | None
    hold: int | None


class Finding(StrEnum):
    """What the evidence says about one claim."""

    UNPAID = "unpaid"
    PAID = "paid"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A finding for every claim, and the sentence that explains it to a person."""

    findings: Mapping[str, Finding]
    reason: str


def has_moved(baseline: Baseline, seen: Observation) -> bool:
    """Whether this observation shows that the balance follows our charges on this account."""
    return seen.spent != baseline.ledger and _missing(baseline, seen) == 0


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
    missing = None if baseline is None else _missing(baseline, first)
    if baseline is None or missing is None:
        return _all(claims, Finding.UNDECIDED, "the balance was not known before the submission")
    if missing != _missing(baseline, second):
        return _all(claims, Finding.UNDECIDED, "the balance was still moving: two readings differ")
    if not moves and not has_moved(baseline, second):
        return _all(claims, Finding.UNDECIDED, "this account's balance has not been seen to follow charges")
    return _explain(missing, claims, slack)


def slack(uncertain: Iterable[Job]) -> int | None:
    """Credits that may come back unseen because these jobs' projects settle; None when one of them has no known price.

    That such a project fails and is refunded in full is left out: it would have to happen to the credit, and in the
    very minutes between two quiet moments, to pass for another's charge.
    """
    ranges = [(job.spec.low, job.spec.hold) for job in uncertain]
    if any(low is None or hold is None for low, hold in ranges):
        return None
    return sum((hold or 0) - (low or 0) for low, hold in ranges)


def _missing(baseline: Baseline, seen: Observation) -> int | None:
    """Credits that left the account and that the ledger does not know of; None when the balance was not readable."""
    if seen.credits is None:
        return None
    return baseline.credits - (seen.spent - baseline.ledger) - seen.credits


def _explain(missing: int, claims: Sequence[Claim], slack: int | None) -> Judgement:
    """Which claims are charged in every explanation of the balance, and which in none."""
    reason = _words(missing)
    if len(claims) > MOST_CLAIMS:
        is_clear = missing == 0 and slack == 0
        return _all(claims, Finding.UNPAID if is_clear else Finding.UNDECIDED, reason)
    explanations = [
        {claim.job_id for claim in chosen}
        for size in range(len(claims) + 1)
        for chosen in combinations(claims, size)
        if _can_cost(chosen, missing, slack)
    ]
    if not explanations:
        return _all(claims, Finding.UNDECIDED, f"{reason}, and no lost submission explains it")
    findings = {}
    for claim in claims:
        charged_in = sum(claim.job_id in explanation for explanation in explanations)
        if charged_in == len(explanations):
            findings[claim.job_id] = Finding.PAID
        else:
            findings[claim.job_id] = Finding.UNDECIDED if charged_in else Finding.UNPAID
    return Judgement(findings=findings, reason=reason)


def _can_cost(claims: Sequence[Claim], missing: int, slack: int | None) -> bool:
    """Whether exactly these claims, charged, leave `missing` credits unexplained when up to `slack` came back."""
    least = sum(max(1, claim.low or 1) for claim in claims)
    most = None if any(claim.hold is None for claim in claims) else sum(claim.hold or 0 for claim in claims)
    reaches = slack is None or least <= missing + slack
    return reaches and (most is None or missing <= most)


def _words(missing: int) -> str:
    if missing == 0:
        return "the ledger explains the balance to the credit, twice"
    if missing < 0:
        return f"the balance is {-missing} credits above what the ledger explains"
    return f"{missing} credits left the account that the ledger does not explain"


def _all(claims: Sequence[Claim], finding: Finding, reason: str) -> Judgement:
    return Judgement(findings={claim.job_id: finding for claim in claims}, reason=reason)
