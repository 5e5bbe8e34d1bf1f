"""Lost submissions that wait to be judged, and what is known of the account to judge them by.

Part of the engine: it keeps the account's side of the ledger in step with every event, says when the evidence may be
read, and turns findings into events. What the evidence means is decided in `core.evidence`.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchrunner.core import events, evidence, retry
from batchrunner.core.events import Event
from batchrunner.core.evidence import Baseline, Claim, Finding, Judgement, Observation, Quiet
from batchrunner.core.job import Job, State
from batchrunner.core.retry import Failure, Instant, Step
from batchrunner.seams import Settings

BASELINE_LIFE_S = 60.0
"""How old the last quiet moment may be when something is bought although credits may still come back unseen."""

OUTAGE_S = 1800.0
"""How long the evidence is asked for in vain before the question is left to the next run."""


UNTOLD_S = 1800.0
"""How long it is waited for what renders under way are charged, where that is missing to judge a lost submission; their
looks tell it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What is known of the account when a run starts.

    Attributes:
        credits: the balance as just read; None where the provider did not say.
        moves: whether this account's balance was seen to follow charges before.
        baseline: the last quiet moment on record.
        ledger: credits charged over every attempt in the state file.
        past: attempts that the run itself does not look after: those followed by another, and jobs no longer asked for.
        elsewhere: attempts of the account's other batches whose charge may have changed since that moment.
    """

    credits: int | None = None
    moves: bool = False
    baseline: Baseline | None = None
    ledger: int = 0
    past: tuple[Job, ...] = ()
    elsewhere: tuple[Job, ...] = ()


_NOTHING_LEFT = "nothing had left the account after it had its time to arrive, and the balance follows charges"


class Inquiry:
    """What became of submissions whose answer was lost."""

    def __init__(self, settings: Settings, money: Money, *, now: Instant) -> None:
        """Start from what is known of the account, as patient as the settings say.

        What is dated later than `now` was written before the clock was set back. Of a doubt it is then only known that
        it is no younger than this run; and of a quiet moment, nothing.
        """
        self._policy = settings.policy
        self._grace_s = settings.grace_s
        self._life_s = settings.life_s
        self._jitter = settings.jitter
        self._money = money
        self._baseline = money.baseline
        self._since = evidence.quiet_since(self._baseline, now=now)
        self._moves = money.moves
        self._lost: dict[str, Job] = {}
        self._still: dict[str, Job] = {}
        self._loose: dict[tuple[str, int], Job] = {}
        self._hold_until: Instant = 0.0
        self._over_at: Instant = 0.0
        self._is_blind = False
        self._has_bought = False
        self._not_before: Instant = 0.0
        self._failures = 0
        self._failing_since: Instant | None = None
        self._untold: set[tuple[str, int]] = set()
        self._untold_since: Instant | None = None
        self._is_partial = False
        self._awaits_charge = money.ledger
        self._is_last_word = False
        self.ledger = money.ledger
        self.is_running = False
        for job in money.past:
            self._watch(job, now)
        for job in money.elsewhere:
            self._watch_elsewhere(job, now)

    # --- following along ---

    def saw(self, before: Job | None, after: Job, *, now: Instant) -> None:
        """Keep the ledger in step with one job's change; a job seen for the first time is in it already."""
        is_untold = not after.is_final and evidence.is_untold(after, {})
        if before is None and is_untold and self.has_in_baseline(after):
            self._is_partial = True
        if before is not None and before.attempt == after.attempt:
            change = (after.charged or 0) - (before.charged or 0)
            self.ledger += change
            if change and self.is_waiting:  # it may show in the balance a while later
                self._not_before = max(self._not_before, after.updated_at + self._grace_s)
        self._count_untold(after, is_untold=is_untold)
        self._has_bought = self._has_bought or after.state is State.SUBMITTING
        self._watch(after, now)

    def _count_untold(self, job: Job, *, is_untold: bool) -> None:
        """Keep the renders under way whose charge was not told; when the last of them is, a judgement waits no more."""
        key = (job.id, job.attempt)
        if is_untold:
            self._untold.add(key)
        elif key in self._untold:
            self._untold.remove(key)
            if not self._untold and self._untold_since is not None:
                self._not_before = job.updated_at + self._grace_s

    def _watch(self, job: Job, now: Instant) -> None:
        """Keep in mind an attempt that no look of ours can follow."""
        if not evidence.is_loose(job):
            self._loose.pop((job.id, job.attempt), None)
            return
        job = evidence.no_later(job, now)
        self._loose[job.id, job.attempt] = job
        over_at = evidence.over_at(job, self._life_s)
        self._over_at = max(self._over_at, over_at)
        self._hold_until = max(self._hold_until, min(over_at, over_at - self._life_s + evidence.HOLD_S))

    def _watch_elsewhere(self, job: Job, now: Instant) -> None:
        """Keep in mind an attempt of another batch whose charge may still change: nobody looks at it meanwhile."""
        if not evidence.is_loose_elsewhere(job):
            return
        job = evidence.no_later(job, now)
        if job.project_id is None:
            self._hold_until = max(self._hold_until, evidence.over_at(job, min(self._life_s, evidence.HOLD_S)))
        self._loose[f"elsewhere {len(self._loose)}", 0] = job
        self._over_at = max(self._over_at, evidence.over_at(job, self._life_s))

    def add(self, job: Job, *, now: Instant) -> None:
        """A submission whose answer is lost; its grace counts from the last that is known of it.

        A time in the future is a clock that was set back meanwhile: then it counts from now.
        """
        if self._was_still(job, now):
            self._still[job.id] = job
            return
        self._lost[job.id] = job
        self._not_before = max(self._not_before, min(job.updated_at, now) + self._grace_s)

    def _was_still(self, job: Job, now: Instant) -> bool:
        """Whether an earlier run saw the balance unmoved after this one had its time to arrive.

        While a submission is lost, only a balance that has not moved since makes a quiet moment.
        """
        if self._baseline is None or job.submitted_at is None or self._baseline.at > now:
            return False
        return self._baseline.at >= job.submitted_at + self._grace_s

    # --- what may go on ---

    @property
    def is_waiting(self) -> bool:
        """Whether a lost submission is still to be judged."""
        return bool(self._lost or self._still)

    def forbids_buying(self, now: Instant) -> bool:
        """Whether nothing may be bought: of two lost at the same price, the balance could not tell which was paid.

        With one exception: a balance that was never seen to move needs one more charge to be believed or not.
        """
        return self.is_running or bool(self._lost) or self.holds_until(now) is not None or self.needs_baseline(now)

    def holds_until(self, now: Instant) -> Instant | None:
        """Until when nothing is bought, because a render that nobody can look at may be refunded; None to go on."""
        return self._hold_until if self._loose and self._has_balance and now < self._hold_until else None

    @property
    def _has_balance(self) -> bool:
        """Whether there is a balance to judge by, now or later."""
        return not self._is_blind and self._baseline is not None

    @property
    def trials(self) -> int:
        """Lost submissions that wait for another charge; they hold no place against it."""
        return len(self._still)

    def needs_baseline(self, now: Instant) -> bool:
        """Whether the quiet moment is too old to buy on, because credits may have come back since, unseen."""
        if not self._loose or self.is_waiting or not self._has_balance or self.holds_until(now) is not None:
            return False
        if self._since >= self._over_at:  # what came back is in the balance
            return False
        return now >= self._over_at or not 0 <= now - self._since <= BASELINE_LIFE_S

    def may_read(self, now: Instant) -> bool:
        """Whether it is time to ask again after a question that was not answered."""
        return now >= self._not_before or self.is_waiting

    def due_at(self) -> Instant | None:
        """When the evidence may be read; None when there is no question, or it waits for another charge."""
        if self.is_running or not self.is_waiting:
            return None
        waits_for_charge = not self._lost and not self._moves and self._awaits_charge == self.ledger
        return None if waits_for_charge and not self._is_last_word else self._not_before

    def next_at(self, now: Instant, *, wants_to_buy: bool) -> Instant | None:
        """When there will be something to read, or buying may go on; None when nothing is in question."""
        if self.is_running or not wants_to_buy or self.is_waiting:
            return self.due_at()
        return self._not_before if self.needs_baseline(now) else self.holds_until(now)

    def hurry(self) -> None:
        """No other charge will come: what the balance says now is the last word."""
        self._is_last_word = True

    # --- quiet moments ---

    def has_in_baseline(self, job: Job) -> bool:
        """Whether an attempt was accepted before the last quiet moment, whose balance then has its charge off."""
        return self._baseline is not None and job.accepted_at is not None and job.accepted_at <= self._baseline.at

    @property
    def has_news(self) -> bool:
        """Whether anything was bought or given back since the last quiet moment."""
        return self._baseline is not None and (self._baseline.ledger != self.ledger or self._has_bought)

    def begin(self, now: Instant) -> Quiet | None:
        """The baseline that the balance just read makes, where nothing is open that could still change it."""
        if self._money.credits is None or self.is_waiting:
            return None
        return self.settle(Observation(at=now, credits=self._money.credits, spent=self.ledger))

    def settle(self, seen: Observation) -> Quiet | None:
        """A quiet moment: balance and ledger are taken to agree, and later ones are judged from here."""
        if seen.credits is None:
            self._is_blind = True  # not to be asked again and again; without it, nothing that is lost is acquitted
        if self._lost or seen.credits is None:
            return None
        if self._still and not (self._baseline is not None and evidence.is_still(self._baseline, seen)):
            return None  # a charge of one of them may be in it
        if self._baseline is not None and evidence.has_moved(self._baseline, seen):
            self._moves = True
        self._baseline = Baseline(at=seen.at, credits=seen.credits, ledger=seen.spent)
        self._since = seen.at
        # What is told later of a charge that the balance has off already would hide another one as large.
        self._is_partial = seen.awaited > 0
        self._has_bought = False
        return Quiet(baseline=self._baseline, moves=self._moves)

    # --- judging ---

    def begin_reading(self) -> tuple[Job, ...]:
        """The jobs in question; what gets lost from here on is another question."""
        self.is_running = True
        return tuple(self._lost.values())

    def could_not_read(self, failure: Failure, *, now: Instant) -> bool:
        """The evidence could not be read: whether it is worth asking again, after a while."""
        self.is_running = False
        self._failures += 1
        self._failing_since = now if self._failing_since is None else self._failing_since
        if not 0 <= now - self._failing_since <= OUTAGE_S:
            self._lost.clear()
            self._still.clear()
            return False
        patience = self._policy.steps[Step.POLL]
        self._not_before = now + retry.backoff_s(
            patience, tries=self._failures, jitter=self._jitter(), asked_s=failure.retry_after_s
        )
        return True

    def judge(
        self, jobs: tuple[Job, ...], first: Observation, second: Observation, *, now: Instant, may_wait: bool
    ) -> list[tuple[str, Event]]:
        """The event that the evidence leads to, for each job in question; none yet when it is too early to tell."""
        self.is_running = False
        if jobs and may_wait and second.awaited and self._may_be_told(now):
            return []
        self._untold_since = None
        asked = jobs or tuple(self._still.values())
        claims = [Claim(job_id=job.id, low=job.spec.low, hold=job.spec.hold) for job in asked]
        judgement = evidence.judge(self._baseline, first, second, claims, moves=self._moves, slack=self._slack())
        if Finding.TOO_EARLY in judgement.findings.values() and self._may_wait(asked):
            self._still |= {job.id: self._lost.pop(job.id) for job in jobs}
            self._awaits_charge = self.ledger
            return []
        self._failures = 0
        self._failing_since = None
        self._moves = self._moves or judgement.moves
        is_over = self._moves or judgement.is_frozen or self._is_last_word or not self._may_wait(asked)
        self._is_last_word = False
        found = self._about_still(judgement, now) if is_over else []
        return [*found, *self._about_lost(jobs, judgement, now)]

    def _may_be_told(self, now: Instant) -> bool:
        """Whether it is waited for what renders under way are charged."""
        self._untold_since = now if self._untold_since is None else self._untold_since
        until = self._untold_since + UNTOLD_S
        if not self._untold or not self._untold_since <= now < until:
            return False
        self._not_before = until
        return True

    def _may_wait(self, asked: tuple[Job, ...]) -> bool:
        """Whether another charge may tell whether the balance moves: not for ever, and only where one can come."""
        together = {job.id for job in asked} | set(self._still)
        return not self._is_last_word and len(together) < retry.MOST_DOUBTS

    def _about_still(self, judgement: Judgement, now: Instant) -> list[tuple[str, Event]]:
        """Of those after which nothing had left the account: on one whose balance moves, they were not charged."""
        finding = Finding.UNPAID if self._moves else Finding.UNDECIDED
        reason = _NOTHING_LEFT if self._moves else judgement.reason
        still, self._still = self._still, {}
        return [(job.id, self._event(job, finding, reason, now)) for job in still.values()]

    def _about_lost(self, jobs: tuple[Job, ...], judgement: Judgement, now: Instant) -> list[tuple[str, Event]]:
        return [
            (job.id, self._event(job, judgement.findings[job.id], judgement.reason, now))
            for job in jobs
            if self._lost.pop(job.id, None)
        ]

    def _slack(self) -> int | None:
        if self._is_partial:
            return None
        return evidence.slack(self._loose.values(), since=self._since, life_s=self._life_s)

    def _event(self, job: Job, finding: Finding, reason: str, now: Instant) -> Event:
        if finding is Finding.UNPAID:
            verdict = retry.unpaid_verdict(
                submits=job.submits, until=_asked_until(job, now), now=now, jitter=self._jitter(), policy=self._policy
            )
            return events.ProvedUnpaid(at=now, evidence=reason, verdict=verdict)
        is_paid = finding is Finding.PAID
        paid = "paid, but its project id is not known: " if is_paid else ""
        return events.Unknowable(at=now, evidence=paid + reason, is_paid=is_paid)


def _asked_until(job: Job, now: Instant) -> Instant | None:
    """Until when the provider asked to be left alone, in the answer that left a submission in doubt.

    An answer dated ahead came before the clock was set back; it asks from now on, at the longest.
    """
    asked_s = job.trouble.retry_after_s if job.trouble is not None else None
    return None if asked_s is None else min(job.updated_at, now) + asked_s
