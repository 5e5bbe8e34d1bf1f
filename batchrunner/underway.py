"""What is under way: one task an action, and how a run leaves them. Part of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from batchrunner.core.retry import Step
from batchrunner.core.schedule import Load

LAST_ANSWER_S = 10.0
"""How long a run that is told to leave at once still waits for the answer to a paid request."""


class Underway:
    """The tasks of a run.

    Attributes:
        crash: what ended a task that should not have ended so; it ends the run.
    """

    def __init__(self, load: Load, wake: asyncio.Event) -> None:
        """Count out of `load` what has ended, and set `wake` when something has."""
        self._load = load
        self._wake = wake
        self._tasks: dict[asyncio.Task[None], Step | None] = {}
        self.crash: BaseException | None = None

    def __bool__(self) -> bool:
        """Whether anything is under way."""
        return bool(self._tasks)

    def start(self, step: Step | None, work: Awaitable[None]) -> None:
        """Go on with something beside the loop: a step, which is counted already, or what belongs to none."""
        task = asyncio.ensure_future(work)
        self._tasks[task] = step
        task.add_done_callback(self._ended)

    async def end(self) -> None:
        """End what is still running.

        A paid request is given a moment to answer: its project id is worth more than the seconds. Everything else
        can be done again at no cost.
        """
        submits = {task for task, step in self._tasks.items() if step is Step.SUBMIT}
        for task in set(self._tasks) - submits:
            task.cancel()
        if submits:
            await asyncio.wait(submits, timeout=LAST_ANSWER_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Future[None]) -> None:
        assert isinstance(task, asyncio.Task)
        step = self._tasks.pop(task)
        if step is not None:
            self._load.running[step] -= 1
        if not task.cancelled() and task.exception() is not None:
            self.crash = task.exception()
        self._wake.set()
