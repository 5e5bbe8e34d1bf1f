"""Values to YAML text that reads back as the same values, here and by every other reader of YAML."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import json
import re
from typing import Any

from batchrunner.core.scalars import core_value

# What no reader of YAML takes for anything but text, wherever it stands.
_PLAIN = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_./ -]*[A-Za-z0-9_./-])?")
# Words that readers by the rules of YAML 1.1 take for true or false.
_WORDS_OF_1_1 = frozenset({"y", "n", "yes", "no", "on", "off"})

Comment = Callable[[tuple[str, ...]], str | None]
"""What to say beside the value at a path; None for nothing."""


def scalar(value: Any) -> str:
    """Return a single value as YAML; texts are taken as they are."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(repr(value), repr(value))
        case _:
            return _text(str(value))


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and core_value(text) == text and text.lower() not in _WORDS_OF_1_1:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in quoted)


def written(value: Any) -> Any:
    """Return a value of a manifest as a manifest has to write it: its variables are filled in, so `$` is a sign."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: written(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [written(each) for each in value]
    return value


def lines(
    values: Mapping[str, Any], comment: Comment, *, indent: str = "", first: str | None = None, at: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield a mapping in block style, a line for each key; lists of single values stand in one line.

    Args:
        values: mappings, lists and single values.
        comment: asked for each line.
        indent: what every line begins with.
        first: what the first line begins with instead, such as `- `.
        at: the path of the mapping.
    """
    start = indent if first is None else first
    for key, value in values.items():
        path = (*at, key)
        if isinstance(value, Mapping) and value:
            yield f"{start}{scalar(key)}:"
            yield from lines(value, comment, indent=f"{indent}  ", at=path)
        else:
            said = comment(path)
            yield f"{start}{scalar(key)}: {_inline(value)}" + (f"  # {said}" if said else "")
        start = indent


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {_inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return scalar(value)
