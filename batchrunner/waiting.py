"""What a run waits for before it begins: the hours in which may be bought, and other runs. Part of the composition.

While it waits it holds nothing: neither its state file, nor the account's till, so that others can work; there is only
a mark that it is to come, for runs that wait for it. What was agreed to is compared again when it begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from batchrunner import statelock, store, zones
from batchrunner.batch import Batch
from batchrunner.clock import WallClock
from batchrunner.core import window as windows
from batchrunner.core.job import BOUGHT, State
from batchrunner.core.retry import Instant
from batchrunner.core.window import ALWAYS, Hours, Moment, Window
from batchrunner.errors import StateUnusable, UsageError

NOW = "now"
"""In place of a start: at once, whatever the manifest says."""

CHECK_S = 0.5
"""Seconds between two looks whether another run has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """When a run is to buy, beyond what its manifest says; and the runs that it waits for.

    Attributes:
        start_at: a moment, or `NOW`; None for what the manifest says.
        wait_for: manifests, or state files, whose runs have to be over first.
        is_rehearsal: nothing is spent, so the manifest's own window is not waited for.
    """

    start_at: Moment | str | None = None
    stop_at: Moment | None = None
    finish_by: Moment | None = None
    wait_for: tuple[Path, ...] = ()
    is_rehearsal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """When a run may buy, and the state files that have to be free before it begins."""

    hours: Hours = ALWAYS
    wait_for: tuple[Path, ...] = ()


NOT_AT_ALL = Waits()
_LOOK_AT: Final = "look at --start-at, --stop-at and --finish-by, and at window: in the manifest"


def planned(batch: Batch, asked: Asked, *, now: Instant | None = None) -> Waits:
    """Work out, when a command is typed, when its run may buy.

    Raises:
        UsageError: the window can never be open, its zone is unknown, or what is waited for is not there.
    """
    window = _window(batch.manifest.window, asked)
    if (flaw := windows.flaw(window)) is not None:
        raise UsageError(flaw[1], hint=_LOOK_AT)
    at = WallClock().now() if now is None else now
    hours = ALWAYS if window.is_always else windows.hours(window, now=at, zone=zones.zone(window.timezone))
    if isinstance(window.start, datetime) and hours.is_never:
        raise UsageError("the window ends before it starts", hint=_LOOK_AT)
    return Waits(hours=hours, wait_for=tuple(map(_state_of, asked.wait_for)))


def _window(written: Window, asked: Asked) -> Window:
    window = Window(timezone=written.timezone) if asked.is_rehearsal else written
    if isinstance(asked.start_at, str):
        window = replace(window, start=None)
    elif asked.start_at is not None:
        window = replace(window, start=asked.start_at)
    return replace(window, stop=asked.stop_at or window.stop, finish_by=asked.finish_by or window.finish_by)


def _state_of(path: Path) -> Path:
    """The state file of a manifest, or the one that is named itself."""
    state = path.resolve() if path.suffix == ".db" else store.path_for(path)
    if not path.exists() and not state.exists():
        raise UsageError(
            f"there is no {path} to wait for", hint="name the manifest of the other run, or its state file"
        )
    return state


# --- waiting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Doorstep:
    """Where a run waits.

    Attributes:
        tell: a word for the person.
        hurries: whether it is to wait no longer.
    """

    tell: Callable[[str], None]
    hurries: Callable[[], bool] = lambda: False
    clock: WallClock = field(default_factory=WallClock)

    async def wait(self, batch: Batch, waits: Waits) -> None:
        """Return when the other runs are over and the hours have begun, or something is there to be collected."""
        for state in waits.wait_for:
            # Who waits for another run of his own manifest has the mark himself.
            await self._until_free(state, heeds_mark=state.resolve() != batch.state.resolve())
        await self._until_open(batch, waits.hours)

    async def _until_free(self, state: Path, *, heeds_mark: bool) -> None:
        def is_taken() -> bool:
            return statelock.is_locked(state) or (heeds_mark and statelock.is_marked(state))

        if not is_taken():
            return
        has_begun = statelock.is_locked(state)
        who = f"a run holds {state.name}" if has_begun else f"a run of {state.name} waits itself"
        self.tell(f"waiting: {who}; this one begins when it has ended")
        while is_taken() and not self.hurries():  # noqa: ASYNC110 - another process tells nobody that it ends
            await asyncio.sleep(CHECK_S)

    def is_needed(self, waits: Waits) -> bool:
        """Whether there is anything to wait for, as far as can be told now."""
        return bool(waits.wait_for) or waits.hours.is_ahead(self.clock.now())

    async def _until_open(self, batch: Batch, hours: Hours) -> None:
        opens_at = hours.opens_at
        if opens_at is None or not hours.is_ahead(self.clock.now()) or has_bought(batch.state):
            return
        wait_s = opens_at - self.clock.now()
        self.tell(
            f"buying begins at {zones.time_words(opens_at, self.clock.now())}, in {windows.duration_words(wait_s)}"
        )
        while hours.is_ahead(self.clock.now()) and not self.hurries():  # noqa: ASYNC110 - the clock may be set
            await asyncio.sleep(min(CHECK_S, max(0.0, opens_at - self.clock.now())))


def has_bought(state: Path) -> bool:
    """Whether something was bought that is still to be collected; not where that cannot be read."""
    try:
        with store.open_to_read(state) as view:
            return view is not None and any(job.state in BOUGHT - {State.UNCERTAIN} for job in view.jobs())
    except StateUnusable:
        return False  # the run says what is wrong


def words(hours: Hours, now: Instant) -> list[str]:
    """The hours of a run for people, line by line; none where there are none."""
    said = []
    if hours.is_over(now):
        assert hours.ends_at is not None
        return [f"the window ended at {zones.time_words(hours.ends_at, now)}: nothing is bought"]
    if hours.opens_at is not None and hours.is_ahead(now):
        wait = windows.duration_words(hours.opens_at - now)
        said.append(f"buying begins at {zones.time_words(hours.opens_at, now)}, in {wait}")
    if hours.stops_at is not None:
        said.append(f"buying stops at {zones.time_words(hours.stops_at, now)}")
    if hours.finish_by is not None:
        said.append(f"only what is on disk by {zones.time_words(hours.finish_by, now)} is bought")
    return said
