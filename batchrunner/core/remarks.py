"""What is pointed out of a plan before it is agreed to: prices that may not be meant."""

from __future__ import annotations

from statistics import median_low

from batchrunner.core import pricing
from batchrunner.core.catalog import Catalog
from batchrunner.core.kind import Kind
from batchrunner.core.plan import Plan

FAR_DEARER = 10
FAR_DEARER_IN_KIND = 5
"""Times the median price of a second in the same plan, and of its own kind, from which a job is pointed out."""


def fast_clips(made: Plan, catalog: Catalog) -> dict[str, str]:
    """Jobs to be bought whose clip is faster than the rate at which the provider says it estimates."""
    return {
        entry.id: f"its clip runs at {entry.spec.fps:.4g} frames a second, and nothing says whether more than"
        f" {catalog.video_hold_fps} are charged: {entry.spec.hold:,} credits are held"
        for entry in made.entries
        if entry.will_buy and entry.spec is not None and pricing.is_fast(entry.kind, entry.spec.fps, catalog)
    }


def far_dearer(made: Plan) -> dict[str, str]:
    """Jobs to be bought whose second costs many times what the others' does: most likely a model chosen by mistake."""
    rates = {
        entry.id: (entry.kind, entry.spec.hold / entry.spec.seconds)
        for entry in made.entries
        if entry.will_buy and entry.spec is not None and entry.spec.hold and entry.spec.seconds
    }
    pointed = {}
    for kind in (None, *Kind):
        own = {job_id: rate for job_id, (of, rate) in rates.items() if kind in {None, of}}
        typical = median_low(own.values()) if len(own) > 1 else 0
        for job_id, rate in own.items():
            if typical and rate >= (FAR_DEARER if kind is None else FAR_DEARER_IN_KIND) * typical:
                times = f"{rate / typical:.0f} times what is usual"
                pointed[job_id] = f"a second of it costs {times}{f' for {kind}' if kind else ''} in this batch"
    return pointed
