"""Events on their way from the thread of a run to whoever follows it."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
import threading

from batchrunner.core.eventlines import JobEvent

MOST_WAITING = 10_000
"""Events that are kept for a slow consumer; then the oldest are left out, and counted."""


class Pipe:
    """A queue between threads that never makes its writer wait and never grows without bound."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        """Keep at most so many events."""
        self.missed = 0
        self._waiting: deque[JobEvent] = deque()
        self._most = most
        self._is_closed = False
        self._news = threading.Condition()
        self._reader: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def put(self, event: JobEvent) -> None:
        """Add an event; the oldest goes where there is no room."""
        with self._news:
            if len(self._waiting) >= self._most:
                self._waiting.popleft()
                self.missed += 1
            self._waiting.append(event)
            self._tell()

    def close(self) -> None:
        """No more will come."""
        with self._news:
            self._is_closed = True
            self._tell()

    def get(self) -> JobEvent | None:
        """The next event, waited for; None when no more will come."""
        with self._news:
            while not self._waiting and not self._is_closed:
                # Waits without an end cannot be interrupted on Windows.
                self._news.wait(0.5)
            return self._waiting.popleft() if self._waiting else None

    async def get_async(self) -> JobEvent | None:
        """As `get`, beside an event loop."""
        while True:
            with self._news:
                if self._waiting:
                    return self._waiting.popleft()
                if self._is_closed:
                    return None
                wake = asyncio.Event()
                self._reader = asyncio.get_running_loop(), wake
            await wake.wait()

    def _tell(self) -> None:
        self._news.notify_all()
        if self._reader is not None:
            (loop, wake), self._reader = self._reader, None
            with suppress(RuntimeError):  # the loop has ended, and its reader with it
                loop.call_soon_threadsafe(wake.set)
