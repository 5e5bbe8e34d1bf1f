"""What a person sees while a run goes on: a few live lines on a terminal, one plain line an event elsewhere.

Never a bar a job: with a thousand of those the display alone keeps a core busy. The display asks the engine a few
times a second and is told of events; nothing it does can reach back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import islice
import time
from typing import TYPE_CHECKING, Protocol

from batchrunner import inwords
from batchrunner.cli import show
from batchrunner.core import events, job as machine, plain, schedule
from batchrunner.core.events import Event
from batchrunner.core.job import Job, State

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from batchrunner.engine import Engine
    from batchrunner.traffic import Moving, Traffic

REFRESH_S = 0.25
LAST_EVENTS = 6
BIG_AFTER_S = 2.0
"""A transfer that takes longer has a line of its own."""

MOST_BIG = 3
STALL_S = 3.0
"""What still stands in the way after this long is worth a line."""


class Progress(Protocol):
    """A display of a run."""

    def observe(self, event: Event, job: Job) -> None:
        """Hear of an event that is on disk."""

    def shown(self, engine: Engine, traffic: Traffic) -> AbstractAsyncContextManager[None]:
        """Show the engine's progress while in the block."""


def big_transfers(traffic: Traffic) -> list[str]:
    """The transfers that take long, those that began first, each in a line; figures first, since names may be cut."""
    now = traffic.clock()
    long = (each for each in traffic.moving().values() if now - each.began_at >= BIG_AFTER_S)
    return [_big(each, now) for each in islice(long, MOST_BIG)]


def _big(moving: Moving, now: float) -> str:
    share = f"{100 * moving.done // moving.total:3} %  of {show.bytes_(moving.total)}" if moving.total else ""
    words = [
        "↑" if moving.is_up else "↓",
        share or show.bytes_(moving.done),
        f"{show.bytes_(moving.per_second(now))}/s",
        plain.cell(moving.name),
    ]
    return "  ".join(words)


class Lines:
    """One line an event, on standard error: for files, pipes and CI."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def observe(self, event: Event, job: Job) -> None:
        text = inwords.of_event(event, job)
        if text is not None:
            show.say(f"{time.strftime('%H:%M:%S', time.localtime(event.at))} {plain.cell(f'{job.id}: {text}')}")

    @asynccontextmanager
    async def shown(self, engine: Engine, traffic: Traffic) -> AsyncIterator[None]:
        del traffic
        watching = asyncio.create_task(self._watch(engine))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, engine: Engine) -> None:
        """Say why nothing moves, once for each reason that lasts: a log that just stops explains nothing."""
        before: set[str] = set()
        while True:
            await asyncio.sleep(STALL_S)
            now = set(engine.stalls())
            for why in sorted(now & before - self._told):
                self._told.add(why)
                show.say(f"{time.strftime('%H:%M:%S')} waiting: {plain.cell(why)}")
            before = now


class Quiet:
    """Nothing while the run goes on."""

    def observe(self, event: Event, job: Job) -> None:
        del event, job

    @asynccontextmanager
    async def shown(self, engine: Engine, traffic: Traffic) -> AsyncIterator[None]:
        del engine, traffic
        yield


class Live:
    """A few lines at the bottom of a terminal, and above them what happened last."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._recent: deque[str] = deque(maxlen=LAST_EVENTS)
        self._durations: deque[float] = deque(maxlen=200)
        self._credits = 0
        self._last: dict[str, int] = {}

    def observe(self, event: Event, job: Job) -> None:
        self._credits += (job.charged or 0) - self._last.get(job.id, 0)
        self._last[job.id] = job.charged or 0
        if isinstance(event, events.Rendered) and job.accepted_at is not None:
            self._durations.append(event.at - job.accepted_at)
        text = inwords.of_event(event, job)
        if text is not None:
            self._recent.append(
                f"{time.strftime('%H:%M:%S', time.localtime(event.at))}  {plain.cell(f'{job.id}: {text}')}"
            )

    @asynccontextmanager
    async def shown(self, engine: Engine, traffic: Traffic) -> AsyncIterator[None]:
        from rich.live import Live as RichLive

        for job in engine.jobs().values():
            self._last[job.id] = job.charged or 0
        with RichLive(self._render(engine, traffic), console=self._console, auto_refresh=False) as live:
            drawing = asyncio.create_task(self._draw(live.update, engine, traffic))
            try:
                yield
            finally:
                drawing.cancel()
                await asyncio.gather(drawing, return_exceptions=True)
                live.update(self._render(engine, traffic), refresh=True)

    async def _draw(self, update: object, engine: Engine, traffic: Traffic) -> None:
        assert callable(update)
        while True:
            update(self._render(engine, traffic), refresh=True)
            await asyncio.sleep(REFRESH_S)

    def _render(self, engine: Engine, traffic: Traffic) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        counts = engine.load.by_state
        total = sum(counts.values())
        over = sum(counts[state] for state in machine.FINAL)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=max(1, total), completed=over, width=30),
            Text(f"{over:,} of {show.plural(total, 'job')}   {self._time_left(engine)}"),
        )
        lines = [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in self._recent]
        states = "  ".join(f"{counts[state]:,} {state}" for state in State if counts[state])
        moved = f"↑ {show.bytes_(traffic.up)}  ↓ {show.bytes_(traffic.down)}  {self._credits:,} credits this run"
        held = dict.fromkeys([*(why for _, (n, why) in _held(engine) if n), *engine.stalls()])
        waiting = [Text(f"waiting: {why}", style="yellow") for why in held]
        big = [Text(line, no_wrap=True, overflow="ellipsis") for line in big_transfers(traffic)]
        return Group(*lines, bar, Text(states, style="bold"), Text(moved), *big, *waiting[:2])

    def _time_left(self, engine: Engine) -> str:
        """From this run's own render times; nothing until one has finished."""
        counts = engine.load.by_state
        left = sum(counts[state] for state in schedule.UNFINISHED)
        elapsed = show.seconds(time.monotonic() - self._started)
        if not self._durations or not left:
            return elapsed
        mean = sum(self._durations) / len(self._durations)
        waves = max(1.0, left / max(1, engine.limits.in_flight))
        return f"{elapsed}, about {show.seconds(mean * waves)} left"


def _held(engine: Engine) -> list[tuple[object, tuple[int, str]]]:
    return list(engine.waits().items())
