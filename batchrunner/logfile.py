"""The log of a batch, and the file of events for other programs: JSON Lines, private, without secrets.

Neither is the record; that is the state file. So they are written once for each batch of events, are not synced, and
when one cannot be written any more, the run goes on without it. What is no file on a disk (a pipe, a terminal) may
stand still for as long as its reader likes, and is written by a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
import os
from pathlib import Path
import queue
import stat
import threading
import time
import traceback
from typing import Any, Final

from batchrunner import private
from batchrunner.core.redact import Redactor
from batchrunner.errors import UsageError

LARGEST: Final = 10 * 1000 * 1000
"""Bytes of a log, after which the next one is begun."""

KEPT: Final = 3
"""Logs of a batch on disk: the one being written, and those before it as `.1`, `.2`."""

MOST_WAITING: Final = 4_000_000
"""Bytes that a reader may be late by."""

LONGEST_LATE_S: Final = 10.0
"""Seconds that it may be later than that, one on the other; then nothing more is written for it."""

LONGEST_END_S: Final = 5.0
"""Seconds that the end of a run waits for a reader."""


class Lines:
    """A file that lines are added to, or an open descriptor; what it was told in one call is written in one."""

    def __init__(self, path: Path | None, descriptor: int, *, turns_over: bool, tell: Callable[[str], None]) -> None:
        """Write to `descriptor`; `tell` hears, once, that it cannot be written any more."""
        self.path = path
        self._descriptor: int | None = descriptor
        self._turns_over = turns_over
        self._tell = tell
        self._lock = threading.Lock()
        self._size = os.fstat(descriptor).st_size

    def write(self, lines: Iterable[str]) -> None:
        """Add lines, all at once; a failure is told once, and never raised."""
        self.add(_joined(lines))

    def add(self, text: bytes) -> None:
        """Add whole lines."""
        data = memoryview(text)
        with self._lock:
            if self._descriptor is None or not data:
                return
            try:
                self._size += len(data)
                while data:
                    data = data[os.write(self._descriptor, data) :]
                if self._turns_over and self._size >= LARGEST:
                    self._turn_over()
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            self._drop()

    def _turn_over(self) -> None:
        assert self.path is not None
        self._drop()
        for number in range(KEPT - 1, 0, -1):
            older = self.path if number == 1 else numbered(self.path, number - 1)
            with suppress(FileNotFoundError):
                older.replace(numbered(self.path, number))
        self._descriptor, self._size = private.open_for(self.path, os.O_WRONLY | os.O_APPEND), 0

    def _give_up(self, error: OSError) -> None:
        self._drop()
        self._tell(_no_more(self.path, error.strerror or str(error)))

    def _drop(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


def _joined(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


class Handed:
    """Lines for a pipe or the like, whose reader may stand still: whoever adds some never waits for it.

    They are opened and written by a thread, which is left behind if it still waits at the end. What waits is bounded by
    what comes in the few seconds that a reader has, once there is too much, to catch up.
    """

    def __init__(
        self,
        open_them: Callable[[], Lines],
        path: Path | None,
        *,
        tell: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to what `open_them` gives, which may take its time; `tell` hears once why nothing more is."""
        self.path = path
        self._open = open_them
        self._tell = tell
        self._now = now
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._bytes = 0
        self._late_since: float | None = None
        self._is_over = False
        self._thread = threading.Thread(target=self._work, name="lines", daemon=True)
        self._thread.start()

    def write(self, lines: Iterable[str]) -> None:
        """Add lines, all at once, some time soon; returns at once."""
        text = _joined(lines)
        with self._lock:
            if self._is_over or not text:
                return
            is_lost = self._is_late_for_long()
            if not is_lost:
                self._bytes += len(text)
                self._waiting.put(text)
        if is_lost:
            self._give_up("its reader does not keep up")

    def close(self, *, wait_s: float = LONGEST_END_S) -> None:
        """Wait a while for the reader to take the rest."""
        self._waiting.put(None)
        self._thread.join(wait_s)
        if self._thread.is_alive():
            self._give_up("its reader has not taken all of it")

    def _is_late_for_long(self) -> bool:
        if self._bytes < MOST_WAITING:
            self._late_since = None
            return False
        self._late_since = self._now() if self._late_since is None else self._late_since
        return self._now() - self._late_since >= LONGEST_LATE_S

    def _give_up(self, why: str) -> None:
        with self._lock:
            is_told, self._is_over = self._is_over, True
        if not is_told:
            self._tell(_no_more(self.path, why))

    def _work(self) -> None:
        try:
            lines = self._open()
        except OSError as error:
            self._give_up(error.strerror or str(error))
            return
        while (text := self._waiting.get()) is not None and not self._is_over:
            lines.add(text)
            with self._lock:
                self._bytes -= len(text)
        lines.close()


Sink = Lines | Handed


def _no_more(path: Path | None, why: str) -> str:
    return f"warning: {path or 'standard output'} is written no more: {why}; the run goes on, nothing is lost"


def numbered(path: Path, number: int) -> Path:
    """The name of an older log."""
    return path.with_name(f"{path.name}.{number}")


def opened(path: Path, *, turns_over: bool, tell: Callable[[str], None]) -> Sink:
    """A file to add lines to, made private; one that holds something else, or takes our own output, is left alone.

    A pipe or a device is not made private, and whether it can be opened is told later.

    Raises:
        UsageError: it cannot be written, holds something else, or standard output or error goes there.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            return Handed(lambda: _of_device(path, tell), path, tell=tell)
        if path.is_file() and _is_own_output(path):
            raise UsageError(f"{path} is where this command's own output goes", hint="name another file")
        if path.is_file() and _first_byte(path) not in {b"", b"{"}:
            raise UsageError(f"{path} holds something other than JSON Lines", hint="name another file, or move it away")
        descriptor = private.open_for(path, os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return Lines(path, descriptor, turns_over=turns_over, tell=tell)


def _of_device(path: Path, tell: Callable[[str], None]) -> Lines:
    """A pipe or a device, opened; of a pipe, once it has a reader."""
    return Lines(path, os.open(path, os.O_WRONLY | getattr(os, "O_CLOEXEC", 0)), turns_over=False, tell=tell)


def to_standard_output(descriptor: int, *, tell: Callable[[str], None]) -> Sink:
    """Lines for an open descriptor, which is closed at the end."""
    lines = Lines(None, descriptor, turns_over=False, tell=tell)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return lines
    return Handed(lambda: lines, None, tell=tell)


def _is_own_output(path: Path) -> bool:
    """Whether a shell leads our output there (`> night.log`): it would be written over what is added to the file."""
    found = path.stat()
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), found):
                return True
    return False


def _first_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)


class Log:
    """What happened, for whoever looks into a night that went wrong. Every line goes through the one redactor."""

    def __init__(self, lines: Sink, redactor: Redactor) -> None:
        """Write to `lines` what `redactor` leaves of it."""
        self.path = lines.path
        self._lines = lines
        self._redactor = redactor
        self._lock = threading.RLock()

    def add(self, level: str, what: str, entries: Iterable[Mapping[str, Any]]) -> None:
        """Add a line for each entry, in one write; never raises, since a log must not cost a render."""
        with self._lock:
            self._lines.write([self._line(level, what, entry) for entry in entries])

    def _line(self, level: str, what: str, fields: Mapping[str, Any]) -> str:
        logged = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return self._redactor.json_line({**fields, "event": what, "level": level, "logged": logged})

    def say(self, level: str, what: str, **fields: Any) -> None:
        """Add one line."""
        self.add(level, what, [fields])

    def crashed(self, error: BaseException) -> None:
        """Add an unexpected exception, with its traceback."""
        told = "".join(traceback.format_exception(error)).rstrip()
        self.say("error", "crashed", type=type(error).__name__, exception=told)

    def close(self) -> None:
        """Write no more."""
        self._lines.close()
