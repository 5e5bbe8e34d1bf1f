"""The render farm: accepted projects wait their turn, a few are rendered at once, off the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
import contextlib
import logging

from batchrunner.sandbox import assets, passage, renderer
from batchrunner.sandbox.books import Books
from batchrunner.sandbox.orders import ClipOrder, Order, StillOrder
from batchrunner.sandbox.passage import Outcome, OutcomeFilter
from batchrunner.sandbox.renderer import Rendered, RenderError
from batchrunner.sandbox.settings import Settings
from batchrunner.sandbox.storage import Storage

_log = logging.getLogger(__name__)


class Farm:
    """Renders what the books say is open; the only one who moves a project on from `queued`."""

    def __init__(
        self,
        *,
        books: Books,
        storage: Storage,
        settings: Settings,
        outcome_filter: OutcomeFilter = passage.unaltered,
    ) -> None:
        self._books = books
        self._storage = storage
        self._settings = settings
        self._outcome_filter = outcome_filter
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self._stops: dict[str, asyncio.Event] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._threads = ThreadPoolExecutor(settings.render_workers, thread_name_prefix="render")

    def start(self) -> None:
        """Begin with what an earlier server left open; it was charged then and is not charged again."""
        for project_id in self._books.open_projects():
            self.submit(project_id)
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._settings.render_workers)]

    def submit(self, project_id: str) -> None:
        """Queue an accepted project."""
        self._waiting.put_nowait(project_id)

    def abandon(self, project_id: str) -> None:
        """Stop its render, if it has begun; the books say already that it is no longer open."""
        if stop := self._stops.get(project_id):
            stop.set()

    async def stop(self) -> None:
        """Give up what is being rendered; it stays open in the books for the next server."""
        for worker in self._workers:
            worker.cancel()
        for stop in self._stops.values():
            stop.set()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    async def _work(self) -> None:
        while True:
            project_id = await self._waiting.get()
            if self._books.projects[project_id].is_open:
                await self._handle(project_id)

    async def _handle(self, project_id: str) -> None:
        self._books.begin(project_id)
        stop = self._stops[project_id] = asyncio.Event()
        loop = asyncio.get_running_loop()
        finish_at = loop.time() + self._settings.latency_s
        order = self._books.projects[project_id].order
        try:
            outcome = await loop.run_in_executor(self._threads, self._render, project_id, order, stop)
            if outcome is not None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), max(0.0, finish_at - loop.time()))
            self._settle(project_id, outcome)
        finally:
            del self._stops[project_id]

    def _settle(self, project_id: str, outcome: Outcome | None) -> None:
        project = self._books.projects[project_id]
        if outcome is None or not project.is_open:
            self._storage.output(project_id).unlink(missing_ok=True)
            return
        told = self._outcome_filter(project, outcome)
        if isinstance(told, Rendered):
            self._books.complete(project_id, told)
        else:
            self._books.fail(project_id, told)

    def _render(self, project_id: str, order: Order, stop: asyncio.Event) -> Outcome | None:
        """What the render came to, or None when it was told to stop. Runs in a thread."""
        try:
            if isinstance(order, ClipOrder):
                return self._render_clip(project_id, order, stop)
            return self._render_still(project_id, order, stop)
        except renderer.Abandoned:
            return None
        except RenderError as error:
            return error
        except Exception:  # noqa: BLE001 - logged with its traceback
            # Whatever goes wrong with one input must not cost the farm a worker.
            _log.exception("render of %s failed", project_id)
            return RenderError("unknown_error", "An unknown error occurred. Please contact support.")

    def _render_clip(self, project_id: str, order: ClipOrder, stop: asyncio.Event) -> Rendered:
        source = assets.locate(
            order.source,
            "video",
            storage=self._storage,
            remote_dir=self._settings.data_dir / "remote",
            until_s=order.end_s,
        )
        return renderer.render_video_to_video(
            source,
            self._storage.output(project_id),
            start_s=order.start_s,
            end_s=order.end_s,
            fps_resolution=order.fps_resolution,
            art_style=order.art_style,
            longest_edge=self._settings.plan.longest_edge,
            scale=self._settings.scale,
            is_abandoned=stop.is_set,
        )

    def _render_still(self, project_id: str, order: StillOrder, stop: asyncio.Event) -> Rendered:
        image, end_image = (
            None
            if source is None
            else assets.locate(
                source,
                "image",
                storage=self._storage,
                remote_dir=self._settings.data_dir / "remote",
                until_s=1,
            )
            for source in (order.image, order.end_image)
        )
        assert image is not None
        return renderer.render_image_to_video(
            image,
            self._storage.output(project_id),
            end_image=end_image,
            seconds=order.end_s,
            resolution=order.resolution,
            fps=order.fps,
            audio=order.audio,
            prompt=order.prompt,
            scale=self._settings.scale,
            is_abandoned=stop.is_set,
        )
