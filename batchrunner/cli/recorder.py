"""The files that a command writes besides the state: its log, and events for other programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from batchrunner.cli import show
from batchrunner.errors import BatchrunnerError, UsageError

if TYPE_CHECKING:
    from batchrunner.logfile import Log, Sink
    from batchrunner.recorder import Recorder

_current: list[Recorder] = []


@contextmanager
def recording(
    state: Path, manifest: Path, *, log: Path | None = None, no_log: bool = False, events: str | None = None
) -> Iterator[Recorder]:
    """A recorder for the block; the log lies beside the state file unless it is named.

    With `events` as `-`, they are all that goes to standard output.

    Raises:
        UsageError: a file that was named cannot be written, or one is named and none is wanted.
    """
    from batchrunner import telemetry
    from batchrunner.recorder import Recorder, keeping

    if no_log and log is not None:
        raise UsageError("--log and --no-log contradict each other", hint="leave one of them out")

    with _events_to(events) as lines:
        sends = telemetry.opened(os.environ, tell=show.say)
        recorder = Recorder(
            say=show.say, log=None if no_log else _log(state, manifest, log), events=lines, telemetry=sends
        )
        _current.append(recorder)
        try:
            with keeping(recorder, state=state, manifest=manifest):
                yield recorder
        except BatchrunnerError:
            _current.remove(recorder)
            raise
        _current.remove(recorder)


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
    from batchrunner.recorder import redactor

    path = named or state.resolve().with_name(f"{manifest.stem}.log")
    try:
        lines = logfile.opened(path, turns_over=True, tell=show.say)
    except UsageError as error:
        if named is not None:
            raise
        show.say(f"warning: no log is kept: {error} (--log FILE keeps one elsewhere)")
        return None
    return logfile.Log(lines, redactor())


@contextmanager
def _events_to(named: str | None) -> Iterator[Sink | None]:
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
    lines = logfile.to_standard_output(os.dup(sys.stdout.fileno()), tell=show.say)
    try:
        with redirect_stdout(sys.stderr):
            yield lines
    finally:
        lines.close()
