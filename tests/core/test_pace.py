"""The shared pace: slower on 429, faster only while it is used, and never stuck when the clock is set."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
import json

from hypothesis import given, strategies as st
import pytest

from batchrunner.core import pace as pacing
from batchrunner.core.pace import (
    Cooldown,
    Pace,
    accepted,
    cooled,
    from_kept,
    from_learned,
    kept,
    learned,
    may_ask_at,
    may_submit_at,
    submitted,
    throttled,
    unthrottled,
    used_per_minute,
)
from batchrunner.core.retry import Step

NOW = 1_000_000.0
HOURS_8 = 8 * 3600.0
DAY = 86400.0


def busy(per_minute: float, *, until: float = NOW, pace: Pace | None = None) -> Pace:
    """A pace under which so many were submitted evenly in the minute that ends at `until`."""
    pace = pace or unthrottled(most_in_flight=20)
    count = int(per_minute)
    for i in range(count):
        pace = submitted(pace, now=until - 60 + (i + 0.5) * 60 / count)
    return pace


# --- 429 ---


def test_many_answers_of_one_cooldown_slow_down_once():
    pace = unthrottled(most_in_flight=20, most_per_minute=60)
    for i in range(10):
        pace = throttled(pace, now=NOW + 0.1 * i, retry_after_s=None)
    assert (pace.in_flight, pace.allowed_in_flight, pace.per_minute) == (16.0, 16, 48.0)
    assert may_submit_at(pace, now=NOW + 1) == NOW + 2
    assert may_submit_at(pace, now=NOW + 2) is None


def test_cooldowns_double_up_to_a_minute_and_begin_anew_after_a_calm_time():
    waits, now, cooldown = [], NOW, None
    for _ in range(8):
        cooldown = cooled(cooldown, now=now, retry_after_s=None)
        waits.append(cooldown.until - now)
        now = cooldown.until + 1
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    assert cooldown is not None
    later = cooldown.until + pacing.CALM_S + 1
    assert cooled(cooldown, now=later, retry_after_s=None).until == later + 2


@pytest.mark.parametrize(
    ("asked_s", "waited_s"),
    [(30.0, 30.0), (600.0, 600.0), (0.0, 1.0), (-5.0, 1.0), (1e12, DAY), (float("nan"), 2.0), (float("inf"), 2.0)],
)
def test_the_wait_that_was_asked_for_is_kept(asked_s, waited_s):
    cooldown = cooled(None, now=NOW, retry_after_s=asked_s)
    assert cooldown.until - NOW == waited_s
    assert may_ask_at(cooldown, now=NOW) == cooldown.until
    assert may_ask_at(cooldown, now=cooldown.until) is None


def test_a_later_answer_of_the_same_burst_may_ask_for_more_and_never_for_less():
    first = cooled(None, now=NOW, retry_after_s=10)
    assert cooled(first, now=NOW + 1, retry_after_s=30).until == NOW + 31
    assert cooled(first, now=NOW + 1, retry_after_s=2) == first
    assert cooled(first, now=NOW + 1, retry_after_s=None) == first


def test_an_endpoint_that_was_never_throttled_may_be_asked():
    assert may_ask_at(None, now=NOW) is None


def test_without_a_limit_the_rate_that_was_used_is_what_was_too_fast():
    pace = throttled(busy(40), now=NOW, retry_after_s=None)
    assert pace.per_minute == pytest.approx(0.8 * 40, rel=0.02)


def test_a_burst_of_seconds_is_measured_as_the_rate_it_was():
    pace = unthrottled(most_in_flight=20)
    for i in range(21):
        pace = submitted(pace, now=NOW + i)
    assert used_per_minute(pace, now=NOW + 20) == pytest.approx(63)


def test_one_submission_is_no_rate():
    pace = throttled(submitted(unthrottled(most_in_flight=20), now=NOW), now=NOW, retry_after_s=None)
    assert pace.per_minute is None
    assert pace.in_flight == 16


def test_a_rate_of_more_than_is_remembered_is_still_measured():
    assert used_per_minute(busy(300), now=NOW) == pytest.approx(300, rel=0.05)


def test_what_left_before_the_clock_was_set_back_is_not_counted():
    pace = busy(40)
    assert used_per_minute(pace, now=NOW - HOURS_8) == 0
    assert submitted(pace, now=NOW - HOURS_8).recent == (NOW - HOURS_8,)


def test_a_few_submissions_and_a_429_are_no_rate():
    """One busy moment of the provider at the start of a night must not slow all of it down."""
    pace = busy(40)
    few = replace(pace, recent=pace.recent[-pacing.LEAST_MEASURED + 1 :])
    assert throttled(few, now=NOW, retry_after_s=None).per_minute is None
    enough = replace(pace, recent=pace.recent[-pacing.LEAST_MEASURED :])
    assert throttled(enough, now=NOW, retry_after_s=None).per_minute is not None


def test_what_is_remembered_of_a_minute_is_bounded():
    assert len(busy(300).recent) == pacing.MOST_RECENT


# --- growth ---


def test_it_grows_by_a_twentieth_after_half_a_minute_of_full_use():
    pace = throttled(unthrottled(most_in_flight=20), now=NOW, retry_after_s=None)
    assert accepted(pace, now=NOW + 29, in_flight=16).in_flight == 16
    grown = accepted(pace, now=NOW + 30, in_flight=13)
    assert grown.in_flight == pytest.approx(16.8)
    assert accepted(grown, now=NOW + 31, in_flight=16) == grown


def test_what_is_not_used_does_not_grow():
    pace = throttled(busy(40), now=NOW, retry_after_s=None)
    assert accepted(pace, now=NOW + 120, in_flight=12) == pace


def test_each_value_grows_by_its_own_use():
    pace = throttled(busy(40), now=NOW, retry_after_s=None)
    pace = busy(31, until=NOW + 120, pace=pace)
    grown = accepted(pace, now=NOW + 120, in_flight=1)
    assert grown.in_flight == pace.in_flight
    assert pace.per_minute is not None
    assert grown.per_minute == pytest.approx(1.05 * pace.per_minute)


def test_one_render_in_flight_can_grow_to_two():
    pace, now = replace(unthrottled(most_in_flight=20), in_flight=1.0), NOW
    for _ in range(30):
        now += 61
        pace = accepted(pace, now=now, in_flight=pace.allowed_in_flight)
    assert pace.allowed_in_flight >= 2


def test_it_never_grows_above_its_ceilings():
    pace, now = throttled(unthrottled(most_in_flight=5, most_per_minute=12), now=NOW, retry_after_s=None), NOW
    for _ in range(800):
        now += 1
        if may_submit_at(pace, now=now) is None:
            pace = accepted(submitted(pace, now=now), now=now, in_flight=5)
    assert (pace.in_flight, pace.per_minute) == (5, 12)
    assert learned(pace) is None


# --- the rate ---


@given(
    per_minute=st.floats(0.5, 200),
    patience=st.lists(st.floats(0, 20), min_size=1, max_size=60),
)
def test_no_minute_holds_more_than_the_rate(per_minute, patience):
    pace, now = unthrottled(most_in_flight=20, most_per_minute=per_minute), NOW
    window: deque[float] = deque()
    for extra in patience:
        now = (may_submit_at(pace, now=now) or now) + extra
        if may_submit_at(pace, now=now) is None:
            pace = submitted(pace, now=now)
            window.append(now)
        while window and window[0] <= now - 60 + 1e-3:
            window.popleft()
        assert len(window) <= max(1, per_minute + 1e-6) or len(window) - 1 < per_minute


def test_against_a_limit_that_nobody_tells_most_of_it_is_used_and_few_are_refused():
    """A provider that accepts 30 in any minute; each request takes a second."""
    pace, now, window, refused, total = unthrottled(most_in_flight=1000), NOW, deque[float](), 0, 0
    while now < NOW + 4 * 3600:
        now = max(now, may_submit_at(pace, now=now) or now)
        pace = submitted(pace, now=now)
        now += 1
        while window and window[0] <= now - 60:
            window.popleft()
        if len(window) >= 30:
            refused += 1
            pace = throttled(pace, now=now, retry_after_s=None)
        else:
            window.append(now)
            total += 1
            pace = accepted(pace, now=now, in_flight=1)
    assert total / (4 * 60) >= 0.8 * 30
    assert refused / total <= 0.02


# --- clocks that are set ---

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["submitted", "accepted", "throttled"]),
        st.one_of(st.floats(0, 100), st.sampled_from([HOURS_8, -HOURS_8])),
        st.one_of(st.none(), st.floats(0, 120)),
        st.integers(0, 40),
    ),
    max_size=150,
)


@given(events=EVENTS, ceiling=st.one_of(st.none(), st.floats(1, 100)))
def test_whatever_happens_it_keeps_its_bounds_and_holds_nobody_up(events, ceiling):
    pace, now = unthrottled(most_in_flight=20, most_per_minute=ceiling), NOW
    for what, later, asked_s, in_flight in events:
        now += later
        if what == "submitted":
            pace = submitted(pace, now=now)
        elif what == "accepted":
            pace = accepted(pace, now=now, in_flight=in_flight)
        else:
            pace = throttled(pace, now=now, retry_after_s=asked_s)
        assert 1 <= pace.in_flight <= 20
        assert pace.per_minute is None or 0 < pace.per_minute <= (ceiling or float("inf"))
        assert len(pace.recent) <= pacing.MOST_RECENT
        at = may_submit_at(pace, now=now)
        assert at is None or now < at <= now + 120


def test_a_clock_set_back_leaves_no_endless_wait_and_growth_goes_on():
    pace = throttled(busy(40), now=NOW, retry_after_s=60)
    back = NOW - HOURS_8
    assert may_submit_at(pace, now=back) is None
    pace = accepted(pace, now=back, in_flight=16)
    assert accepted(pace, now=back + 60, in_flight=16).in_flight > pace.in_flight


def test_a_clock_set_back_still_knows_a_new_429():
    pace = throttled(unthrottled(most_in_flight=20), now=NOW, retry_after_s=None)
    again = throttled(pace, now=NOW - HOURS_8, retry_after_s=None)
    assert again.in_flight == pytest.approx(0.64 * 20)
    assert may_submit_at(again, now=NOW - HOURS_8) == NOW - HOURS_8 + 2


def test_after_eight_hours_of_sleep_it_goes_on_at_once():
    pace = throttled(busy(40), now=NOW, retry_after_s=60)
    assert may_submit_at(pace, now=NOW + HOURS_8) is None


# --- from one night to the next ---


def test_the_next_night_begins_where_this_one_ended():
    pace = throttled(busy(40), now=NOW, retry_after_s=None)
    stored = json.loads(json.dumps(learned(pace)))
    begun = from_learned(stored, most_in_flight=20, most_per_minute=None, now=NOW + DAY)
    assert (begun.in_flight, begun.per_minute) == (pace.in_flight, pace.per_minute)
    assert learned(begun) == stored


def test_todays_ceilings_hold_over_what_was_learned():
    stored = {"in_flight": 16.0, "per_minute": 30.0, "at": NOW}
    begun = from_learned(stored, most_in_flight=4, most_per_minute=6, now=NOW)
    assert (begun.in_flight, begun.per_minute) == (4, 6)


def test_a_pace_at_its_ceiling_has_learned_nothing_that_holds_under_another():
    assert learned(unthrottled(most_in_flight=20, most_per_minute=6)) is None
    only_flight = throttled(unthrottled(most_in_flight=20), now=NOW, retry_after_s=None)
    assert set(learned(only_flight) or {}) == {"in_flight", "at"}


JUNK = st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.sampled_from(["", "8", [8], {}, 10**400]))


@given(stored=st.one_of(st.none(), st.dictionaries(st.sampled_from(["in_flight", "per_minute", "at", "x"]), JUNK)))
def test_what_is_stored_may_be_anything(stored):
    pace = from_learned(stored, most_in_flight=20, most_per_minute=None, now=NOW)
    assert 1 <= pace.in_flight <= 20
    assert pace.per_minute is None or pace.per_minute >= 1


@pytest.mark.parametrize(("age_s", "is_taken"), [(0, True), (6.9 * DAY, True), (7.1 * DAY, False), (-HOURS_8, True)])
def test_a_week_makes_it_stale(age_s, is_taken):
    stored = {"in_flight": 8.0, "per_minute": 30.0, "at": NOW - age_s}
    pace = from_learned(stored, most_in_flight=20, most_per_minute=None, now=NOW)
    assert (pace.in_flight, pace.per_minute) == ((8.0, 30.0) if is_taken else (20.0, None))


def test_a_cooldown_outlives_the_run():
    cooldowns = {
        Step.SUBMIT: cooled(None, now=NOW, retry_after_s=DAY),
        Step.POLL: cooled(None, now=NOW, retry_after_s=None),
    }
    stored = json.loads(json.dumps(kept(cooldowns)))
    assert from_kept(stored, now=NOW + 1) == cooldowns
    assert from_kept(stored, now=NOW + 3600) == {Step.SUBMIT: cooldowns[Step.SUBMIT]}
    assert from_kept(stored, now=NOW + DAY) == {}, "it is over"
    assert from_kept(stored, now=NOW - HOURS_8) == {}, "the clock was set back: nobody is held up"
    assert kept({}) is None


def test_a_cooldown_longer_than_any_of_ours_is_not_believed():
    stored = {"submit": {"began_at": NOW, "until": NOW + 2 * DAY, "backoff_s": 2.0}}
    assert from_kept(stored, now=NOW + 1) == {}


NOTED = st.one_of(
    JUNK, st.dictionaries(st.sampled_from(["began_at", "until", "backoff_s"]), st.one_of(JUNK, st.just(NOW)))
)


@given(stored=st.one_of(st.none(), st.dictionaries(st.sampled_from([*map(str, Step), "x"]), NOTED)))
def test_what_is_kept_of_cooldowns_may_be_anything(stored):
    for cooldown in from_kept(stored, now=NOW).values():
        assert NOW < cooldown.until <= NOW + DAY


def test_a_cooldown_is_a_plain_value():
    assert Cooldown(began_at=NOW, until=NOW + 2, backoff_s=2.0) == cooled(None, now=NOW, retry_after_s=None)
