"""The cap that holds: arithmetic by hand, and random interleavings of everything that can happen."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given, strategies as st
import pytest

from batchrunner.core import budget, events, job as machine
from batchrunner.core.budget import Budget, Caps, Cutoff, Spending, exposure, left_out, refuses
from batchrunner.core.events import Event
from batchrunner.core.job import Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.retry import Again, Failure, GiveUp
from batchrunner.core.spec import Spec

FAILURE = Failure(code="x", message="x")


def a_job(number: int, hold: int | None, model: str = "m") -> Job:
    spec = Spec(
        kind=Kind.IMAGE_TO_VIDEO,
        request=f'{{"model":"{model}"}}',
        inputs=(),
        output="o.mp4",
        seconds=1,
        fingerprint="f",
        low=0,
        expected=hold,
        hold=hold,
    )
    return machine.advance(None, events.Opened(at=0, id=f"j{number}", attempt=1, spec=spec))


def a_spending() -> Spending:
    return Spending(day_of=lambda at: str(int(at) // 86400))


STEPS: dict[State, list[str]] = {
    State.READY: ["upload"],
    State.UPLOADED: ["submit"],
    State.SUBMITTING: ["accept", "refuse", "lose", "unpaid", "unknown"],
    State.RENDERING: ["settle", "render", "fail", "cancel"],
    State.RENDERED: ["download"],
    State.UNCERTAIN: ["adopt", "resolve", "give up"],
}


def happen(job: Job, step: str, share: float, at: float) -> Event:
    hold = job.spec.hold or 0
    charge = round(hold * share)
    steps: dict[str, Event] = {
        "upload": events.Uploaded(at=at, assets=()),
        "submit": events.SubmitStarted(at=at, name="n"),
        "accept": events.Accepted(at=at, project_id="p", credits=None if share < 0.1 else charge),
        "refuse": events.Refused(at=at, failure=FAILURE, verdict=Again(at=at)),
        "lose": events.AnswerLost(at=at, failure=FAILURE),
        "unpaid": events.ProvedUnpaid(at=at, evidence="e", verdict=Again(at=at)),
        "unknown": events.Unknowable(at=at, evidence="e"),
        "settle": events.Looked(at=at, status="rendering", credits=charge),
        "render": events.Rendered(at=at, status="complete", credits=charge),
        "fail": events.RenderFailed(at=at, failure=FAILURE, credits=0, verdict=GiveUp()),
        "cancel": events.Canceled(at=at, credits=0),
        "download": events.Downloaded(at=at, outputs=()),
        "adopt": events.Adopted(at=at, project_id="q", credits=charge),
        "resolve": events.Resolved(at=at, verdict=Again(at=at)),
        "give up": events.Resolved(at=at, verdict=GiveUp()),
    }
    return steps[step]


@given(
    holds=st.lists(st.tuples(st.integers(1, 50), st.sampled_from("ab")), min_size=1, max_size=12),
    cap=st.integers(0, 200),
    model_cap=st.integers(0, 100),
    moves=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 4), st.floats(0, 1)), max_size=200),
)
def test_what_is_reserved_and_charged_never_passes_a_cap(holds, cap, model_cap, moves):
    """Whatever happens to which job in which order, as long as nothing is charged above its hold."""
    jobs = [a_job(n, hold, model) for n, (hold, model) in enumerate(holds)]
    caps = Caps(batch=cap, run=cap, per_model={"a": model_cap})
    spending = a_spending()
    spending.begin(jobs)
    for number, choice, share in moves:
        index = number % len(jobs)
        job = jobs[index]
        steps = STEPS.get(job.state)
        if not steps:
            continue
        step = steps[choice % len(steps)]
        if step == "submit" and refuses(job.spec, caps, spending, now=1.0) is not None:
            continue
        jobs[index] = machine.advance(job, happen(job, step, share, 1.0))
        spending.saw(job, jobs[index])
        assert spending.batch == sum(map(exposure, jobs)) <= cap
        assert spending.run <= cap
        assert spending.by_name.get("a", 0) <= model_cap


@pytest.mark.parametrize(
    ("caps", "words"),
    [
        (Caps(batch=100), None),
        (Caps(batch=99), "budget.credits is 99"),
        (Caps(run=99), "--max-credits is 99"),
        (Caps(per_job=99), "budget.per_job"),
        (Caps(per_model={"m": 99}), "budget.per_model.m is 99"),
        (Caps(per_model={"image-to-video": 99}), "budget.per_model.image-to-video is 99"),
        (Caps(per_model={"other": 1, "video-to-video": 1}), None),
        (Caps(per_day=99), "budget.per_day is 99"),
        (Caps(usd=99), "budget.usd"),
        (Caps(keep_balance=900), None),
        (Caps(keep_balance=901), "budget.keep_balance is 901"),
    ],
)
def test_each_cap_says_its_name_and_figures(caps, words):
    spending = a_spending()
    spending.balance = 1000
    said = refuses(a_job(0, 100).spec, caps, spending, now=0)
    assert (said is None) == (words is None)
    assert words is None or words in str(said)


def test_a_job_without_a_price_fits_no_cap():
    assert "not known" in str(refuses(a_job(0, None).spec, Caps(), a_spending(), now=0))


def test_dollars_become_credits_at_the_given_rate_and_never_too_many():
    caps = budget.caps_of(
        Budget(usd=Decimal("0.30")), usd_per_credit=Decimal("0.0012"), run=None, per_job=None, cutoff=None
    )
    assert caps.usd == 250
    assert Decimal(caps.usd) * Decimal("0.0012") <= Decimal("0.30")


def test_flags_only_tighten():
    said = Budget(per_job=100, cutoff=Cutoff.SOFT)
    assert budget.caps_of(said, usd_per_credit=None, run=5, per_job=200, cutoff="hard") == Caps(
        run=5, per_job=100, cutoff=Cutoff.HARD
    )


def test_the_first_jobs_that_fit_are_bought_and_the_rest_is_named():
    wanted = [(f"j{n}", a_job(n, hold).spec) for n, hold in enumerate([50, 60, 40, 10])]
    spending = a_spending()
    spending.balance = 105
    assert list(left_out(wanted, Caps(batch=100), spending, now=0)) == ["j1"]
    assert list(left_out(wanted, Caps(), spending, now=0)) == ["j1"]
    assert spending.batch == spending.run == 0, "asking spends nothing"


def test_what_the_account_cannot_pay_is_no_matter_of_a_cap_that_nobody_set():
    spending = a_spending()
    spending.balance = 150
    wanted = [(name, a_job(0, 100).spec) for name in "ab"]
    words = "the account has 50 credits left, and this job may cost 100"
    assert left_out(wanted, Caps(), spending, now=0) == {"b": words}


def test_a_new_attempt_counts_beside_the_old_one():
    first = a_job(0, 100)
    for step in ("upload", "submit", "accept", "render", "download"):
        first = machine.advance(first, happen(first, step, 1.0, 1.0))
    second = machine.advance(first, events.Opened(at=2, id="j0", attempt=2, spec=first.spec))
    spending = a_spending()
    spending.begin([first, second])
    for step in ("upload", "submit"):
        after = machine.advance(second, happen(second, step, 1.0, 2.0))
        spending.saw(second, after)
        second = after
    assert (spending.batch, spending.run) == (200, 100)


def test_a_day_is_counted_over_the_folder():
    spending = a_spending()
    job = a_job(0, 100)
    for step in ("upload", "submit", "accept"):
        job = machine.advance(job, happen(job, step, 1.0, 90_000.0))
    spending.count_elsewhere([job])
    assert (spending.batch, spending.by_day) == (0, {"1": 100})
    assert refuses(a_job(1, 1).spec, Caps(per_day=100), spending, now=90_001.0)
    assert refuses(a_job(1, 1).spec, Caps(per_day=100), spending, now=180_000.0) is None


def test_what_was_given_up_while_nobody_could_tell_counts_for_good():
    job = a_job(0, 100)
    for step in ("upload", "submit", "lose", "unknown", "give up"):
        job = machine.advance(job, happen(job, step, 1.0, 2.0))
    assert (job.state, exposure(job)) == (State.FAILED, 100)
    spending = a_spending()
    spending.begin([job])
    assert "100 spent or reserved" in str(refuses(a_job(1, 1).spec, Caps(batch=100), spending, now=2.0))


def bought(spending: Spending, job: Job, charge: int) -> Job:
    """The job after it was submitted and accepted in this run."""
    at = 1.0
    for event in (
        events.Uploaded(at=at, assets=()),
        events.SubmitStarted(at=at, name="n"),
        events.Accepted(at=at, project_id="p", credits=charge),
    ):
        before, job = job, machine.advance(job, event)
        spending.saw(before, job)
    return job


def test_a_refund_of_an_earlier_attempt_makes_no_room_in_this_run():
    spending = a_spending()
    first = replace(a_job(0, 144), state=State.FAILED, project_id="p", charged=144, held=144)
    spending.begin([first])
    second = machine.advance(first, events.Opened(at=0, id="j0", attempt=2, spec=first.spec))
    bought(spending, second, 144)
    spending.saw(first, machine.advance(first, events.Corrected(at=2, credits=0)))
    assert (spending.run, spending.batch) == (144, 144)


def test_a_balance_that_is_not_told_any_more_keeps_nothing():
    spec = a_job(0, 1).spec
    assert "balance is not known" in str(refuses(spec, Caps(keep_balance=0), a_spending(), now=0))
    assert left_out([("j0", spec)], Caps(keep_balance=0), a_spending(), now=0) == {}, "a plan without a key"


def test_what_an_earlier_run_bought_and_settles_above_is_off_the_balance_too():
    spending = a_spending()
    spending.balance = 1000
    out = replace(a_job(0, 100), state=State.RENDERING, project_id="p", charged=100, held=100)
    spending.begin([out])
    dearer = machine.advance(out, events.Looked(at=1, status="rendering", credits=400))
    spending.saw(out, dearer)
    assert (spending.drawn, spending.run) == (300, 0)
    assert refuses(a_job(1, 1).spec, Caps(keep_balance=700), spending, now=1) is not None
    spending.saw(dearer, machine.advance(dearer, events.Canceled(at=2, credits=0)))
    assert spending.drawn == 300, "what comes back is not counted on"


def test_a_charge_above_the_hold_is_what_the_next_one_reserves():
    spending = a_spending()
    bought(spending, a_job(0, 100, "a"), 140)
    assert spending.reserved_for(a_job(1, 50, "a").spec) == 70
    assert spending.reserved_for(a_job(1, 50, "b").spec) == 50


def test_a_hold_of_the_manifests_own_that_was_too_low_is_raised_by_what_was_charged_in_an_earlier_run():
    own = a_job(0, 250)
    own = replace(own, spec=replace(own.spec, is_priced=False, seconds=3))
    spending = a_spending()
    spending.begin([replace(own, state=State.DONE, project_id="p", charged=300, held=300)])
    assert spending.reserved_for(own.spec) == 300
    assert spending.reserved_for(replace(own.spec, hold=900)) == 900


def test_the_manifests_own_hold_is_not_believed_in_another_resolution_either():
    dear = a_job(0, 1)
    dear = replace(dear, spec=replace(dear.spec, is_priced=False, request='{"model":"m","resolution":"720p"}'))
    spending = a_spending()
    spending.begin([replace(dear, state=State.DONE, project_id="p", charged=300, held=300)])
    assert budget.distrusts(replace(dear.spec, request='{"model":"m"}'), spending) is not None


def test_a_day_that_cannot_be_counted_is_no_cap_and_stops_nothing_else():
    spending = a_spending()
    spending.unreadable = "x.state.db"
    spec = a_job(0, 1).spec
    assert "x.state.db cannot be read" in str(refuses(spec, Caps(per_day=100), spending, now=0))
    assert refuses(spec, Caps(batch=100), spending, now=0) is None
