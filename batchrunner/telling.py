"""What a run tells other processes of its present, and what it heeds of theirs; part of the composition.

Jobs and credits stand in the state file anyway. Why nothing starts is known to the engine alone: it is noted there
under one name, when it has changed, and at most every other second, so that a night of it costs next to nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

from batchrunner import control
from batchrunner.core.retry import Step
from batchrunner.errors import BatchrunnerError
from batchrunner.present import NOW
from batchrunner.store import Store

NOTE_S: Final = 2.0
"""Seconds between two notes at the least."""

_MOST_WORDS: Final = 400
_MOST_STALLS: Final = 4


class Told(Protocol):
    """The engine, as far as it is asked and told here."""

    def waits(self) -> Mapping[Step, tuple[int, str]]:
        """For each step that is held back: how many jobs wait, and why."""

    def stalls(self) -> list[str]:
        """Why work that could be done now waits for something that is no limit of its own."""

    def pause(self, *, is_on: bool) -> None:
        """Buy nothing for now, or go on."""


@asynccontextmanager
async def telling(store: Store, run: str, engine: Told) -> AsyncIterator[None]:
    """Note the engine's present, and heed what is asked of it, while in the block."""
    is_over = asyncio.Event()
    task = asyncio.create_task(_go_on(store, run, engine, is_over))
    try:
        yield
    finally:
        # Not canceled: a note that is being written has the state file to itself until it is written.
        is_over.set()
        await task
        control.remove(store.path, run)


async def _go_on(store: Store, run: str, engine: Told, is_over: asyncio.Event) -> None:
    noted: dict[str, Any] = _said(run)  # what is assumed where nothing is noted
    is_paused, since_note = False, NOTE_S
    while not is_over.is_set():
        wish = await asyncio.to_thread(control.read, store.path)
        wanted = wish is not None and wish.run == run and wish.is_paused
        if wanted is not is_paused:
            is_paused = wanted
            engine.pause(is_on=is_paused)
            since_note = NOTE_S
        present = _present(run, engine, is_paused=is_paused)
        if present != noted and since_note >= NOTE_S:
            try:
                await store.learn(NOW, present)
            except BatchrunnerError:
                return  # the engine's next write says so itself
            noted, since_note = present, 0.0
        with suppress(TimeoutError):
            async with asyncio.timeout(control.LOOK_S):
                await is_over.wait()
        since_note += control.LOOK_S


def _present(run: str, engine: Told, *, is_paused: bool) -> dict[str, Any]:
    waits = [
        {"step": str(step), "jobs": jobs, "why": why[:_MOST_WORDS]}
        for step, (jobs, why) in engine.waits().items()
        if jobs
    ]
    known = {each["why"] for each in waits}
    stalls = [why[:_MOST_WORDS] for why in engine.stalls() if why[:_MOST_WORDS] not in known]
    return _said(run, is_paused=is_paused, waits=waits, stalls=stalls[:_MOST_STALLS])


def _said(
    run: str, *, is_paused: bool = False, waits: Sequence[dict[str, Any]] = (), stalls: Sequence[str] = ()
) -> dict[str, Any]:
    return {"run": run, "paused": is_paused, "waits": list(waits), "stalls": list(stalls)}
