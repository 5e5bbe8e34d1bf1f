"""Jobs that wait behind the canaries, and are let go when these are good. Part of the engine.

Which jobs are canaries, and what becomes of the others, is decided in `core.canary`; here it is only kept in step with
every event.
"""

from __future__ import annotations

from batchrunner.core.canary import Canaries
from batchrunner.core.job import Job
from batchrunner.core.schedule import Stop
from batchrunner.ending import Ending


class Behind:
    """Who waits for the canaries.

    Attributes:
        canaries: the jobs that are to be good first; None where there are to be none.
    """

    def __init__(self, canaries: Canaries | None, ending: Ending) -> None:
        """Nobody waits yet; `ending` is told when a canary is in doubt."""
        self.canaries = canaries
        self._ending = ending
        self._waiting: list[str] = []

    @property
    def waiting(self) -> int:
        """How many jobs wait for the canaries."""
        return len(self._waiting)

    @property
    def words(self) -> str:
        """Why they wait."""
        return self.canaries.words if self.canaries is not None else ""

    def holds(self, job: Job) -> bool:
        """Whether a job must wait for the canaries; it is then given back by `saw` when it need not any more."""
        if self.canaries is None or not self.canaries.holds_back(job):
            return False
        self._waiting.append(job.id)
        return True

    def saw(self, job: Job) -> list[str]:
        """Take in a job as it is now; the ids of those that need not wait any more."""
        if self.canaries is None or job.id not in self.canaries.ids:
            return []
        self.canaries.saw(job)
        if self.canaries.stops is not None:
            self._ending.stop(Stop.CANARY)
        if not self.canaries.is_over:
            return []
        freed, self._waiting = self._waiting, []
        return freed
