"""What is done on a worker: one transfer at a time to a call, and a look whether the worker can be used at all.

Plain values in, plain values out, so that nothing of a worker's surroundings gets into an error or a log: an address is
shown nowhere, a failure comes back as words. There is no key here, and nothing that could use one. Every call may be
made twice, here and elsewhere at once: a download has a partial name of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
import math
import os
from pathlib import Path
import re
import secrets
import threading
import time
from typing import Final

from batchrunner import carrying, pictures, storage
from batchrunner.carrying import Brought, Fetching, Here, Sending
from batchrunner.core import address as addresses, outputs, redact
from batchrunner.core.result import Doubt
from batchrunner.errors import AddressExpired, DamagedFile, DiskFull, InputProblem, TransferError, UsageError
from batchrunner.partial import Partial
from batchrunner.pictures import Wanted
from batchrunner.provider import courier as couriers
from batchrunner.provider.courier import Courier
from batchrunner.provider.guard import Guard
from batchrunner.provider.proxies import Proxies, proxies_of
from batchrunner.traffic import Traffic
from batchrunner.transfer import Reply

BEAT_S: Final = 1.0
"""Seconds between two words on how far a transfer is."""

Say = Callable[[dict[str, object]], None]
"""Tells the engine how far a transfer is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One transfer for a worker.

    Attributes:
        id: unique to this try; says nothing of an address.
        what: what is to be carried.
        guard: where addresses may lead.
        shelf: a file that the run has put into its cache of pictures: where it is seen, the cache is shared, and small
            pictures of a result are put there.
    """

    id: str
    what: Sending | Fetching
    guard: Guard
    shelf: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """It is carried: the bytes that passed, and of a download what came."""

    bytes: int
    brought: Brought | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """It is not carried, and why: one of our transfer errors as plain values.

    Attributes:
        kind: the name of the error's type.
        is_of_worker: this worker cannot reach the file; another one may.
    """

    kind: str
    words: str
    hint: str | None = None
    retry_after_s: float | None = None
    is_of_worker: bool = False

    def error(self) -> TransferError:
        """The error as it would have been raised here."""
        return _ERRORS[self.kind](self.words, hint=self.hint, retry_after_s=self.retry_after_s)


_ERRORS: Final = {each.__name__: each for each in (TransferError, AddressExpired, DamagedFile, DiskFull, InputProblem)}


def flaw_of(what: Sending | Fetching, answer: object) -> str | None:
    """Why what came of a transfer is no answer to it; None where it can be. Types are told by nothing else, either."""
    try:
        if isinstance(answer, Trouble):
            return _flaw_of_trouble(answer)
        return _flaw_of_done(what, answer) if isinstance(answer, Done) else "it is none of ours"
    except AttributeError:
        return "it lacks a part"


def _flaw_of_done(what: Sending | Fetching, done: Done) -> str | None:
    if not _is_count(done.bytes):
        return "it names no number of bytes"
    if isinstance(what, Fetching):
        return _flaw_of_brought(what, done.brought)
    return None if done.bytes == what.size and done.brought is None else f"not {what.size:,} bytes were sent"


def _flaw_of_trouble(trouble: Trouble) -> str | None:
    is_told = _is_text(trouble.words) and (trouble.hint is None or _is_text(trouble.hint))
    is_timed = trouble.retry_after_s is None or _is_time(trouble.retry_after_s)
    is_known = _is_text(trouble.kind) and trouble.kind in _ERRORS
    return None if is_told and is_timed and is_known and isinstance(trouble.is_of_worker, bool) else "no known failure"


def _flaw_of_brought(what: Fetching, brought: object) -> str | None:
    if not isinstance(brought, Brought):
        return "it names no file"
    if not _is_text(brought.written) or not carrying.is_name_of(what, brought.written):
        return "it names another file"
    if not _is_count(brought.bytes) or not _is_text(brought.sha256) or not _SHA256.fullmatch(brought.sha256):
        return "it names no content"
    doubt = brought.doubt
    if doubt is None or (_is_doubt(doubt) and _is_text(doubt.words) and _is_time(doubt.at_s)):
        return None
    return "what it doubts cannot be read"


_SHA256: Final = re.compile("[0-9a-f]{64}")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_doubt(value: object) -> bool:
    return isinstance(value, Doubt)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_time(value: object) -> bool:
    """Whether it is a number of seconds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def run(errand: Errand, topic: str) -> tuple[str, Done | Trouble]:
    """Carry out one errand as a task of dask.distributed; the worker's address, and what came of it."""
    from distributed import get_worker  # noqa: PLC0415 - only workers have it, and only they come here

    worker = get_worker()
    address = str(worker.address)
    return address, carry(errand, lambda beat: worker.log_event(topic, {**beat, "worker": address}))


# --- carrying --------------------------------------------------------------------------------------------------------


def carry(errand: Errand, say: Say) -> Done | Trouble:
    """Carry out one errand, waiting for it; how far it is, is said every second."""
    what = errand.what
    if isinstance(what, Fetching) and (words := _no_folder(what)) is not None:
        return Trouble(kind=TransferError.__name__, words=words, is_of_worker=True)
    transfer = _Transfer(errand, say)
    try:
        done = asyncio.run_coroutine_threadsafe(transfer.run(), _loop()).result()
    except TransferError as error:
        return Trouble(
            kind=type(error).__name__,
            words=redact.without_queries(transfer.plain(str(error))),
            hint=error.hint,
            retry_after_s=error.retry_after_s,
            is_of_worker=not isinstance(error, AddressExpired | DamagedFile | DiskFull) and not _is_reached(what),
        )
    except Exception as error:  # noqa: BLE001 - a library's, whose text may hold anything; the next try may be elsewhere
        return Trouble(kind=TransferError.__name__, words=f"a worker failed with {type(error).__name__}")
    if isinstance(what, Fetching) and done.brought is not None and errand.shelf is not None:
        _ARTISTS.submit(_draw, what, done.brought, errand.shelf)
    return done


_ARTISTS: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")
"""Beside the transfers, and behind them: nobody waits for pictures, and whoever wants one that is missing makes it."""


def _draw(what: Fetching, brought: Brought, shelf: Path) -> None:
    if addresses.is_object(brought.written) or not shelf.exists():
        return
    moment = None if brought.doubt is None else round(brought.doubt.at_s, 3)
    path = what.root / addresses.plain(brought.written)
    file = Wanted(path=path, sha256=brought.sha256, size=brought.bytes, known_at=time.time())
    pictures.fill(shelf.parent, [replace(file, at_s=pictures.poster_at(what.seconds, moment)), file])


class _Transfer:
    """One transfer under way."""

    def __init__(self, errand: Errand, say: Say) -> None:
        self._errand = errand
        self._say = say
        self._number = secrets.randbelow(outputs.OWN_MARKS)
        self._traffic = Traffic()
        self._is_moving = False

    def plain(self, words: str) -> str:
        """What is told of a failure, without the mark that only this call knows."""
        what = self._errand.what
        return words.replace(self._own_mark(what), what.mark) if isinstance(what, Fetching) else words

    def _own_mark(self, what: Fetching) -> str:
        return outputs.own_mark(what.mark, self._number)

    async def run(self) -> Done:
        beats = asyncio.create_task(self._beat())
        try:
            watched = _Watched(_here(self._errand.guard), self._moving)
            return await self._carry(Here(put=watched.put, fetch=watched.fetch))
        finally:
            beats.cancel()

    async def _carry(self, here: Here) -> Done:
        what = self._errand.what
        if isinstance(what, Sending):
            await here.send(what, self._traffic)
            return Done(bytes=self._passed)
        own = replace(what, mark=self._own_mark(what))
        try:
            brought = await self._bring(here, own)
        finally:
            # Nobody else goes on with what has this name.
            if not addresses.is_object(own.written):
                target = own.root / addresses.plain(own.written)
                await asyncio.to_thread(Partial(target, own.mark).discard)
        return Done(bytes=self._passed, brought=brought)

    async def _bring(self, here: Here, own: Fetching) -> Brought:
        """A connection that breaks is gone on with from where it broke, as long as something comes."""
        while True:
            before = self._passed
            try:
                return await here.bring(own, self._traffic)
            except (AddressExpired, DamagedFile, DiskFull):
                raise
            except TransferError:
                if self._passed == before or addresses.is_object(own.written):
                    raise

    @property
    def _passed(self) -> int:
        return self._traffic.up + self._traffic.down

    @asynccontextmanager
    async def _moving(self) -> AsyncIterator[None]:
        self._is_moving = True
        try:
            yield
        finally:
            self._is_moving = False

    async def _beat(self) -> None:
        while True:
            self._say({"id": self._errand.id, "bytes": self._passed, "is_moving": self._is_moving})
            await asyncio.sleep(BEAT_S)


class _Watched:
    """A courier of whom is known when bytes should be moving; the rest of a transfer is looking into files."""

    def __init__(self, courier: Courier, moving: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._courier = courier
        self._moving = moving

    async def put(self, url: str, chunks: AsyncIterator[bytes], *, length: int) -> None:
        async with self._moving():
            await self._courier.put(url, chunks, length=length)

    @asynccontextmanager
    async def fetch(self, url: str, *, offset: int = 0, etag: str | None = None) -> AsyncIterator[Reply]:
        async with self._moving(), self._courier.fetch(url, offset=offset, etag=etag) as reply:
            yield reply


# --- what a process has once ------------------------------------------------------------------------------------------


_LOCK = threading.Lock()
_LOOPS: list[asyncio.AbstractEventLoop] = []
_COURIERS: dict[Guard, Courier] = {}


def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of all transfers of this process, in a thread of its own."""
    with _LOCK:
        if not _LOOPS:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="transfers", daemon=True).start()
            _LOOPS.append(loop)
        return _LOOPS[0]


def _here(guard: Guard) -> Courier:
    """The connections of this process, which end with it. Proxies are this machine's own."""
    if guard not in _COURIERS:
        proxies = proxies_of(os.environ) if guard.needs_tls else Proxies()
        _COURIERS[guard] = couriers.independent(guard, proxies)
    return _COURIERS[guard]


# --- whether a worker can be used -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sights:
    """What every worker must see of a batch.

    Attributes:
        root: the manifest's folder, in which `marker` is a file with `content`.
        folders: others on a disk to which results go, with the same file in each.
        inputs: one input of each folder, with its size in bytes.
        outputs: one result of each folder in a bucket.
    """

    root: Path
    marker: str
    content: str
    folders: tuple[Path, ...] = ()
    inputs: tuple[tuple[str, int], ...] = ()
    outputs: tuple[str, ...] = ()


def objection(sights: Sights) -> str | None:
    """Why this worker cannot be used for a batch, naming the file; None if it can."""
    of_folders = (_of_folder(folder, sights) for folder in (sights.root, *sights.folders))
    return next(filter(None, of_folders), None) or _of_inputs(sights) or _of_outputs(sights)


def _of_folder(folder: Path, sights: Sights) -> str | None:
    marker = folder / sights.marker
    try:
        if marker.read_text(encoding="utf-8") != sights.content:
            return f"cannot see {folder}: what it has there is another folder"
    except OSError as error:
        return f"cannot see {folder}: {error.strerror or error}"
    trial = marker.with_name(f"{sights.marker}.{secrets.token_hex(6)}")
    try:
        trial.touch()
        trial.unlink()
    except OSError as error:
        return f"cannot write to {folder}: {error.strerror or error}"
    return None


def _of_inputs(sights: Sights) -> str | None:
    for written, size in sights.inputs:
        try:
            seen = storage.at(sights.root, written).seen()
        except (OSError, TransferError) as error:
            return f"cannot read {written}: {getattr(error, 'strerror', None) or error}"
        if seen.size != size:
            return f"sees another {written}: of {seen.size:,} bytes, where {size:,} are expected"
    return None


def _of_outputs(sights: Sights) -> str | None:
    try:
        trouble = next(filter(None, storage.tried(sights.outputs).values()), None)
    except UsageError as error:
        trouble = error
    return None if trouble is None else f"{trouble}"


def _no_folder(what: Fetching) -> str | None:
    """Why a result must not be written here: where its folder is missing, it would land on a disk nobody else sees."""
    if addresses.is_object(what.written) or what.root.is_dir():
        return None
    return f"there is no folder {what.root}"


def _is_reached(what: Sending | Fetching) -> bool:
    """Whether the file of a transfer that failed can be reached from here."""
    place = storage.at(what.root, what.written)
    if isinstance(what, Sending):
        with suppress(OSError, TransferError):
            return place.seen().size >= 0
        return False
    if addresses.is_object(what.written):
        return not any(storage.tried([what.written]).values())
    folder = (what.root / addresses.plain(what.written)).parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
