"""Reading once more what could not be read: it costs nothing, and may pass in a moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from batchrunner.errors import ProviderError
from batchrunner.provider.failures import may_pass

T = TypeVar("T")


async def read_again(read: Callable[[], Awaitable[T]], failed: ProviderError, *, attempts: int, wait_s: float) -> T:
    """What is read in the end, after a first try that has `failed`.

    Args:
        read: reads it.
        failed: how the first try ended.
        attempts: how often it is tried, that one included.
        wait_s: the first wait in seconds; 0 makes every wait 0.

    Raises:
        ProviderError: the last failure, or one that will not pass.
    """
    failures = [failed]

    async def tried() -> T:
        if failures:
            raise failures.pop()
        return await read()

    retrying = AsyncRetrying(
        retry=retry_if_exception(may_pass),
        stop=stop_after_attempt(attempts),
        wait=wait_random_exponential(multiplier=wait_s, max=10 * wait_s),
        reraise=True,
    )
    return await retrying(tried)
