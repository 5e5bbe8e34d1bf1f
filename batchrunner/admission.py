"""Which steps may start now, and why the others may not. Part of the engine.

What stands in the way of a step as a whole is decided in `core.schedule`, by the timetable and by the governor; here
what was found at the last try is kept, so that it can be waited for, and told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from batchrunner.core import schedule
from batchrunner.core.manifest import Limits
from batchrunner.core.retry import Instant, Step
from batchrunner.core.schedule import Gate, Load, Wait
from batchrunner.governor import Governor, Held
from batchrunner.lines import Lines
from batchrunner.timetable import Timetable


class Admission:
    """The steps that are held back."""

    def __init__(self, lines: Lines, load: Load, limits: Limits, *, timetable: Timetable, governor: Governor) -> None:
        """Nothing is held back yet."""
        self._lines = lines
        self._load = load
        self._limits = limits
        self._timetable = timetable
        self._governor = governor
        self._held: dict[Step, Held] = {}

    def permits(self, step: Step, gate: Gate, now: Instant) -> bool:
        """Whether a job waits for this step and nothing that concerns all jobs stands in its way."""
        self._held.pop(step, None)
        if not self._lines.ready(step) or self._refuses(step, gate) is not None:
            return False
        held = self._timetable.holds(step, now) or self._governor.holds(step, self._load.in_flight, now=now)
        if held is not None:
            self._held[step] = held
        return held is None

    def _refuses(self, step: Step, gate: Gate) -> str | None:
        return schedule.refuses(step, self._load, self._limits, gate)

    # --- what is told ---

    def waits(self, gate: Gate) -> dict[Step, tuple[int, str]]:
        """For each step that is held back: how many jobs could start it now, and why they may not."""
        held = {step: self._refuses(step, gate) for step in Step}
        held |= {step: held[step] or why.why for step, why in self._held.items()}
        return {step: (self._lines.ready(step), why) for step, why in held.items() if why}

    def stalls(self, gate: Gate) -> list[str]:
        """Why steps wait for something that is no limit of their own: an outage, a doubt."""
        words = [held.why for held in self._held.values() if held.until is not None]
        is_in_doubt = gate.is_reconciling or gate.holds_until is not None or gate.awaits_credits or gate.is_paused
        reason = self._refuses(Step.SUBMIT, gate) if is_in_doubt else None
        return words if reason is None else [*words, reason]

    # --- what is waited for ---

    def next_at(self, steps: Iterable[Step]) -> Instant | None:
        """When the next of these steps may start by what it was held back for; None where only an event decides."""
        dates = (self._held[step].until for step in steps if step in self._held)
        return min((at for at in dates if at is not None), default=None)

    def waited_for(self, steps: Iterable[Step]) -> Iterator[Wait]:
        """The times that these steps are held back for."""
        for step in steps:
            held = self._held.get(step)
            if held is not None and held.until is not None:
                yield Wait(step=step, until=held.until, is_own=not held.is_asked)
