"""Bytes carried by the workers of a dask.distributed cluster.

Submitting, looking, the ledger, the state file and every decision stay with the engine; what travels are transfers,
each of which may be done twice. So nothing here must be right for money: whatever is lost (a worker, the scheduler, a
result that was on its way) is carried again, and where nobody carries for a while, this process does, so that what is
paid for ends where it belongs.

A worker is used once it was looked at (`rollcall`). Dask chooses among those; what does not get on where it is
(`flights`) is begun again elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
import importlib.util
from pathlib import Path
import secrets
from typing import Any, Final

from batchrunner import crew, storage, worker
from batchrunner.carrying import Brought, Carrier, Fetching, Sending
from batchrunner.core import address as addresses
from batchrunner.errors import TransferError, UsageError
from batchrunner.flights import Flights
from batchrunner.provider.guard import Guard
from batchrunner.rollcall import Roll
from batchrunner.traffic import Traffic
from batchrunner.transfer import Meter
from batchrunner.worker import Done, Errand, Sights, Trouble

Tell = Callable[[str], None]

LOOK_S: Final = 1.0
"""Seconds between two looks at the cluster."""

LOST_S: Final = 15.0
"""Seconds without anybody to carry, after which this process does: a scheduler or a worker may be back by then."""

STALLED_S: Final = 60.0
"""Seconds in which not a byte of a transfer moved, or its worker was not heard of; then it is begun elsewhere."""

LOOKING_S: Final = 900.0
"""The same while a worker looks into a file, which takes its time."""

MOST_PLACES: Final = 4
"""Places at which one transfer is tried before this process carries it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long things may take, in seconds; see the constants of these names."""

    lost_s: float = LOST_S
    stalled_s: float = STALLED_S
    looking_s: float = LOOKING_S


class _Again(Exception):
    """Not carried, through no fault of its own; to be tried without some workers."""

    def __init__(self, without: Iterable[str] = (), words: str | None = None) -> None:
        super().__init__(words)
        self.without = frozenset(without)
        self.words = words


class Cluster:
    """The workers of a cluster, as this run sees them."""

    def __init__(
        self,
        address: str,
        *,
        sights: Sights,
        guard: Guard,
        tell: Tell,
        security: Any = None,
        patience: Patience,
        shelf: Path | None = None,
    ) -> None:
        """Nothing is connected yet.

        Args:
            address: of the scheduler.
            sights: what every worker must see.
            guard: where presigned addresses may lead.
            tell: a word for the person.
            security: keys for TLS; by default what dask's own configuration has.
            patience: how long things may take.
            shelf: see `Errand`.
        """
        self._address = address
        self._guard = guard
        self._shelf = shelf
        self._tell = tell
        self._security = security
        self._patience = patience
        self._client: Any = None
        self._roll = Roll(sights, stalled_s=patience.stalled_s, tell=self._tell_once)
        self._flights = Flights(self._roll, stalled_s=patience.stalled_s, looking_s=patience.looking_s)
        self._told: set[str] = set()
        self._changed = asyncio.Event()
        self._topic = f"batchrunner-{secrets.token_hex(8)}"
        self._alone_since: float | None = None
        self._is_alone_told = False
        self._losses = 0

    # --- connection ---

    async def open(self) -> None:
        """Connect, and look at every worker.

        Raises:
            UsageError: nobody answers there, versions do not fit, or a worker does not see the batch's files.
        """
        try:
            await self._connect()
            await self._look(is_first=True)
        except (OSError, TimeoutError) as error:
            raise UsageError(
                f"no scheduler answers at {self._address}",
                hint="`dask scheduler` starts one, `dask worker ADDRESS` a worker; --workers N has N on this machine",
            ) from error

    async def _connect(self) -> None:
        self._client = await crew.connected(self._address, security=self._security)
        self._client.subscribe_topic(self._topic, self._flights.heard)

    async def close(self) -> None:
        """Leave the cluster; what it still carries for us is called off."""
        client, self._client = self._client, None
        await crew.closed(client)

    async def watch(self) -> None:
        """Look at the cluster now and then; never ends by itself."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                if self._client is None or self._client.status != "running":
                    stale, self._client = self._client, None
                    self._lose()
                    await crew.closed(stale)
                    await self._connect()
                await self._look()
            except (OSError, TimeoutError, UsageError):
                self._lose()

    async def has_lost(self) -> bool:
        """Whether workers or transfers were lost, and may have left something behind that nobody goes on with."""
        if self._client is not None:
            with suppress(OSError, TimeoutError, UsageError):
                await self._look()
        return self._losses > 0

    def _lose(self) -> None:
        """Nobody is there any more, for all we know."""
        self._losses += 1
        self._roll.workers.clear()
        self._note_change()

    # --- the workers ---

    async def _look(self, *, is_first: bool = False) -> None:
        """See who is there, and move what does not get on."""
        self._losses += await self._roll.call(self._client, is_first=is_first)
        await self._flights.move_what_is_stuck(self._client)
        self._note_change()

    def _note_change(self) -> None:
        """Keep track of whether anybody is there, and wake who waits for that."""
        now = asyncio.get_running_loop().time()
        if self._roll.fit():
            self._alone_since = None
            if self._is_alone_told:
                self._tell("workers are there again, and carry the files")
            self._is_alone_told = False
        elif self._alone_since is None:
            self._alone_since = now
        self._changed.set()
        self._changed = asyncio.Event()

    def _tell_once(self, words: str) -> None:
        if words not in self._told:
            self._told.add(words)
            self._tell(words)

    # --- transfers ---

    def carrier(self, here: Carrier) -> Carrier:
        """Who carries for a run; `here` does it in this process, where nobody else can."""
        return _Carried(self, here)

    async def carry(self, what: Sending | Fetching, meter: Meter) -> Done | None:
        """Have a transfer carried out; None where this process is to do it.

        Raises:
            TransferError: it failed, as it would have failed here.
        """
        avoided: frozenset[str] = frozenset()
        for _ in range(MOST_PLACES):
            fit = await self._wait_for_workers(avoided)
            if not fit:
                return None
            try:
                return await self._carry_by(fit, what, meter)
            except _Again as again:
                self._losses += 1
                avoided |= again.without
                if again.words is not None:
                    self._tell_once(again.words)
        return None

    async def _wait_for_workers(self, avoided: frozenset[str]) -> frozenset[str]:
        """Workers that may carry, as soon as there are some; none where that takes too long, or all are avoided."""
        loop = asyncio.get_running_loop()
        while not (fit := self._roll.fit(avoided)):
            if self._alone_since is None:
                return fit  # there are workers, but none that this one may go to
            left_s = self._alone_since + self._patience.lost_s - loop.time()
            if left_s <= 0:
                if not self._is_alone_told:
                    self._is_alone_told = True
                    self._tell("no worker can be reached: this machine carries the files itself until one is there")
                return fit
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left_s)
        return fit

    async def _carry_by(self, fit: frozenset[str], what: Sending | Fetching, meter: Meter) -> Done:
        address, answer = await self._fly(fit, what, meter)
        if isinstance(answer, Done):
            if answer.brought is not None and not await asyncio.to_thread(_has_come, what, answer.brought):
                words = f"{self._roll.named(address)} put {answer.brought.written} where it cannot be seen from here"
                raise _Again([address], words + _why_unseen(what))
            return answer
        error = answer.error()
        if not answer.is_of_worker or not await asyncio.to_thread(_is_reached_here, what):
            raise error
        raise _Again([address], f"{self._roll.named(address)} cannot reach {what.written}: {error}; others carry it")

    async def _fly(self, fit: frozenset[str], what: Sending | Fetching, meter: Meter) -> tuple[str, Done | Trouble]:
        """Give a transfer to the cluster, and wait for what comes of it.

        Raises:
            _Again: it did not get on there.
            TransferError: the workers that tried it died.
        """
        if self._client is None:
            raise _Again
        errand = Errand(id=f"batchrunner-{secrets.token_hex(12)}", what=what, guard=self._guard, shelf=self._shelf)
        with self._flights.opened(errand.id, allowed=fit, meter=meter) as flight:
            future = self._submit(errand, fit)
            waiting = asyncio.ensure_future(_result(future))
            either: list[asyncio.Future[Any]] = [waiting, flight.moved]
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    raise _Again(*flight.moved.result())
                address, answer = waiting.result()
                self._refuse_flawed(address, what, answer)
                if isinstance(answer, Done):
                    flight.count(answer.bytes)
                return address, answer
            finally:
                waiting.cancel()
                with suppress(Exception):
                    future.release()

    def _submit(self, errand: Errand, fit: frozenset[str]) -> Any:
        """Give an errand to the cluster.

        Raises:
            _Again: the cluster is not there.
        """
        try:
            return self._client.submit(worker.run, errand, self._topic, key=errand.id, pure=False, workers=sorted(fit))
        except Exception as error:  # whatever it is, it speaks of a cluster that is not there
            raise _Again from error

    def _refuse_flawed(self, address: str, what: Sending | Fetching, answer: Done | Trouble) -> None:
        """Refuse an answer that cannot be one.

        Raises:
            _Again: it is left to other workers.
        """
        flaw = worker.flaw_of(what, answer)
        if flaw is not None:
            words = f"{self._roll.named(address)} gave an answer on {what.written} that nobody can use: {flaw}"
            raise _Again([address], f"{words}; others carry it")


@dataclass(frozen=True, slots=True)
class _Carried:
    """Carries by a cluster, and here where that cannot."""

    cluster: Cluster
    here: Carrier

    async def send(self, sending: Sending, traffic: Traffic) -> None:
        """See `Carrier`."""
        with traffic.sending(sending.written, sending.size) as meter:
            done = await self.cluster.carry(sending, meter)
        if done is None:
            await self.here.send(sending, traffic)

    async def bring(self, fetching: Fetching, traffic: Traffic) -> Brought:
        """See `Carrier`."""
        with traffic.fetching(fetching.written) as meter:
            done = await self.cluster.carry(fetching, meter)
        if done is None or done.brought is None:
            return await self.here.bring(fetching, traffic)
        return done.brought


async def _result(future: Any) -> tuple[str, Done | Trouble]:
    """What became of a task.

    Raises:
        _Again: the connection was lost, or the task called off.
        TransferError: the workers that tried it died, or it failed otherwise.
    """
    distributed = crew.library()
    try:
        found = await future.result()
    except (CancelledError, OSError, TimeoutError) as error:
        raise _Again from error
    except distributed.KilledWorker:
        raise TransferError("every worker that carried it died") from None
    except Exception as error:  # noqa: BLE001 - of a worker's surroundings; its text may hold anything
        raise TransferError(f"a worker failed with {type(error).__name__}") from None
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], str):
        return found
    raise _Again(words="a worker gave an answer that nobody can use; others carry its file")


def _has_come(what: Sending | Fetching, brought: Brought) -> bool:
    """Whether this machine sees a result that a worker brought."""
    with suppress(OSError, TransferError):
        return storage.at(what.root, brought.written).seen().size == brought.bytes
    return False


def _why_unseen(what: Sending | Fetching) -> str:
    if addresses.is_object(what.written):
        return ""
    return f": {(what.root / addresses.plain(what.written)).parent} is another folder there"


def _is_reached_here(what: Sending | Fetching) -> bool:
    """Whether this machine could do better with a file that a worker cannot reach."""
    with suppress(OSError, TransferError):
        return isinstance(what, Fetching) or storage.at(what.root, what.written).seen().size >= 0
    return False


# --- joining ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def joined(
    wanted: str | int,
    *,
    sights: Sights,
    guard: Guard,
    tell: Tell,
    patience: Patience | None = None,
    cache: Path | None = None,
) -> AsyncIterator[Cluster]:
    """A cluster to carry by while in the block: the one at an address, or so many workers of our own on this machine.

    Workers that see `cache`, the folder of small pictures, put those of results there.

    Raises:
        UsageError: what it needs is not installed, nobody answers, or a worker cannot be used; nothing was sent.
    """
    if importlib.util.find_spec("distributed") is None:
        raise UsageError("--workers needs one more package", hint="pip install 'batchrunner[workers]'")
    async with AsyncExitStack() as stack:
        shelf = None if cache is None else await asyncio.to_thread(_shelf, cache)
        if shelf is not None:
            stack.callback(shelf.unlink, missing_ok=True)
        address, security = str(wanted), None
        if isinstance(wanted, int):
            own = await stack.enter_async_context(crew.started(wanted, needs_buckets=_in_buckets(sights), tell=tell))
            address, security = own.address, own.security
        cluster = Cluster(
            address,
            sights=sights,
            guard=guard,
            tell=tell,
            security=security,
            patience=patience or Patience(),
            shelf=shelf,
        )
        stack.push_async_callback(cluster.close)
        await cluster.open()
        await stack.enter_async_context(_watched(cluster))
        yield cluster


@asynccontextmanager
async def _watched(cluster: Cluster) -> AsyncIterator[None]:
    """Look at the cluster now and then while in the block."""
    watching = asyncio.create_task(cluster.watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])


def _in_buckets(sights: Sights) -> bool:
    """Whether workers must reach buckets."""
    return any(map(addresses.is_object, [*(name for name, _ in sights.inputs), *sights.outputs]))


def _shelf(cache: Path) -> Path | None:
    """A file by which workers know the cache of pictures; None where it cannot be written."""
    shelf = cache / f".shared.{secrets.token_hex(6)}"
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        shelf.touch()
        return shelf
    return None
