"""What a number of jobs comes to: by state, and in credits. Every command that adds up asks here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from batchrunner.core.job import Job, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Credits over every render of every attempt, as the ledger has them: first charged, charged now, given back.

    And the attempts whose charge was never told.
    """

    held: int = 0
    charged: int = 0
    refunded: int = 0
    unknown: int = 0


def totals_of(attempts: Iterable[Job]) -> Totals:
    """The totals of some attempts, as the state file's `View.totals` adds them up over all."""
    some = list(attempts)
    return Totals(
        held=sum(job.charged_first + (job.held or 0) for job in some),
        charged=sum(job.charged or 0 for job in some),
        refunded=sum(job.returned for job in some),
        unknown=sum(job.project_id is not None and job.charged is None for job in some),
    )


def charged_words(charged: int, before: int = 0) -> str:
    """What is charged in all, and what of that a run brought; `before` are the credits charged before it began."""
    if not before:
        return f"{charged:,} credits charged"
    by_run = charged - before
    words = f"{by_run:,} credits charged by this run" if by_run >= 0 else f"{-by_run:,} credits given back"
    return f"{words}, {charged:,} charged in all" if by_run < 0 else f"{words}, {charged:,} in all"


def by_state(jobs: Iterable[Job], *, at_rest: int = 0) -> dict[str, int]:
    """How many jobs are in each state, in the order in which the states are met; first, so many more that are done."""
    counts: dict[str, int] = {State.DONE: at_rest} if at_rest else {}
    for job in jobs:
        counts[job.state] = counts.get(job.state, 0) + 1
    return counts


def estimated(jobs: Iterable[Job]) -> int:
    """Credits that the current attempts were expected to cost; one without a known price counts nothing."""
    return sum(job.spec.expected or 0 for job in jobs)
