"""What an event costs the engine, by the number of jobs; and how often it looks at a render, and how late it sees it.

    python benchmarks/engine.py [JOBS ...] [--in-flight N] [--json FILE]

The engine is the real one. Around it is nothing that waits: the provider is a few lines, and the clock jumps to the
next date. So a night passes in seconds, and all of the processor time is the engine's.

- `events`: the same nights with a journal that only counts, and with the real state file, on this disk. An event is
  whatever is put on record; a job that goes well has seven or more.
- `looks`: 500 renders that take some seconds with a spread of 30 % up and down, 50 at once, with nothing known of
  them before. Lateness is a share of the render's time.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
import random
import statistics
from tempfile import TemporaryDirectory
import time
from typing import Any

import measuring
import simulated

from batchrunner import collector, store
from batchrunner.core import events
from batchrunner.core.job import State

SECONDS = (2.0, 10.0, 60.0, 300.0)
SPREAD = 0.3


def cost(jobs: int, in_flight: int, *, is_kept: bool) -> dict[str, Any]:
    """One night of so many jobs; `is_kept` on disk."""
    collector.seldom()  # as the program does
    made = [simulated.a_job(number) for number in range(jobs)]
    draw = random.Random(1)
    with ExitStack() as stack:
        journal: Any = simulated.Counting()
        if is_kept:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            journal = stack.enter_context(store.open_for_run(folder / "night.state.db", run_id="run", now=1.0))
            journal.append_now([(events.Opened(at=1.0, id=job.id, attempt=1, spec=job.spec), job) for job in made])
        engine, _ = simulated.engine(
            made, in_flight=in_flight, took=lambda _: 60 * draw.uniform(1 - SPREAD, 1 + SPREAD), journal=journal
        )
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        outcome = asyncio.run(engine.run())
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        count = journal.last_event() - jobs if is_kept else journal.events
    assert outcome.by_state[State.DONE] == jobs, outcome
    return {
        "events": "on disk" if is_kept else "counted",
        "jobs": jobs,
        "in flight": in_flight,
        "events/job": count / jobs,
        "cpu us/event": 1e6 * cpu_s / count,
        "wall us/event": 1e6 * wall_s / count,
        "cpu ms/job": 1e3 * cpu_s / jobs,
        "peak MB": measuring.peak_mb(),
    }


def looks(seconds: float) -> dict[str, Any]:
    """How 500 renders are looked at."""
    draw = random.Random(1)
    engine, provider = simulated.engine(
        [simulated.a_job(number) for number in range(500)],
        in_flight=50,
        took=lambda _: seconds * draw.uniform(1 - SPREAD, 1 + SPREAD),
        journal=simulated.Counting(),
    )
    asyncio.run(engine.run())
    return {
        "looks at": f"{seconds:g} s +- {SPREAD:.0%}",
        "looks/job": statistics.mean(provider.looks.values()),
        "late, median %": 100 * statistics.median(provider.late),
        "late, 9 of 10 %": 100 * statistics.quantiles(provider.late, n=10)[-1],
    }


def apart(measure: Callable[..., dict[str, Any]], *given: Any, **named: Any) -> dict[str, Any]:
    """A measurement in a process of its own, so that its memory is its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, given, named)


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("jobs", nargs="*", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--in-flight", type=int, default=50)
    parser.add_argument("--no-disk", action="store_true", help="only with a journal that counts")
    parser.add_argument("--rounds", type=int, default=3, help="of which the cheapest is shown")
    told: argparse.Namespace = parser.parse_args()
    costs = [
        min(
            (apart(cost, jobs, told.in_flight, is_kept=is_kept) for _ in range(told.rounds)),
            key=lambda row: float(row["cpu us/event"]),
        )
        for is_kept in ((False,) if told.no_disk else (False, True))
        for jobs in told.jobs
    ]
    seen = [looks(seconds) for seconds in SECONDS]
    print(measuring.table(costs), end="\n\n")
    print(measuring.table(seen))
    measuring.write([*costs, *seen], to=told.json)


if __name__ == "__main__":
    main()
