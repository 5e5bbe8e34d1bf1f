"""A provider in a few lines, and a clock that jumps: the real engine, with nothing around it that waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
import itertools
from typing import Any

from batchrunner.core import events, job as machine, pace as pacing
from batchrunner.core.budget import Caps, Spending
from batchrunner.core.events import Event
from batchrunner.core.evidence import Quiet, Reading
from batchrunner.core.job import Action, Job
from batchrunner.core.kind import Kind
from batchrunner.core.manifest import Limits
from batchrunner.core.spec import Asset, Output, Spec
from batchrunner.engine import Engine
from batchrunner.governor import Governor
from batchrunner.inquiry import Money
from batchrunner.purse import Purse
from batchrunner.seams import Journal, Outside, Settings

PRICE = 48
REQUEST = (
    '{"start_seconds":0,"end_seconds":2.5,"fps_resolution":"HALF","style":{"art_style":"Ink","version":"v2"},'
    '"assets":{"video_source":"file","video_file_path":"clips/7.mp4"}}'
)


@dataclass
class Clock:
    """Time stands still while anything can happen, and jumps to the next date when nothing can."""

    time: float = 1_000_000.0

    def now(self) -> float:
        return self.time

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        for _ in range(4):
            if event.is_set():
                return
            await asyncio.sleep(0)
        if until is None:
            await event.wait()
        else:
            self.time = max(self.time, until)


@dataclass
class Counting:
    """A journal that only counts."""

    events: int = 0
    transactions: int = 0

    async def append(self, entries: Sequence[tuple[Event, Job]], *, quiet: Quiet | None = None) -> None:  # noqa: ARG002 - the store's signature
        self.transactions += 1
        self.events += len(entries)

    async def learn(self, name: str, value: Mapping[str, Any] | None) -> None:
        pass


@dataclass
class Provider:
    """Every action succeeds at once, and a render takes what `took` says of its number."""

    clock: Clock
    took: Callable[[int], float]
    begun: dict[str, tuple[float, float]] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    late: list[float] = field(default_factory=list)
    credits: int = 100_000_000

    async def perform(self, action: Action, job: Job) -> Event:
        await asyncio.sleep(0)
        now = self.clock.now()
        match action:
            case Action.UPLOAD:
                asset = Asset(field="video_file_path", file_path=f"api-assets/{job.id}", expires_at=now + 6 * 86400)
                return events.Uploaded(at=now, assets=(asset,))
            case Action.SUBMIT:
                self.credits -= PRICE
                self.begun[job.id] = now, self.took(len(self.begun))
                return events.Accepted(at=now, project_id=f"p-{job.id}", credits=PRICE)
            case Action.POLL:
                return self._look(job, now)
            case _:
                output = Output(path=job.spec.output, bytes=1, sha256="00")
                return events.Downloaded(at=now, outputs=(output,))

    def _look(self, job: Job, now: float) -> Event:
        begun, took = self.begun[job.id]
        self.looks[job.id] = self.looks.get(job.id, 0) + 1
        if now < begun + took:
            return events.Looked(at=now, status="rendering", credits=PRICE)
        self.late.append((now - begun - took) / took)
        return events.Rendered(at=now, status="complete", credits=PRICE)

    async def read_evidence(self, projects: Sequence[str]) -> Reading:
        return Reading(at=self.clock.now(), credits=self.credits, charges=dict.fromkeys(projects, PRICE))


def a_job(number: int) -> Job:
    """A job that is ready, of a clip that has a price."""
    spec = Spec(
        kind=Kind.VIDEO_TO_VIDEO,
        request=REQUEST,
        inputs=(),
        output=f"renders/{number}.mp4",
        seconds=2.5,
        fingerprint=f"{number:064}",
        low=PRICE,
        expected=PRICE,
        hold=PRICE,
    )
    return machine.advance(None, events.Opened(at=1.0, id=f"job-{number}", attempt=1, spec=spec))


def engine(
    jobs: Sequence[Job], *, in_flight: int, took: Callable[[int], float], journal: Journal
) -> tuple[Engine, Provider]:
    """An engine with a provider of its own."""
    clock, names = Clock(), itertools.count()
    provider = Provider(clock, took)
    limits = Limits(in_flight=in_flight, uploads=16, downloads=16)
    spending = Spending(day_of=lambda at: str(at // 86400))
    spending.begin(jobs)
    made = Engine(
        jobs=jobs,
        outside=Outside(
            journal=journal,
            perform=provider.perform,
            witness=provider.read_evidence,
            clock=clock,
            observe=lambda _event, _job: None,
        ),
        settings=Settings(limits=limits, name=lambda job: f"m/{job.id} [{next(names)}]"),
        money=Money(credits=provider.credits, moves=True),
        purse=Purse(caps=Caps(), spending=spending, tell=print),
        governor=Governor(
            limits=limits,
            pace=pacing.unthrottled(most_in_flight=in_flight),
            past={},
            show=str,
            tell=print,
            hints={},
        ),
    )
    return made, provider
