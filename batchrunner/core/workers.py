"""Who carries the bytes of a run, as it is asked for."""

from __future__ import annotations

import re
from typing import Final

from batchrunner.core import redact
from batchrunner.errors import UsageError

Workers = str | int
"""The address of a scheduler, or so many workers of our own on this machine."""

MOST: Final = 64
"""Processes on one machine."""

_ADDRESS: Final = re.compile(r"(?:tcp|tls|ws|wss|ucx)://[^\s/?#@]+:[0-9]{1,5}/?")


def wanted(said: str | int) -> Workers:
    """What was asked for, by its text.

    Raises:
        UsageError: it is neither a number of workers nor the address of a scheduler.
    """
    text = str(said).strip()
    if text.isascii() and text.isdigit():
        if 1 <= int(text[:6]) <= MOST:
            return int(text)
    elif _ADDRESS.fullmatch(text):
        return text.rstrip("/")
    shown = redact.by_form(text)[:80]
    raise UsageError(
        f"{shown!r} is neither 1 to {MOST} workers nor the address of a scheduler, such as tcp://scheduler:8786"
    )
