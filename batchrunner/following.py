"""Jobs that wait for other jobs, and are let go by what becomes of these. Part of the engine.

What must be there before a job may start is decided in `core.awaited`; here it is only kept in step with every event,
at the cost of the jobs that wait for the one that changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from batchrunner.core import awaited
from batchrunner.core.job import Job, State


class Following:
    """Who waits for whom, among the jobs of a run and those on record beside them."""

    def __init__(self, jobs: Iterable[Job], beside: Mapping[str, Job] | None = None) -> None:
        """Note who waits for whom.

        Args:
            jobs: those of the run.
            beside: others on record, by id; what is done of them can be waited for.
        """
        self._jobs: dict[str, Job] = {}
        self._followers: dict[str, list[str]] = {}
        self._waiting: set[str] = set()
        self._sends_files = False
        for job in jobs:
            for other in dict.fromkeys(job.spec.waits_for):
                self._followers.setdefault(other, []).append(job.id)
            self._jobs[job.id] = job
        self._jobs = {**(beside or {}), **self._jobs}

    def source(self, job_id: str) -> Job | None:
        """A job that another is made from, as it is now."""
        return self._jobs.get(job_id)

    @property
    def sends_files(self) -> bool:
        """Whether the provider was seen to refuse the address of a render where it takes the file."""
        return self._sends_files

    def refused_address(self) -> None:
        """From now on renders are brought to the provider as files: it takes them so, and not by their address."""
        self._sends_files = True

    @property
    def waiting(self) -> int:
        """How many jobs of the run wait for others."""
        return len(self._waiting)

    def holds(self, job: Job) -> bool:
        """Whether a job must wait for others; it is then given back by `saw` when it need not any more."""
        if not job.spec.waits_for or not self._misses(job):
            return False
        self._waiting.add(job.id)
        return True

    def saw(self, job: Job) -> list[str]:
        """Take in a job as it is now; the ids of those that need not wait any more."""
        self._jobs[job.id] = job
        if job.state not in {State.RENDERED, State.DONE}:
            return []
        freed = [
            each
            for each in self._followers.get(job.id, ())
            if each in self._waiting and not self._misses(self._jobs[each])
        ]
        self._waiting.difference_update(freed)
        return freed

    def _misses(self, job: Job) -> bool:
        by_file = job.is_renewed or self._sends_files
        return next(awaited.missing(job, self._jobs, by_file=by_file), None) is not None
