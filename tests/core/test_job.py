"""The job machine, tested as data and by properties; no I/O, no mocks."""

from __future__ import annotations

from dataclasses import fields
import itertools
import json

from hypothesis import given, strategies as st
import pytest

from batchrunner.core import events, job as machine, learning, record
from batchrunner.core.events import Event
from batchrunner.core.job import FINAL, TABLE, Action, Fork, Job, State, advance, next_action
from batchrunner.core.kind import Kind
from batchrunner.core.retry import Again, Failure, GiveUp, History, Leave
from batchrunner.core.spec import Asset, Input, Output, Spec
from batchrunner.errors import IllegalTransition

SPEC = Spec(
    kind=Kind.IMAGE_TO_VIDEO,
    request='{"assets":{"image_file_path":"a.png"},"end_seconds":5}',
    inputs=(Input(field="image_file_path", media="image", path="a.png", sha256="00", size=3),),
    output="renders/a.mp4",
    seconds=5,
    fingerprint="f",
    low=240,
    expected=240,
    hold=240,
)
FAILURE = Failure(code="http_503", message="HTTP 503", status=503)
VERDICTS = (Again(at=50.0, of=3), GiveUp(), Leave(), Leave(until=90.0))


def opened(attempt: int = 1) -> events.Opened:
    return events.Opened(at=1.0, id="a", attempt=attempt, spec=SPEC)


def examples_of(at: float, attempt: int) -> dict[type[Event], list[Event]]:
    """One or more examples of every event there is."""
    return {
        events.Opened: [events.Opened(at=at, id="a", attempt=attempt + 1, spec=SPEC)],
        events.Uploaded: [
            events.Uploaded(at=at, assets=(Asset(field="image_file_path", file_path="api-assets/1.png", expires_at=9),))
        ],
        events.AssetsExpired: [events.AssetsExpired(at=at)],
        events.SubmitStarted: [events.SubmitStarted(at=at, name="m/a [1-77]")],
        events.Accepted: [events.Accepted(at=at, project_id="p1", credits=credits) for credits in (240, None)],
        events.Refused: [
            *(events.Refused(at=at, failure=FAILURE, verdict=verdict) for verdict in VERDICTS),
            events.Refused(at=at, failure=FAILURE, verdict=Again(at=at), blames_inputs=True),
        ],
        events.AnswerLost: [events.AnswerLost(at=at, failure=FAILURE)],
        events.ProvedUnpaid: [
            events.ProvedUnpaid(at=at, evidence="the ledger explains it", verdict=verdict) for verdict in VERDICTS
        ],
        events.Unknowable: [events.Unknowable(at=at, evidence="nobody knows")],
        events.Adopted: [events.Adopted(at=at, project_id="p2", credits=240)],
        events.Resolved: [events.Resolved(at=at, verdict=verdict) for verdict in VERDICTS],
        events.Looked: [
            events.Looked(at=at, status=status, credits=credits)
            for status, credits in itertools.product(("queued", "rendering", "thinking"), (240, 120, None))
        ],
        events.Rendered: [events.Rendered(at=at, status="complete", credits=credits) for credits in (192, None)],
        events.RenderFailed: [
            events.RenderFailed(at=at, failure=FAILURE, credits=0, verdict=verdict)
            for verdict in (Again(at=50.0), GiveUp())
        ],
        events.RefundAwaited: [
            events.RefundAwaited(at=at, failure=FAILURE, credits=credits) for credits in (240, 9, None)
        ],
        events.Canceled: [events.Canceled(at=at, credits=0)],
        events.Downloaded: [
            events.Downloaded(at=at, outputs=(Output(path="r.mp4", bytes=9, sha256="aa"),), suspect=suspect)
            for suspect in (None, "too short")
        ],
        events.Reappeared: [
            events.Reappeared(at=at, project_id="p1", status="complete", credits=credits) for credits in (240, 9, None)
        ],
        events.Corrected: [events.Corrected(at=at, credits=credits) for credits in (0, 240)],
        events.AddressExpired: [events.AddressExpired(at=at, verdict=verdict) for verdict in (Again(at=9), Leave())],
        events.StepFailed: [events.StepFailed(at=at, failure=FAILURE, verdict=verdict) for verdict in VERDICTS],
    }


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """A log that could have happened: each event one that the table allows at that moment."""
    log: list[Event] = [opened()]
    job = advance(None, log[0])
    for number in range(draw(st.integers(0, 40))):
        kinds = sorted(TABLE[job.state], key=str)
        examples = examples_of(at=2.0 + number, attempt=job.attempt)[draw(st.sampled_from(kinds))]
        log.append(draw(st.sampled_from(examples)))
        job = advance(job, log[-1])
    return log


def test_the_table_is_total():
    assert set(TABLE) == set(State)
    defined = {each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Event)}
    assert set(examples_of(1, 1)) == machine.EVENTS == defined - {Event}


def test_every_forked_event_carries_a_verdict():
    for row in TABLE.values():
        for event, target in row.items():
            if isinstance(target, Fork):
                assert "verdict" in {each.name for each in fields(event)}


def test_every_state_can_be_reached():
    reached = {State.READY}
    for _ in State:
        for state in list(reached):
            for target in TABLE[state].values():
                reached |= {target.hope, target.give_up} if isinstance(target, Fork) else {target}
    assert reached == set(State)


@pytest.mark.parametrize("state", State)
def test_a_next_action_exists_exactly_when_nobody_else_decides(state):
    job = in_state(state)
    assert (next_action(job) is None) == (state in FINAL | {State.UNCERTAIN})


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", sorted(machine.EVENTS, key=str))
def test_what_the_table_does_not_allow_is_a_bug(state, kind):
    job = in_state(state)
    for event in examples_of(at=99, attempt=job.attempt)[kind]:
        if kind in TABLE[state]:
            advance(job, event)
        else:
            with pytest.raises(IllegalTransition, match="'a'"):
                advance(job, event)


def in_state(state: State) -> Job:
    """A job that came to a state by a real history."""
    example = {kind: each[0] for kind, each in examples_of(2, 1).items()}
    path: dict[State, list[Event]] = {State.READY: [opened()]}
    path[State.UPLOADED] = [*path[State.READY], example[events.Uploaded]]
    path[State.SUBMITTING] = [*path[State.UPLOADED], example[events.SubmitStarted]]
    path[State.UNCERTAIN] = [*path[State.SUBMITTING], example[events.Unknowable]]
    path[State.RENDERING] = [*path[State.SUBMITTING], example[events.Accepted]]
    path[State.CANCELED] = [*path[State.RENDERING], example[events.Canceled]]
    path[State.FAILED] = [*path[State.RENDERING], examples_of(2, 1)[events.RenderFailed][1]]
    path[State.RENDERED] = [*path[State.RENDERING], example[events.Rendered]]
    path[State.DONE] = [*path[State.RENDERED], example[events.Downloaded]]
    job = machine.replay(path[state])
    assert job.state is state
    return job


@given(histories())
def test_final_states_stay_until_the_next_attempt_is_opened(log):
    job = advance(None, log[0])
    for event in log[1:]:
        after = advance(job, event)
        if job.state in FINAL:
            assert after.state is job.state or isinstance(event, events.Opened | events.Reappeared)
        job = after


@given(histories())
def test_nothing_renders_without_a_project_id(log):
    job = advance(None, log[0])
    for event in log[1:]:
        job = advance(job, event)
        if job.state in {State.RENDERING, State.RENDERED, State.DONE, State.CANCELED}:
            assert job.project_id


@given(histories())
def test_a_submission_has_its_own_intent_before_it(log):
    """Between two acceptances lies an intent: no project can come from a request that was not recorded."""
    asked = 0
    job = advance(None, log[0])
    for event in log[1:]:
        asked += isinstance(event, events.SubmitStarted)
        if isinstance(event, events.Accepted | events.Adopted):
            assert asked == 1
            asked = 0
        if isinstance(event, events.Opened | events.ProvedUnpaid | events.Refused | events.Resolved):
            asked = 0
        job = advance(job, event)
    assert job.id == "a"


@given(histories())
def test_replaying_the_stored_log_gives_the_stored_snapshot(log):
    job = machine.replay(log)
    stored = [(type(event).__name__, record.event_to_text(event)) for event in log]
    again = [record.event_from_text(name, record.EVENT_VERSION, text) for name, text in stored]
    assert again == log
    assert machine.replay(again) == job
    assert record.job_from_text(record.job_to_text(job)) == job


@given(histories())
def test_a_setback_is_either_dated_or_left_or_the_end(log):
    job = machine.replay(log)
    if job.tries and next_action(job) is not None:
        assert job.again_at is not None or job.is_left or job.state is State.SUBMITTING
        assert job.failing_since is not None


def test_a_look_that_tells_nothing_new_changes_nothing():
    job = advance(in_state(State.RENDERING), events.Looked(at=3, status="queued", credits=240))
    assert advance(job, events.Looked(at=4, status="queued", credits=240)) is job
    assert advance(job, events.Looked(at=4, status="queued", credits=None)) is job
    assert advance(job, events.Looked(at=4, status="rendering", credits=None)).status == "rendering"


def test_a_look_after_a_failed_one_is_news():
    job = in_state(State.RENDERING)
    failed = advance(job, events.StepFailed(at=3, failure=FAILURE, verdict=Again(at=5)))
    assert (failed.tries, failed.again_at) == (1, 5)
    seen = advance(failed, events.Looked(at=6, status="queued", credits=None))
    assert (seen.tries, seen.again_at, seen.trouble) == (0, None, None)


def test_a_charge_that_is_not_told_does_not_wipe_the_one_that_is_known():
    job = in_state(State.RENDERING)
    done = advance(job, events.Rendered(at=3, status="complete", credits=None))
    assert (done.held, done.charged) == (240, 240)


def test_a_failed_render_keeps_what_it_still_costs():
    failed = in_state(State.FAILED)
    assert (failed.held, failed.charged) == (240, 0)


def test_tries_of_a_submission_survive_the_way_back():
    job = in_state(State.UPLOADED)
    for number in range(1, 4):
        job = advance(job, events.SubmitStarted(at=number, name=f"n{number}"))
        job = advance(job, events.Refused(at=number, failure=FAILURE, verdict=Again(at=number + 1)))
        assert (job.state, job.tries, job.submits) == (State.UPLOADED, number, number)


def test_a_log_that_skips_an_attempt_is_refused():
    with pytest.raises(IllegalTransition, match="attempt 3"):
        advance(in_state(State.DONE), opened(attempt=3))


CANCELED = [
    ("a", 1, event)
    for event in (
        opened(),
        events.Uploaded(at=2, assets=()),
        events.SubmitStarted(at=3, name="m/a [1-77]"),
        events.Accepted(at=4, project_id="p1", credits=240),
        events.Canceled(at=5, credits=240),
    )
]


def test_a_log_that_opens_an_attempt_once_more_is_refused():
    uploaded = events.Uploaded(at=2, assets=())
    log = [("a", 1, opened()), ("a", 1, uploaded), ("b", 1, opened()), ("a", 1, opened())]
    assert [after.attempt for _, after, _ in machine.replay_all(log[:3])] == [1, 1, 1]
    with pytest.raises(IllegalTransition, match="where 2 was due"):
        list(machine.replay_all(log))


def test_what_is_told_late_of_an_earlier_attempt_changes_that_one():
    log = [*CANCELED, ("a", 2, opened(2)), ("a", 1, events.Corrected(at=9, credits=100)), ("a", 3, opened(3))]
    *_, second, (before, corrected, _), (last, third, _) = machine.replay_all(log)
    assert before is not None
    assert (before.attempt, corrected.attempt, corrected.charged) == (1, 1, 100)
    assert last is second[1]
    assert third.attempt == 3


def test_an_event_for_a_job_that_was_never_opened_is_refused():
    with pytest.raises(IllegalTransition, match="never opened"):
        advance(None, events.Looked(at=1, status="queued", credits=None))


def test_an_unknown_event_in_the_log_says_so():
    with pytest.raises(ValueError, match="not known"):
        record.event_from_text("Exploded", 1, "{}")
    with pytest.raises(ValueError, match="version 99"):
        record.event_from_text("Looked", 99, "{}")


def test_actions_follow_the_order_of_a_job():
    path = [State.READY, State.UPLOADED, State.SUBMITTING, State.RENDERING, State.RENDERED]
    assert [next_action(in_state(state)) for state in path] == list(Action)


def test_what_was_written_before_results_were_doubted_is_still_read():
    old = '{"at":3.0,"outputs":[{"path":"r.mp4","bytes":9,"sha256":"aa"}]}'
    event = record.event_from_text("Downloaded", 1, old)
    job = advance(in_state(State.RENDERED), event)
    assert (job.state, job.suspect) == (State.DONE, None)
    snapshot = json.loads(record.job_to_text(job))
    del snapshot["suspect"]
    assert record.job_from_text(json.dumps(snapshot)) == job


def test_a_doubt_lasts_until_the_result_is_fetched_again():
    done = advance(in_state(State.RENDERED), events.Downloaded(at=3, outputs=(), suspect="too short"))
    assert done.suspect == "too short"
    assert advance(done, events.Corrected(at=4, credits=0)).suspect == "too short"
    assert advance(done, events.Downloaded(at=4, outputs=())).suspect is None
    assert advance(done, events.Opened(at=4, id=done.id, attempt=done.attempt + 1, spec=done.spec)).suspect is None


# --- counting failures ---


def failed(job: Job, *, at: float, again_at: float) -> Job:
    return advance(job, events.StepFailed(at=at, failure=FAILURE, verdict=Again(at=again_at, of=8)))


def test_failures_in_a_row_are_counted_with_their_beginning():
    job = failed(failed(in_state(State.RENDERED), at=100, again_at=110), at=111, again_at=130)
    assert (job.tries, job.failing_since, job.most_tries, job.again_at) == (2, 100, 8, 130)
    assert learning.history(job, at=131) == History(tries=3, since=100)


def test_a_new_run_counts_anew():
    job = failed(in_state(State.RENDERED), at=100, again_at=110)
    left = advance(job, events.StepFailed(at=111, failure=FAILURE, verdict=Leave(until=500)))
    assert (left.is_left, left.again_at) == (True, 500)
    assert learning.history(left, at=600) == History(tries=1, since=600)
    assert failed(left, at=600, again_at=610).failing_since == 600


def test_a_machine_that_slept_counts_anew():
    job = failed(in_state(State.RENDERED), at=100, again_at=110)
    assert learning.history(job, at=110 + learning.PAUSE_S) == History(tries=2, since=100)
    assert learning.history(job, at=8 * 3600) == History(tries=1, since=8 * 3600)


def test_failures_of_a_submission_keep_their_beginning_on_the_way_back():
    job = in_state(State.UPLOADED)
    for number in range(1, 4):
        job = advance(job, events.SubmitStarted(at=number * 10, name=f"n{number}"))
        job = advance(job, events.Refused(at=number * 10 + 1, failure=FAILURE, verdict=Again(at=number * 10 + 5)))
    assert (job.tries, job.failing_since) == (3, 11)
    after_a_night = advance(job, events.SubmitStarted(at=30_000, name="n4"))
    assert (after_a_night.tries, after_a_night.failing_since) == (0, None)


def test_what_succeeds_forgets_its_failures():
    job = failed(in_state(State.RENDERED), at=100, again_at=110)
    done = advance(job, events.Downloaded(at=120, outputs=()))
    assert (done.tries, done.failing_since, done.most_tries, done.again_at) == (0, None, None, None)


# --- renders that start over ---

NSFW = Failure(code="nsfw", message="sensitive")


def test_a_render_that_starts_over_keeps_its_attempt_and_its_codes():
    job = in_state(State.RENDERING)
    waiting = advance(job, events.RefundAwaited(at=10, failure=NSFW, credits=240))
    assert (waiting.state, waiting.status, waiting.broke_at, waiting.trouble) == (State.RENDERING, "error", 10, NSFW)
    assert advance(waiting, events.RefundAwaited(at=20, failure=NSFW, credits=240)) is waiting
    partly = advance(waiting, events.RefundAwaited(at=20, failure=NSFW, credits=100))
    assert (partly.charged, partly.broke_at) == (100, 10)
    over = advance(partly, events.RenderFailed(at=30, failure=NSFW, credits=0, verdict=Again(at=32)))
    assert (over.state, over.attempt, over.again_at, over.retried) == (State.READY, 1, 32, ("nsfw",))
    assert (over.project_id, over.status, over.held, over.charged, over.broke_at) == (None,) * 5
    assert over.assets == ()
    assert over.dearest == 240, "what it was charged at first is what the next one will be"


def test_a_look_that_failed_meanwhile_does_not_hide_why_it_waits():
    waiting = advance(in_state(State.RENDERING), events.RefundAwaited(at=10, failure=NSFW, credits=240))
    unseen = failed(waiting, at=11, again_at=12)
    assert unseen.trouble == FAILURE
    seen = advance(unseen, events.RefundAwaited(at=13, failure=NSFW, credits=240))
    assert (seen.trouble, seen.broke_at, seen.tries) == (NSFW, 10, 0)


def test_a_refund_that_never_comes_ends_as_it_is():
    waiting = advance(in_state(State.RENDERING), events.RefundAwaited(at=10, failure=NSFW, credits=240))
    ended = advance(waiting, events.RenderFailed(at=910, failure=NSFW, credits=240, verdict=GiveUp()))
    assert (ended.state, ended.charged, ended.trouble, ended.broke_at) == (State.FAILED, 240, NSFW, None)


def test_a_job_of_an_older_version_is_read():
    new = {"failing_since", "most_tries", "broke_at", "retried", "is_paid", "dearest"}
    stored = json.loads(record.job_to_text(in_state(State.RENDERING)))
    older = {name: value for name, value in stored.items() if name not in new}
    assert record.job_from_text(json.dumps(older)) == in_state(State.RENDERING)
