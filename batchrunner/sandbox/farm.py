"""The render farm: accepted projects wait their turn, and end as fate has it.

Rendered in earnest, a few at once, off the event loop; or simulated, any number at once, by timers alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
import contextlib
from functools import partial
from pathlib import Path
import random
import time

from batchrunner.sandbox import canned, passage, studio
from batchrunner.sandbox.books import Books
from batchrunner.sandbox.canned import Blank
from batchrunner.sandbox.passage import Announce, Ending, Event, Fate, Foretell
from batchrunner.sandbox.renderer import Rendered
from batchrunner.sandbox.settings import Settings
from batchrunner.sandbox.storage import Storage
from batchrunner.sandbox.studio import Outcome, Studio


class Farm:
    """Renders what the books say is open; the only one who moves a project on from `queued`.

    Everything that waits is a timer on the event loop's heap: ten thousand of them cost neither threads nor tasks.
    """

    def __init__(
        self,
        *,
        books: Books,
        storage: Storage,
        settings: Settings,
        foretell: Foretell = passage.ordinary,
        announce: Announce = passage.silent,
    ) -> None:
        self._books = books
        self._storage = storage
        self._settings = settings
        self._foretell = foretell
        self._announce = announce
        self._studio = Studio(storage=storage, settings=settings)
        self._random = random.Random(settings.seed)  # noqa: S311 - to be the same again, not to be secret
        self._fates: dict[str, Fate] = {}
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self._stops: dict[str, asyncio.Event] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._blanks: dict[Blank, asyncio.Future[Path]] = {}
        self._threads = ThreadPoolExecutor(settings.render_workers, thread_name_prefix="render")
        self._is_stopped = False

    def start(self) -> None:
        """Begin with what an earlier server left open; it was charged then and is not charged again."""
        for project_id, _ in self._books.due():
            self._await_correction(project_id)
        for project_id in self._books.open_projects():
            self.submit(project_id)
        if not self._settings.no_render:
            self._workers = [asyncio.create_task(self._work()) for _ in range(self._settings.render_workers)]

    def submit(self, project_id: str) -> None:
        """Queue an accepted project."""
        fate = self._foretell(self._books.projects[project_id])
        if fate.ending is not None:
            self._after(fate.ending_after_s, partial(self.end, project_id, fate.ending))
        self._fates[project_id] = fate
        if fate.queue_s:
            self._after(fate.queue_s, partial(self._enqueue, project_id))
        else:
            self._enqueue(project_id)

    def end(self, project_id: str, ending: Ending) -> None:
        """Cancel, delete or disable a project as a person does in the web app; what is finished is not cancelled."""
        project = self._books.projects[project_id]
        if project.is_deleted:
            return
        match ending:
            case "canceled":
                if project.is_open:
                    self._books.cancel(project_id)
            case "deleted":
                self._books.delete(project_id)
                self._storage.output(project_id).unlink(missing_ok=True)
            case "disabled":
                self._books.disable(project_id)
        if stop := self._stops.get(project_id):
            stop.set()

    async def stop(self) -> None:
        """Give up what is being rendered; it stays open in the books for the next server."""
        self._is_stopped = True
        for worker in self._workers:
            worker.cancel()
        for stop in self._stops.values():
            stop.set()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(max(0.0, seconds), self._unless_stopped, action)

    def _unless_stopped(self, action: Callable[[], None]) -> None:
        """The books may be closed by then."""
        if not self._is_stopped:
            action()

    def _enqueue(self, project_id: str) -> None:
        if self._settings.no_render:
            self._simulate(project_id)
        else:
            self._waiting.put_nowait(project_id)

    def _lasts(self, fate: Fate) -> float:
        """Seconds that a render takes at least."""
        if fate.error is not None and fate.error_after_s is not None:
            return fate.error_after_s
        spread = self._settings.latency_spread
        return self._settings.latency_s * self._random.uniform(1 - spread, 1 + spread)

    # --- in earnest

    async def _work(self) -> None:
        while True:
            project_id = await self._waiting.get()
            fate = self._fates.pop(project_id, passage.ORDINARY)
            if self._books.projects[project_id].is_open:
                await self._handle(project_id, fate)

    async def _handle(self, project_id: str, fate: Fate) -> None:
        self._begin(project_id)
        stop = self._stops[project_id] = asyncio.Event()
        loop = asyncio.get_running_loop()
        finish_at = loop.time() + self._lasts(fate)
        order = self._books.projects[project_id].order
        try:
            outcome: Outcome | None = fate.error
            if outcome is None:
                outcome = await loop.run_in_executor(
                    self._threads, self._studio.render, project_id, order, fate, stop.is_set
                )
            if outcome is not None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), max(0.0, finish_at - loop.time()))
            self._settle(project_id, outcome, fate)
        finally:
            del self._stops[project_id]

    # --- simulated

    def _simulate(self, project_id: str) -> None:
        fate = self._fates.pop(project_id, passage.ORDINARY)
        if self._books.projects[project_id].is_open:
            self._begin(project_id)
            self._after(self._lasts(fate), partial(self._deliver, project_id, fate))

    def _deliver(self, project_id: str, fate: Fate) -> None:
        project = self._books.projects[project_id]
        if not project.is_open or fate.error is not None:
            self._settle(project_id, fate.error, fate)
            return
        blank = canned.blank_for(studio.fated(project.order, fate), self._settings, is_black=fate.is_black)
        made = self._blanks.get(blank)
        if made is None:
            folder = self._settings.data_dir / "canned"
            made = asyncio.get_running_loop().run_in_executor(self._threads, canned.make, blank, folder)
            self._blanks[blank] = made
        made.add_done_callback(
            lambda made: self._unless_stopped(partial(self._hand_out, project_id, blank, made, fate))
        )

    def _hand_out(self, project_id: str, blank: Blank, made: asyncio.Future[Path], fate: Fate) -> None:
        target = self._storage.output(project_id)
        self._settle(project_id, canned.hand_out(made.result(), blank, target), fate)

    # --- how it begins and ends

    def _begin(self, project_id: str) -> None:
        self._books.begin(project_id)
        self._announce("video.started", self._books.projects[project_id])

    def _settle(self, project_id: str, outcome: Outcome | None, fate: Fate) -> None:
        project = self._books.projects[project_id]
        if outcome is None or not project.is_open:
            # One that was disabled while it was rendered keeps nothing either.
            self._storage.output(project_id).unlink(missing_ok=True)
            return
        if isinstance(outcome, Rendered):
            self._books.complete(
                project_id, outcome, correct=fate.settle.instead_of, settle_after_s=fate.settle_after_s
            )
        else:
            self._books.fail(project_id, outcome, refund_after_s=fate.refund_after_s)
        ended: Event = "video.completed" if isinstance(outcome, Rendered) else "video.errored"
        self._announce(ended, self._books.projects[project_id])
        self._await_correction(project_id)

    def _await_correction(self, project_id: str) -> None:
        """Make the correction when it is due; at once what fell due while no server ran."""
        due = self._books.projects[project_id].due
        if due is not None:
            self._after(due.at_s - time.time(), partial(self._books.correct, project_id))
