"""Lost submissions that wait to be judged, and what is known of the account to judge them by.

Part of the engine: it keeps the account's side of the ledger in step with every event, says when the evidence may be
read, and turns findings into events. What the evidence means is decided in `core.evidence`.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchrunner.core import evidence, job as machine
from batchrunner.core.evidence import Baseline, Claim, Finding, Observation
from batchrunner.core.job import Event, Job, State
from batchrunner.core.retry import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What is known of the account when a run starts.

    Attributes:
        credits: the balance as just read; None where the provider did not say.
        moves: whether this account's balance is known to follow charges.
        baseline: the last quiet moment on record.
        ledger: credits charged over every attempt in the state file.
    """

    credits: int | None = None
    moves: bool = False
    baseline: Baseline | None = None
    ledger: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """A baseline to remember, and whether this account's balance is known to follow charges."""

    baseline: Baseline
    moves: bool


class Inquiry:
    """What became of submissions whose answer was lost."""

    def __init__(self, *, grace_s: float, money: Money) -> None:
        """Start from what is known; `grace_s` is how long a lost submission may still be on its way, in seconds."""
        self._grace_s = grace_s
        self._money = money
        self._baseline = money.baseline
        self._moves = money.moves
        self._lost: dict[str, Job] = {}
        self._uncertain: dict[str, Job] = {}
        self.ledger = money.ledger
        self.is_running = False

    @property
    def is_waiting(self) -> bool:
        """Whether a lost submission is still to be judged.

        Nothing is bought meanwhile: of two that are lost at the same price, the balance could not tell which was paid.
        """
        return bool(self._lost)

    def begin(self, now: Instant, *, has_unsettled: bool) -> Quiet | None:
        """The baseline that the balance just read makes, if nothing is open that could still change it."""
        if self._money.credits is None or has_unsettled or self._lost:
            return None
        return self._quiet(Observation(at=now, credits=self._money.credits, spent=self.ledger))

    def settle(self, seen: Observation) -> Quiet | None:
        """After a judgement, balance and ledger are taken to agree again: later ones start from here."""
        return None if self._lost else self._quiet(seen)

    def _quiet(self, seen: Observation) -> Quiet | None:
        if seen.credits is None:
            return None
        self._learn(seen)
        self._baseline = Baseline(at=seen.at, credits=seen.credits, ledger=seen.spent)
        return Quiet(baseline=self._baseline, moves=self._moves)

    def _learn(self, seen: Observation) -> None:
        if self._baseline is not None and evidence.has_moved(self._baseline, seen):
            self._moves = True

    def saw(self, before: Job | None, after: Job) -> None:
        """Keep the ledger in step with one job's change; a job seen for the first time is in it already."""
        if before is not None and before.attempt == after.attempt:
            self.ledger += (after.charged or 0) - (before.charged or 0)
        if after.state is State.UNCERTAIN:
            self._uncertain[after.id] = after
        else:
            self._uncertain.pop(after.id, None)

    def add(self, job: Job) -> None:
        """A submission whose answer is lost."""
        self._lost[job.id] = job

    def due_at(self) -> Instant | None:
        """When every lost submission has had its time to arrive; None when there is none to look for.

        Counted from the last that is known of it: that it was sent, or that its answer was lost.
        """
        if not self._lost or self.is_running:
            return None
        return max(job.updated_at for job in self._lost.values()) + self._grace_s

    def is_due(self, now: Instant) -> bool:
        """Whether the evidence may be read now."""
        due = self.due_at()
        return due is not None and due <= now

    def abandon(self) -> None:
        """The evidence could not be read: the jobs stay as they are, and the next run asks again."""
        self._end()

    def judge(self, first: Observation, second: Observation, *, now: Instant) -> list[tuple[str, Event]]:
        """The event that the evidence leads to, for each lost submission."""
        claims = [Claim(job_id=job.id, low=job.spec.low, hold=job.spec.hold) for job in self._lost.values()]
        judgement = evidence.judge(
            self._baseline, first, second, claims, moves=self._moves, slack=evidence.slack(self._uncertain.values())
        )
        self._end()
        return [(job_id, _event(finding, judgement.reason, now)) for job_id, finding in judgement.findings.items()]

    def _end(self) -> None:
        self._lost.clear()
        self.is_running = False


def _event(finding: Finding, reason: str, now: Instant) -> Event:
    if finding is Finding.UNPAID:
        return machine.ProvedUnpaid(at=now, evidence=reason)
    paid = "paid, but its project id is not known: " if finding is Finding.PAID else ""
    return machine.Unknowable(at=now, evidence=paid + reason)
