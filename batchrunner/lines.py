"""Jobs that wait, one line a step.

Part of the engine: heaps, so that no event costs more because there are more jobs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
import heapq

from batchrunner.core.retry import Instant, Step


@dataclass(slots=True)
class _Line:
    """Jobs that wait for one step: those whose time has not come, by time, and those who may go, by order."""

    later: list[tuple[Instant, int, str]] = field(default_factory=list)
    ready: list[tuple[int, str]] = field(default_factory=list)
    dates: dict[str, Instant] = field(default_factory=dict)

    def add(self, job_id: str, *, order: int, at: Instant | None) -> None:
        if at is None:
            heapq.heappush(self.ready, (order, job_id))
        else:
            self.dates[job_id] = at
            heapq.heappush(self.later, (at, order, job_id))

    def ripen(self, now: Instant) -> None:
        while self.later and self.later[0][0] <= now:
            at, order, job_id = heapq.heappop(self.later)
            if self.dates.get(job_id) == at:
                del self.dates[job_id]
                heapq.heappush(self.ready, (order, job_id))
        self._forget_hastened()

    def hasten(self, job_id: str, *, order: int) -> bool:
        if self.dates.pop(job_id, None) is None:
            return False
        heapq.heappush(self.ready, (order, job_id))
        self._forget_hastened()
        return True

    def move(self, job_id: str, *, order: int, at: Instant) -> None:
        if job_id in self.dates:
            self.dates[job_id] = at
            heapq.heappush(self.later, (at, order, job_id))
            self._forget_hastened()

    @property
    def size(self) -> int:
        return len(self.ready) + len(self.dates)

    def _forget_hastened(self) -> None:
        """What stands first waits for its time in truth; an entry of a job that went early is left where it is."""
        while self.later and self.dates.get(self.later[0][2]) != self.later[0][0]:
            heapq.heappop(self.later)


class Lines:
    """The line of every step."""

    def __init__(self) -> None:
        self._lines = {step: _Line() for step in Step}

    def add(self, step: Step, job_id: str, *, order: int, at: Instant | None) -> None:
        """Put a job in line for a step: now, or when a time has come."""
        self._lines[step].add(job_id, order=order, at=at)

    def ripen(self, step: Step, now: Instant) -> None:
        """Let those go whose time has come."""
        self._lines[step].ripen(now)

    def hasten(self, step: Step, job_id: str, *, order: int) -> bool:
        """Let a job go whose time has not come; False when it does not wait for a time."""
        return self._lines[step].hasten(job_id, order=order)

    def move(self, step: Step, job_id: str, *, order: int, at: Instant) -> None:
        """Give a job that waits for a time another one; one that may go already is left alone."""
        self._lines[step].move(job_id, order=order, at=at)

    def ready(self, step: Step) -> int:
        """How many could start the step now."""
        return len(self._lines[step].ready)

    def size(self, step: Step) -> int:
        """How many wait for the step, now or for a time."""
        return self._lines[step].size

    def take(self, step: Step) -> str:
        """The id of the first that may go; there must be one."""
        _, job_id = heapq.heappop(self._lines[step].ready)
        return job_id

    def has_any(self, steps: Iterable[Step]) -> bool:
        """Whether anyone waits for one of these steps, now or for a time."""
        return any(self._lines[step].ready or self._lines[step].later for step in steps)

    def dates(self, step: Step) -> Iterable[tuple[str, Instant]]:
        """Who waits for a time to start a step, and for which; in no order."""
        return self._lines[step].dates.items()

    def next_at(self, steps: Iterable[Step]) -> Instant | None:
        """When the next time comes that somebody waits for to start one of these steps."""
        return min((self._lines[step].later[0][0] for step in steps if self._lines[step].later), default=None)
