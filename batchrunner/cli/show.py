"""What commands print: tables for people, JSON for programs, and the same words everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import zip_longest
import os
import re
import shutil
import sys
from typing import Any, Final, TextIO

import click

from batchrunner.cli import colours, quote
from batchrunner.core import figures, plain
from batchrunner.core.problem import Problem


def as_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    click.echo(plain.json_text(value))


def say(text: str = "") -> None:
    """Print a line for the person; standard output is for data. Nobody listening is no reason to stop."""
    with suppress(OSError, ValueError):
        click.echo(colours.headed(_fitting(plain.shown(text), sys.stderr), sys.stderr), err=True)


def line(text: str) -> None:
    """Print text on standard output, with nothing in it that could steer the terminal."""
    click.echo(plain.shown(text))


def words(text: str) -> None:
    """As `line`, for a sentence, which may be put on several lines."""
    click.echo(colours.headed(_fitting(plain.shown(text), sys.stdout), sys.stdout))


def hanging(head: str, text: str, *, colour: str | None = None) -> None:
    """A sentence behind its head, on lines that begin where it begins; one with a command stays whole."""
    room = terminal_width()
    shown = colours.painted(plain.shown(head), colour, sys.stdout)
    if room is None or room < 2 * len(head):
        click.echo(shown + plain.shown(text))
        return
    for number, each in enumerate(_wrapped_line(text, room - len(head), indent="")):
        click.echo((" " * len(head) if number else shown) + plain.shown(each))


def _fitting(text: str, stream: TextIO | None) -> str:
    if stream is None or not stream.isatty():
        return text
    return wrapped(text, shutil.get_terminal_size().columns)


def wrapped(text: str, width: int) -> str:
    """The text on lines of so many characters, broken at words; one with a command stays as it is, to be copied."""
    return "\n".join(each for part in text.split("\n") for each in _wrapped_line(part, width))


def _wrapped_line(text: str, width: int, *, indent: str = "  ") -> list[str]:
    if len(text) <= width or _COMMAND.search(text):
        return [text]
    from textwrap import wrap

    return wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


_COMMAND = re.compile(r"\bbatchrunner [a-z]")
"""What is to be copied begins so; `batchrunner 0.1.0` is none."""


def is_of_output(error: Exception) -> bool:
    """Whether it says that standard output takes no more; what is left to be written is given up then."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if not isinstance(error, OSError) or place is None or place.tb_frame.f_code is not click.echo.__code__:
        return False
    # What could not be written is tried once more when the program ends, and would end it in a second way.
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return True


@contextmanager
def looking() -> Iterator[Callable[[int, int, int], None] | None]:
    """A bar for looking into many inputs, on a terminal; what to tell how far it is."""
    if not sys.stderr or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("looking into inputs"), BarColumn(), TextColumn("{task.fields[far]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, far="")
        yield lambda done, total, _bytes: bar.update(task, completed=done, total=total, far=f"{done} of {total}")


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar for something that takes a while, on a terminal; what to tell how many there are, and of how many."""
    if not sys.stderr or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def problems(found: Iterable[Problem]) -> None:
    """Print problems, one a line, as `file:line:column: message`; on a terminal with the line each one points at."""
    columns = shutil.get_terminal_size().columns if sys.stderr and sys.stderr.isatty() else None
    for problem in found:
        say(plain.cell(str(problem)))
        for each in quote.lines(problem.place, columns=columns) if columns is not None else ():
            say(each)


def problem_shapes(found: Iterable[Problem]) -> list[dict[str, Any]]:
    """Problems as JSON; their codes are stable."""
    return [_problem_shape(problem) for problem in found]


def _problem_shape(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.place.source,
        "line": problem.place.line,
        "column": problem.place.column,
        "path": problem.path,
        "severity": problem.severity,
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "via": problem.place.via,
    }


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: frozenset[int] = frozenset(),
    tinted: int | None = None,
    tints: Sequence[str | None] = (),
) -> None:
    """Print a table on standard output; on a terminal the last column takes what is left of the line, and more lines.

    Args:
        headings: one a column.
        rows: as many cells as headings.
        right: columns set flush right.
        tinted: the column whose cells have colours, where the terminal shows them.
        tints: its colours, one a row.
    """
    cells = [tuple(headings), *(tuple(map(plain.cell, row)) for row in rows)]
    widths = [max(plain.width(row[column]) for row in cells) for column in range(len(headings))]
    room = terminal_width()
    lines = list(zip_longest((None, *tints), cells))
    if room is not None:
        widths = _fitted(widths, room)
        lines = [(colour, line) for colour, row in lines for line in _fitting_lines(row, widths)]
    for number, (colour, row) in enumerate(lines):
        padded = [
            _padded(cell, width, is_right=column in right)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        padded[-1] = padded[-1].rstrip()
        if tinted is not None:
            padded[tinted] = colours.painted(padded[tinted], colour, sys.stdout)
        line = "  ".join(padded).rstrip()
        click.echo(click.style(line, bold=True) if number == 0 and colours.takes_styles(sys.stdout) else line)


def terminal_width() -> int | None:
    """Characters on a line of standard output; None where it is no terminal, and a line has no end."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


NARROWEST = 8
"""Characters to which a column is shortened at most."""

LAST_COLUMN = 28
"""Characters that the last column gets before others are shortened for it: it says why."""


def _fitted(widths: Sequence[int], room: int) -> list[int]:
    """The widths of columns so that a row fits: the last column gives way first, then the widest of the others."""
    fitted = list(widths)
    gaps = 2 * (len(widths) - 1)
    fitted[-1] = max(min(widths[-1], LAST_COLUMN), min(widths[-1], room - gaps - sum(widths[:-1])))
    while sum(fitted) + gaps > room and max(fitted) > NARROWEST:
        widest = max(range(len(fitted)), key=lambda column: (fitted[column], -column))
        fitted[widest] -= 1
    return fitted


MOST_LINES = 6
"""Lines that a cell of the last column takes at most."""


def _fitting_lines(row: Sequence[str], widths: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """A row on as many lines as its last cell needs, which says why; the other cells are cut short."""
    from textwrap import wrap

    first = tuple(_shortened(cell, width) for cell, width in zip(row[:-1], widths[:-1], strict=True))
    blank = ("",) * len(first)
    lines, room = [row[-1]], widths[-1]
    if plain.width(row[-1]) > room:
        # Lines are counted in letters: each that takes two columns gets a companion, and a line room for half a pair.
        paired = "".join(f"{each}{_PAIR}" if plain.width(each) > 1 else each for each in row[-1])
        room -= paired != row[-1]
        found = wrap(paired, room, break_on_hyphens=False, max_lines=MOST_LINES, placeholder="…")
        lines = [line.replace(_PAIR, "") for line in found]
    for number, line in enumerate(lines or [""]):
        yield (*(blank if number else first), line)


_PAIR: Final = "\ue000"
"""A letter of nobody's."""


def _shortened(cell: str, width: int) -> str:
    return cell if plain.width(cell) <= width else f"{plain.cut(cell, width - 1)}…"


def _padded(cell: str, width: int, *, is_right: bool) -> str:
    blank = " " * (width - plain.width(cell))
    return blank + cell if is_right else cell + blank


# Figures are told in the same words everywhere.
bytes_ = figures.bytes_
credits = figures.credits
plural = figures.plural
seconds = figures.seconds
time_utc = figures.time_utc
