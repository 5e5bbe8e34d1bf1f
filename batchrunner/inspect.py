"""Looking into local inputs: content and facts, many at once, and each only once while it stays as it is.

Threads, since reading, hashing and decoding all happen outside of Python's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableSet, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
import hashlib
import os
from pathlib import Path
from queue import Empty, SimpleQueue
import threading
import time
from typing import Protocol, TypeAlias

from batchrunner import media, storage
from batchrunner.core import yamltext
from batchrunner.core.facts import Facts
from batchrunner.core.findings import Findings
from batchrunner.core.footage import Wanted
from batchrunner.core.inputs import Inspected
from batchrunner.core.problem import Problem
from batchrunner.errors import DamagedFile, TransferError
from batchrunner.storage.place import Seen

WORKERS = max(1, min(8, os.cpu_count() or 1))
PIECE = 1024 * 1024
LEAST_PIECE = 64 * 1024
REPORT_S = 0.1
YOUNG_NS = 60_000_000_000
"""A folder's file that is damaged, and was written to so short a time ago, is most likely not complete yet."""

Progress: TypeAlias = Callable[[int, int, int], None]
"""Told files done, files in all, and bytes read so far, a few times a second and always in the caller's thread."""


class Remembered(Protocol):
    """What a former look left; it holds while size and time of the file are the same.

    Without facts the digest holds, and only the facts are looked up.
    """

    @property
    def size(self) -> int: ...
    @property
    def modified_ns(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def facts(self) -> Facts | None: ...


def look(
    root: Path,
    files: Sequence[Wanted],
    remembered: Mapping[str, Remembered],
    *,
    workers: int = WORKERS,
    on_progress: Progress | None = None,
    unready: MutableSet[str] | None = None,
    refused: Findings | None = None,
) -> dict[str, Inspected]:
    """What is in each file, by its name as written, in the order given.

    What was read and is worth remembering are the values that differ from what was remembered. Files of a folder that
    are not complete yet are left out, and their names added to `unready`. Those that cannot be used are left out, too,
    where there is `refused` to take what is wrong with them.

    Raises:
        ManifestError: files cannot be read, cannot be decoded, or are still being written; all of them at once.
    """
    found: dict[str, Inspected] = {}
    told = Findings() if refused is None else refused
    meter = _Meter()
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="inspect")
    try:
        futures = {pool.submit(_look, root, each, remembered.get(each.name), meter): each for each in files}
        for future in _as_they_end(futures, meter, on_progress):
            wanted = futures[future]
            try:
                found[wanted.name] = future.result()
            except _Unfit as unfit:
                if unready is not None and unfit.can_wait(wanted):
                    unready.add(wanted.name)
                else:
                    told.add(unfit.problem_of(wanted))
    except KeyboardInterrupt:
        meter.is_stopped.set()  # before, so that nobody whose read is let go begins another
        storage.abandon()
        raise
    finally:
        # Left early, by Ctrl-C or by a fault of the caller's display: nobody waits for the rest of a large file.
        meter.is_stopped.set()
        pool.shutdown(cancel_futures=True)
    if refused is None:
        told.raise_errors()
    return {each.name: found[each.name] for each in files if each.name in found}


class _Unfit(Exception):
    """A file that cannot be an input."""

    def __init__(self, code: str, message: str, hint: str | None = None, *, is_young: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.is_young = is_young

    def can_wait(self, wanted: Wanted) -> bool:
        """Whether it is a folder's file that the next run may find complete."""
        return wanted.listed is not None and self.is_young

    def problem_of(self, wanted: Wanted) -> Problem:
        return Problem(place=wanted.place, code=self.code, message=str(self), path=wanted.path, hint=self.hint)


@dataclass(slots=True)
class _Meter:
    """Counts the bytes that all threads have read, and tells them when to stop."""

    bytes: int = 0
    is_stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, count: int) -> None:
        with self._lock:
            self.bytes += count


def _as_they_end(
    futures: Mapping[Future[Inspected], Wanted], meter: _Meter, on_progress: Progress | None
) -> Iterator[Future[Inspected]]:
    ended: SimpleQueue[Future[Inspected]] = SimpleQueue()
    for future in futures:
        future.add_done_callback(ended.put)
    done, told_at = 0, float("-inf")
    while done < len(futures):
        with suppress(Empty):
            future = ended.get(timeout=REPORT_S)
            done += 1
            yield future
        if on_progress is not None and (done == len(futures) or time.monotonic() - told_at >= REPORT_S):
            told_at = time.monotonic()
            on_progress(done, len(futures), meter.bytes)


def _look(root: Path, wanted: Wanted, known: Remembered | None, meter: _Meter) -> Inspected:
    place = storage.at(root, wanted.name)
    before = _stat(place, wanted)
    if wanted.listed not in {None, (before.size, before.modified_ns)}:
        raise _still_written(wanted)
    sha256, facts = _content(root, wanted, before, known, meter)
    if facts is not None and before.version is not None:
        return _inspected(wanted, before, sha256, facts)
    trouble = None
    if facts is None:
        try:
            facts = (media.probe_far if place.is_far else media.probe)(place.readable, wanted.media)
        except TransferError as error:
            trouble = error
    if _stat(place, wanted) != before:
        raise _still_written(wanted)
    if facts is None:
        if trouble is not None and not isinstance(trouble, DamagedFile):
            raise _Unfit("unreadable-file", str(trouble), trouble.hint)
        is_young = time.time_ns() - before.modified_ns < YOUNG_NS and before.version is None
        raise _Unfit("unusable-file", str(trouble), _hint(wanted, trouble), is_young=is_young)
    return _inspected(wanted, before, sha256, facts)


def _content(
    root: Path, wanted: Wanted, seen: Seen, known: Remembered | None, meter: _Meter
) -> tuple[str, Facts | None]:
    """The hash of what is there, and what is remembered of just that; an object is not read for it."""
    if seen.version is not None:
        return seen.version, known.facts if known is not None and known.sha256 == seen.version else None
    if known is not None and (known.size, known.modified_ns) == (seen.size, seen.modified_ns):
        return known.sha256, known.facts
    return _sha256(root / wanted.name, seen.size, wanted, meter), None


def _inspected(wanted: Wanted, seen: Seen, sha256: str, facts: Facts) -> Inspected:
    return Inspected(path=wanted.name, size=seen.size, modified_ns=seen.modified_ns, sha256=sha256, facts=facts)


def _still_written(wanted: Wanted) -> _Unfit:
    said = f"{_shown(wanted)} is still being written: it changed while it was read"
    return _Unfit("changing-file", said, "wait until it is complete", is_young=True)


def _hint(wanted: Wanted, trouble: TransferError | None) -> str | None:
    said = trouble.hint if trouble else None
    return said or (None if wanted.listed is None else "mend it, or leave it out with exclude")


def _stat(place: storage.Place, wanted: Wanted) -> Seen:
    try:
        return place.seen()
    except OSError as error:
        raise _unreadable(wanted, error) from error
    except TransferError as error:
        raise _Unfit("unreadable-file", str(error), error.hint) from error


def _sha256(path: Path, size: int, wanted: Wanted, meter: _Meter) -> str:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(max(LEAST_PIECE, min(PIECE, size))))  # it may grow while it is read
    try:
        with path.open("rb", buffering=0) as file:
            while (count := file.readinto(buffer)) and not meter.is_stopped.is_set():
                digest.update(buffer[:count])
                meter.add(count)
    except OSError as error:
        raise _unreadable(wanted, error) from error
    return digest.hexdigest()


def _unreadable(wanted: Wanted, error: OSError) -> _Unfit:
    said = f"{_shown(wanted)} cannot be read: {error.strerror or error}"
    return _Unfit("unreadable-file", said, is_young=isinstance(error, FileNotFoundError))


def _shown(wanted: Wanted) -> str:
    return yamltext.quoted(wanted.name, limit=200)
