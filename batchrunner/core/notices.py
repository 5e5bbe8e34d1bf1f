"""What a person is told who does not sit before the screen: few notices, each worth being woken for or read in bed.

A night gives at most one notice of each sort, however many jobs it has, and one summary at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
import shlex
from typing import Final

from batchrunner.core.totals import charged_words
from batchrunner.errors import Exit


class Sort(StrEnum):
    """What a notice is about; the words of `notify: {on: […]}` in a manifest."""

    DONE = "done"
    """The run has ended: its summary. A run that ends otherwise than it should tells so under one of the others."""

    STOPPED = "stopped"
    """Nothing more is bought: a cap, no credits, a refused key, an endpoint that is out, a full disk."""

    UNCERTAIN = "uncertain"
    """A submission waits for a person."""

    CAP = "cap"
    """The warning share of a cap is spent."""


ALL: Final = tuple(Sort)

LONGEST_LINES: Final = 30
"""Lines of a notice. Messengers cut longer ones; all of it is in the log and the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A message, as plain text."""

    sort: Sort
    title: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a summary tells.

    Attributes:
        batch: the manifest's name.
        code: the exit code.
        by_state: how many jobs are in each state, in the order to be told.
        charged: credits over all attempts.
        charged_before: those of them that were charged before it began.
        hours: how long it took.
        lines: what it left to be known or done.
    """

    batch: str
    code: Exit
    by_state: Mapping[str, int]
    charged: int
    charged_before: int = 0
    hours: float
    lines: Sequence[str] = ()


_SORT_OF: Final[Mapping[Exit, Sort]] = {
    Exit.UNCERTAIN: Sort.UNCERTAIN,
    Exit.KEY_REFUSED: Sort.STOPPED,
    Exit.OUT_OF_CREDITS: Sort.STOPPED,
    Exit.BUDGET_REACHED: Sort.STOPPED,
    Exit.UNREACHABLE: Sort.STOPPED,
}

_WORDS: Final[Mapping[Exit, str]] = {
    Exit.OK: "all done",
    Exit.INCOMPLETE: "work is left",
    Exit.JOBS_FAILED: "some jobs failed",
    Exit.UNREACHABLE: "the provider is not reachable",
    Exit.KEY_REFUSED: "the key is refused",
    Exit.OUT_OF_CREDITS: "out of credits",
    Exit.BUDGET_REACHED: "the budget is reached",
    Exit.UNCERTAIN: "submissions wait for a person",
    Exit.WINDOW_OVER: "the window is over, and work is left",
    Exit.INTERRUPTED: "interrupted",
}


def summary(ended: Ended) -> Notice:
    """The one notice at the end of a run."""
    states = ", ".join(f"{count:,} {state}" for state, count in ended.by_state.items() if count) or "no jobs"
    words = _WORDS.get(ended.code, f"exit code {int(ended.code)}")
    first = f"{states}; {charged_words(ended.charged, ended.charged_before)}; {_took(ended.hours)}"
    return Notice(
        sort=_SORT_OF.get(ended.code, Sort.DONE),
        title=f"{ended.batch}: {words}",
        body="\n".join(_bounded((first, *ended.lines))),
    )


def stopped(batch: str, why: str, *, bought: int) -> Notice:
    """Buying has stopped while the run goes on; `bought` renders are still to be collected."""
    return Notice(
        sort=Sort.STOPPED,
        title=f"{batch}: nothing more is bought",
        body=f"{why}\n{bought:,} already bought will be collected.",
    )


def uncertain(batch: str, lines: Iterable[str]) -> Notice:
    """The first submission of a run that nobody can tell about by machine; later ones are in the summary."""
    return Notice(
        sort=Sort.UNCERTAIN, title=f"{batch}: a submission waits for you", body="\n".join(_bounded(tuple(lines)))
    )


def near_cap(batch: str, words: str) -> Notice:
    """The warning share of a cap is spent."""
    return Notice(sort=Sort.CAP, title=f"{batch}: near its cap", body=words)


def trial() -> Notice:
    """What `notify --test` sends."""
    return Notice(
        sort=Sort.DONE,
        title="batchrunner: a test",
        body="Notices of your renders will come here. Nothing was rendered.",
    )


def _bounded(lines: Sequence[str]) -> Sequence[str]:
    if len(lines) <= LONGEST_LINES:
        return lines
    return (*lines[: LONGEST_LINES - 1], f"… and {len(lines) - LONGEST_LINES + 1:,} lines more")


def _took(hours: float) -> str:
    minutes = round(hours * 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


def words_of(command: str | Sequence[str]) -> tuple[str, ...]:
    """A command as its words: split as a shell would, but no shell reads it.

    Raises:
        ValueError: a quotation has no end.
    """
    return tuple(shlex.split(command)) if isinstance(command, str) else tuple(command)


class Told:
    """Which sorts a run has told of already."""

    def __init__(self, wanted: Iterable[Sort]) -> None:
        self._open = set(wanted)
        self._wanted = frozenset(self._open)

    def first(self, sort: Sort) -> bool:
        """Whether a notice of this sort is wanted and is the first one; then it has been told."""
        if sort not in self._open:
            return False
        self._open.discard(sort)
        return True

    def wants_summary(self, notice: Notice) -> bool:
        """Whether the summary is wanted: with `done`, or under the sort that the run ended with."""
        return Sort.DONE in self._wanted or notice.sort in self._wanted
