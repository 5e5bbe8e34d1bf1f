"""The evidence about lost submissions, read: what the provider charged for projects, and the balance.

What it means is decided in `core.evidence`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from batchrunner.core.evidence import Reading
from batchrunner.core.retry import Instant
from batchrunner.errors import Rejected
from batchrunner.provider import wire
from batchrunner.provider.client import Client

T = TypeVar("T")

AT_ONCE: Final = 8
"""Projects read at the same time."""

TRIES: Final = 3
"""How often what came too fast is asked for in all."""

MOST_PATIENCE_S: Final = 5.0
"""The longest wait before it is asked for again, whatever the provider asks for."""


async def read(client: Client, project_ids: Sequence[str], *, now: Callable[[], Instant]) -> Reading:
    """The charges and statuses of these projects and then the balance, as the provider has them now.

    A project that the provider does not know (any more) has no charge; a deployment without the account endpoint has
    no balance.

    Raises:
        ProviderError: one of them could not be read.
    """
    charges: dict[str, int] = {}
    statuses: dict[str, str] = {}
    for start in range(0, len(project_ids), AT_ONCE):
        some = project_ids[start : start + AT_ONCE]
        # Each is waited for, so that none is still asking when another one's failure is told.
        found = await asyncio.gather(*(_project(client, project_id) for project_id in some), return_exceptions=True)
        for project_id, project in zip(some, found, strict=True):
            if isinstance(project, BaseException):
                raise project
            if project is None:
                continue
            if project.credits_charged is not None:
                charges[project_id] = project.credits_charged
            if not project.is_deleted:
                statuses[project_id] = project.status
    return Reading(at=now(), credits=await _balance(client), charges=charges, statuses=statuses)


async def _project(client: Client, project_id: str) -> wire.Project | None:
    return await _unhurried(lambda: client.project(project_id))


async def _balance(client: Client) -> int | None:
    found = await _unhurried(client.account)
    return None if found is None else found.credits


async def _unhurried(ask: Callable[[], Awaitable[T]]) -> T | None:
    """An answer of many that are needed together: one that came too fast is asked for again. None where it is 404."""
    for tries in range(1, TRIES + 1):
        try:
            return await ask()
        except Rejected as error:
            if error.status == 404:
                return None
            if error.status != 429 or tries == TRIES:
                raise
            await asyncio.sleep(min(MOST_PATIENCE_S, error.retry_after_s or 1.0))
    raise AssertionError("the last try returns or raises")
