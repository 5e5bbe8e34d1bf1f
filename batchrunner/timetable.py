"""Buying within the hours of a window, and so early that the last render lands in time.

Part of the engine. The hours are worked out when the run begins (`core.window`); here every admission is held against
the time it is then, so a clock that was set and a machine that slept change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import heapq

from batchrunner.core import events, looks, schedule
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.retry import Instant, Step
from batchrunner.core.window import ALWAYS, Hours
from batchrunner.governor import Held


class Timetable:
    """Says what the hours allow, and keeps the jobs that would land too late."""

    def __init__(
        self,
        hours: Hours = ALWAYS,
        *,
        takes_s: Callable[[Job], float] = lambda _: 0.0,
        when: Callable[[Instant], str] = str,
    ) -> None:
        """Hold everything against `hours`.

        `takes_s` is how long it takes from a job's submission until it is on disk, in nine of ten cases, by what is
        known at that moment; `when` writes a time for people.
        """
        self._hours = hours
        self._takes_s = takes_s
        self._when = when
        self._late: dict[str, list[tuple[int, str]]] = {}
        self._news: set[str] = set()

    def is_over(self, now: Instant) -> bool:
        """Whether nothing more is bought."""
        return self._hours.is_over(now)

    def is_open(self, now: Instant) -> bool:
        """Whether may be bought now."""
        return self._hours.is_open(now)

    def holds(self, step: Step, now: Instant) -> Held | None:
        """Why a step may not start yet."""
        if step not in schedule.BUYING or not self._hours.is_ahead(now):
            return None
        assert self._hours.opens_at is not None
        return Held(why=f"buying begins at {self._when(self._hours.opens_at)}", until=self._hours.opens_at)

    def next_turn(self, at: Instant | None, now: Instant) -> Instant | None:
        """When to look next what can be done: at the end of the hours at the latest."""
        ends_at = self._hours.ends_at
        if ends_at is None or ends_at <= now:
            return at
        return ends_at if at is None else min(at, ends_at)

    # --- jobs that would land too late ---

    def lands(self, job: Job, now: Instant) -> bool:
        """Whether a job that is bought now is on disk in time, in nine of ten cases."""
        return self._hours.finish_by is None or self._hours.lands(now, self._takes_s(job))

    def leave(self, job: Job, *, order: int) -> None:
        """Keep a job that would land too late; it is left to the next run, unless renders turn out to take less."""
        heapq.heappush(self._late.setdefault(looks.group_of_job(job), []), (order, job.id))

    @property
    def left(self) -> int:
        """How many jobs would land too late."""
        return sum(map(len, self._late.values()))

    def saw(self, job: Job, event: Event) -> None:
        """Keep in step with one event: a finished render may tell that its sort takes less."""
        if self._late and isinstance(event, events.Rendered):
            self._news.add(looks.group_of_job(job))

    def take_back(self, jobs: Mapping[str, Job], *, now: Instant) -> Iterator[Job]:
        """Jobs that land in time by what is known now: all of a sort that takes less than was thought."""
        news, self._news = self._news, set()
        for sort in news & self._late.keys():
            if self.lands(jobs[self._late[sort][0][1]], now):
                yield from (jobs[job_id] for _, job_id in self._late.pop(sort))
