"""Ctrl-C in two stages. What differs between systems stands here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import signal
from types import FrameType

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))
"""What asks a program to end; SIGBREAK is Windows' Ctrl-Break."""


@contextmanager
def in_two_stages(first: Callable[[], None], second: Callable[[], None]) -> Iterator[None]:
    """While in the block, the first request to end calls `first`, every later one `second`, on the event loop."""
    loop = asyncio.get_running_loop()
    asked = False

    def heard() -> None:
        nonlocal asked
        (second if asked else first)()
        asked = True

    def handler(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(heard)

    # signal.signal, not loop.add_signal_handler: Windows' loops do not have the latter.
    before = {number: signal.signal(number, handler) for number in STOPPING}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
