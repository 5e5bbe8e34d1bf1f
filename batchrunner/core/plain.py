"""Text from outside, fit to be shown: nothing in it can steer a terminal, forge a line or turn the reading order.

Names, ids and messages come from a manifest, a folder, a state file or the provider. All that a command prints goes
through `shown` or `cell`, and all that is logged through `json_line`; both escape the same characters.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
import re
from typing import Any, Final
import unicodedata


def _plainly(value: Any) -> Any:
    """What JSON has no word for, as what comes next to it."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, set | frozenset) else str(value)


# Control characters but the line feed; marks that turn the order of reading (Unicode TR 9, and the "Trojan Source"
# paper); line and paragraph separators; halves of surrogate pairs, which no encoding takes; invisible tags.
_UNSAFE: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
_ON_ONE_LINE: Final = json.JSONEncoder(ensure_ascii=False, default=_plainly)
_UNSAFE_IN_CELL: Final = re.compile(f"\n|{_UNSAFE.pattern}")


def shown(text: str) -> str:
    """The text with every character escaped that could do more than be read; line feeds are kept."""
    return _UNSAFE.sub(_escaped, text)


def cell(text: str) -> str:
    """As `shown`, for text that must stay on its line: line feeds are escaped, too."""
    return _UNSAFE_IN_CELL.sub(_escaped, text)


def width(text: str) -> int:
    """Columns of a terminal that a text takes: wide letters and most emoji two, marks over a letter none (UAX 11)."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut(text: str, most: int) -> str:
    """As much of the beginning of a text as fits into so many columns."""
    if width(text) <= most:
        return text
    taken = 0
    for number, each in enumerate(text):
        taken += _columns(each)
        if taken > most:
            return text[:number]
    return text


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in {"W", "F"} else 1


def clause(text: str) -> str:
    """A sentence of somebody else's without its full stop, where ours goes on behind it."""
    return text[:-1] if text.endswith(".") and not text.endswith("..") else text


def json_line(value: Any) -> str:
    """A value as JSON on one line, with the same characters escaped in its strings, as JSON escapes them."""
    return _UNSAFE.sub(_escaped_as_json, _ON_ONE_LINE.encode(value))


def json_text(value: Any, *, indent: int = 2) -> str:
    """A value as JSON over several lines, with the same characters escaped in its strings."""
    return _UNSAFE.sub(_escaped_as_json, json.dumps(value, indent=indent, ensure_ascii=False, default=_plainly))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFF:
        return {9: r"\t", 10: r"\n", 13: r"\r"}.get(code, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _escaped_as_json(match: re.Match[str]) -> str:
    return json.dumps(match[0]).strip('"') if match[0] != "\x7f" else r"\u007f"
