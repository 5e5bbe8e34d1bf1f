"""Collecting problems, and naming the value that was probably meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import difflib
from functools import lru_cache

from batchrunner.core.problem import Problem, Severity
from batchrunner.errors import ManifestError

SHOWN = 200
_KEPT = 10 * SHOWN
_LONGEST_COMPARED = 80


class Findings:
    """Problems as they are found: each once, those that stand first kept, the rest counted.

    A problem in a default is found again with every job that uses it; it stands in one place and is told once.
    `errors_told` counts it every time. `mask` takes out of a problem what must not be shown.
    """

    def __init__(self) -> None:
        self.errors_told = 0
        self.mask: Callable[[Problem], Problem] = as_it_is
        self._seen: set[int] = set()
        self._errors: list[Problem] = []
        self._warnings: list[Problem] = []
        self._dropped = {Severity.ERROR: 0, Severity.WARNING: 0}

    def add(self, problem: Problem) -> None:
        if problem.severity is Severity.ERROR:
            self.errors_told += 1
        problem = self.mask(problem)
        key = hash((problem.place, problem.code, problem.message))
        if key in self._seen:
            return
        self._seen.add(key)
        kept = self._errors if problem.severity is Severity.ERROR else self._warnings
        kept.append(problem)
        if len(kept) > _KEPT:
            kept.sort(key=_position)
            self._dropped[problem.severity] += len(kept) - SHOWN
            del kept[SHOWN:]

    @property
    def has_errors(self) -> bool:
        return bool(self._errors)

    def error(self) -> ManifestError:
        """Return the errors as one exception, for where there is at least one."""
        return ManifestError(_first(self._errors, self._dropped[Severity.ERROR]))

    def raise_errors(self) -> None:
        """Raise ManifestError when there is an error among the findings."""
        if self._errors:
            raise self.error()

    def warnings(self) -> tuple[Problem, ...]:
        return _first(self._warnings, self._dropped[Severity.WARNING])


def as_it_is(problem: Problem) -> Problem:
    """Return the problem: nothing in it must be hidden."""
    return problem


def _position(problem: Problem) -> tuple[str, int, int]:
    return problem.place.source, problem.place.line, problem.place.column


def _first(problems: Iterable[Problem], dropped: int) -> tuple[Problem, ...]:
    ordered = sorted(problems, key=_position)
    shown = ordered[:SHOWN]
    rest = len(ordered) - len(shown) + dropped
    if rest:
        last = shown[-1]
        word = "problems" if last.severity is Severity.ERROR else "warnings"
        shown.append(
            Problem(
                place=last.place,
                code="more",
                message=f"and {rest:,} more {word} after this one",
                severity=last.severity,
            )
        )
    return tuple(shown)


@lru_cache(maxsize=4096)
def nearest(word: str, among: tuple[str, ...]) -> str | None:
    """Return the listed word that `word` is most likely a slip of, whatever its case; None when none is near."""
    if len(word) > _LONGEST_COMPARED:
        return None
    by_folded = {listed.casefold(): listed for listed in among}
    close = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


def alike(one: str, other: str) -> float:
    """Return how alike two words are: 1 for the same, 0 for no letter in common."""
    return difflib.SequenceMatcher(None, one, other).ratio() if len(one) <= _LONGEST_COMPARED else 0.0


def did_you_mean(word: str, among: tuple[str, ...]) -> str:
    """Return the hint for a word that is not listed: the nearest one, or all of them when they are few."""
    if near := nearest(word, among):
        return f"did you mean {near}?"
    shown = ", ".join(among[:12])
    return f"possible: {shown}" + (", …" if len(among) > 12 else "")
