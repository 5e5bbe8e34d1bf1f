"""From failure to verdict: a table, with a fixed now."""

from __future__ import annotations

from hypothesis import given, strategies as st
import pytest

from batchrunner.core import retry
from batchrunner.core.retry import PATIENCE, Again, Failure, GiveUp, Leave, Step, repeat_verdict, submit_verdict
from batchrunner.errors import DiskFull, TransferError

NOW = 1000.0


def http(status: int, code: str | None = None, after: float | None = None) -> Failure:
    return Failure(
        code=code or f"http_{status}",
        message=f"HTTP {status}",
        status=status,
        retry_after_s=after,
        is_lasting=status in retry.BLAMES_THE_REQUEST,
    )


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
        (http(402, "plan_upgrade_required"), GiveUp()),
        (http(402, "subscription_required"), GiveUp()),
        (http(429), Again(at=NOW + 2.0)),
        (http(429, after=30.0), Again(at=NOW + 30.0)),
        (Failure(code=retry.UNREACHABLE, message="refused"), Again(at=NOW + 2.0)),
    ],
)
def test_a_refused_submission(failure, expected):
    assert submit_verdict(failure, tries=1, now=NOW, jitter=1.0) == expected


@pytest.mark.parametrize("step", Step)
def test_waits_double_up_to_a_minute_and_end(step):
    failure = Failure(code="no_answer", message="reset")
    waits = []
    verdict: retry.Verdict = GiveUp()
    for tries in range(1, 100):
        verdict = repeat_verdict(step, failure, tries=tries, now=NOW, jitter=1.0)
        if not isinstance(verdict, Again):
            break
        waits.append(verdict.at - NOW)
    assert verdict == Leave()
    assert len(waits) == PATIENCE[step].tries - 1
    assert waits[1] == 2 * waits[0]
    assert max(waits) <= 60.0


@given(tries=st.integers(1, 10**6), jitter=st.floats(0.001, 1.0), asked=st.none() | st.floats(0, 10**6))
def test_a_wait_is_never_shorter_than_asked_for_and_never_endless(tries, jitter, asked):
    for patience in PATIENCE.values():
        wait = retry.backoff_s(patience, tries=tries, jitter=jitter, asked_s=asked)
        assert wait >= (asked or 0)
        assert wait <= max(patience.longest_s, asked or 0)


def test_what_is_paid_for_is_never_given_up():
    lasting = Failure(code="http_404", message="gone", status=404, is_lasting=True)
    assert repeat_verdict(Step.UPLOAD, lasting, tries=1, now=NOW, jitter=1) == GiveUp()
    assert isinstance(repeat_verdict(Step.POLL, lasting, tries=1, now=NOW, jitter=1), Again)
    assert repeat_verdict(Step.DOWNLOAD, lasting, tries=99, now=NOW, jitter=1) == Leave()


def test_a_project_is_lost_only_after_several_looks():
    gone = http(404)
    assert [retry.is_lost(gone, tries=tries) for tries in (1, 5, 11, 12, 13)] == [False] * 3 + [True] * 2
    assert not retry.is_lost(http(503), tries=99)


def test_what_does_not_fit_is_tried_a_few_times_and_left():
    full = retry.failure_of(DiskFull("the disk is full"))
    verdicts = [repeat_verdict(Step.DOWNLOAD, full, tries=tries, now=NOW, jitter=1) for tries in (1, 2, 3)]
    assert [type(each) for each in verdicts] == [Again, Again, Leave]


def test_what_the_storage_asked_for_is_waited():
    slow_down = retry.failure_of(TransferError("the storage answered HTTP 503", retry_after_s=90.0))
    assert repeat_verdict(Step.DOWNLOAD, slow_down, tries=1, now=NOW, jitter=1) == Again(at=NOW + 90)
    assert not slow_down.is_unreachable
