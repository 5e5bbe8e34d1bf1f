"""The line that a problem points at, with a caret under the place."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
import re

from batchrunner.core import plain
from batchrunner.core.problem import Place

# What YAML counts as the end of a line.
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_INDENT = "    "


def lines(place: Place, *, columns: int) -> Iterator[str]:
    """Yield the line and the caret, no wider than `columns`; nothing where the file cannot be read any more."""
    text = _lines_of(place.source)
    if not 1 <= place.line <= len(text):
        return
    line, at = text[place.line - 1], place.column - 1
    room = max(20, columns - len(_INDENT) - 1)
    start = max(0, min(at - room // 2, len(line) - room))
    before = ("…" if start else "") + plain.cell(line[start:at])
    after = plain.cell(line[at : start + room])
    if not line.strip():
        return
    yield _INDENT + before + after
    yield _INDENT + " " * plain.width(before) + "^"


@lru_cache(maxsize=32)
def _lines_of(source: str) -> tuple[str, ...]:
    try:
        text = Path(source).read_text(encoding="utf-8-sig", errors="replace")
    except (OSError, ValueError):
        return ()
    return tuple(_LINE_BREAK.split(text))
