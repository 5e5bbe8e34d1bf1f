"""Admission, looks and exit codes, as functions of counts."""

from __future__ import annotations

from hypothesis import given, strategies as st
import pytest

from batchrunner.core.job import State
from batchrunner.core.manifest import Limits
from batchrunner.core.retry import DISK_FULL, Failure, Policy, Step
from batchrunner.core.schedule import (
    Gate,
    Load,
    Stop,
    Wait,
    exit_code,
    is_worth_waiting,
    refuses,
    run_again_at,
    stop_for,
)
from batchrunner.errors import Exit

LIMITS = Limits(in_flight=3, uploads=2, downloads=1)
OPEN = Gate()


def load(**counts: int) -> Load:
    made = Load()
    for name, count in counts.items():
        if name.startswith("running_"):
            made.running[Step(name.removeprefix("running_"))] = count
        else:
            made.by_state[State(name)] = count
    made.in_line = made.by_state[State.UPLOADED]
    return made


@pytest.mark.parametrize(
    ("jobs", "more", "code"),
    [
        ({State.READY: 3, State.FAILED: 1}, {}, Exit.INCOMPLETE),
        ({State.READY: 3, State.DONE: 1}, {"is_too_dear": True}, Exit.INCOMPLETE),
        ({State.READY: 3, State.UNCERTAIN: 1}, {}, Exit.UNCERTAIN),
        ({State.FAILED: 1}, {}, Exit.JOBS_FAILED),
        ({State.DONE: 1}, {}, Exit.OK),
    ],
)
def test_canaries_that_wait_for_a_look_leave_the_batch_incomplete(jobs, more, code):
    assert exit_code(jobs, stop=Stop.CANARY, **more) is code


@pytest.mark.parametrize(
    ("step", "busy", "words"),
    [
        (Step.UPLOAD, load(), None),
        (Step.UPLOAD, load(running_upload=2), "limits.uploads"),
        (Step.UPLOAD, load(uploaded=3), "limits.in_flight"),
        (Step.UPLOAD, load(uploaded=2, running_upload=1), "limits.in_flight"),
        (Step.SUBMIT, load(), None),
        (Step.SUBMIT, load(rendering=2, submitting=1), "limits.in_flight"),
        (Step.SUBMIT, load(rendering=2), None),
        (Step.POLL, load(running_poll=32), "looks"),
        (Step.DOWNLOAD, load(running_download=1), "limits.downloads"),
        (Step.DOWNLOAD, load(rendering=3), None),
    ],
)
def test_who_may_start(step, busy, words):
    reason = refuses(step, busy, LIMITS, OPEN)
    assert (reason is None) == (words is None)
    assert words is None or words in str(reason)


def test_a_pause_of_buying_never_stops_collecting():
    held = {step: refuses(step, load(), LIMITS, Gate(is_paused=True)) for step in Step}
    assert {step for step, why in held.items() if why} == {Step.UPLOAD, Step.SUBMIT}
    assert "paused" in str(held[Step.SUBMIT])
    stopped = refuses(Step.SUBMIT, load(), LIMITS, Gate(is_paused=True, stop=Stop.INTERRUPTED))
    assert stopped == "buying has stopped: interrupted", "a stop is for good"


@pytest.mark.parametrize("stop", [Stop.INTERRUPTED, Stop.OUT_OF_CREDITS, Stop.COLLECTING])
def test_a_stop_of_buying_never_stops_collecting(stop):
    gate = Gate(stop=stop)
    held = {step for step in Step if refuses(step, load(), LIMITS, gate)}
    assert held == {Step.UPLOAD, Step.SUBMIT}


def test_a_refused_key_stops_everything():
    assert all(refuses(step, load(), LIMITS, Gate(stop=Stop.KEY_REFUSED)) for step in Step)


def test_nothing_is_bought_while_a_lost_submission_is_looked_for():
    held = {step for step in Step if refuses(step, load(), LIMITS, Gate(is_reconciling=True))}
    assert held == {Step.SUBMIT}


@given(
    counts=st.fixed_dictionaries({state.value: st.integers(0, 9) for state in State}),
    running=st.fixed_dictionaries({f"running_{step}": st.integers(0, 9) for step in Step}),
)
def test_no_admission_passes_a_limit(counts, running):
    busy = load(**counts, **running)
    if refuses(Step.SUBMIT, busy, LIMITS, OPEN) is None:
        assert busy.in_flight + 1 <= LIMITS.in_flight
    if refuses(Step.UPLOAD, busy, LIMITS, OPEN) is None:
        assert busy.running[Step.UPLOAD] + 1 <= LIMITS.uploads
    if refuses(Step.DOWNLOAD, busy, LIMITS, OPEN) is None:
        assert busy.running[Step.DOWNLOAD] + 1 <= LIMITS.downloads


@pytest.mark.parametrize(
    ("jobs", "stop", "is_unreachable", "expected"),
    [
        ({State.DONE: 3}, None, False, Exit.OK),
        ({}, None, False, Exit.OK),
        ({State.DONE: 1, State.FAILED: 1}, None, False, Exit.JOBS_FAILED),
        ({State.DONE: 1, State.CANCELED: 1}, None, False, Exit.JOBS_FAILED),
        ({State.READY: 1}, None, False, Exit.INCOMPLETE),
        ({State.READY: 1, State.FAILED: 1}, None, False, Exit.JOBS_FAILED),
        ({State.RENDERED: 1}, None, True, Exit.UNREACHABLE),
        ({State.DONE: 1}, None, True, Exit.OK),
        ({State.READY: 1}, Stop.OUT_OF_CREDITS, True, Exit.OUT_OF_CREDITS),
        ({State.UNCERTAIN: 1}, Stop.OUT_OF_CREDITS, False, Exit.UNCERTAIN),
        ({State.UNCERTAIN: 1, State.READY: 1}, Stop.KEY_REFUSED, False, Exit.KEY_REFUSED),
        ({State.READY: 1}, Stop.INTERRUPTED, False, Exit.INTERRUPTED),
        ({State.DONE: 1}, Stop.COLLECTING, False, Exit.OK),
        ({State.DONE: 1}, Stop.INTERRUPTED, False, Exit.OK),
        ({State.UPLOADED: 1}, Stop.UNREACHABLE, True, Exit.UNREACHABLE),
        ({State.RENDERED: 1}, Stop.DISK_FULL, False, Exit.INCOMPLETE),
        ({State.DONE: 1}, Stop.DISK_FULL, False, Exit.OK),
    ],
)
def test_exit_codes_in_their_order(jobs, stop, is_unreachable, expected):
    assert exit_code(jobs, stop=stop, is_unreachable=is_unreachable) is expected


def test_what_stops_a_run():
    def failure(status: int, code: str = "x") -> Failure:
        return Failure(code=code, message="m", status=status)

    assert stop_for(failure(401)) is Stop.KEY_REFUSED
    assert stop_for(failure(402, "insufficient_credits")) is Stop.OUT_OF_CREDITS
    assert stop_for(failure(422, "insufficient_credits")) is Stop.OUT_OF_CREDITS
    assert stop_for(failure(402, "plan_upgrade_required")) is None
    assert stop_for(failure(503)) is None
    assert stop_for(Failure(code=DISK_FULL, message="m")) is Stop.DISK_FULL


# --- what is worth waiting for ---


@pytest.mark.parametrize(
    ("waits", "is_worth_it"),
    [
        ([], False),
        ([Wait(step=Step.SUBMIT, until=3600)], True),
        ([Wait(step=Step.SUBMIT, until=3601)], False),
        ([Wait(step=Step.SUBMIT, until=86400), Wait(step=Step.DOWNLOAD, until=60)], True),
        ([Wait(step=Step.UPLOAD, until=60)], False),
        ([Wait(step=Step.UPLOAD, until=60, is_own=True)], True),
    ],
)
def test_a_wait_is_worth_it_for_as_long_as_its_step_is_tried(waits, is_worth_it):
    policy = Policy.of({"upload": {"for": "10s"}})
    assert is_worth_waiting(waits, policy, now=0) is is_worth_it


@pytest.mark.parametrize(
    ("dates", "at"),
    [([], None), ([None], None), ([50], None), ([200, 150], 150), ([200, None], None), ([200, 90], None)],
)
def test_when_another_run_can_do_something(dates, at):
    assert run_again_at(dates, now=100) == at
