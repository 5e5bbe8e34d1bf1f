"""What is wrong with a manifest, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """An error stops everything before anything is sent; a warning is shown and the run goes on."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something stands in a text: lines and columns count from 1, as editors do.

    `via` tells what else had a part in it, such as the variable that a value came from, or the variant of a matrix.
    Two places that differ in it only are the same place.
    """

    source: str
    line: int
    column: int
    via: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    `code` is stable and meant for programs (`unknown-key`, `out-of-range`, …); `path` is the key path inside the
    manifest (`jobs[3].style.art_style`); `hint` says what to do next, such as the nearest valid value.
    """

    place: Place
    code: str
    message: str
    path: str = ""
    hint: str | None = None
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        word = "" if self.severity is Severity.ERROR else "warning: "
        more = "; ".join(each for each in (self.hint, self.place.via) if each)
        return f"{self.place}: {word}{self.message}" + (f" ({more})" if more else "")
