"""`status --watch`: a run in another process, followed from its state file until it ends."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
import os
import sys
import time
from typing import TYPE_CHECKING, Final

from batchrunner import inwords
from batchrunner.cli import doubts, show, status
from batchrunner.core import plain

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from batchrunner.batch import Batch
    from batchrunner.board import Board, Change, Line, Summary
    from batchrunner.commands import Typed

LOOK_S: Final = 1.0
"""Seconds between two looks; each costs what happened since, and not the number of jobs."""

LAST_EVENTS: Final = 6


def watch(read: Batch, typed: Typed) -> None:
    """Show a run until it ends, or until Ctrl-C: on a terminal in place, elsewhere each change as a line.

    Raises:
        StateUnusable: the state file cannot be used, or no longer.
        UsageError: it is not there any more.
    """
    from batchrunner.board import Board

    _refuse_unusable(read.state)
    board = Board(read, words=inwords.of_event)
    change = board.since(None)
    if not _goes_on(change.summary):
        show.line("no run goes on")
    else:
        with suppress(KeyboardInterrupt):
            (_in_place if _is_terminal() else _as_lines)(board, change)
        _refuse_unusable(read.state)
    jobs = board.jobs()
    status.print_summary(jobs, board.summary().totals, on_stdout=True)
    for job in jobs:
        if job.state == "uncertain":
            for line in doubts.lines(job, typed):
                show.line(line)
    _say_next(board.summary(), typed)


def _refuse_unusable(state: Path) -> None:
    """Refuse to tell of a batch whose record cannot be read, since what nobody knows would be told as nothing."""
    from batchrunner import store
    from batchrunner.errors import UsageError

    with store.open_to_read(state) as view:
        if view is None:
            raise UsageError(f"there is no state file {state} any more")


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _goes_on(summary: Summary) -> bool:
    return summary.run is not None and summary.run.is_going_on


def _say_next(summary: Summary, typed: Typed) -> None:
    """The command that goes on, if there is anything to go on with."""
    from batchrunner.core.job import FINAL
    from batchrunner.core.selection import BROKEN

    counts = summary.by_state
    if _goes_on(summary):
        show.say(f"the run goes on; next: {typed.command('status')} --watch")
    elif any(state not in FINAL and state != "uncertain" for state in counts):
        show.say(f"next: {typed.command('run')}    goes on where it was")
    elif any(str(state) in counts for state in BROKEN):
        show.say(f"next: {typed.command('retry')}")


# --- as lines --------------------------------------------------------------------------------------------------------


def _as_lines(board: Board, change: Change) -> None:
    waited: Sequence[str] = ()
    while True:
        waits = _waits(change.summary)
        for words in waits:
            if words not in waited:
                show.line(f"{time.strftime('%H:%M:%S')} waiting: {words}")
        waited = waits
        if not _goes_on(change.summary):
            return
        time.sleep(LOOK_S)
        change = board.since(change.mark)
        for line in change.lines:
            show.line(_line(line))


def _line(line: Line) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(line.at))} {plain.cell(f'{line.job}: {line.text}')}"


def _waits(summary: Summary) -> list[str]:
    """Why nothing starts, without counts that change with every job."""
    waits = [] if summary.now is None else [f"{wait.step}: {wait.why}" for wait in summary.now.waits]
    trouble = [] if summary.trouble is None else [summary.trouble]
    pauses = [f"{step}: {why}" for step, why in summary.pauses.items()]
    return [plain.cell(words) for words in (*trouble, *waits, *pauses)]


# --- in place --------------------------------------------------------------------------------------------------------


def _in_place(board: Board, change: Change) -> None:
    from rich.console import Console
    from rich.live import Live

    lines = list(change.lines[-LAST_EVENTS:])
    with Live(_drawn(change.summary, lines), console=Console(), auto_refresh=False, transient=True) as live:
        while _goes_on(change.summary):
            time.sleep(LOOK_S)
            change = board.since(change.mark)
            lines = [*lines, *change.lines][-LAST_EVENTS:]
            live.update(_drawn(change.summary, lines), refresh=True)


def _drawn(summary: Summary, lines: Sequence[Line]) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    bar = Table.grid(padding=(0, 1))
    ends = "" if summary.forecast is None else f", about {show.seconds(summary.forecast.median_at - time.time())} left"
    bar.add_row(
        ProgressBar(total=max(1, summary.jobs), completed=summary.over, width=30),
        Text(f"{summary.over:,} of {show.plural(summary.jobs, 'job')}{ends}"),
    )
    states = "  ".join(f"{count:,} {state}" for state, count in summary.by_state.items())
    cap = "" if summary.cap is None else f" of {summary.cap:,}"
    credits = f"{summary.totals.charged:,}{cap} credits charged, {summary.reserved:,} reserved"
    told = [Text(_line(line), style="dim", no_wrap=True, overflow="ellipsis") for line in lines]
    waits = [Text(f"waiting: {words}", style="yellow") for words in _waits(summary)[:3]]
    return Group(*told, bar, Text(states, style="bold"), Text(credits), *waits)
