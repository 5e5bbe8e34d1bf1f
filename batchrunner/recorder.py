"""What a run leaves besides its state: the log of the batch, and events for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import secrets
from typing import Any

from batchrunner import __version__
from batchrunner.core import eventlines
from batchrunner.core.eventlines import JobEvent
from batchrunner.core.redact import Redactor
from batchrunner.environ import SECRETS
from batchrunner.errors import BatchrunnerError
from batchrunner.logfile import Log, Sink
from batchrunner.provider.watched import Exchange
from batchrunner.store import Entry
from batchrunner.telemetry import Telemetry


def redactor(*more: str) -> Redactor:
    """The one processor that takes secrets out of what is kept: those of the environment, and more."""
    return Redactor(filter(None, (*more, *(os.environ.get(name, "").strip() for name in SECRETS))))


class Recorder:
    """Hears of everything that happens in a run; what it writes never holds a secret, and never fails the run."""

    def __init__(
        self,
        *,
        say: Callable[[str], None],
        log: Log | None = None,
        events: Sink | None = None,
        heed: Callable[[JobEvent], None] | None = None,
        key: str = "",
        telemetry: Telemetry | None = None,
    ) -> None:
        """Write to what is there of the two files, and tell `heed` and `telemetry`; `say` takes a word for the person.

        `key` is a secret that stands in no variable of the environment.
        """
        self.run = secrets.token_hex(6)
        self._say = say
        self._heed = heed
        self.log = log
        self._events = events
        self._redactor = redactor(key)
        self._telemetry = telemetry

    def told(self, entries: Sequence[Entry]) -> None:
        """Events that are on disk, all of one transaction."""
        if self._telemetry is not None:
            with suppress(Exception):
                self._telemetry.told(entries)
        if self.log is None and self._events is None and self._heed is None:
            return
        with suppress(Exception):  # what is told of a render must not cost it
            told = [eventlines.told_of(event, job, run=self.run) for event, job in entries]
            if self._heed is not None:
                for each in told:
                    self._heed(each)
            lines = [each.line() for each in told]
            if self._events is not None:
                self._events.write([self._redactor.json_line(line) for line in lines])
            if self.log is not None:
                self.log.add("info", "job", [_brief(line) for line in lines])

    def heard(self, exchange: Exchange) -> None:
        """A request that has ended."""
        if self._telemetry is not None:
            with suppress(Exception):
                self._telemetry.heard(exchange)
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
        self._say(text)
        self.say("warning", "told", text=text)

    def say(self, level: str, what: str, **fields: Any) -> None:
        """A line for the log alone."""
        if self.log is not None:
            with suppress(Exception):
                self.log.say(level, what, run=self.run, **fields)

    def close(self) -> None:
        """Close the log, and send what is left of telemetry; the file of events is whoever's opened it."""
        telemetry, self._telemetry = self._telemetry, None
        if telemetry is not None:
            with suppress(Exception):
                telemetry.close()
        if self.log is not None:
            self.log.close()


def _brief(line: dict[str, Any]) -> dict[str, Any]:
    """An event for the log, where most fields of most lines say nothing; `event` is the log's own word."""
    kept = {name: value for name, value in line.items() if name not in {"version", "event"} and value not in (None, [])}
    return kept | {"happened": line["event"]}


@contextmanager
def keeping(recorder: Recorder, *, state: Path, manifest: Path) -> Iterator[Recorder]:
    """Put on the log how a run began, and why it was refused, and close the log at the end.

    After an exception that nobody expected it stays open, to take the traceback.
    """
    recorder.say("info", "began", version=__version__, manifest=str(manifest), state=str(state), pid=os.getpid())
    try:
        yield recorder
    except BatchrunnerError as error:
        recorder.say("error", "refused", exit_code=int(error.exit_code), text=str(error), hint=error.hint)
        recorder.close()
        raise
    recorder.close()
