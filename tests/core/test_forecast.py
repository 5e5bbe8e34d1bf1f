"""The forecast against queues that are worked out in another way: by hand, and by a simulation a second at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import random
from statistics import median
from typing import Any

from hypothesis import given, settings, strategies as st
import pytest

from batchrunner.core import events, forecast, job as machine
from batchrunner.core.forecast import LANDING_S, Forecast, Lanes, Pending, Times
from batchrunner.core.job import Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.looks import HINTS
from batchrunner.core.spec import Output, Spec
from batchrunner.core.window import ALWAYS, Hours

SORT = "image-to-video/kling/3"
NOW = 1_000_000.0


def a_job(number: int, **changes: object) -> Pending:
    return replace(
        Pending(id=f"j{number}", kind="image-to-video", sort=SORT, model="kling"),
        **changes,  # type: ignore[arg-type]
    )


def known(*durations: float, submit_s: float = 0.001) -> Times:
    return Times(past={SORT: sorted(durations)}, submit_s=submit_s, landing_s=0.0, landing_late_s=0.0)


def told(
    jobs: Sequence[Pending], times: Times, *, in_flight: int = 10, hours: Hours = ALWAYS, seed: int = 1, **lanes: object
) -> Forecast:
    made = forecast.of(
        jobs,
        times=times,
        lanes=Lanes(in_flight=in_flight, **lanes),  # type: ignore[arg-type]
        now=NOW,
        chance=random.Random(seed),
        hours=hours,
    )
    assert made is not None
    return made


def takes(made: Forecast) -> tuple[float, float]:
    return made.median_at - NOW, made.late_at - NOW


ALIKE = known(*[60.0] * 20)


def test_of_renders_that_are_all_alike_it_says_the_very_time() -> None:
    assert takes(told([a_job(n) for n in range(100)], ALIKE)) == pytest.approx((600, 600), abs=1)


def test_nothing_to_do_has_no_forecast() -> None:
    assert forecast.of([], times=ALIKE, lanes=Lanes(in_flight=1), now=NOW, chance=random.Random(0)) is None


def a_second_at_a_time(durations: Sequence[float], *, in_flight: int, submit_s: float) -> float:
    """The same queue in another way: which renders end is looked at every second."""
    waiting, now, free_at = list(durations), 0.0, 0.0
    out: list[float] = []
    while waiting or out:
        out = [each for each in out if each > now]
        while waiting and len(out) < in_flight and free_at <= now:
            out.append(now + submit_s + waiting.pop(0))
            free_at = now + submit_s
        now += 1.0
    return now - 1.0


@pytest.mark.parametrize(("count", "in_flight"), [(30, 3), (200, 20), (1000, 7)])
def test_the_median_is_within_a_tenth_of_what_comes_to_pass(count: int, in_flight: int) -> None:
    truth = random.Random(5)
    sample = [truth.lognormvariate(5.0, 0.5) for _ in range(64)]
    made = told([a_job(n) for n in range(count)], known(*sample, submit_s=1.0), in_flight=in_flight)
    ends = [
        a_second_at_a_time([truth.choice(sample) for _ in range(count)], in_flight=in_flight, submit_s=1.0)
        for _ in range(21)
    ]
    assert made.median_at - NOW == pytest.approx(median(ends), rel=0.1)
    assert sum(end <= made.late_at - NOW for end in ends) >= 15


def test_a_queue_too_large_to_be_played_often_has_about_the_spread_of_one_that_is() -> None:
    sample = [random.Random(n).lognormvariate(5.0, 0.5) for n in range(64)]
    jobs = [a_job(n) for n in range(4000)]
    often = takes(told(jobs[:1200], known(*sample)))
    seldom = takes(told(jobs, known(*sample)))
    assert seldom[0] == pytest.approx(often[0] * 4000 / 1200, rel=0.05)
    # The spread grows with the square root of the number; both are small beside the whole.
    assert 0.5 < (seldom[1] - seldom[0]) / ((often[1] - often[0]) * (4000 / 1200) ** 0.5) < 2


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 60),
    in_flight=st.integers(1, 12),
    sample=st.lists(st.floats(1, 1000), min_size=1, max_size=20),
    seed=st.integers(0, 9),
)
def test_it_is_never_before_now_and_the_later_time_never_first(
    count: int, in_flight: int, sample: list[float], seed: int
) -> None:
    made = told([a_job(n) for n in range(count)], known(*sample), in_flight=in_flight, seed=seed)
    assert NOW < made.median_at <= made.late_at
    assert made.left == 0


@pytest.mark.parametrize("sample", [[60.0], [30.0, 60.0, 90.0, 200.0] * 4, []])
def test_more_at_once_is_never_later(sample: list[float]) -> None:
    jobs = [a_job(n) for n in range(120)]
    ends = [told(jobs, known(*sample), in_flight=at_once).median_at for at_once in (1, 2, 4, 8, 16, 32)]
    assert ends == sorted(ends, reverse=True)


def test_a_limit_of_a_kind_or_a_model_holds_up_that_one_alone() -> None:
    of_kling, of_another = (
        [a_job(n) for n in range(40)],
        [a_job(100 + n, model="luma", kind="video-to-video") for n in range(5)],
    )
    either: list[dict[str, Any]] = [{"per_model": {"kling": 4}}, {"per_kind": {"image-to-video": 4}}]
    for limits in either:
        assert takes(told([*of_kling, *of_another], ALIKE, in_flight=20, **limits))[0] == pytest.approx(600, abs=2)
        assert takes(told(of_another, ALIKE, in_flight=20, **limits))[0] == pytest.approx(60, abs=1)


def test_the_pace_of_submissions_is_the_pace_of_the_night() -> None:
    jobs = [a_job(n) for n in range(100)]
    assert takes(told(jobs, ALIKE, in_flight=1000, per_minute=10.0))[0] == pytest.approx(594 + 6 + 60, abs=7)
    slow = known(*[60.0] * 20, submit_s=5.0)
    assert takes(told(jobs, slow, in_flight=1000))[0] == pytest.approx(100 * 5 + 60, abs=6)


def test_a_job_that_waits_for_another_starts_after_it() -> None:
    chain = [a_job(n, waits_for=(f"j{n - 1}",) if n else ()) for n in range(5)]
    assert takes(told(chain, ALIKE))[0] == pytest.approx(300, abs=1)
    assert takes(told(chain[2:], ALIKE))[0] == pytest.approx(180, abs=1), "what is not there is not waited for"


def test_what_is_out_already_is_there_sooner() -> None:
    sample = [100.0] * 10
    assert takes(told([a_job(0, age_s=70.0)], known(*sample)))[0] == pytest.approx(30)
    assert takes(told([a_job(0, age_s=500.0)], known(*sample)))[0] < 500
    assert takes(told([a_job(0, is_rendered=True)], Times()))[0] == LANDING_S
    assert told([a_job(0, is_rendered=True)], Times()).basis == "nothing is left to render"


def test_renders_under_way_take_their_part_of_the_room() -> None:
    jobs = [a_job(0, age_s=0.0), a_job(1)]
    assert takes(told(jobs, ALIKE, in_flight=1))[0] == pytest.approx(120, abs=1)


# --- what it rests on ---


def test_the_provider_s_medians_stand_for_what_this_account_has_no_renders_of() -> None:
    clip = Pending(id="v", kind="video-to-video", sort="video-to-video/none/2", model="none")
    made = told([clip], Times())
    assert made.median_at - NOW == pytest.approx(HINTS["video-to-video"], rel=0.25)
    assert made.late_at - NOW == pytest.approx(2 * HINTS["video-to-video"], rel=0.35)
    assert made.basis == "the provider's medians"


@pytest.mark.parametrize(
    ("sample", "others", "basis"),
    [
        (34, 0, "this account's own 34 renders"),
        (1, 0, "this account's own 1 render"),
        (34, 3, "this account's own 34 renders, and the provider's medians for 3 jobs"),
        (34, 1, "this account's own 34 renders, and the provider's medians for 1 job"),
    ],
)
def test_it_says_what_it_rests_on(sample: int, others: int, basis: str) -> None:
    jobs = [a_job(0), *(a_job(1 + n, sort="video-to-video/none/2", kind="video-to-video") for n in range(others))]
    assert told(jobs, known(*[50.0] * sample)).basis == basis


def test_a_sandbox_s_moment_is_not_called_the_provider_s_median() -> None:
    on_a_sandbox = Times(hints={})
    assert told([a_job(0)], on_a_sandbox).basis == "the moment that a sandbox takes"
    clip = a_job(1, sort="video-to-video/none/2", kind="video-to-video")
    made = told([a_job(0), clip], replace(known(*[50.0] * 2), hints={}))
    assert made.basis == "this account's own 2 renders, and the moment that a sandbox takes for 1 job"


def test_few_renders_are_not_taken_for_all_there_is() -> None:
    one = told([a_job(0)], known(60.0))
    assert one.median_at - NOW == pytest.approx(60, rel=0.25)
    assert one.late_at - NOW > 80
    assert forecast.late_s([60.0], hint_s=74) == 120
    assert forecast.late_s([60.0, 500.0], hint_s=74) == 560
    assert forecast.late_s([], hint_s=74) == 148
    assert forecast.late_s([float(n) for n in range(1, 101)], hint_s=74) == 91


def test_what_is_learned_comes_from_the_attempts_on_record() -> None:
    times = forecast.learned([_done(n, render_s=40 + n) for n in range(10)])
    assert list(times.past.values()) == [[40.0 + n for n in range(10)]]
    assert (times.submit_s, times.landing_s, times.landing_late_s) == (2.0, 5.0, 5.0)
    assert forecast.learned([]) == Times()


def _done(number: int, *, render_s: float) -> Job:
    spec = Spec(
        kind=Kind.IMAGE_TO_VIDEO,
        request="{}",
        inputs=(),
        output=f"{number}.mp4",
        seconds=5,
        fingerprint=str(number),
        model="kling",
    )
    opened = machine.advance(None, events.Opened(at=0.0, id=f"j{number}", attempt=1, spec=spec))
    return replace(
        opened,
        state=State.DONE,
        submitted_at=10.0,
        accepted_at=12.0,
        rendered_at=12.0 + render_s,
        ended_at=17.0 + render_s,
        outputs=(Output(path="x", bytes=1, sha256="0"),),
    )


def test_a_job_on_record_is_pending_as_far_as_it_is_not_over() -> None:
    ready = replace(_done(1, render_s=1), state=State.READY, submitted_at=None, accepted_at=None)
    new = forecast.pending_of(ready, now=100)
    assert new is not None
    assert (new.age_s, new.is_rendered) == (None, False)
    assert new == forecast.pending_as("j1", ready.spec)
    out = forecast.pending_of(replace(ready, state=State.RENDERING, accepted_at=40.0), now=100)
    assert out is not None
    assert out.age_s == 60
    fetched = forecast.pending_of(replace(ready, state=State.RENDERED), now=100)
    assert fetched is not None
    assert fetched.is_rendered
    for state in (State.DONE, State.FAILED, State.CANCELED, State.UNCERTAIN):
        assert forecast.pending_of(replace(ready, state=state), now=100) is None


# --- within a window ---


def test_a_window_that_opens_later_makes_it_that_much_later() -> None:
    jobs = [a_job(n) for n in range(100)]
    made = told(jobs, ALIKE, hours=Hours(opens_at=NOW + 3600))
    assert takes(made)[0] == pytest.approx(3600 + 600, abs=1)


def test_what_a_window_leaves_is_counted() -> None:
    jobs = [a_job(n) for n in range(100)]
    stopped = told(jobs, ALIKE, hours=Hours(stops_at=NOW + 299))
    assert stopped.left == 50
    assert takes(stopped)[0] == pytest.approx(300, abs=1), "what was bought is collected after the end"
    finished = told(jobs, ALIKE, hours=Hours(finish_by=NOW + 301))
    assert finished.left == 50
    assert takes(finished)[0] <= 301
    assert told(jobs, ALIKE, hours=Hours(stops_at=NOW - 1)).left == 100


def test_a_sort_that_takes_less_still_makes_it_when_another_does_not() -> None:
    quick = "image-to-video/quick/3"
    jobs = [*(a_job(n) for n in range(10)), a_job(10, sort=quick)]
    times = replace(ALIKE, past={**ALIKE.past, quick: [5.0] * 20})
    assert told(jobs, times, hours=Hours(finish_by=NOW + 30)).left == 10
