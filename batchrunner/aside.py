"""Jobs that are not bought now though others may be: each waits where room for it will be noticed. Part of the engine.

Three keep jobs: the purse those that fit no cap, the timetable those that would land too late, the governor those of a
model or kind with as many renders in flight as it may have.
"""

from __future__ import annotations

from batchrunner.core.job import Job
from batchrunner.core.retry import Instant
from batchrunner.governor import Governor
from batchrunner.purse import Purse
from batchrunner.roster import Roster
from batchrunner.timetable import Timetable


class Aside:
    """Who is kept back, and who comes back."""

    def __init__(self, roster: Roster, *, purse: Purse, timetable: Timetable, governor: Governor) -> None:
        """Nobody is kept back yet."""
        self._roster = roster
        self._purse = purse
        self._timetable = timetable
        self._governor = governor

    def keeps(self, job: Job, now: Instant) -> bool:
        """Whether a job is not bought now; it then waits until `take_back` gives it."""
        order = self._roster.place(job.id)
        too_dear = self._purse.refuses(job, now=now)
        if too_dear is not None:
            self._purse.set_aside(job, order=order, why=too_dear)
        elif not self._timetable.lands(job, now):
            self._timetable.leave(job, order=order)
        elif self._governor.stops(job) is not None:
            pass  # left to another run; the words were told when its group was stopped
        elif self._governor.refuses(job) is not None:
            self._governor.park(job, order=order)
        else:
            return False
        return True

    def take_back(self, now: Instant) -> list[Job]:
        """Jobs for which there may be room again."""
        return [
            *self._purse.take_back(self._roster.__getitem__, now=now),
            *self._governor.unpark(self._roster.jobs),
            *self._timetable.take_back(self._roster.jobs, now=now),
        ]
