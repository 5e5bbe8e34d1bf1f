"""Breakers: opened by equal failures, closed by one success, with exactly one probe between."""

from __future__ import annotations

from hypothesis import given, strategies as st
import pytest

from batchrunner.core.breaker import (
    FAILURES,
    LONGEST_PROBE_S,
    LONGEST_WAIT_S,
    Breaker,
    Streak,
    failed,
    probe_started,
    refuses,
    repeated,
    stops_buying,
    succeeded,
)
from batchrunner.core.retry import INPUT_CHANGED, NO_ANSWER, TRANSFER, UNREACHABLE, Failure

NOW = 1_000_000.0
HOURS_8 = 8 * 3600.0


def http(status: int, code: str | None = None) -> Failure:
    return Failure(code=code or f"http_{status}", message=f"HTTP {status}", status=status)


def opened(failure: Failure | None = None, *, now: float = NOW) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker = failed(breaker, failure or http(503), now=now)
    assert breaker.is_open
    return breaker


def show(at: float) -> str:
    return f"<{at - NOW:g}>"


@pytest.mark.parametrize(
    ("failure", "label"),
    [
        (http(503), "HTTP 503"),
        (http(500, "internal_server_error"), "HTTP 500"),
        (Failure(code=UNREACHABLE, message="refused"), "not reachable"),
        (Failure(code=NO_ANSWER, message="time-out"), "no answer"),
    ],
)
def test_five_equal_failures_in_a_row_open_it(failure, label):
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker = failed(breaker, failure, now=NOW)
        assert refuses(breaker, now=NOW) is None
    pause = refuses(failed(breaker, failure, now=NOW), now=NOW)
    assert pause is not None
    assert (pause.count, pause.label, pause.until) == (5, label, NOW + 10)
    assert pause.words(show) == f"paused until <10> after 5 \u00d7 {label}; 1 probe then"


def test_an_overload_that_says_502_and_503_in_turn_opens_it_too():
    breaker = Breaker()
    for i in range(FAILURES):
        breaker = failed(breaker, http(502 + i % 2), now=NOW)
    pause = refuses(breaker, now=NOW)
    assert pause is not None
    assert pause.label == "HTTP 5xx"


@pytest.mark.parametrize(
    "other",
    [Failure(code=NO_ANSWER, message="m"), Failure(code=UNREACHABLE, message="m"), Failure(code=TRANSFER, message="m")],
)
def test_an_outage_that_shows_in_several_ways_opens_it_as_one(other):
    breaker = Breaker()
    for i in range(FAILURES):
        assert not breaker.is_open
        breaker = failed(breaker, other if i % 2 else http(503), now=NOW)
    pause = refuses(breaker, now=NOW)
    assert pause is not None
    assert (pause.count, pause.label) == (FAILURES, "no good answer")


@pytest.mark.parametrize("status", [400, 401, 402, 404, 422, 429])
def test_an_answer_below_500_says_that_the_endpoint_works(status):
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker = failed(breaker, http(503), now=NOW)
    assert failed(breaker, http(status), now=NOW) == Breaker()


def test_what_says_nothing_of_the_endpoint_changes_nothing():
    breaker = failed(Breaker(), http(503), now=NOW)
    assert failed(breaker, Failure(code=INPUT_CHANGED, message="m"), now=NOW) == breaker


def test_after_the_wait_exactly_one_probe_goes_through():
    breaker = opened()
    assert refuses(breaker, now=NOW + 9.9) is not None
    assert refuses(breaker, now=NOW + 10) is None
    breaker = probe_started(breaker, now=NOW + 10)
    pause = refuses(breaker, now=NOW + 10)
    assert pause is not None
    assert pause.is_probing
    assert pause.words(show) == "paused after 5 \u00d7 HTTP 503; 1 probe is under way"


def test_a_probe_that_succeeds_closes_it():
    breaker = succeeded(probe_started(opened(), now=NOW + 10))
    assert breaker == Breaker()
    assert refuses(breaker, now=NOW + 10) is None


def test_a_probe_that_says_nothing_of_the_endpoint_lets_another_go():
    breaker = probe_started(opened(), now=NOW + 10)
    breaker = failed(breaker, Failure(code=INPUT_CHANGED, message="m"), now=NOW + 11)
    assert breaker.is_open
    assert refuses(breaker, now=NOW + 11) is None


def test_probes_that_fail_wait_twice_as_long_up_to_five_minutes():
    breaker, now, waits = opened(), NOW, []
    for _ in range(8):
        pause = refuses(breaker, now=now)
        assert pause is not None
        waits.append(pause.until - now)
        now = pause.until
        breaker = failed(probe_started(breaker, now=now), http(503), now=now)
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    assert breaker.count == FAILURES + 8
    assert failed(succeeded(breaker), http(503), now=now).count == 1


def test_an_outage_that_changes_its_sort_is_still_one():
    breaker = failed(probe_started(opened(), now=NOW + 10), Failure(code=UNREACHABLE, message="m"), now=NOW + 10)
    pause = refuses(breaker, now=NOW + 10)
    assert pause is not None
    assert (pause.count, pause.label, pause.until) == (6, "no good answer", NOW + 30)


def test_answers_to_what_left_before_it_opened_prolong_nothing():
    breaker = opened()
    assert failed(breaker, http(503), now=NOW + 5) == breaker


def test_a_probe_of_which_nothing_is_heard_does_not_block_it_for_ever():
    breaker = probe_started(opened(), now=NOW + 10)
    assert refuses(breaker, now=NOW + 10 + LONGEST_PROBE_S) is None


def test_a_probe_on_a_closed_breaker_is_just_a_request():
    assert probe_started(Breaker(), now=NOW) == Breaker()


@pytest.mark.parametrize("jump", [HOURS_8, -HOURS_8])
def test_a_clock_that_is_set_ends_the_wait_and_still_lets_one_through_at_a_time(jump):
    breaker, now = opened(), NOW + jump
    assert refuses(breaker, now=now) is None
    breaker = probe_started(breaker, now=now)
    assert refuses(breaker, now=now) is not None
    breaker = failed(breaker, http(503), now=now)
    pause = refuses(breaker, now=now)
    assert pause is not None
    assert pause.until == now + 20


STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "answer"]), st.sampled_from([200, 404, 500, 503]), st.floats(0, 400)),
    max_size=100,
)


@given(steps=STEPS)
def test_while_it_is_open_there_is_never_more_than_one_request_under_way(steps):
    breaker, now, asked_at = Breaker(), NOW, None
    for what, status, later in steps:
        now += later
        if asked_at is not None and now >= asked_at + LONGEST_PROBE_S:
            asked_at = None  # lost
        if what == "ask":
            pause = refuses(breaker, now=now)
            if breaker.is_open and pause is None:
                assert asked_at is None
                asked_at = now
            breaker = probe_started(breaker, now=now) if pause is None else breaker
            assert pause is None or now < pause.until <= now + LONGEST_WAIT_S
        elif asked_at is not None or not breaker.is_open:
            was_open, asked_at = breaker.is_open, None
            breaker = succeeded(breaker) if status == 200 else failed(breaker, http(status), now=now)
            assert breaker.is_open == (status >= 500 and (was_open or breaker.count >= FAILURES))


# --- groups ---


def streak(*failures: Failure) -> Streak:
    made = Streak()
    for failure in failures:
        made = repeated(made, failure)
    return made


def test_the_same_definite_failure_again_and_again_stops_its_group():
    face = Failure(code="no_source_face", message="m")
    assert stops_buying(streak(*[face] * 4), name="kling-3.0") is None
    why = stops_buying(streak(*[face] * 5), name="kling-3.0")
    assert why == "5 \u00d7 no_source_face in a row: no more of kling-3.0 is bought in this run"


def test_different_failures_are_no_streak():
    assert stops_buying(streak(*[http(422, f"code_{i % 2}") for i in range(20)]), name="g") is None


@pytest.mark.parametrize(
    "failure",
    [http(503), http(429), http(401), http(402, "insufficient_credits"), Failure(code=NO_ANSWER, message="m")],
)
def test_what_says_nothing_of_the_group_neither_counts_nor_ends_a_streak(failure):
    assert streak(*[failure] * 20) == Streak()
    bad = http(422, "unprocessable_entity")
    assert streak(bad, bad, failure, bad) == Streak(code="unprocessable_entity", count=3)


def test_a_plan_that_does_not_allow_a_model_stops_that_group():
    assert stops_buying(streak(*[http(402, "plan_upgrade_required")] * 5), name="veo3.1") is not None


def test_a_stopped_group_is_not_opened_by_another_failure():
    stopped = streak(*[http(422, "a")] * 5, http(422, "b"))
    assert stops_buying(stopped, name="g") is not None
