"""When may be bought, as a caller writes it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time
from pathlib import Path

from batchrunner import waiting
from batchrunner.core.window import Moment, moment_of
from batchrunner.errors import UsageError

When = str | time | datetime
"""A time of day, or a date with a time as text."""


def asked(
    *,
    start_at: When | None = None,
    stop_at: When | None = None,
    finish_by: When | None = None,
    wait_for: Iterable[str | Path] = (),
    is_rehearsal: bool = False,
) -> waiting.Asked:
    """What is asked for beyond the manifest's window.

    Raises:
        UsageError: a time is none.
    """
    return waiting.Asked(
        start_at=waiting.NOW if start_at == waiting.NOW else _moment("start_at", start_at),
        stop_at=_moment("stop_at", stop_at),
        finish_by=_moment("finish_by", finish_by),
        wait_for=tuple(map(Path, wait_for)),
        is_rehearsal=is_rehearsal,
    )


def _moment(name: str, value: When | None) -> Moment | None:
    if not isinstance(value, str):
        return value
    try:
        return moment_of(value)
    except ValueError as error:
        raise UsageError(f"{name}={value!r}: {error}") from None
