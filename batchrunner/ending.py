"""Why a run buys no more, and what is behind it. Part of the engine.

What a failure means for the whole account is decided in `core.schedule`; here the gravest reason is kept.
"""

from __future__ import annotations

import asyncio

from batchrunner.core import schedule
from batchrunner.core.job import Job
from batchrunner.core.retry import Failure
from batchrunner.core.schedule import Stop


class Ending:
    """The reason for which buying has stopped, if it has.

    Attributes:
        reason: the gravest that came up.
        trouble: the failure behind it, if there was one.
        is_unreachable: whether work is left because the provider could not be talked to.
        stopped: set once nothing more is bought.
    """

    def __init__(self, wake: asyncio.Event) -> None:
        """Nothing has stopped yet; `wake` is set when something has."""
        self._wake = wake
        self.reason: Stop | None = None
        self.trouble: Failure | None = None
        self.is_unreachable = False
        self.stopped = asyncio.Event()

    def stop(self, reason: Stop) -> None:
        """Buy no more, for this reason or a graver one that was there before."""
        self.reason = schedule.graver(self.reason, reason)
        self.stopped.set()
        self._wake.set()

    def cut_off(self) -> None:
        """Buy no more, since the provider cannot be talked to."""
        self.is_unreachable = True
        self.stop(Stop.UNREACHABLE)

    def heed(self, failure: Failure, job: Job) -> None:
        """Take in a failure of a job's step: it may say something about the whole account."""
        stop = schedule.stop_for(failure)
        if stop is not None:
            self.trouble = failure
            self.stop(stop)
        if job.is_left and failure.is_unreachable:
            self.trouble = failure
            self.is_unreachable = True

    def cannot_judge(self, failure: Failure, *, goes_on: bool) -> None:
        """The evidence could not be read; unless it is asked for again, no more is bought without it."""
        stop = schedule.stop_for(failure)
        if stop is not None or not goes_on:
            self.trouble = failure
            self.is_unreachable = stop is None
            self.stop(stop or Stop.UNREACHABLE)

    async def comes(self) -> tuple[Stop, str]:
        """Wait until nothing more is bought, for a reason of the run's; the reason, and what is behind it."""
        await self.stopped.wait()
        assert self.reason is not None
        return self.reason, self.trouble.message if self.trouble is not None else str(self.reason)
