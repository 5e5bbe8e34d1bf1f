"""From failure to verdict: tables with a fixed now, and bounds that hold for every failure, history and policy."""

from __future__ import annotations

from hypothesis import given, strategies as st
import pytest

from batchrunner.core import duration, retry
from batchrunner.core.retry import (
    PATIENCE,
    REFUND_WAIT_S,
    USUAL,
    Again,
    Failure,
    GiveUp,
    History,
    Leave,
    Patience,
    Policy,
    Step,
    Verdict,
    render_verdict,
    unpaid_verdict,
    verdict,
)
from batchrunner.errors import DiskFull, TransferError

NOW = 1000.0
FIRST = History(tries=1, since=NOW)


def http(status: int, code: str | None = None, after: float | None = None, *, message: str = "HTTP") -> Failure:
    return Failure(
        code=code or f"http_{status}",
        message=message,
        status=status,
        retry_after_s=after,
        is_lasting=status in retry.BLAMES_THE_REQUEST,
    )


REFUSED = Failure(code=retry.UNREACHABLE, message="refused")
RESET = Failure(code=retry.NO_ANSWER, message="reset")
CHANGED = Failure(code=retry.INPUT_CHANGED, message="changed")


@pytest.mark.parametrize("status", range(100, 600))
def test_only_these_answers_prove_that_nothing_was_created(status):
    """Everything else, 5xx and unknown 4xx included, is unknown and never answered by submitting again."""
    assert retry.proves_refusal(status) == (status in {400, 401, 402, 403, 404, 422, 429})


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (http(400), GiveUp()),
        (http(403), GiveUp()),
        (http(404), GiveUp()),
        (http(422), GiveUp()),
        (http(401), Leave()),
        (http(402, "insufficient_credits"), Leave()),
        (http(402), Leave()),
        (http(402, "insufficient_credits", after=60.0), Leave(until=NOW + 60.0)),
        (http(422, "insufficient_credits"), Leave()),
        (http(403, "insufficient_credits"), Leave()),
        (http(422, message="HTTP 422: You do not have enough credits"), Leave()),
        (http(422, message="HTTP 422: Insufficient credits."), Leave()),
        (http(422, message="HTTP 422: Unable to create video"), GiveUp()),
        (http(402, "plan_upgrade_required"), GiveUp()),
        (http(402, "subscription_required"), GiveUp()),
        (http(429), Again(at=NOW + 2.0, of=8)),
        (http(429, after=30.0), Again(at=NOW + 30.0, of=8)),
        (http(429, after=4000.0), Leave(until=NOW + 4000.0)),
        (REFUSED, Again(at=NOW + 2.0, of=8)),
    ],
)
def test_a_refused_submission(failure, expected):
    assert verdict(Step.SUBMIT, failure, FIRST, now=NOW, jitter=1.0) == expected


@pytest.mark.parametrize(
    ("step", "failure", "history", "expected"),
    [
        (Step.UPLOAD, http(400), FIRST, GiveUp()),
        (Step.UPLOAD, CHANGED, FIRST, Leave()),
        (Step.UPLOAD, http(503), FIRST, Again(at=NOW + 1.0, of=8)),
        (Step.UPLOAD, http(503), History(tries=8, since=NOW), Leave()),
        (Step.POLL, http(404), FIRST, Again(at=NOW + 2.0, of=16)),
        (Step.DOWNLOAD, http(404), History(tries=15, since=NOW), Again(at=NOW + 240.0, of=16)),
        (Step.DOWNLOAD, http(404), History(tries=16, since=NOW), Leave()),
        (Step.POLL, http(503, after=90.0), FIRST, Again(at=NOW + 90.0, of=16)),
        (Step.POLL, http(503, after=90.0), History(tries=16, since=NOW), Leave(until=NOW + 90.0)),
        (Step.DOWNLOAD, http(403), History(tries=3, since=NOW), Again(at=NOW + 4.0, of=10)),
        (Step.DOWNLOAD, http(403), History(tries=10, since=NOW), Leave()),
        (Step.DOWNLOAD, RESET, History(tries=2, since=NOW - 3600.0), Leave()),
        (Step.DOWNLOAD, RESET, History(tries=2, since=NOW - 3590.0), Again(at=NOW + 2.0, of=10)),
        (Step.DOWNLOAD, RESET, History(tries=1, since=NOW + 9999.0), Again(at=NOW + 1.0, of=10)),
    ],
)
def test_a_step_that_can_be_repeated(step, failure, history, expected):
    """What is paid for is never given up; the last row is a clock that was set back."""
    assert verdict(step, failure, history, now=NOW, jitter=1.0) == expected


@pytest.mark.parametrize("step", Step)
def test_waits_double_up_to_a_minute_and_end(step):
    waits = []
    told: Verdict = GiveUp()
    for tries in range(1, 100):
        told = verdict(step, RESET, History(tries=tries, since=NOW), now=NOW, jitter=1.0)
        if not isinstance(told, Again):
            break
        waits.append(told.at - NOW)
    assert told == Leave()
    assert len(waits) == PATIENCE[step].tries - 1
    assert waits[1] == 2 * waits[0]
    assert max(waits) <= 60.0


jitters = st.floats(0.001, 1.0)


@given(tries=st.integers(1, 10**6), jitter=jitters, asked=st.none() | st.floats(0, 10**6))
def test_a_wait_is_never_shorter_than_asked_for_and_never_endless(tries, jitter, asked):
    for patience in PATIENCE.values():
        wait = retry.backoff_s(patience, tries=tries, jitter=jitter, asked_s=asked)
        assert wait >= (asked or 0)
        assert wait <= max(patience.longest_s, asked or 0)


patiences = st.builds(
    Patience,
    tries=st.integers(1, 1000),
    first_s=st.floats(0.1, 3600),
    longest_s=st.floats(1, 86_400),
    total_s=st.floats(1, 86_400),
)
policies = st.builds(lambda each: Policy(steps=dict(zip(Step, each, strict=True))), st.tuples(*[patiences] * len(Step)))
failures = st.one_of(
    st.builds(http, st.integers(400, 599), after=st.none() | st.floats(0, 86_400)),
    st.sampled_from([REFUSED, RESET, CHANGED]),
)


@given(step=st.sampled_from(Step), policy=policies, nights=st.lists(st.tuples(failures, jitters)))
def test_no_night_breaks_a_bound(step, policy, nights):
    """A step that fails and fails: never before the date asked for, never too often, never for too long."""
    check_bounds(step, nights, policy.steps[step], policy=policy, is_over=True)


@given(
    step=st.sampled_from([Step.POLL, Step.DOWNLOAD]),
    policy=policies,
    nights=st.lists(st.tuples(st.builds(http, st.just(404), after=st.none() | st.floats(0, 86_400)), jitters)),
)
def test_nor_does_a_project_that_is_not_known(step, policy, nights):
    """Whatever the manifest says of looks: what is paid for must not be lost by it."""
    check_bounds(step, nights, retry.UNKNOWN_PROJECT, policy=policy, is_over=False)


def check_bounds(step, nights, patience, *, policy, is_over):
    now = NOW
    for tries, (failure, jitter) in enumerate(nights, start=1):
        so_far = History(tries=tries, since=NOW)
        told = verdict(step, failure, so_far, now=now, jitter=jitter, policy=policy, is_over=is_over)
        if not isinstance(told, Again):
            if isinstance(told, Leave) and failure.retry_after_s is not None:
                assert told.until == now + failure.retry_after_s
            break
        assert told.at >= now + (failure.retry_after_s or 0)
        assert told.of == patience.tries
        now = told.at
        assert tries < patience.tries
        assert now - NOW <= patience.total_s + 1e-6


@given(
    submits=st.integers(1, 10),
    until=st.none() | st.floats(0, 10**5),
    jitter=jitters,
    policy=policies,
)
def test_what_was_proved_unpaid_is_submitted_again_a_few_times_and_not_too_soon(submits, until, jitter, policy):
    told = unpaid_verdict(submits=submits, until=until, now=NOW, jitter=jitter, policy=policy)
    if submits >= retry.MOST_DOUBTS:
        assert told == Leave(until=until)
    else:
        assert isinstance(told, Again)
        assert told.at >= max(NOW, until or 0)


def test_a_project_is_lost_only_after_several_looks():
    gone = http(404)
    assert [retry.is_lost(gone, tries=tries) for tries in (1, 5, 11, 12, 13)] == [False] * 3 + [True] * 2
    assert not retry.is_lost(http(503), tries=99)


@pytest.mark.parametrize("step", [Step.POLL, Step.DOWNLOAD])
def test_no_manifest_gives_up_a_project_sooner(step):
    hasty = Policy.of({str(step): {"attempts": 1, "first_wait": "1s", "longest_wait": "1s", "for": "1s"}})
    waits = []
    for tries in range(1, retry.LOST_AFTER):
        told = verdict(step, http(404), History(tries=tries, since=NOW), now=NOW, jitter=0.5, policy=hasty)
        assert isinstance(told, Again), tries
        waits.append(told.at - NOW)
    assert sum(waits) > 600
    assert verdict(step, http(503), FIRST, now=NOW, jitter=0.5, policy=hasty) == Leave()


def test_what_does_not_fit_is_tried_a_few_times_and_left():
    full = retry.failure_of(DiskFull("the disk is full"))
    told = [verdict(Step.DOWNLOAD, full, History(tries=n, since=NOW), now=NOW, jitter=1) for n in (1, 2, 3)]
    assert [type(each) for each in told] == [Again, Again, Leave]


def test_what_the_storage_asked_for_is_waited():
    slow_down = retry.failure_of(TransferError("the storage answered HTTP 503", retry_after_s=90.0))
    assert verdict(Step.DOWNLOAD, slow_down, FIRST, now=NOW, jitter=1) == Again(at=NOW + 90, of=10)
    assert not slow_down.is_unreachable


# --- renders -------------------------------------------------------------------------------------------------------

AGAIN = Again(at=NOW + 2.0)


@pytest.mark.parametrize(
    ("code", "credits", "retried", "waited", "expected"),
    [
        ("nsfw", 0, (), 0, AGAIN),
        ("nsfw", 240, (), 0, None),
        ("nsfw", 9, (), 0, None),
        ("nsfw", None, (), 0, None),
        ("nsfw", 240, (), REFUND_WAIT_S - 1, None),
        ("nsfw", 240, (), REFUND_WAIT_S, GiveUp()),
        ("nsfw", None, (), REFUND_WAIT_S, GiveUp()),
        ("nsfw", 0, (), 10 * REFUND_WAIT_S, AGAIN),
        ("nsfw", 0, ("nsfw",), 0, GiveUp()),
        ("nsfw", 240, ("nsfw",), 0, GiveUp()),
        ("nsfw", 0, ("unknown_error",), 0, Again(at=NOW + 4.0)),
        ("unknown_error", 0, (), 0, AGAIN),
        ("no_source_face", 0, (), 0, GiveUp()),
        ("invalid_video_file", 0, (), 0, GiveUp()),
        ("invalid_anything", 0, (), 0, GiveUp()),
        ("file_too_large", 0, (), 0, GiveUp()),
        ("tired", 0, (), 0, GiveUp()),
    ],
)
def test_a_failed_render_starts_over_only_when_its_refund_is_seen(code, credits, retried, waited, expected):
    failure = Failure(code=code, message="failed")
    broke_at = NOW - waited if waited else None
    told = render_verdict(failure, credits=credits, retried=retried, broke_at=broke_at, now=NOW, jitter=1.0)
    assert told == expected


@given(
    code=st.sampled_from(retry.KNOWN_CODES) | st.text(max_size=12),
    credits=st.none() | st.integers(0, 999),
    retried=st.lists(st.sampled_from(retry.KNOWN_CODES), max_size=4),
    allowed=st.dictionaries(st.sampled_from(retry.KNOWN_CODES), st.integers(0, 10)),
)
def test_nothing_starts_over_while_it_is_charged_or_more_often_than_allowed(code, credits, retried, allowed):
    policy = Policy.of({"render": allowed})
    failure = Failure(code=code, message="failed")
    told = render_verdict(failure, credits=credits, retried=retried, broke_at=None, now=NOW, jitter=1.0, policy=policy)
    if isinstance(told, Again):
        assert credits == 0
        assert retried.count(code) < {**USUAL.render, **allowed}[code]
        assert not retry.blames_the_input(code)


# --- the manifest's words ------------------------------------------------------------------------------------------


def test_a_policy_changes_what_it_names_and_nothing_else():
    policy = Policy.of(
        {"poll": {"attempts": 3, "for": "2h"}, "submit": {"first_wait": "1m", "longest_wait": 120}, "render": {"x": 2}}
    )
    assert policy.steps[Step.POLL] == Patience(tries=3, first_s=1.0, longest_s=60.0, total_s=7200.0)
    assert policy.steps[Step.SUBMIT] == Patience(tries=8, first_s=60.0, longest_s=120.0)
    assert policy.steps[Step.UPLOAD] == PATIENCE[Step.UPLOAD]
    assert (policy.free_tries("x"), policy.free_tries("nsfw"), policy.free_tries("y")) == (2, 1, 0)
    assert Policy.of({}) == USUAL


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(90, 90), (0.5, 0.5), ("90s", 90), ("5m", 300), ("2h", 7200), ("1h30m", 5400), ("1.5 h", 5400)],
)
def test_a_duration(said, seconds):
    assert duration.seconds_of(said) == seconds


@pytest.mark.parametrize("said", ["", "90", "s", "5 minutes", "-5m", "5m-", "1e3s", True, None, [], "9" * 80 + "s"])
def test_what_is_no_duration(said):
    with pytest.raises(ValueError, match="a duration is expected"):
        duration.seconds_of(said)
