"""What a run may still buy: the counting, and the jobs that wait because they do not fit.

Part of the engine. What fits is decided in `core.budget`; here it is only kept in step with every event, at a cost that
does not grow with the number of jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace
import heapq

from batchrunner.core import budget, events
from batchrunner.core.budget import Caps, Cutoff, Group, Spending
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.retry import Instant, Leave


class Purse:
    """The caps of a run and what is spent against them."""

    def __init__(
        self,
        *,
        caps: Caps,
        spending: Spending,
        tell: Callable[[str], None],
        near_cap: Callable[[str], None] | None = None,
        permitted: Container[tuple[str, int]] | None = None,
    ) -> None:
        """Start from what is spent already.

        Args:
            caps: the limits.
            spending: what counts against them.
            tell: given every warning once.
            near_cap: given those of a cap that comes near, too.
            permitted: the attempts that may be submitted, by job and number, as they were agreed to; None for all.
        """
        self._permitted = permitted
        self._caps = caps
        self._spending = spending
        self._tell = tell
        self._near_cap = near_cap
        self._told: set[str] = set()
        self._stopped_groups: dict[Group, str] = {}
        self._aside: dict[Group, list[tuple[int, int, str]]] = {}
        self._has_room = False
        self.reason: str | None = None
        self.far_off: str | None = None
        self.passed: str | None = None

    @property
    def held_back(self) -> int:
        """How many jobs wait because they do not fit."""
        return sum(len(jobs) for jobs in self._aside.values())

    def permits(self, job: Job) -> bool:
        """Whether a job may be bought at all, whatever it costs: it was shown, and agreed to, as it stands."""
        return self._permitted is None or (job.id, job.attempt) in self._permitted

    def as_permitted(self, finding: Event, job: Job) -> Event:
        """A finding as it is recorded: what proved unpaid and may not be bought again is left to the next plan."""
        if not isinstance(finding, events.ProvedUnpaid) or self.permits(job):
            return finding
        return replace(finding, verdict=Leave())

    def leave(self, job: Job) -> None:
        """Tell that a job is left to the next plan, though an earlier purchase of it came to nothing."""
        self._say_once(
            f"left {job.id}",
            f"{job.id}: it cost nothing and would be submitted again, but the manifest no longer asks for it as it was,"
            " or it is not selected; it is not bought, and `plan` shows what the next run would do",
        )

    @property
    def leaves_at_once(self) -> bool:
        """Whether a cap that this run has reached by buying ends it without collecting; a later run collects."""
        return self._caps.cutoff is Cutoff.HARD and self.held_back > 0 and self._spending.has_bought

    def saw(self, before: Job, after: Job, *, now: Instant) -> None:
        """Count one job's change; notice a charge that is far off, and a cap that comes near."""
        change = self._spending.saw(before, after)
        if change < 0:
            self._has_room = True
        if change > 0:
            for text in budget.nears(self._caps, self._spending, now=now):
                if self._say_once(text.partition(":")[0], text) and self._near_cap is not None:
                    self._near_cap(text)
            if after.charged is not None and after.charged > (after.spec.hold or 0):
                self.passed = self.passed or budget.passed(after, self._caps, self._spending, now=now)
        if budget.is_charged_otherwise(before, after):
            self._compare(after)

    def _compare(self, job: Job) -> None:
        """Tell a charge, the first or a later one, that is not what was expected; one far off stops its group."""
        group = budget.group(job.spec)
        if budget.has_other_price(job):
            self._say_once(
                f"price of {group}",
                f"{group}: {job.id} was charged {budget.dearest_charge(job):,} credits where {job.spec.hold:,} were"
                " expected; `batchrunner models --check MANIFEST` compares them all",
            )
        if budget.is_far_off(job):
            self.far_off = self._stopped_groups.setdefault(group, budget.far_off_words(job))
            self._say_once(f"far off {group}", self.far_off)

    def refuses(self, job: Job, *, now: Instant) -> str | None:
        """Why this job may not be bought now; None when it may."""
        stopped = self._stopped_groups.get(budget.group(job.spec)) or budget.distrusts(job.spec, self._spending)
        if stopped is not None:
            self.far_off = stopped
        return stopped or budget.refuses(job.spec, self._caps, self._spending, now=now)

    def set_aside(self, job: Job, *, order: int, why: str) -> None:
        """Keep a job until there is room for it again."""
        self.reason = why
        waiting = self._aside.setdefault(budget.group(job.spec), [])
        heapq.heappush(waiting, (job.spec.hold or 0, order, job.id))

    def take_back(self, jobs: Callable[[str], Job], *, now: Instant) -> list[Job]:
        """Jobs that fit again because something was given back, the cheapest of each group first."""
        if not self._has_room:
            return []
        self._has_room = False
        back = []
        for group, waiting in list(self._aside.items()):
            # One of a group at a time: it takes its room when it is submitted, and the next is looked at after that.
            job = jobs(waiting[0][2])
            if self.refuses(job, now=now) is None:
                heapq.heappop(waiting)
                back.append(job)
                self._has_room = True
            if not waiting:
                del self._aside[group]
        return back

    def _say_once(self, key: str, text: str) -> bool:
        """Tell it, if it has not been told; whether it was told now."""
        if key in self._told:
            return False
        self._told.add(key)
        self._tell(text)
        return True
