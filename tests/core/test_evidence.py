"""Was a lost submission charged? Cases by hand, and properties over what can have happened."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, strategies as st
import pytest

from batchrunner.core import events, job as machine
from batchrunner.core.evidence import (
    Baseline,
    Claim,
    Finding,
    Observation,
    due_in_books,
    has_moved,
    is_loose,
    is_loose_elsewhere,
    is_settled,
    judge,
    may_be_open,
    may_change,
    misfit,
    over_at,
)
from batchrunner.core.job import Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.spec import Spec
from tests.core.test_job import histories

DAY = 86400.0
BEFORE = Baseline(at=0, credits=1000, ledger=300)


def seen(credits: int | None, spent: int) -> Observation:
    return Observation(at=9, credits=credits, spent=spent)


def claim(name: str, low: int | None = 100, hold: int | None = 100) -> Claim:
    return Claim(job_id=name, low=low, hold=hold)


def findings(baseline, credits, spent, *claims, moves=True, slack=0):
    judgement = judge(baseline, seen(credits, spent), seen(credits, spent), claims, moves=moves, slack=slack)
    assert set(judgement.findings) == {each.job_id for each in claims}
    assert judgement.reason
    return [judgement.findings[each.job_id].value for each in claims]


@pytest.mark.parametrize(
    ("credits", "spent", "claims", "expected"),
    [
        (1000, 300, [claim("a")], ["unpaid"]),
        (900, 300, [claim("a")], ["paid"]),
        (900, 400, [claim("a")], ["unpaid"]),
        (800, 400, [claim("a")], ["paid"]),
        (1000, 300, [claim("a"), claim("b")], ["unpaid", "unpaid"]),
        (800, 300, [claim("a"), claim("b")], ["undecided", "undecided"]),
        (900, 300, [claim("a"), claim("b")], ["undecided", "undecided"]),
        (900, 300, [claim("a"), claim("b", 50, 50)], ["undecided", "undecided"]),
        (850, 300, [claim("a"), claim("b", 50, 50)], ["undecided", "undecided"]),
        (950, 300, [claim("a")], ["undecided"]),
        (1100, 300, [claim("a")], ["undecided"]),
        (950, 300, [claim("a", 1, 100)], ["paid"]),
        (950, 300, [claim("a", 1, 100), claim("b", 1, 100)], ["undecided", "undecided"]),
        (777, 300, [claim("a", None, None)], ["paid"]),
        (None, 300, [claim("a")], ["undecided"]),
    ],
)
def test_what_the_balance_says(credits, spent, claims, expected):
    assert findings(BEFORE, credits, spent, *claims) == expected


@pytest.mark.parametrize(
    ("credits", "slack", "expected"),
    [
        (1000, 3, "unpaid"),
        (1003, 3, "unpaid"),
        (1004, 3, "undecided"),
        (988, 3, "paid"),
        (985, 3, "paid"),
        (991, 3, "paid"),
        (992, 3, "undecided"),
        (1000, 12, "undecided"),
        (1000, None, "undecided"),
    ],
)
def test_what_an_uncertain_job_may_give_back_is_allowed_for(credits, slack, expected):
    """The claim costs 12 to 15; another one, lost before, may settle lower at any time."""
    assert findings(BEFORE, credits, 300, claim("a", 12, 15), slack=slack) == [expected]


@pytest.mark.parametrize("credits", [1000, 900, 800])
def test_while_another_charge_is_not_told_nothing_is_said_of_any(credits):
    """What is missing may be that one; where nothing is, the balance has not taken it off yet."""
    observed = Observation(at=9, credits=credits, spent=300, untold=1, awaited=1)
    judgement = judge(BEFORE, observed, observed, [claim("a")], moves=True, slack=0)
    assert judgement.findings == {"a": Finding.UNDECIDED}
    assert "has not told what all of the others are charged" in judgement.reason


@pytest.mark.parametrize(
    ("project_type", "name", "fits"),
    [
        ("IMAGE_TO_VIDEO", "m/j [1-ab]", True),
        (None, "m/j [1-ab]", True),
        ("IMAGE_TO_VIDEO", None, True),
        ("VIDEO_TO_VIDEO", "m/j [1-ab]", False),
        ("VIDEO_TO_VIDEO", None, False),
        ("IMAGE_TO_VIDEO", "m/j [1-cd]", False),
        ("IMAGE_TO_VIDEO", "", False),
    ],
)
def test_what_a_project_is_told_to_be_must_fit_and_what_is_not_told_need_not(project_type, name, fits):
    spec = Spec(kind=Kind.IMAGE_TO_VIDEO, request="{}", inputs=(), output="o", seconds=1, fingerprint="f")
    lost = replace(machine.advance(None, events.Opened(at=0, id="j", attempt=1, spec=spec)), name="m/j [1-ab]")
    assert (misfit(lost, project_type=project_type, name=name) is None) is fits


def test_without_a_quiet_moment_nothing_is_known():
    assert findings(None, 1000, 300, claim("a")) == ["undecided"]


def test_two_readings_that_differ_say_nothing():
    judgement = judge(BEFORE, seen(1000, 300), seen(900, 300), [claim("a")], moves=True)
    assert judgement.findings == {"a": Finding.UNDECIDED}


def test_a_balance_that_never_moved_says_nothing():
    assert findings(BEFORE, 1000, 300, claim("a"), moves=False) == ["too early"], "the next charge will tell"
    assert findings(BEFORE, 1000, 400, claim("a"), moves=False) == ["undecided"]


def test_a_balance_that_followed_another_charge_since_is_believed():
    assert findings(BEFORE, 900, 400, claim("a"), moves=False) == ["unpaid"]
    assert has_moved(BEFORE, seen(900, 400))
    assert not has_moved(BEFORE, seen(1000, 400))
    assert not has_moved(BEFORE, seen(1000, 300))


def test_many_lost_at_once_are_judged_only_when_nothing_is_missing():
    many = [claim(str(n)) for n in range(20)]
    assert set(findings(BEFORE, 1000, 300, *many)) == {"unpaid"}
    assert set(findings(BEFORE, 900, 300, *many)) == {"undecided"}


@given(
    lost=st.lists(st.tuples(st.integers(1, 300), st.integers(0, 300), st.booleans()), min_size=1, max_size=6),
    others=st.integers(0, 500),
    slack=st.integers(0, 50),
    share=st.floats(0, 1),
)
def test_a_charged_submission_is_never_called_unpaid(lost, others, slack, share):
    """Whatever was charged and given back within what is known: an accepted one is not submitted again."""
    claims = [claim(str(n), low, low + extra) for n, (low, extra, _) in enumerate(lost)]
    charged = {str(n): low + extra // 2 for n, (low, extra, is_charged) in enumerate(lost) if is_charged}
    spent = BEFORE.ledger + others
    credits = BEFORE.credits - others - sum(charged.values()) + round(slack * share)
    judgement = judge(BEFORE, seen(credits, spent), seen(credits, spent), claims, moves=True, slack=slack)
    for name in charged:
        assert judgement.findings[name] is not Finding.UNPAID
    if not charged:
        assert Finding.PAID not in judgement.findings.values()


def test_a_finished_render_whose_charge_was_never_told_is_asked_for_in_every_run():
    spec = Spec(
        kind=Kind.IMAGE_TO_VIDEO, request="{}", inputs=(), output="o", seconds=1, fingerprint="f", low=9, hold=9
    )
    opened = machine.advance(None, events.Opened(at=0, id="j", attempt=1, spec=spec))
    done = replace(opened, state=State.DONE, project_id="p", ended_at=0.0)
    assert may_change(done, now=1e6)
    assert due_in_books([done]) == [done]
    told = replace(done, held=9, charged=9)
    assert not may_change(told, now=1e6)
    assert due_in_books([told]) == []


@given(
    project_id=st.none() | st.just("p"),
    charged=st.none() | st.integers(0, 3),
    ended_at=st.none() | st.floats(0, 2000),
    decided_at=st.none() | st.floats(0, 2000),
    now=st.floats(0, 3000),
)
def test_nothing_is_left_to_ask_of_what_is_settled(project_id, charged, ended_at, decided_at, now):
    spec = Spec(
        kind=Kind.IMAGE_TO_VIDEO, request="{}", inputs=(), output="a.mp4", seconds=5.0, fingerprint="", low=1, hold=3
    )
    job = Job(
        id="a",
        kind=spec.kind,
        attempt=1,
        state=State.DONE,
        spec=spec,
        opened_at=0,
        updated_at=0,
        project_id=project_id,
        held=3,
        charged=charged,
        ended_at=ended_at,
        decided_at=decided_at,
    )
    if is_settled(charged=charged, ended_at=ended_at, decided_at=decided_at, now=now):
        assert not may_change(job, now=now)
        assert not is_loose(job)


@given(history=histories(), since=st.floats(0, 4 * DAY), life_s=st.floats(0, DAY))
def test_what_was_written_long_before_has_nothing_open(history, since, life_s):
    """So of another batch that is passed over nothing would have counted."""
    job = None
    for event in history:
        job = machine.advance(job, event)
        may_be = may_be_open(written_at=event.at, since=since, life_s=life_s)
        assert may_be or not is_loose_elsewhere(job) or over_at(job, life_s) <= since
