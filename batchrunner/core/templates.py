"""Templates: text with placeholders such as {stem}, for ids and outputs.

`{{` and `}}` stand for the braces themselves. What a placeholder may be called, and what its value is, is the
caller's business; so is making a value safe where it becomes part of a file's name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
import re
from typing import NamedTuple

from batchrunner.core import findings, yamltext

RESERVED = frozenset({"id", "stem", "name", "ext", "parent", "relpath", "index", "kind", "date", "model"})
"""Placeholders with a meaning of their own, which nothing else may be called."""

_PARTS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Flaw(NamedTuple):
    """Why a template cannot be used."""

    code: str
    message: str
    hint: str | None = None


class Part(NamedTuple):
    """A piece of a template: a placeholder's name, or text that stands for itself."""

    text: str
    is_name: bool


@lru_cache(maxsize=1024)
def parts_of(template: str) -> tuple[Part, ...] | None:
    """Return the pieces of a template in order; None where a brace stands alone."""
    parts: list[Part] = []
    end = 0
    for match in _PARTS.finditer(template):
        parts.append(Part(template[end : match.start()], is_name=False))
        end = match.end()
        if match[1] is not None:
            parts.append(Part(match[1], is_name=True))
        elif len(match[0]) == 2:
            parts.append(Part(match[0][0], is_name=False))
        else:
            return None
    parts.append(Part(template[end:], is_name=False))
    return tuple(part for part in parts if part.text or part.is_name)


@lru_cache(maxsize=1024)
def names_in(template: str) -> tuple[str, ...]:
    """Return the names of the placeholders, in order; none where the template is no template."""
    return tuple(part.text for part in parts_of(template) or () if part.is_name)


def flaw_of(template: str, *, what: str) -> Flaw | None:
    """Return what is wrong with the form of a template; `what` names what it is for, such as "bad-output"."""
    if parts_of(template) is None:
        return Flaw(what, "a brace stands alone", "a placeholder is written as {id}, the brace itself as {{ or }}")
    return None


def unknown(name: str, among: tuple[str, ...]) -> Flaw:
    """Return the flaw of a placeholder that nobody knows."""
    said = f"there is no placeholder {yamltext.quoted('{' + name + '}')}"
    return Flaw("unknown-placeholder", said, findings.did_you_mean(name, among))


def fill(template: str, value_of: Callable[[str], str]) -> str:
    """Return the text, with `value_of(name)` in the place of each placeholder."""
    return "".join([value_of(text) if is_name else text for text, is_name in parts_of(template) or ()])


def fill_some(template: str, value_of: Callable[[str], str | None]) -> str:
    """Return a template in which the placeholders with a value are filled, and the others still stand."""
    pieces = []
    for part in parts_of(template) or ():
        value = value_of(part.text) if part.is_name else part.text
        pieces.append("{" + part.text + "}" if value is None else escaped(value))
    return "".join(pieces)


def escaped(text: str) -> str:
    """Return the template that stands for exactly this text."""
    return text.replace("{", "{{").replace("}", "}}")
