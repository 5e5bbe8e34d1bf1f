"""What has happened and is not on disk yet. Part of the engine.

Events go to the journal together with the jobs after them, and a quiet moment of the account with the findings it
belongs to. What could not be written is kept for another try, and what would be lost with it is named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable

from batchrunner.core import events
from batchrunner.core.events import Event
from batchrunner.core.evidence import Quiet
from batchrunner.core.job import Job
from batchrunner.errors import StateLocked, StateUnusable
from batchrunner.seams import Journal, Observe

Entry = tuple[Event, Job]
"""An event, and the job after it."""


class Unwritten:
    """Events on their way to the disk, in their order."""

    def __init__(self, journal: Journal, observe: Observe) -> None:
        """Write to `journal`, and tell `observe` of what is written."""
        self._journal = journal
        self._observe = observe
        self._entries: list[Entry] = []
        self._quiet: Quiet | None = None

    def add(self, event: Event, job: Job) -> None:
        """An event is to be written, with the job after it."""
        self._entries.append((event, job))

    def add_quiet(self, quiet: Quiet | None) -> None:
        """A quiet moment is to be written with what is there; None where there is none to remember."""
        self._quiet = quiet

    def drop_intents(self) -> None:
        """Forget intents to submit; nothing was submitted whose intent is not on disk."""
        self._entries = _without_intents(self._entries)

    async def write(self) -> None:
        """Put on disk what is to be written, and a quiet moment with it, and tell of it.

        Raises:
            StateUnusable, StateLocked: it could not be written; it is kept for another try.
        """
        entries, self._entries = self._entries, []
        quiet, self._quiet = self._quiet, None
        if not entries and quiet is None:
            return
        try:
            await to_its_end(self._journal.append(entries, quiet=quiet))
        except (StateUnusable, StateLocked):
            self._keep(entries, quiet)
            raise
        for event, job in entries:
            self._show(event, job)

    def named_in(self, error: StateUnusable | StateLocked) -> StateUnusable | StateLocked:
        """The error of a log that cannot be written, with every project id that would be lost with it."""
        accepted = [
            f"{job.id} = {event.project_id}" for event, job in self._entries if isinstance(event, events.Accepted)
        ]
        told = f"; accepted but NOT recorded, keep this: {', '.join(accepted)}" if accepted else ""
        return type(error)(f"{error}{told}", hint=error.hint)

    def _keep(self, entries: list[Entry], quiet: Quiet | None) -> None:
        """Keep for another try what could not be written; a quiet moment that came since is the better one."""
        self._entries = [*_without_intents(entries), *self._entries]
        self._quiet = self._quiet or quiet

    def _show(self, event: Event, job: Job) -> None:
        """Tell the observer; one that fails is not told again, and cannot end the run."""
        try:
            self._observe(event, job)
        except Exception:  # noqa: BLE001 - a terminal that has gone away must not cost a render
            self._observe = lambda _event, _job: None


async def to_its_end(work: Awaitable[None]) -> None:
    """Do what must not be broken off, however often that is asked for; who asked is heard when it is over."""
    task = asyncio.ensure_future(work)
    asked: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            asked = error
    task.result()
    if asked is not None:
        raise asked


def _without_intents(entries: Iterable[Entry]) -> list[Entry]:
    """What happened; nothing was submitted whose intent is not on disk, so an intent that is not says nothing."""
    return [(event, job) for event, job in entries if not isinstance(event, events.SubmitStarted)]
