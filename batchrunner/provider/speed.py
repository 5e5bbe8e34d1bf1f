"""The least speed of a transfer: a peer that trickles or hangs is left, and the transfer tried again.

A limit between two pieces is not enough: a byte a minute would pass it for years. So within every window of time a
share of bytes must pass, and the window begins anew as soon as they have.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

LEAST_SPEED = 1024
"""Bytes a second."""

STEP = 60 * 1024
"""Bytes of an upload that are given on at a time, at the most: what a window of a minute needs, and a window that is
shorter needs less. What a window needs is counted in these."""


class TooSlow(TimeoutError):
    """A peer that was slower than that for a whole window."""

    def __init__(self, window_s: float) -> None:
        super().__init__(f"fewer than {LEAST_SPEED:,} bytes a second for {window_s:g} s")


async def received(chunks: AsyncIterator[bytes], *, window_s: float) -> AsyncGenerator[bytes]:
    """The chunks, as long as they come fast enough; time spent on them elsewhere is not counted.

    Raises:
        TooSlow: they do not.
    """
    loop = asyncio.get_running_loop()
    left_s, passed = window_s, 0
    while True:
        began = loop.time()
        try:
            async with asyncio.timeout(left_s):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise TooSlow(window_s) from None
        if chunk is None:
            return
        left_s -= loop.time() - began
        passed += len(chunk)
        if passed >= LEAST_SPEED * window_s:
            left_s, passed = window_s, 0
        yield chunk


async def sent(
    chunks: AsyncIterator[bytes], deadline: asyncio.Timeout, *, window_s: float, answer_s: float
) -> AsyncIterator[bytes]:
    """The chunks in steps, moving the deadline of the request as the peer takes them, and at the end for its answer."""
    loop = asyncio.get_running_loop()
    passed, most = 0, max(1024, min(STEP, int(LEAST_SPEED * window_s)))
    deadline.reschedule(loop.time() + window_s)
    async for chunk in chunks:
        for start in range(0, len(chunk), most):
            step = chunk[start : start + most]
            yield step
            passed += len(step)
            if passed >= LEAST_SPEED * window_s:
                deadline.reschedule(loop.time() + window_s)
                passed = 0
    deadline.reschedule(loop.time() + window_s + answer_s)
