"""Jobs that were refused because the account is out of credits, until it is topped up. Part of the engine."""

from __future__ import annotations

from batchrunner.core import retry, schedule
from batchrunner.core.job import Job
from batchrunner.core.schedule import Stop
from batchrunner.ending import Ending
from batchrunner.errors import ProviderError
from batchrunner.seams import Outside


class TopUp:
    """Watches the balance while somebody waits for it."""

    def __init__(self, outside: Outside, ending: Ending, *, every_s: float | None) -> None:
        """Look every `every_s` seconds until the buying stops; None where a top-up is not waited for."""
        self._witness = outside.witness
        self._clock = outside.clock
        self._every_s = every_s
        self._ending = ending
        self._holds: dict[str, int] = {}

    @property
    def is_waited_for(self) -> bool:
        """Whether jobs wait for it now."""
        return bool(self._holds)

    @property
    def may_be_waited_for(self) -> bool:
        """Whether a job that cannot be paid waits for it; else that ends the buying."""
        return self._every_s is not None

    def add(self, job: Job) -> bool:
        """A job waits for it; whether it is the first, and the balance is to be watched."""
        is_first = not self._holds
        self._holds[job.id] = job.spec.hold or 0
        return is_first

    async def comes(self) -> list[str]:
        """Wait until the cheapest of the jobs can be paid, or the run is to stop; the ids of all, to be let go."""
        assert self._every_s is not None
        stopped = self._ending.stopped
        while not stopped.is_set():
            until = self._clock.now() + self._every_s
            while not stopped.is_set() and self._clock.now() < until:
                await self._clock.wait(stopped, until)
            if await self._is_there():
                break
        waited, self._holds = list(self._holds), {}
        return waited

    async def _is_there(self) -> bool:
        """Whether the cheapest can be paid; a balance that no later look can tell either ends the buying."""
        needed = min(self._holds.values())
        try:
            reading = await self._witness([])
        except ProviderError as error:
            failure = retry.failure_of(error)
            if schedule.stop_for(failure) is not Stop.OUT_OF_CREDITS:
                self._ending.cannot_judge(failure, goes_on=True)
            return False
        return reading.credits is not None and reading.credits >= needed
