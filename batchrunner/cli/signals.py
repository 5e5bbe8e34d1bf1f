"""Ctrl-C in two stages, and what ends a program without asking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import signal
from types import FrameType

from batchrunner.system import ASKING, ENDING


@contextmanager
def in_two_stages(first: Callable[[], None], second: Callable[[], None]) -> Iterator[None]:
    """While in the block, the first Ctrl-C calls `first`, on the event loop; a later one, or an end, `second`."""
    import asyncio

    loop = asyncio.get_running_loop()
    asked = False

    def heard(number: int) -> None:
        nonlocal asked
        (second if asked or number in ENDING else first)()
        asked = True

    def handler(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(heard, number)

    # signal.signal, not loop.add_signal_handler: Windows' loops do not have the latter.
    before = {number: signal.signal(number, handler) for number in (*ASKING, *_heeded())}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def end_as_interrupted() -> None:
    """From here on, where no run hears them, the signals that end a program end it as Ctrl-C does."""
    for number in _heeded():
        signal.signal(number, _interrupt)


def _heeded() -> list[signal.Signals]:
    """The ending signals that are not to be ignored, as `nohup` asks for one of them."""
    return [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
