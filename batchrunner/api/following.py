"""A run in a thread of its own, with an event loop of its own, and how to follow it from outside.

So the run is not held up by whoever follows it, and looking into clips or waiting for a disk does not hold up the
caller's event loop. Everything of the run happens in that thread; what leaves it are events, and what enters is a wish
to stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
import logging
import os
from pathlib import Path
import threading
from types import TracebackType
from typing import Self

from batchrunner import logfile, recorder as recorders, running, telemetry
from batchrunner.access import Access
from batchrunner.api import values
from batchrunner.api.pipe import Pipe
from batchrunner.api.twins import refuse_in_loop
from batchrunner.api.values import RunResult
from batchrunner.batch import Batch
from batchrunner.core.eventlines import JobEvent
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.schedule import Stop
from batchrunner.core.workers import Workers
from batchrunner.engine import Engine
from batchrunner.errors import UsageError
from batchrunner.herald import heralding
from batchrunner.recorder import Recorder
from batchrunner.running import Report
from batchrunner.session import Order
from batchrunner.traffic import Traffic
from batchrunner.web import door as doors

logging.getLogger("batchrunner").addHandler(logging.NullHandler())
_log = logging.getLogger("batchrunner")
"""What the command line says to a person while it waits goes here; without a handler nobody hears it."""

JOIN_S = 0.2
"""Seconds between two looks whether the thread has ended: a wait without an end cannot be interrupted on Windows."""


Asks = Callable[[Access], Awaitable[Order]]
"""Asks for what is to be done, with the provider at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a thread is to carry out.

    Attributes:
        order: asks for what is to be bought, with the provider at hand; raises where that is not agreed to.
        log: a file for the log; `events` one for the events as lines of JSON.
        tell: hears, in the run's thread, what the command line says to a person; by default it goes to logging.
    """

    batch: Batch
    order: Asks
    access: Access | None = None
    is_sandbox: bool = False
    scale: float = 0.5
    log: Path | None = None
    events: Path | None = None
    webhook_port: int | None = None
    webhook_host: str | None = None
    sends_notices: bool = False
    hook: tuple[str, ...] = ()
    tell: Callable[[str], None] | None = None
    workers: Workers | None = None


class Running:
    """A run that goes on while in the block, sync or async: iterate over its events, `stop` it, read its `result`.

    The end of the block waits for the end of the run, so that what was bought is collected. An exception that leaves
    the block, a cancellation too, makes the run leave at once; nothing is lost then, the next run goes on.
    """

    def __init__(self, task: Task) -> None:
        """Prepare it; nothing happens before the block is entered."""
        self._task = task
        self._pipe = Pipe()
        self._thread = threading.Thread(target=self._main, name=f"run {task.batch.path.name}", daemon=True)
        self._lock = threading.Lock()
        self._inner: tuple[asyncio.AbstractEventLoop, asyncio.Task[Report]] | None = None
        self._engine: Engine | None = None
        self._stops = self._leaves = self._is_told = False
        self._report: Report | None = None
        self._error: BaseException | None = None

    # --- what the caller may ask and tell ---

    def stop(self) -> None:
        """Buy no more; what was bought is still collected. From any thread, at any time."""
        with self._lock:
            self._stops = True
            if self._engine is not None and self._inner is not None:
                with suppress(RuntimeError):  # it is over
                    self._inner[0].call_soon_threadsafe(self._engine.stop, Stop.INTERRUPTED)

    @property
    def result(self) -> RunResult:
        """What it came to; once it is over.

        Raises:
            UsageError: it is not over, or it was left.
        """
        if self._report is None:
            raise UsageError("this run has no result: it is not over, or was left before its end")
        return values.result_of(self._report, self._task.batch.root, missed_events=self._pipe.missed)

    def __enter__(self) -> Self:
        refuse_in_loop("with start(…)", "async with start(…)")
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._leave()
        try:
            self._join()
        except BaseException:
            self._leave()
            self._join()
            raise
        if error is None:
            self._raise()

    def __iter__(self) -> Iterator[JobEvent]:
        self._refuse_outside("with start(…) as run: for event in run: …")
        while (event := self._pipe.get()) is not None:
            yield event
        self._join()
        self._raise()

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._leave()
        try:
            await self._join_async()
        except BaseException:
            self._leave()
            await self._join_async()
            raise
        if error is None:
            self._raise()

    async def __aiter__(self) -> AsyncIterator[JobEvent]:
        self._refuse_outside("async with start(…) as run: async for event in run: …")
        while (event := await self._pipe.get_async()) is not None:
            yield event
        await self._join_async()
        self._raise()

    def _start(self) -> None:
        if self._thread.ident is not None:
            raise UsageError("this run was entered before, and goes on once only", hint="start(…) makes another")
        self._thread.start()

    def _refuse_outside(self, instead: str) -> None:
        """Refuse to wait for events of what was never begun: none would ever come."""
        if self._thread.ident is None:
            raise UsageError("this run has not begun: use it in a with block", hint=instead)

    def _join(self) -> None:
        while self._thread.is_alive():
            self._thread.join(JOIN_S)

    async def _join_async(self) -> None:
        while self._thread.is_alive():
            while await self._pipe.get_async() is not None:
                pass  # whoever leaves the block has seen enough
            await asyncio.sleep(0.01)

    def _raise(self) -> None:
        if self._error is not None and not self._is_told:
            self._is_told = True
            raise self._error

    def _leave(self) -> None:
        with self._lock:
            self._leaves = True
            if self._inner is not None:
                with suppress(RuntimeError):  # it is over
                    self._inner[0].call_soon_threadsafe(self._inner[1].cancel)

    # --- in the thread ---

    def _main(self) -> None:
        try:
            with asyncio.Runner() as runner, ExitStack() as stack:
                self._report = runner.run(self._begin(stack))
        except BaseException as error:  # noqa: BLE001 - it is raised where the run is waited for
            self._error = error
        finally:
            with self._lock:
                self._inner = self._engine = None
            self._pipe.close()

    async def _begin(self, stack: ExitStack) -> Report:
        """Make the run known to whoever wants to stop it, and carry it out."""
        carried_out = asyncio.ensure_future(self._carry_out(stack))
        with self._lock:
            self._inner = asyncio.get_running_loop(), carried_out
            if self._leaves:
                carried_out.cancel()
        return await carried_out

    async def _carry_out(self, stack: ExitStack) -> Report:
        task = self._task
        door = doors.wanted(
            task.batch.manifest.webhooks, port=task.webhook_port, host=task.webhook_host, environ=os.environ
        )
        access = stack.enter_context(
            running.provider(task.batch, access=task.access, is_sandbox=task.is_sandbox, scale=task.scale)
        )
        recorder = stack.enter_context(
            recorders.keeping(self._recorder(access, stack), state=task.batch.state, manifest=task.batch.path)
        )
        herald = stack.enter_context(
            heralding(
                task.batch, environ=os.environ, tell=_log.warning, command=task.hook, is_silent=not task.sends_notices
            )
        )
        order = await task.order(access)
        onlooker = _Onlooker(knows=self._knows)
        report = await running.carry_out(
            task.batch,
            access,
            order,
            onlooker=onlooker,
            say=task.tell or _log.info,
            door=door,
            recorder=recorder,
            herald=herald,
            hurries=lambda: self._stops,
            workers=task.workers,
        )
        herald.ended(report.outcome, report.exit_code, report.totals, before=report.charged_before)
        return report

    def _recorder(self, access: Access, stack: ExitStack) -> Recorder:
        log = None
        if self._task.log is not None:
            lines = logfile.opened(self._task.log, turns_over=True, tell=_log.warning)
            log = logfile.Log(lines, recorders.redactor(access.key))
        events = None
        if self._task.events is not None:
            events = logfile.opened(self._task.events, turns_over=False, tell=_log.warning)
            stack.callback(events.close)
        sends = telemetry.opened(os.environ, tell=_log.warning)
        return Recorder(
            say=self._task.tell or _log.warning,
            log=log,
            events=events,
            heed=self._pipe.put,
            key=access.key,
            telemetry=sends,
        )

    def _knows(self, engine: Engine) -> None:
        with self._lock:
            self._engine = engine
            if self._stops:
                engine.stop(Stop.INTERRUPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Onlooker:
    """Lets a run be stopped; its events come from the recorder, once they are on disk."""

    knows: Callable[[Engine], None]

    def observe(self, event: Event, job: Job) -> None:
        """Hear of an event."""

    @asynccontextmanager
    async def shown(self, engine: Engine, traffic: Traffic) -> AsyncIterator[None]:
        """Tell of the engine."""
        del traffic
        self.knows(engine)
        yield


OnEvent = Callable[[JobEvent], None]
"""Called with every event, where the run was started. An exception of it stops the buying; what was bought is
collected, and then it is raised."""


def follow(run: Running, on_event: OnEvent | None) -> RunResult:
    """A run to its end."""
    failure: Exception | None = None
    with run:
        for event in run:
            failure = failure or _told(run, on_event, event)
    if failure is not None:
        raise failure
    return run.result


async def follow_async(run: Running, on_event: OnEvent | None) -> RunResult:
    """As `follow`, beside an event loop."""
    failure: Exception | None = None
    async with run:
        async for event in run:
            failure = failure or _told(run, on_event, event)
    if failure is not None:
        raise failure
    return run.result


def _told(run: Running, on_event: OnEvent | None, event: JobEvent) -> Exception | None:
    if on_event is not None:
        try:
            on_event(event)
        except Exception as error:  # noqa: BLE001 - the caller's own; raised when all is collected
            run.stop()
            return error
    return None
