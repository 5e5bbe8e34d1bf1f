"""What a run leaves besides its state: the log of the batch, and events for other programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
import os
from pathlib import Path
import secrets
import sys
from typing import TYPE_CHECKING, Any, Final

from batchrunner import __version__
from batchrunner.cli import show
from batchrunner.errors import BatchrunnerError, UsageError

if TYPE_CHECKING:
    from batchrunner.core.redact import Redactor
    from batchrunner.logfile import Lines, Log
    from batchrunner.provider.watched import Exchange
    from batchrunner.store import Entry

SECRETS: Final = ("MAGIC_HOUR_API_KEY", "MAGIC_HOUR_API_TOKEN", "MAGIC_HOUR_WEBHOOK_SECRET")
"""Variables of the environment whose values appear in no file."""


def redactor() -> Redactor:
    """The one processor that takes secrets out of what is kept."""
    from batchrunner.core.redact import Redactor

    return Redactor(filter(None, (os.environ.get(name, "").strip() for name in SECRETS)))


class Recorder:
    """Hears of everything that happens in a run; what it writes never holds a secret, and never fails the run."""

    def __init__(self, *, log: Log | None = None, events: Lines | None = None) -> None:
        """Write to what is there of the two."""
        self.run = secrets.token_hex(6)
        self.log = log
        self._events = events
        self._redactor = redactor()

    def told(self, entries: Sequence[Entry]) -> None:
        """Events that are on disk, all of one transaction."""
        from batchrunner.core import eventlines, plain

        if self.log is None and self._events is None:
            return
        with suppress(Exception):  # what is told of a render must not cost it
            lines = [eventlines.line_of(event, job, run=self.run) for event, job in entries]
            if self._events is not None:
                self._events.write([plain.json_line(self._redactor.value(line)) for line in lines])
            if self.log is not None:
                self.log.add("info", "job", [_brief(line) for line in lines])

    def heard(self, exchange: Exchange) -> None:
        """A request that has ended."""
        if self.log is None:
            return
        fields: dict[str, Any] = {
            "method": exchange.method,
            "host": exchange.host,
            "path": exchange.path,
            "status": exchange.status,
            "ms": exchange.ms,
        }
        if exchange.trouble:
            fields["trouble"] = exchange.trouble
        self.say("debug", "request", **fields)

    def tell(self, text: str) -> None:
        """A word for the person, which the log keeps, too."""
        show.say(text)
        self.say("warning", "told", text=text)

    def say(self, level: str, what: str, **fields: Any) -> None:
        """A line for the log alone."""
        if self.log is not None:
            with suppress(Exception):
                self.log.say(level, what, run=self.run, **fields)


def _brief(line: dict[str, Any]) -> dict[str, Any]:
    """An event for the log, where most fields of most lines say nothing; `event` is the log's own word."""
    kept = {name: value for name, value in line.items() if name not in {"version", "event"} and value not in (None, [])}
    return kept | {"happened": line["event"]}


_current: list[Recorder] = []


@contextmanager
def recording(
    state: Path, manifest: Path, *, log: Path | None = None, no_log: bool = False, events: str | None = None
) -> Iterator[Recorder]:
    """A recorder for the block; the log lies beside the state file unless it is named.

    With `events` as `-`, they are all that goes to standard output.

    Raises:
        UsageError: a file that was named cannot be written.
    """
    with _events_to(events) as lines:
        recorder = Recorder(log=None if no_log else _log(state, manifest, log), events=lines)
        _current.append(recorder)
        recorder.say("info", "began", version=__version__, manifest=str(manifest), state=str(state), pid=os.getpid())
        try:
            yield recorder
        except BatchrunnerError as error:
            recorder.say("error", "refused", exit_code=int(error.exit_code), text=str(error), hint=error.hint)
            _end(recorder)
            raise
        _end(recorder)


def _end(recorder: Recorder) -> None:
    """Close the log; after an exception that nobody expected it stays open, to take the traceback."""
    _current.remove(recorder)
    if recorder.log is not None:
        recorder.log.close()


def note_crash(error: BaseException) -> Path | None:
    """Put an unexpected exception into the log of the run it ended; the log, if there is one."""
    for recorder in reversed(_current):
        if recorder.log is not None:
            with suppress(Exception):
                recorder.log.crashed(error)
                return recorder.log.path
    return None


def _log(state: Path, manifest: Path, named: Path | None) -> Log | None:
    from batchrunner import logfile

    path = named or state.resolve().with_name(f"{manifest.stem}.log")
    try:
        lines = logfile.opened(path, turns_over=True, tell=show.say)
    except UsageError as error:
        if named is not None:
            raise
        show.say(f"warning: no log is kept: {error}")
        return None
    return logfile.Log(lines, redactor())


@contextmanager
def _events_to(named: str | None) -> Iterator[Lines | None]:
    from batchrunner import logfile

    if named is None:
        yield None
        return
    if named != "-":
        lines = logfile.opened(Path(named), turns_over=False, tell=show.say)
        try:
            yield lines
        finally:
            lines.close()
        return
    sys.stdout.flush()
    lines = logfile.Lines(None, os.dup(sys.stdout.fileno()), turns_over=False, tell=show.say)
    try:
        with redirect_stdout(sys.stderr):
            yield lines
    finally:
        lines.close()
