"""When a batch will be done: what the forecast is made from. Part of the composition.

Of a plan it is made from the manifest's limits; of a batch that runs, from what its run has noted in the state file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
import os
from pathlib import Path
import random
from typing import Any

from batchrunner import caps, clock, statefile, store, waiting
from batchrunner.access import SANDBOX, Access
from batchrunner.batch import Batch, elsewhere
from batchrunner.core import forecast, pace as pacing
from batchrunner.core.forecast import Forecast, Lanes, Pending
from batchrunner.core.job import Job
from batchrunner.core.looks import HINTS
from batchrunner.core.manifest import Limits
from batchrunner.core.plan import Do, Plan
from batchrunner.core.retry import Instant
from batchrunner.core.window import ALWAYS, Hours
from batchrunner.errors import StateUnusable
from batchrunner.governor import PACE
from batchrunner.provider import wire
from batchrunner.session import Session
from batchrunner.store import View
from batchrunner.till import Till

NIGHT = "night"
"""What a run notes of itself for forecasts, by name."""

MOST_BATCHES = 8
"""Other batches of the account that render times are learned from, the latest; all of them would take long to read."""


def of_plan(
    batch: Batch,
    made: Plan,
    account: wire.Account | None,
    *,
    access: Access | None,
    history: Path | None = None,
    hours: Hours = ALWAYS,
) -> Forecast | None:
    """When a plan will be carried out by a run that begins now; None where nothing is to be done.

    `access` is the provider; None where there is no key.
    """
    now = clock.now()
    with store.open_to_read(batch.state) as view:
        attempts = view.all_attempts() if view else []
        pace = view.learned(PACE) if view else None
    attempts += [*elsewhere(batch, history), *_of_other_batches(batch, account, access)]
    times = replace(forecast.learned(attempts), hints=_hints(access))
    priorities = {job.id: job.priority for job in batch.jobs}
    jobs = sorted(_pending(made, now), key=lambda job: -priorities.get(job.id, 0))
    return forecast.of(
        jobs, times=times, lanes=_lanes(batch.manifest.limits, pace, now), now=now, chance=_chance(), hours=hours
    )


def _pending(made: Plan, now: Instant) -> Iterator[Pending]:
    """The jobs of a plan that are not done when it begins."""
    for entry in made.entries:
        if entry.will_buy and entry.spec is not None:
            yield forecast.pending_as(entry.id, entry.spec)
        elif entry.action is not Do.SKIP and entry.known is not None:
            known = forecast.pending_of(entry.known, now=now)
            if known is not None:
                yield known


def _of_other_batches(batch: Batch, account: wire.Account | None, access: Access | None) -> Iterator[Job]:
    """Attempts of the account's other batches on this machine, as far as they can be read."""
    if account is None or access is None:
        return
    till = Till.of(os.environ, provider=access.provider, account=account.id)
    paths = {noted.state.resolve() for noted in till.batches()} - {batch.state.resolve()}
    for path in sorted(paths, key=_changed_at, reverse=True)[:MOST_BATCHES]:
        with suppress(StateUnusable):
            yield from caps.bought_with(path, account, access.provider)


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _hints(access: Access | None) -> Mapping[str, float]:
    """What is said of render times at a provider; a sandbox on this machine is done in a moment."""
    return {} if access is not None and access.is_sandbox else HINTS


def _lanes(limits: Limits, pace: Mapping[str, Any] | None, now: Instant) -> Lanes:
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


def _chance() -> random.Random:
    """The same for everyone: a forecast changes only with what it is made from."""
    return random.Random(0)  # noqa: S311 - plays a queue


# --- while a run goes on ---------------------------------------------------------------------------------------------


async def note(session: Session) -> None:
    """Note what a forecast needs to know of a run, for `status` and whoever else reads the state file."""
    limits, hours, order = session.batch.manifest.limits, session.order.waits.hours, session.order
    await session.store.learn(
        NIGHT,
        {
            "in_flight": limits.in_flight,
            "per_kind": dict(limits.per_kind),
            "per_model": dict(limits.per_model),
            "submits_per_minute": limits.submits_per_minute,
            "buys": order.buys,
            "opens_at": hours.opens_at,
            "stops_at": hours.stops_at,
            "finish_by": hours.finish_by,
        },
    )


def of_run(view: View, jobs: Sequence[Job], *, now: Instant | None = None) -> Forecast | None:
    """When the run that goes on will be done with these jobs, by its state file; None where none goes on."""
    with suppress(StateUnusable):  # a folder that cannot be written: there is no run in it
        if view.fact(statefile.IN_USE) is not None and waiting.is_in_use(view.path):
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
    if view.fact("provider") == SANDBOX:
        times = replace(times, hints={})
    return forecast.of(
        wanted, times=times, lanes=_lanes(limits, view.learned(PACE), now), now=now, chance=_chance(), hours=hours
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
