"""Colours on a terminal: what a word means at a glance. None says what the words do not."""

from __future__ import annotations

from collections.abc import Mapping
import os
import re
from typing import Final, TextIO

import click

GOOD: Final = "green"
BAD: Final = "red"
DOUBTFUL: Final = "yellow"
UNDER_WAY: Final = "cyan"

OF_STATES: Final[Mapping[str, str]] = {
    "done": GOOD,
    "failed": BAD,
    "canceled": DOUBTFUL,
    "uncertain": DOUBTFUL,
    "uploaded": UNDER_WAY,
    "submitting": UNDER_WAY,
    "rendering": UNDER_WAY,
    "rendered": UNDER_WAY,
}
OF_ACTIONS: Final[Mapping[str, str]] = dict.fromkeys(("render", "rerender", "retry", "resume"), UNDER_WAY)
OF_GRADES: Final[Mapping[str, str]] = {"ok": GOOD, "warning": DOUBTFUL, "problem": BAD}

_OF_HEADS: Final[Mapping[str, str]] = {
    "error": BAD,
    "failed": BAD,
    "warning": DOUBTFUL,
    "canceled": DOUBTFUL,
    "suspect": DOUBTFUL,
    "uncertain": DOUBTFUL,
    "stopped": DOUBTFUL,
    "next": UNDER_WAY,
}
_HEAD: Final = re.compile(rf"({'|'.join(_OF_HEADS)})(?=: )")


def takes_styles(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal that knows more than letters: who says `dumb` would read the codes."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def are_wanted(stream: TextIO | None) -> bool:
    """Whether a stream shows colours, and nobody asked for none (no-color.org)."""
    return takes_styles(stream) and not os.environ.get("NO_COLOR")


def painted(text: str, colour: str | None, stream: TextIO | None) -> str:
    """Text in a colour, where that is wanted."""
    return click.style(text, fg=colour) if colour is not None and text.strip() and are_wanted(stream) else text


def headed(line: str, stream: TextIO | None) -> str:
    """A line for the person, in the colour of its first word, which says what it is."""
    head = _HEAD.match(line)
    return line if head is None else painted(line, _OF_HEADS[head[1]], stream)
