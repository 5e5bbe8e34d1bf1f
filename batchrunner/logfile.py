"""The log of a batch, and the file of events for other programs: JSON Lines, private, without secrets.

Neither is the record; that is the state file. So they are written once for each batch of events, are not synced, and
when one cannot be written any more, the run goes on without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
import os
from pathlib import Path
import threading
from typing import Any, Final

import structlog

from batchrunner import private
from batchrunner.core import plain
from batchrunner.core.redact import Redactor
from batchrunner.errors import UsageError

LARGEST: Final = 10 * 1000 * 1000
"""Bytes of a log, after which the next one is begun."""

KEPT: Final = 3
"""Logs of a batch on disk: the one being written, and those before it as `.1`, `.2`."""


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
        data = memoryview("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
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
        where = self.path or "standard output"
        self._tell(f"warning: {where} is written no more: {error.strerror or error}; the run goes on, nothing is lost")

    def _drop(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


def numbered(path: Path, number: int) -> Path:
    """The name of an older log."""
    return path.with_name(f"{path.name}.{number}")


def opened(path: Path, *, turns_over: bool, tell: Callable[[str], None]) -> Lines:
    """A file to add lines to, made private; one that holds something else is left alone.

    Raises:
        UsageError: it cannot be written, or holds something else.
    """
    try:
        if path.is_file() and _first_byte(path) not in {b"", b"{"}:
            raise UsageError(f"{path} holds something other than JSON Lines", hint="name another file, or move it away")
        descriptor = private.open_for(path, os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return Lines(path, descriptor, turns_over=turns_over, tell=tell)


def _first_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)


class Log:
    """What happened, for whoever looks into a night that went wrong. Every line goes through the one redactor."""

    def __init__(self, lines: Lines, redactor: Redactor) -> None:
        """Write to `lines` what `redactor` leaves of it."""
        self.path = lines.path
        self._lines = lines
        self._pending: list[str] = []
        self._lock = threading.RLock()

        def redacted(_logger: Any, _method: str, fields: Any) -> Any:
            return redactor.value(fields)

        def rendered(_logger: Any, _method: str, fields: Mapping[str, Any]) -> str:
            return plain.json_line(fields)

        self._logger: Any = structlog.wrap_logger(
            _Collector(self._pending),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="logged"),
                structlog.processors.format_exc_info,
                redacted,
                rendered,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(0),
            context_class=dict,
        )

    def add(self, level: str, what: str, entries: Iterable[Mapping[str, Any]]) -> None:
        """Add a line for each entry, in one write; never raises, since a log must not cost a render."""
        with self._lock:
            try:
                for entry in entries:
                    getattr(self._logger, level)(what, **entry)
                lines = [line for line in self._pending if line]
            finally:
                self._pending.clear()
            self._lines.write(lines)

    def say(self, level: str, what: str, **fields: Any) -> None:
        """Add one line."""
        self.add(level, what, [fields])

    def crashed(self, error: BaseException) -> None:
        """Add an unexpected exception, with its traceback."""
        self.say("error", "crashed", type=type(error).__name__, exc_info=error)

    def close(self) -> None:
        """Write no more."""
        self._lines.close()


class _Collector:
    """Where structlog's loggers end: rendered lines, kept until they are written together."""

    def __init__(self, pending: list[str]) -> None:
        self._pending = pending

    def _take(self, line: str) -> None:
        self._pending.append(line)

    debug = info = warning = error = critical = _take
