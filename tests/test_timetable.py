"""The engine within a window, with a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings, strategies as st
import pytest

from batchrunner.core import schedule
from batchrunner.core.job import Action, Job, State
from batchrunner.core.manifest import Limits
from batchrunner.core.schedule import PAYS, Stop
from batchrunner.core.window import Hours
from batchrunner.errors import Exit
from batchrunner.following import Following
from batchrunner.governor import Governor
from batchrunner.timetable import Timetable
from tests.test_engine import HOUR, Bench, a_job, bench

NOW = 1_000_000.0
"""When the clock of a bench begins."""


def night(jobs: Sequence[Job], hours: Hours, *, takes_s: float | None = None, **more: object) -> Bench:
    """A bench whose engine buys within these hours; `takes_s` in place of what is learned."""

    def timetable(governor: Governor) -> Timetable:
        return Timetable(hours, takes_s=governor.takes_s if takes_s is None else lambda _: takes_s, when=str)

    return bench(jobs, timetable=timetable, **more)  # type: ignore[arg-type]


def bought(table: Bench) -> list[float]:
    """When something was uploaded or submitted."""
    return [at for at, action, _ in table.world.calls if action in PAYS]


def code(table: Bench) -> tuple[Stop | None, Exit]:
    outcome = table.run()
    return outcome.stop, schedule.exit_code(outcome.by_state, stop=outcome.stop)


def test_before_the_window_nothing_is_bought_and_what_was_bought_is_collected():
    out = a_job(0, state=State.RENDERING, project_id="p-0", accepted_at=NOW - 10, submitted_at=NOW - 11)
    table = night([out, *(a_job(n) for n in range(1, 6))], Hours(opens_at=NOW + 3 * HOUR))
    table.world.rendering["j0"] = NOW - 10
    assert code(table) == (None, Exit.OK)
    assert min(bought(table)) == NOW + 3 * HOUR
    fetched = [at for at, action, job in table.world.calls if (action, job) == (Action.DOWNLOAD, "j0")]
    assert fetched[0] < NOW + 120


def test_while_it_waits_it_says_until_when():
    table = night([a_job(0)], Hours(opens_at=NOW + HOUR))
    words: list[str] = []
    wait = table.clock.wait

    async def listening(event: asyncio.Event, until: float | None) -> None:
        words.extend(table.engine.stalls())
        await wait(event, until)

    table.clock.wait = listening  # type: ignore[method-assign]
    table.run()
    assert words[0] == f"buying begins at {NOW + HOUR}"


def test_after_the_window_what_was_bought_is_collected_and_the_rest_is_left():
    table = night([a_job(n) for n in range(100)], Hours(stops_at=NOW + 200), limits=Limits(in_flight=5), render_s=60)
    assert code(table) == (Stop.WINDOW_OVER, Exit.WINDOW_OVER)
    assert max(bought(table)) < NOW + 200
    states = table.states()
    assert states[State.DONE] >= 15
    assert set(states) <= {State.DONE, State.READY, State.UPLOADED}


def test_a_window_that_has_passed_buys_nothing_at_all():
    table = night([a_job(n) for n in range(3)], Hours(opens_at=NOW - 9 * HOUR, stops_at=NOW - HOUR))
    assert code(table) == (Stop.WINDOW_OVER, Exit.WINDOW_OVER)
    assert bought(table) == []


def test_a_batch_that_is_done_before_the_end_does_not_wait_for_it():
    table = night([a_job(n) for n in range(3)], Hours(opens_at=NOW - 1, stops_at=NOW + 8 * HOUR))
    assert code(table) == (None, Exit.OK)
    assert table.clock.time < NOW + HOUR


def test_nothing_left_when_the_window_ends_is_all_done():
    table = night([a_job(0)], Hours(stops_at=NOW + 30), render_s=600)
    assert code(table) == (Stop.WINDOW_OVER, Exit.OK)


@pytest.mark.parametrize("asleep_s", [600.0, 20 * HOUR])
def test_a_machine_that_slept_goes_by_the_time_when_it_wakes(asleep_s: float):
    """Asleep before the window, awake within it or long after it."""
    table = night([a_job(n) for n in range(4)], Hours(opens_at=NOW + 60, stops_at=NOW + 8 * HOUR))
    wait = table.clock.wait
    slept: list[bool] = []

    async def sleeping(event: asyncio.Event, until: float | None) -> None:
        if not slept:
            slept.append(True)
            table.clock.time += asleep_s
            return
        await wait(event, until)

    table.clock.wait = sleeping  # type: ignore[method-assign]
    if asleep_s < HOUR:
        assert code(table) == (None, Exit.OK)
        assert min(bought(table)) >= NOW + 600
    else:
        assert code(table) == (Stop.WINDOW_OVER, Exit.WINDOW_OVER)
        assert bought(table) == []


@settings(max_examples=60, deadline=None)
@given(
    opens=st.integers(-500, 3000),
    lasts=st.integers(1, 2000),
    finish=st.none() | st.integers(1, 4000),
    count=st.integers(1, 25),
    render_s=st.integers(1, 900),
    in_flight=st.integers(1, 6),
    creep=st.sampled_from([0.0, 0.7]),
)
def test_nothing_is_ever_bought_outside_the_hours(*, opens, lasts, finish, count, render_s, in_flight, creep):
    hours = Hours(
        opens_at=NOW + opens, stops_at=NOW + opens + lasts, finish_by=None if finish is None else NOW + opens + finish
    )
    table = night([a_job(n) for n in range(count)], hours, limits=Limits(in_flight=in_flight), render_s=render_s)
    table.clock.creep = creep
    stop, ended = code(table)
    assert hours.opens_at is not None
    assert hours.ends_at is not None
    # What is admitted is put on disk first, and so leaves a reading of the clock or a few later.
    slack = 60 * creep
    assert all(hours.opens_at <= at < hours.ends_at + slack for at in bought(table))
    assert set(table.world.times(Action.SUBMIT).values()) <= {1}
    left = table.states()[State.READY] + table.states()[State.UPLOADED]
    assert left + table.states()[State.DONE] == count
    assert (ended is Exit.WINDOW_OVER) == (left > 0)
    assert stop in {None, Stop.WINDOW_OVER}


# --- in time ---


def test_it_buys_early_enough_that_the_last_one_lands():
    hours = Hours(finish_by=NOW + 1000)
    table = night([a_job(n) for n in range(200)], hours, takes_s=130, limits=Limits(in_flight=4), render_s=100)
    assert code(table) == (Stop.WINDOW_OVER, Exit.WINDOW_OVER)
    assert max(bought(table)) <= NOW + 870
    assert max(at for at, action, _ in table.world.calls if action is Action.DOWNLOAD) <= NOW + 1000
    assert table.states()[State.DONE] >= 4 * 6


def test_a_job_that_takes_less_is_bought_when_another_would_be_late():
    table = night([a_job(n) for n in range(6)], Hours(finish_by=NOW + 600), render_s=30)
    takes = {"j0": 1000.0, "j1": 1000.0}
    table.engine._timetable._takes_s = lambda job: takes.get(job.id, 60.0)
    assert code(table) == (Stop.WINDOW_OVER, Exit.WINDOW_OVER)
    assert set(table.world.times(Action.SUBMIT)) == {"j2", "j3", "j4", "j5"}
    assert table.world.times(Action.UPLOAD).keys() == table.world.times(Action.SUBMIT).keys(), "nor is it uploaded"


def test_a_sort_that_turns_out_to_take_less_is_bought_after_all():
    out = a_job(0, state=State.RENDERING, project_id="p-0", accepted_at=NOW - 10, submitted_at=NOW - 11)
    table = night([out, *(a_job(n) for n in range(1, 10))], Hours(finish_by=NOW + 140), render_s=40)
    table.world.rendering["j0"] = NOW - 10
    # By the provider's median one would take 148 s in nine of ten cases: none lands. The first one tells that it is 40.
    assert code(table) == (None, Exit.OK)
    assert table.states()[State.DONE] == 10
    assert min(bought(table)) >= NOW + 30


def test_what_waits_for_a_job_that_is_left_is_left_too():
    jobs = [a_job(0), a_job(1)]
    table = night(jobs, Hours(stops_at=NOW - 1), following=Following(jobs))
    assert code(table) == (Stop.WINDOW_OVER, Exit.WINDOW_OVER)
    assert table.states() == {State.READY: 2}


def test_an_engine_without_a_window_is_always_open():
    assert Timetable().is_open(0)
    assert Timetable().lands(a_job(0), 0)
    assert Timetable().next_turn(None, 0) is None
