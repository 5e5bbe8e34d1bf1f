"""A notice makes a look due and no more: with a clock that jumps, and over real sockets with one that stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
import shutil
import time
from typing import Any

import httpx
from hypothesis import given, strategies as st
import pytest

from batchrunner import access as providers, assembly, batch
from batchrunner.core import events
from batchrunner.core.events import Event
from batchrunner.core.job import Action, Job, State
from batchrunner.core.retry import Again, Step
from batchrunner.engine import Engine
from batchrunner.lines import _Line
from batchrunner.provider.webhooks import Notice
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import API_KEY, Settings
from batchrunner.seams import Outcome
from batchrunner.session import Order, begin
from batchrunner.till import Till
from batchrunner.web import receiver
from batchrunner.web.door import Door
from tests.support.notices import SECRET, body_of, post, signed
from tests.support.program import Provider
from tests.test_engine import UNREACHABLE, Bench, a_job, bench


def at(table: Bench, when: float, act: Callable[[], None]) -> None:
    """Do something at a time of the table's clock."""
    wait, is_done = table.clock.wait, False

    async def wait_or_act(event: asyncio.Event, until: float | None) -> None:
        nonlocal is_done
        if is_done or until is None or until < when:
            await wait(event, until)
            return
        await wait(event, when)
        if table.clock.now() >= when:
            is_done = True
            act()

    table.clock.wait = wait_or_act  # type: ignore[method-assign]


def rendered_at(table: Bench, job_id: str = "j0") -> float:
    (moment,) = [event.at for event, job in table.memory.log if job.id == job_id and isinstance(event, events.Rendered)]
    return moment


def accepted_at(table: Bench) -> float:
    (moment,) = [event.at for event, _ in table.memory.log if isinstance(event, events.Accepted)]
    return moment


def test_a_notice_makes_the_look_due() -> None:
    plain = bench([a_job(0)], render_s=601)
    plain.run()
    told = bench([a_job(0)], render_s=601)
    start = accepted_at(plain)
    at(told, start + 601, lambda: told.engine.notice("p-j0-1"))
    assert told.run().by_state[State.DONE] == 1
    assert rendered_at(plain) > start + 601
    assert rendered_at(told) == start + 601
    assert told.world.times(Action.POLL)["j0"] == plain.world.times(Action.POLL)["j0"]


def test_an_early_notice_costs_one_look_however_often_it_comes() -> None:
    plain, told = bench([a_job(0)], render_s=601), bench([a_job(0)], render_s=601)
    plain.run()

    def tell() -> None:
        for _ in range(1000):
            told.engine.notice("p-j0-1")

    when = accepted_at(plain) + 300.25
    at(told, when, tell)
    assert told.run().by_state[State.DONE] == 1
    looks = [moment for moment, action, _ in told.world.calls if action is Action.POLL]
    assert looks.count(when) == 1
    assert len(looks) <= plain.world.times(Action.POLL)["j0"] + 1
    # It tells nothing of what it found: the next look is where it is after any other.
    following = min(moment for moment in looks if moment > when)
    assert when + 1 < following <= when + 61


@pytest.mark.parametrize("project_id", ["", "p-j1-1", "p-j0-2", "j0", "p-j0-1\n"])
def test_a_notice_about_something_else_changes_nothing(project_id: str) -> None:
    plain, told = bench([a_job(0)], render_s=601), bench([a_job(0)], render_s=601)
    at(told, accepted_at_of(plain) + 300, lambda: told.engine.notice(project_id))
    told.run()
    assert told.world.calls == plain.world.calls
    assert told.memory.log == plain.memory.log


def accepted_at_of(plain: Bench) -> float:
    plain.run()
    return accepted_at(plain)


def test_a_late_notice_changes_nothing() -> None:
    plain, told = bench([a_job(n) for n in range(2)]), bench([a_job(n) for n in range(2)])
    plain.run()

    def tell(event: Event, job: Job) -> None:
        if isinstance(event, events.Rendered | events.Downloaded) and job.project_id is not None:
            told.engine.notice(job.project_id)

    told.world.observe = tell
    told.run()
    assert told.world.calls == plain.world.calls
    told.engine.notice("p-j0-1")
    assert told.memory.log == plain.memory.log


def test_a_notice_that_comes_while_a_look_is_under_way_is_not_lost() -> None:
    table = bench([a_job(0)], render_s=601)
    moments: list[float] = []

    def look(job: Job) -> Event | None:
        moments.append(table.clock.now())
        if len(moments) == 10:
            table.engine.notice(str(job.project_id))
        return None

    table.world.overrides[Action.POLL] = look
    table.run()
    assert moments[10] == moments[9]
    assert moments[11] > moments[10]


def test_the_wait_after_a_look_that_failed_is_kept() -> None:
    table = bench([a_job(0)], render_s=601)
    moments: list[float] = []

    def look(job: Job) -> Event | None:
        moments.append(table.clock.now())
        if len(moments) != 10:
            return None
        table.engine.notice(str(job.project_id))
        at(table, table.clock.now() + 50, lambda: table.engine.notice(str(job.project_id)))
        verdict = Again(at=table.clock.now() + 100)
        return events.StepFailed(at=table.clock.now(), failure=UNREACHABLE, verdict=verdict)

    table.world.overrides[Action.POLL] = look
    table.run()
    assert moments[10] == moments[9] + 100


def test_every_render_is_noticed_among_many() -> None:
    jobs = [a_job(n) for n in range(50)]
    table = bench(jobs, render_s=601)

    def tell(event: Event, job: Job) -> None:
        if isinstance(event, events.Accepted):
            at(table, event.at + 601, lambda: table.engine.notice(event.project_id))

    table.world.observe = tell
    assert table.run().by_state[State.DONE] == 50
    begun = {job.id: event.at for event, job in table.memory.log if isinstance(event, events.Accepted)}
    assert all(rendered_at(table, job.id) == begun[job.id] + 601 for job in jobs)


@given(
    st.lists(st.tuples(st.sampled_from(["add", "add now", "hasten", "ripen"]), st.integers(0, 5), st.integers(0, 9)))
)
def test_a_line_lets_each_job_go_once_when_it_is_time_or_earlier(steps: list[tuple[str, int, int]]) -> None:
    line, later, ready = _Line(), dict[str, float](), set[str]()
    for what, order, moment in steps:
        job_id = str(order)
        if what.startswith("add") and job_id not in later and job_id not in ready:
            date = None if what == "add now" else float(moment)
            line.add(job_id, order=order, at=date)
            if date is None:
                ready.add(job_id)
            else:
                later[job_id] = date
        elif what == "hasten":
            assert line.hasten(job_id, order=order) == (job_id in later)
            if later.pop(job_id, None) is not None:
                ready.add(job_id)
        elif what == "ripen":
            line.ripen(moment)
            ripe = {job for job, date in later.items() if date <= moment}
            ready |= ripe
            later = {job: date for job, date in later.items() if job not in ripe}
            if job_id in ready:  # it starts
                line.ready.remove((order, job_id))
                ready.remove(job_id)
        assert sorted(job for _, job in line.ready) == sorted(ready)
        assert bool(line.later) == bool(later)
        if later:
            assert line.later[0][0] == min(later.values())


# --- over real sockets ---


@dataclass
class StandingClock:
    """Time that stands still: a date never comes, so whatever happens was caused by something else."""

    time: float = field(default_factory=time.time)

    def now(self) -> float:
        return self.time

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        if until is not None and until <= self.time:
            await asyncio.sleep(0)
        else:
            await event.wait()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never happened")


@dataclass
class Night:
    """A run on the sandbox that looks at a render only when it is told to."""

    engine: Engine
    url: str
    provider: Provider
    looks: list[str]
    jobs: dict[str, asyncio.Future[str]]
    noticed: list[str]
    ended: asyncio.Task[Outcome]

    async def post(self, body: bytes, headers: dict[str, str] | None = None) -> int:
        return await post(self.url, body, headers)

    async def rendered(self, project_id: str) -> None:
        """Return when the provider has rendered it."""
        await until(lambda: self.status(project_id) == "complete")

    def status(self, project_id: str) -> Any:
        return next(each["status"] for each in self.provider.ledger()["creates"] if each["id"] == project_id)


MANIFEST = """\
version: 1
output: out/{id}.mp4
defaults: {image-to-video: {end_seconds: 3, style: {prompt: slow}}}
jobs:
  - {id: one, kind: image-to-video, input: a.png}
  - {id: two, kind: image-to-video, input: b.png}
"""


@asynccontextmanager
async def night(provider: Provider, folder: Path, media: Path, *, is_told: bool = False) -> AsyncIterator[Night]:
    """The run; with `is_told` the sandbox posts its notices to it."""
    shutil.copytree(media, folder / "batch")
    manifest = folder / "batch" / "night.yaml"
    manifest.write_text(MANIFEST)
    access = providers.Access(base_url=provider.base_url, key=API_KEY)
    loop = asyncio.get_running_loop()
    jobs: dict[str, asyncio.Future[str]] = {"one": loop.create_future(), "two": loop.create_future()}
    looks: list[str] = []
    noticed: list[str] = []

    def observe(event: Event, job: Job) -> None:
        if isinstance(event, events.Accepted):
            jobs[job.id].set_result(event.project_id)
            if event.project_id in noticed:  # it came before the answer did
                engine.notice(event.project_id)

    async with providers.client(access) as client:
        account = await providers.account(client)
        with begin(batch.read(manifest), Order(), access=access, account=account) as session:
            engine, performer = assembly.engine(
                session,
                client=client,
                access=access,
                account=account,
                till=Till(None),
                observe=observe,
                tell=print,
            )

            async def perform(action: Action, job: Job) -> Event:
                if action is Action.POLL:
                    looks.append(job.id)
                return await performer(action, job)

            def on_notice(notice: Notice) -> None:
                if notice.asks_for_a_look:
                    noticed.append(notice.project_id)
                    engine.notice(notice.project_id)

            engine._clock, engine._perform = StandingClock(), perform
            door = Door(host="127.0.0.1", port=0, secret=SECRET)
            async with receiver.listening(door, on_notice=on_notice, now=time.time, tell=lambda _: None) as url:
                if is_told:
                    put(provider, "webhook", {"url": url, "secret": SECRET})
                ended = asyncio.create_task(engine.run())
                try:
                    yield Night(
                        engine=engine, url=url, provider=provider, looks=looks, jobs=jobs, noticed=noticed, ended=ended
                    )
                    await asyncio.wait_for(ended, 30)
                finally:
                    ended.cancel()
                    await asyncio.wait([ended])


def put(provider: Provider, control: str, body: Any) -> None:
    httpx.put(f"{provider.base_url}/_sandbox/{control}", json=body, trust_env=False).raise_for_status()


@pytest.fixture
def quick(tmp_path: Path) -> Any:
    settings = Settings(data_dir=tmp_path / "sandbox", scale=0.1, no_render=True)
    with launch.start(settings) as running:
        yield Provider(base_url=running.base_url)


async def test_only_a_real_notice_makes_a_run_look(quick: Provider, tmp_path: Path, media: Path) -> None:
    async with night(quick, tmp_path, media) as run:
        one, two = await run.jobs["one"], await run.jobs["two"]
        await run.rendered(one)
        await run.rendered(two)
        right = body_of(one)
        assert await run.post(right, signed(right, secret="guess")) == 401
        assert await run.post(right, signed(body_of(two))) == 401
        assert await run.post(right, signed(right, at=time.time() - 3600)) == 400
        assert await run.post(b"{}") == 400
        assert await run.post(body_of(one, "video.started")) == 204
        assert await run.post(body_of("c-of-somebody-else")) == 204
        assert run.noticed == ["c-of-somebody-else"]
        assert run.looks == []

        headers = signed(right)
        assert [await run.post(right, headers) for _ in range(3)] == [204] * 3
        await until(lambda: run.engine.jobs()["one"].state is State.DONE)
        assert run.looks == ["one"]
        assert await run.post(right, headers) == 204  # played again, when all is over
        assert await run.post(body_of(one, "video.errored")) == 204  # a lie, but a signed one
        assert run.engine.jobs()["one"].state is State.DONE
        assert await run.post(body_of(two)) == 204
    assert run.ended.result().by_state[State.DONE] == 2
    assert run.looks == ["one", "two"]


async def test_a_notice_that_lies_about_the_render_costs_one_look(quick: Provider, tmp_path: Path, media: Path) -> None:
    put(quick, "faults", [{"step": "render", "job": "night/one *", "slow_queue": 3600}])
    async with night(quick, tmp_path, media) as run:
        one, two = await run.jobs["one"], await run.jobs["two"]
        await run.rendered(two)
        assert await run.post(body_of(one, status="complete", credits_charged=0)) == 204
        assert await run.post(body_of(two)) == 204
        await until(lambda: run.engine.jobs()["two"].state is State.DONE and not run.engine.load.running[Step.POLL])
        assert sorted(run.looks) == ["one", "two"]
        assert run.engine.jobs()["one"].state is State.RENDERING
        # What it has become is what a look shows, whatever the notice said.
        address = f"{quick.base_url}/_sandbox/projects/{one}/cancel"
        await asyncio.to_thread(lambda: httpx.post(address, trust_env=False).raise_for_status())
        assert await run.post(body_of(one, "video.errored")) == 204
    assert run.ended.result().by_state[State.CANCELED] == 1
    assert sorted(run.looks) == ["one", "one", "two"]


async def test_the_sandbox_tells_when_to_look(quick: Provider, tmp_path: Path, media: Path) -> None:
    put(
        quick,
        "faults",
        [
            {"step": "webhook", "event": "video.started", "forge": True},
            {"step": "webhook", "copies": 3},
        ],
    )
    async with night(quick, tmp_path, media, is_told=True) as run:
        await run.ended
    assert run.ended.result().by_state[State.DONE] == 2
    assert sorted(run.looks) == ["one", "two"]
    assert len(run.noticed) == 2
