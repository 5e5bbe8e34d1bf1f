"""PyYAML's events, and its complaints in words that help.

Part of `yamltext`, which builds values from the events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import re
from typing import Any, TypeAlias

import yaml

from batchrunner.core.problem import Place, Problem

# PyYAML's stubs type the classes, but not what their events carry.
Event: TypeAlias = Any

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unreadable(Exception):
    """The rest of the text cannot be read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


# YAML 1.2.2, section 5.1 (c-printable), and the byte order mark at the start.
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# What the parser counts as the end of a line (YAML 1.1, section 5.4).
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")

_HINTS = (
    (
        "found character that cannot start any token",
        "put a value that starts with @, ` or % in quotes",
    ),
    ("mapping values are not allowed", "a value with a colon and a space needs quotes; or a line is indented too far"),
    ("could not find expected ':'", "write key: value"),
    ("did not find expected key", "keys of one mapping start in the same column; a quote may be missing above"),
    ("did not find expected '-' indicator", "items of one list start with - in the same column"),
    ("did not find expected ',' or ']'", "a list in brackets needs commas and its closing ]"),
    ("did not find expected ',' or '}'", "a mapping in braces needs commas and its closing }"),
    ("did not find expected node content", "a value, or a closing bracket or brace, is missing before this"),
    ("found unexpected end of stream", "the quote that is opened here is never closed"),
    ("found unknown escape character", 'inside "…" a backslash starts an escape; use single quotes or forward slashes'),
    ("found undefined tag handle", "remove the word that starts with !"),
)


def events_of(text: str, *, source: str) -> Iterator[Any]:
    """Yield PyYAML's events; its complaints come out as Unreadable."""
    if found := _NOT_TEXT.search(text):
        raise Unreadable(_not_text(text, found.start(), source=source))
    try:
        # What yaml.parse does, without asking twice for each event.
        yield from iter(_LOADER(text).get_event, None)
    except yaml.MarkedYAMLError as error:
        raise Unreadable(_syntax_problem(error, text, source=source)) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # The parser in pure Python converts escapes such as "\UFFFFFFFF" without checking them first.
        place = Place(source=source, line=1, column=1)
        raise Unreadable(Problem(place=place, code="yaml-syntax", message=f"not valid YAML: {error}")) from error


def not_utf8(before: str, *, source: str) -> Problem:
    """Return what to tell of a file that is UTF-8 up to the end of `before`, and then is not."""
    hint = "save the file with the encoding UTF-8"
    return Problem(place=_end_of(before, source), code="not-text", message="this is not UTF-8 text", hint=hint)


def _end_of(before: str, source: str) -> Place:
    lines = _LINE_BREAK.split(before)
    return Place(source=source, line=len(lines), column=len(lines[-1]) + 1)


def _not_text(text: str, offset: int, *, source: str) -> Problem:
    code_point = ord(text[offset])
    if 0xD800 <= code_point <= 0xDFFF:
        return not_utf8(text[:offset], source=source)
    return Problem(
        place=_end_of(text[:offset], source),
        code="not-text",
        message=f"the control character U+{code_point:04X} cannot stand in a manifest",
        hint="remove it; it is invisible in most editors",
    )


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, *, source: str) -> Problem:
    said = error.problem or "unreadable"
    lines = _LINE_BREAK.split(text)
    line, column = _where(error, lines)
    context = f" {error.context}" if error.context else ""
    return Problem(
        place=Place(source=source, line=line, column=column),
        code="yaml-syntax",
        message=f"not valid YAML: {said}{context}",
        hint=_hint(said, lines[line - 1][:column], lines[line - 1]),
    )


def _where(error: yaml.MarkedYAMLError, lines: Sequence[str]) -> tuple[int, int]:
    """Return where the text stops making sense, or where that which its end leaves open was opened."""
    last = len(lines)
    for mark in (error.problem_mark, error.context_mark):
        if mark is not None and (mark.line + 1, mark.column) < (last, len(lines[-1])):
            return mark.line + 1, mark.column + 1
    return last, len(lines[-1]) + 1


def _hint(said: str, before: str, whole: str) -> str | None:
    if "\t" in before[: len(before) - len(before.lstrip())]:
        return "YAML does not allow tabs for indentation; use spaces"
    if "${" in whole and said.startswith(("did not find expected ',' or", "did not find expected node content")):
        return 'inside {…} and […] a value with ${NAME} needs quotes: "${NAME}"'
    return next((hint for start, hint in _HINTS if said.startswith(start)), None)
