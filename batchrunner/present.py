"""What a run has told of its present, as other processes read it: part of the composition.

`telling` writes it. Apart from that, since who only reads has no use for what a run is made of.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from batchrunner import clock
from batchrunner.core import pace
from batchrunner.core.breaker import PAUSES
from batchrunner.stateview import View

NOW: Final = "now"
"""The name under which it is noted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A step that is held back: how many jobs wait for it, and why, in admission's own words."""

    step: str
    jobs: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """The present of a run that goes on.

    Attributes:
        is_paused: a person stopped the buying for now.
        waits: the steps that are held back.
        stalls: why work that could be done now waits for something that is no limit of its own: an outage, a doubt.
    """

    is_paused: bool = False
    waits: tuple[Wait, ...] = ()
    stalls: tuple[str, ...] = ()


def read(view: View) -> Now | None:
    """What the run that goes on has told, if anything; None where none goes on."""
    run = view.last_run()
    if run is None or not run.is_going_on:
        return None
    said = view.learned(NOW)
    if said is None or said.get("run") != run.id:
        return Now()
    waits, stalls = [], []
    with suppress(TypeError, ValueError, KeyError):
        stalls = [str(each) for each in said.get("stalls", [])]
        waits = [Wait(step=str(each["step"]), jobs=int(each["jobs"]), why=str(each["why"])) for each in said["waits"]]
    return Now(is_paused=said.get("paused") is True, waits=tuple(waits), stalls=tuple(stalls))


def pauses(view: View) -> dict[str, str]:
    """What waits for another time, and why, by step: breakers that are open, and the provider's wishes."""
    cooldowns = pace.from_kept(view.learned(pace.COOLDOWNS), now=clock.now())
    learned = view.learned(PAUSES) or {}
    words = {str(step): each.words(clock.time_of) for step, each in cooldowns.items()}
    return words | {
        step: str(each["words"]) for step, each in learned.items() if isinstance(each, dict) and "words" in each
    }


def shape(now: Now | None) -> dict[str, Any]:
    """The present as JSON."""
    waits = [{"step": each.step, "jobs": each.jobs, "why": each.why} for each in now.waits] if now else []
    return {
        "is_running": now is not None,
        "paused": now is not None and now.is_paused,
        "waits": waits,
        "stalls": list(now.stalls) if now else [],
    }
