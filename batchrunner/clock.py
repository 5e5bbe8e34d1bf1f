"""The real clock. Everything else that needs time has it handed in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
import time
from typing import TYPE_CHECKING

from batchrunner.core.retry import Instant

if TYPE_CHECKING:
    import asyncio

LONGEST_NAP_S = 60.0
"""A wait never lasts longer in one go: a machine that slept, or a clock that was set, is noticed within a minute."""


class WallClock:
    """Seconds since 1970, as the machine has them, but never backwards.

    A machine that slept wakes up later, and that is believed: dates have come. A clock that is set back during a run
    is not, since everything that was dated before would seem to lie ahead; time then goes on from where it was.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        """Read the time from `wall`, in seconds since 1970; `steady` only ever grows, in seconds since anything."""
        self._wall = wall
        self._steady = steady
        self._last = wall()
        self._last_steady = steady()

    def now(self) -> Instant:
        """The time now."""
        steady = self._steady()
        self._last = max(self._wall(), self._last + steady - self._last_steady)
        self._last_steady = steady
        return self._last

    async def wait(self, event: asyncio.Event, until: Instant | None) -> None:
        """Return when the event is set, the time has come, or a minute has passed."""
        import asyncio  # noqa: PLC0415 - who only asks for the time goes without

        nap = LONGEST_NAP_S if until is None else min(LONGEST_NAP_S, until - self.now())
        if nap <= 0:
            # Even then the loop must turn: whoever waits for a time that has come waits for others, too.
            await asyncio.sleep(0)
        else:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes as the event is set.
            with suppress(TimeoutError):
                async with asyncio.timeout(nap):
                    await event.wait()


def time_of(at: Instant, *, now: Instant | None = None) -> str:
    """A time for people, where this machine is; with its day where that is not the day of `now`."""
    when, today = (datetime.fromtimestamp(each).astimezone() for each in (at, time.time() if now is None else now))
    return when.strftime("%H:%M:%S" if when.date() == today.date() else "%Y-%m-%d %H:%M:%S")


def now() -> Instant:
    """The time, in seconds since 1970."""
    return WallClock().now()
