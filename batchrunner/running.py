"""A run from its beginning to its end: the key is checked, the state locked, the engine run, and its end recorded.

The top of the composition: whoever wants a run, the command line or Python, hands in who looks on. Nothing is printed
here, and no signal is handled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from batchrunner import assembly, foresight, session as sessions, statelock, storage, store
from batchrunner.access import Access, access as access_of, account as read_account, client as client_of, key_of
from batchrunner.batch import Batch
from batchrunner.caps import refuse_vain_caps
from batchrunner.clock import WallClock
from batchrunner.core import schedule
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.schedule import Stop
from batchrunner.core.workers import Workers
from batchrunner.engine import Engine
from batchrunner.errors import Exit, UsageError
from batchrunner.herald import Herald
from batchrunner.marks import Marks
from batchrunner.muster import mustered
from batchrunner.perform import Performer
from batchrunner.provider import wire
from batchrunner.provider.client import Client
from batchrunner.provider.proxies import Proxies
from batchrunner.provider.webhooks import Notice
from batchrunner.recorder import Recorder
from batchrunner.seams import Outcome
from batchrunner.session import Goal, Order, Session
from batchrunner.store import Totals
from batchrunner.telling import telling
from batchrunner.till import Noted, Till
from batchrunner.traffic import Traffic
from batchrunner.viewers import Viewers
from batchrunner.waiting import Doorstep, Waits
from batchrunner.web.door import Door

if TYPE_CHECKING:
    from batchrunner.distributed import Cluster


class Onlooker(Protocol):
    """Whoever looks on while a run goes on; nothing it does can reach back, but for what it tells the engine itself."""

    def observe(self, event: Event, job: Job) -> None:
        """Hear of an event that is on disk."""

    def shown(self, engine: Engine, traffic: Traffic) -> AbstractAsyncContextManager[None]:
        """Be there while the engine runs, which is while in the block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run came to.

    Attributes:
        outcome: how it ended.
        exit_code: what that comes to.
        jobs: every job as it is now, but for those that are done and were not asked for.
        at_rest: how many these are; nothing is to be told of one.
        changed: ids of finished jobs that the manifest asks for otherwise now, and that were left as they are.
        earlier: the attempts that were followed by another.
        totals: credits over every attempt on record.
        charged_before: credits of every attempt on record when it began.
        missing: finished jobs whose file is not where it was put.
        named: the projects that notices told of, by the name they were submitted under.
    """

    outcome: Outcome
    exit_code: Exit
    jobs: tuple[Job, ...] = field(repr=False)  # asyncio has what a task gave represented when it ends
    totals: Totals
    missing: int
    charged_before: int = 0
    named: Mapping[str, str] = field(default_factory=dict)
    earlier: tuple[Job, ...] = field(default=(), repr=False)
    at_rest: int = 0
    changed: tuple[str, ...] = ()


@contextmanager
def provider(
    batch: Batch, *, access: Access | None = None, is_sandbox: bool = False, scale: float = 0.5
) -> Iterator[Access]:
    """The provider of a run: what is given, or the real one by the environment, or a sandbox for as long as the block.

    Raises:
        StateUnusable: no run can be recorded where the state file is; nothing was begun.
        UsageError: there is no key, or no address of a provider.
    """
    statelock.check_folder(batch.state)
    data = batch.root / f"{batch.path.stem}.sandbox"
    if not is_sandbox:
        if access is None and not key_of(os.environ) and data.exists() and _is_of_sandbox(batch.state):
            raise UsageError(
                "there is no API key, and this batch was begun on a sandbox", hint="--sandbox goes on with it there"
            )
        yield access or access_of(os.environ)
        return
    from batchrunner.sandbox import launch  # noqa: PLC0415 - most runs need no sandbox
    from batchrunner.sandbox.settings import API_KEY, Settings  # noqa: PLC0415 - as above

    with launch.start(Settings(data_dir=data, scale=scale)) as running:
        yield Access(base_url=running.base_url, key=API_KEY, proxies=Proxies())


def _is_of_sandbox(state: Path) -> bool:
    with store.open_to_read(state) as view:
        return view is not None and view.fact("provider") == "sandbox"


async def carry_out(
    batch: Batch,
    access: Access,
    order: Order,
    *,
    onlooker: Onlooker,
    say: Callable[[str], None],
    door: Door | None = None,
    recorder: Recorder | None = None,
    herald: Herald | None = None,
    hurries: Callable[[], bool] = lambda: False,
    workers: Workers | None = None,
) -> Report:
    """Wait for what is to be waited for, check the key, lock the state, and run the engine to its end.

    Args:
        batch: what is asked for.
        access: the provider.
        order: what is asked of the run.
        onlooker: looks on while it goes on.
        say: a word for the person.
        door: where to listen for the provider's notices, if anywhere.
        recorder: hears of everything; by default nothing is kept.
        herald: passes on what is worth it; whoever opened it tells it of the end.
        hurries: whether it is to wait no longer before it begins.
        workers: who carries the bytes; by default this process.
    """
    recorder = recorder or Recorder(say=say)
    if herald is not None:
        herald.begin(recorder.run)
    async with (
        # First: a wrong address is told when the command is typed, not hours later when the buying may begin.
        mustered(workers, batch, access, tell=recorder.tell) as cluster,
        _on_the_doorstep(batch, order.waits, Doorstep(tell=recorder.tell, hurries=hurries)),
        client_of(access, heard=recorder.heard) as client,
        Viewers(tell=recorder.tell) as viewers,
    ):
        account = await read_account(client)
        with _begun(batch, access, order, account, recorder) as (session, till):
            run = _Run(
                session=session,
                client=client,
                access=access,
                till=till,
                say=say,
                recorder=recorder,
                herald=herald,
                charged_before=session.store.ledger(),
                cluster=cluster,
                viewers=viewers,
            )
            try:
                return await run.to_its_end(onlooker, door)
            except asyncio.CancelledError:
                storage.abandon()  # a thread that waits for a silent bucket would hold up who leaves
                raise


@contextmanager
def _begun(
    batch: Batch, access: Access, order: Order, account: wire.Account, recorder: Recorder
) -> Iterator[tuple[Session, Till]]:
    """The run on record, its state locked, with the till of the account that it spends from."""
    marks = Marks.of(os.environ)
    with (
        sessions.begin(
            batch, order, access=access, account=account, run_id=recorder.run, told=recorder.told, marks=marks
        ) as session,
        Till.of(os.environ, provider=access.provider, account=account.id) as till,
    ):
        yield session, till


@asynccontextmanager
async def _on_the_doorstep(batch: Batch, waits: Waits, doorstep: Doorstep) -> AsyncIterator[None]:
    """Wait for what is to be waited for; who waits for this run sees it until the end of the block."""
    if not doorstep.is_needed(waits):
        yield
        return
    with statelock.marked(batch.state.resolve()):  # at any moment, whether it has begun or not
        await doorstep.wait(batch, waits)
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A run that has begun, with what it needs."""

    session: Session
    client: Client
    access: Access
    till: Till
    say: Callable[[str], None]
    recorder: Recorder
    herald: Herald | None
    charged_before: int
    cluster: Cluster | None
    viewers: Viewers

    async def to_its_end(self, onlooker: Onlooker, door: Door | None) -> Report:
        """Wait for the turn, and run the engine."""
        goal = self.session.order.goal
        missing = [job.id for job in sessions.missing_outputs(self.session.batch.root, sessions.selected(self.session))]
        account = await self._turn()
        engine, performer = self._engine(account, onlooker, fetch_again=missing if goal is Goal.COLLECT else ())
        async with (
            _listening(door, engine, self.say) as named,
            _waiting_for_a_stop(engine, self.herald),
            telling(self.session.store, self.recorder.run, engine),
            onlooker.shown(engine, performer.traffic),
        ):
            outcome = await engine.run()
        if self.cluster is not None and await self.cluster.has_lost():
            await asyncio.to_thread(performer.sweep, engine.jobs().values(), only_own=True)
        lacking = outcome.not_fetched if goal is Goal.COLLECT else len(missing)
        return self._close(engine, outcome, missing=lacking, named=named)

    async def _turn(self) -> wire.Account:
        """Wait until no other run spends from the account, and see that this one can buy; the account as it is then."""
        session, batch, order = self.session, self.session.batch, self.session.order
        self.till.note(Noted(state=session.store.path, root=batch.root))
        # The balance is no evidence while another run of the account spends from it.
        if order.goal is not Goal.COLLECT:
            await self.till.wait(batch=batch.path, tell=self.say)
        # Read again: looking and waiting may have taken a while, and this balance is evidence.
        account = await read_account(self.client)
        if order.buys:
            refuse_vain_caps(batch, account)
        await foresight.note(session.store, batch.manifest.limits, order.waits.hours, buys=order.buys)
        return account

    def _engine(
        self, account: wire.Account, onlooker: Onlooker, *, fetch_again: Collection[str]
    ) -> tuple[Engine, Performer]:
        """The engine, which buys only where that is what was ordered, and whoever carries out its actions."""
        engine, performer = assembly.engine(
            self.session,
            client=self.client,
            access=self.access,
            account=account,
            till=self.till,
            observe=onlooker.observe if self.herald is None else _both(onlooker.observe, self.herald.observe),
            tell=self.recorder.tell,
            near_cap=None if self.herald is None else self.herald.near_cap,
            fetch_again=fetch_again,
            cluster=self.cluster,
            viewers=self.viewers,
        )
        if not self.session.order.buys:
            engine.stop(Stop.COLLECTING)
        return engine, performer

    def _close(self, engine: Engine, outcome: Outcome, *, missing: int, named: Mapping[str, str]) -> Report:
        """Put on record how the run ended; what it came to."""
        opened, tells_all = self.session.store, self.session.order.tells_all
        code = schedule.exit_code(
            outcome.by_state,
            stop=outcome.stop,
            is_unreachable=outcome.is_unreachable,
            held_back=outcome.held_back,
            is_too_dear=outcome.far_off is not None or outcome.passed is not None,
            not_fetched=outcome.not_fetched,
            left_out=len(self.session.plan.waiting()) if self.session.order.buys else 0,
        )
        opened.end_run(at=outcome.ended_at, exit_code=code)
        by_state = {str(state): count for state, count in outcome.by_state.items() if count}
        self.recorder.say("info", "ended", exit_code=int(code), jobs=by_state, stop=outcome.stop)
        return Report(
            outcome=outcome,
            exit_code=code,
            jobs=self.session.every_job(engine.jobs()) if tells_all else tuple(engine.jobs().values()),
            totals=opened.totals(),
            charged_before=self.charged_before,
            missing=missing,
            named=named,
            earlier=tuple(opened.earlier()),
            at_rest=0 if tells_all else len(self.session.at_rest),
            changed=tuple(entry.id for entry in self.session.plan.changed() if entry.is_selected),
        )


def _both(one: Callable[[Event, Job], None], other: Callable[[Event, Job], None]) -> Callable[[Event, Job], None]:
    """Tell two; what goes wrong with the second is no matter of the first's."""

    def observe(event: Event, job: Job) -> None:
        with suppress(Exception):
            other(event, job)
        one(event, job)

    return observe


@asynccontextmanager
async def _waiting_for_a_stop(engine: Engine, herald: Herald | None) -> AsyncIterator[None]:
    """Tell the herald when the buying stops while the engine runs."""
    if herald is None:
        yield
        return

    async def tell() -> None:
        stop, why = await engine.stopped()
        herald.stopped(stop, why, engine.jobs().values())

    waiting = asyncio.create_task(tell())
    try:
        yield
    finally:
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting


@asynccontextmanager
async def _listening(door: Door | None, engine: Engine, say: Callable[[str], None]) -> AsyncIterator[Mapping[str, str]]:
    """Take the provider's notices while the engine runs; gives the projects they name, for a lost submission."""
    named: dict[str, str] = {}
    if door is None:
        yield named
        return
    from batchrunner.web import receiver  # noqa: PLC0415 - a run that does not listen loads no server

    def heed(notice: Notice) -> None:
        if notice.name is not None:
            named[notice.name] = notice.project_id
        if notice.asks_for_a_look:
            engine.notice(notice.project_id)

    async with receiver.listening(door, on_notice=heed, now=WallClock().now, tell=say) as address:
        say(f"webhooks: listening on {address}")
        yield named
