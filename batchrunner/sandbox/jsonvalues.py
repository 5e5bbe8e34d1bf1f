"""Values of decoded JSON, read strictly: what is wrong is named, and nothing is guessed.

Every reader takes a value and gives it back, or raises ValueError that says what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import json
import math
from typing import Any


def fields(spec: object, keys: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """Every key of an object, read by its reader.

    Raises:
        ValueError: a key that is not known, or a value that is wrong.
    """
    if not isinstance(spec, dict):
        raise ValueError(f"expected an object, got {shown(spec)}")
    values = {}
    for key, value in spec.items():
        if key not in keys:
            raise ValueError(f"unknown key {key!r}; known are {', '.join(keys)}")
        try:
            values[key] = keys[key](value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    return values


def shown(value: object) -> str:
    """A value as an error shows it, cut off where it is long."""
    return json.dumps(value, default=str)[:60]


def text(value: object) -> str:
    """A text."""
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {shown(value)}")
    return value


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {shown(value)}")
    return value


def number(value: object, *, most: float = math.inf) -> float:
    """A finite number from 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        limit = "a number from 0" if most == math.inf else f"a number from 0 to {most:g}"
        raise ValueError(f"expected {limit}, got {shown(value)}")
    if not math.isfinite(value):
        raise ValueError("expected a finite number")
    return value


def whole(value: object, *, least: int = 0, most: int = 2**53) -> int:
    """A whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        limit = f"from {least}" if most == 2**53 else f"from {least} to {most}"
        raise ValueError(f"expected a whole number {limit}, got {shown(value)}")
    return value


def rate(value: object) -> float:
    """Bytes a second, more than 0."""
    if not (rate := number(value)):
        raise ValueError("expected more than 0 bytes a second")
    return rate


def size(value: object) -> float:
    """Bytes, or a share of them below one."""
    size = number(value)
    if size >= 1 and size != int(size):
        raise ValueError(f"expected whole bytes, or a share below 1, got {shown(value)}")
    return size


def one_of(*choices: str) -> Callable[[Any], str]:
    """A reader of one of these texts."""

    def choice(value: object) -> str:
        if value not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, got {shown(value)}")
        return str(value)

    return choice


def texts(value: object) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(value, list):
        raise ValueError(f"expected a list of texts, got {shown(value)}")
    return tuple(text(item) for item in value)


def mapping(value: object) -> dict[str, Any]:
    """An object, whatever is in it."""
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {shown(value)}")
    return value


def headers(value: object) -> dict[str, str]:
    """Headers of an answer."""
    headers = {key: str(text) for key, text in mapping(value).items()}
    # What cannot travel in a header would break the server instead of the client.
    if not all(text.isascii() and text.isprintable() for pair in headers.items() for text in pair):
        raise ValueError("expected printable ASCII")
    return headers


def flag_or(number: Callable[[Any], float]) -> Callable[[Any], float]:
    """A reader of true, false, or a number."""

    def read(value: object) -> float:
        return value if isinstance(value, bool) else number(value)

    return read
