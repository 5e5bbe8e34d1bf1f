"""The jobs of a run as they are now, and what finds them. Part of the engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from batchrunner.core.job import Job, State


class Roster:
    """Every job of a run, in the order of preference.

    Attributes:
        by_state: how many jobs are in each state; counted with every change.
    """

    def __init__(self, jobs: Iterable[Job], *, at_rest: int = 0) -> None:
        """Begin with the jobs as they are; so many more are done, and are only counted."""
        self._jobs: dict[str, Job] = {}
        self._places: dict[str, int] = {}
        self._projects: dict[str, str] = {}
        self.by_state = dict.fromkeys(State, 0)
        self.by_state[State.DONE] = at_rest
        for job in jobs:
            self._places[job.id] = len(self._places)
            self._jobs[job.id] = job
            self.by_state[job.state] += 1
            self._index(job)

    def __getitem__(self, job_id: str) -> Job:
        """A job as it is now."""
        return self._jobs[job_id]

    @property
    def jobs(self) -> Mapping[str, Job]:
        """Every job as it is now, by id."""
        return self._jobs

    def place(self, job_id: str) -> int:
        """A job's place in the order of preference."""
        return self._places[job_id]

    def rendering(self, project_id: str) -> Job | None:
        """The job whose render this project is, while it is waited for."""
        job_id = self._projects.get(project_id)
        return None if job_id is None else self._jobs[job_id]

    def has(self, attempt: Job) -> bool:
        """Whether an attempt is the present one of a job."""
        job = self._jobs.get(attempt.id)
        return job is not None and job.attempt == attempt.attempt

    def change(self, before: Job, after: Job) -> None:
        """Take in one job's change."""
        self._jobs[after.id] = after
        self.by_state[before.state] -= 1
        self.by_state[after.state] += 1
        if before.project_id is not None:
            self._projects.pop(before.project_id, None)
        self._index(after)

    def _index(self, job: Job) -> None:
        if job.state is State.RENDERING and job.project_id is not None:
            self._projects[job.project_id] = job.id
