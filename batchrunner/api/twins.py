"""The two ways to call: where nothing else goes on, and beside an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from batchrunner.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")


def twin(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The async twin: the same in a thread, so that the caller's event loop goes on."""

    @wraps(function)
    async def called(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(function, *args, **kwargs)

    called.__name__ = called.__qualname__ = f"{function.__name__}_async"
    called.__doc__ = f"As `{function.__name__}`, beside an event loop."
    return called


def refuse_in_loop(name: str, instead: str | None = None) -> None:
    """Refuse to block an event loop.

    Raises:
        UsageError: one runs in this thread; names the twin.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(
        f"{name} would block the event loop that runs in this thread; use {instead or f'await {name}_async(…)'}"
    )


def waited(name: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What a piece of asynchronous work gives, waited for.

    Raises:
        UsageError: an event loop runs in this thread.
    """
    refuse_in_loop(name)
    return asyncio.run(work())
