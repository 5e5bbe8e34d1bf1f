"""Durations as people write them: a number of seconds, or text such as "90s", "5m", "2h", "1h30m"."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([smh]) ?")
_WHOLE: Final = re.compile(f"(?:{_PART.pattern})+")

LONGEST: Final = 63
"""Characters of a duration that is written as text."""

PATTERN: Final = f"^{_WHOLE.pattern}$"
"""What such a text is made of."""

FORMS: Final = 'seconds, or text such as "90s", "5m" or "2h"'
"""What may stand where a duration is asked for."""


def seconds_of(value: object) -> float:
    """The seconds of a duration.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and len(value) <= LONGEST and _WHOLE.fullmatch(value):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    raise ValueError(f"a duration is expected: {FORMS}")
