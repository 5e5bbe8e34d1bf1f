"""When a plan will be carried out. Part of the composition.

It is made from the manifest's limits, and from how long renders took that this machine knows of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
import os
from pathlib import Path

from batchrunner import caps, clock, store
from batchrunner.access import Access
from batchrunner.batch import Batch
from batchrunner.core import forecast, pace as pacing
from batchrunner.core.forecast import Forecast, Pending
from batchrunner.core.job import Job
from batchrunner.core.looks import HINTS
from batchrunner.core.plan import Do, Plan
from batchrunner.core.retry import Instant
from batchrunner.core.window import ALWAYS, Hours
from batchrunner.errors import StateUnusable
from batchrunner.foresight import chance, lanes
from batchrunner.planning import elsewhere
from batchrunner.provider import wire
from batchrunner.till import Till

MOST_BATCHES = 8
LATEST = 5000
"""Other batches of the account that render times are learned from, those written last, and how many of the last events
of each are gone by; all of them would take long to read."""


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
        pace = view.learned(pacing.PACE) if view else None
    attempts += [*elsewhere(batch, history), *_of_other_batches(batch, account, access)]
    times = replace(forecast.learned(attempts), hints=_hints(access))
    priorities = {job.id: job.priority for job in batch.jobs}
    jobs = sorted(_pending(made, now), key=lambda job: -priorities.get(job.id, 0))
    return forecast.of(
        jobs, times=times, lanes=lanes(batch.manifest.limits, pace, now), now=now, chance=chance(), hours=hours
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
    for path in sorted(paths, key=store.written_at, reverse=True)[:MOST_BATCHES]:
        # Its snapshots are taken as they are: what is wrong with them is wrong with a guess alone.
        with (
            suppress(StateUnusable),
            caps.another_batch(path, account, provider=access.provider, is_known=True) as view,
        ):
            yield from view.latest_attempts(LATEST) if view is not None else ()


def _hints(access: Access | None) -> Mapping[str, float]:
    """What is said of render times at a provider; a sandbox on this machine is done in a moment."""
    return {} if access is not None and access.is_sandbox else HINTS
