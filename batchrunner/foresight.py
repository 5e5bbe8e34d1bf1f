"""When a run that goes on will be done, by what it noted in its state file. Part of the composition.

It reads no manifest, so that `status` needs nothing but the state file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
import random
from typing import Any

from batchrunner import clock, present, statelock
from batchrunner.core import forecast, pace as pacing
from batchrunner.core.forecast import Forecast, Lanes
from batchrunner.core.job import Job
from batchrunner.core.manifest import Limits
from batchrunner.core.retry import Instant
from batchrunner.core.window import Hours
from batchrunner.errors import StateUnusable
from batchrunner.sandbox import settings
from batchrunner.stateview import View
from batchrunner.store import Store

NIGHT = "night"
"""What a run notes of itself for forecasts, by name."""


def lanes(limits: Limits, pace: Mapping[str, Any] | None, now: Instant) -> Lanes:
    """How much goes on at once: the limits, and what the provider took lately."""
    known = pacing.from_learned(
        pace, most_in_flight=limits.in_flight, most_per_minute=limits.submits_per_minute, now=now
    )
    return Lanes(
        in_flight=known.allowed_in_flight,
        per_kind=limits.per_kind,
        per_model=limits.per_model,
        per_minute=known.per_minute,
    )


def chance() -> random.Random:
    """The same for everyone: a forecast changes only with what it is made from."""
    return random.Random(0)  # noqa: S311 - plays a queue


async def note(state: Store, limits: Limits, hours: Hours, *, buys: bool) -> None:
    """Note what a forecast needs to know of a run, for `status` and whoever else reads the state file."""
    await state.learn(
        NIGHT,
        {
            "in_flight": limits.in_flight,
            "per_kind": dict(limits.per_kind),
            "per_model": dict(limits.per_model),
            "submits_per_minute": limits.submits_per_minute,
            "buys": buys,
            "opens_at": hours.opens_at,
            "stops_at": hours.stops_at,
            "finish_by": hours.finish_by,
        },
    )


def of_run(view: View, jobs: Sequence[Job], *, now: Instant | None = None) -> Forecast | None:
    """When the run that goes on will be done with these jobs, by its state file.

    None where none goes on, or a person has paused its buying: how long for, nobody knows.
    """
    with suppress(StateUnusable):  # a folder that cannot be written: there is no run in it
        if view.is_in_use and statelock.is_locked(view.path):
            told = present.read(view)
            if told is None or not told.is_paused:
                return of_record(view, jobs, now=clock.now() if now is None else now)
    return None


def of_record(view: View, jobs: Sequence[Job], *, now: Instant) -> Forecast | None:
    """When a run will be done with these jobs, by its state file; None where there is nothing to do, or to go by."""
    noted = view.learned(NIGHT)
    try:
        limits, hours, buys = _read(noted or {})
    except (KeyError, TypeError):
        return None
    pending = (forecast.pending_of(job, now=now) for job in sorted(jobs, key=lambda job: -job.spec.priority))
    wanted = [job for job in pending if job is not None and (buys or job.age_s is not None or job.is_rendered)]
    times = forecast.learned(view.all_attempts())
    if view.fact("provider") == settings.PROVIDER:
        times = replace(times, hints={})
    return forecast.of(
        wanted, times=times, lanes=lanes(limits, view.learned(pacing.PACE), now), now=now, chance=chance(), hours=hours
    )


def _read(noted: Mapping[str, Any]) -> tuple[Limits, Hours, bool]:
    """What a run noted.

    Raises:
        KeyError: it is not all there.
    """
    limits = Limits(
        in_flight=noted["in_flight"],
        per_kind=noted["per_kind"],
        per_model=noted["per_model"],
        submits_per_minute=noted["submits_per_minute"],
    )
    hours = Hours(opens_at=noted["opens_at"], stops_at=noted["stops_at"], finish_by=noted["finish_by"])
    return limits, hours, noted["buys"]
