"""The threads that look into results: few, since what they need is the processor, which the loop needs, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
import os
from typing import Final, TypeVar

T = TypeVar("T")
U = TypeVar("U")

AT_ONCE: Final = max(1, (os.cpu_count() or 1) // 2)
"""Looks at the same time. With more, they take turns with each other and the loop, and all of it takes longer."""

_POOL: Final = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="look")


async def see(look: Callable[[T], U], what: T) -> U:
    """What a look at something gives, taken in one of these threads; raises what the look raises."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, look, what)
