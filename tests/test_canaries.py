"""The engine holds the rest back until the canaries are good, and buys no more when one is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchrunner.core import canary, events, schedule
from batchrunner.core.canary import Mode
from batchrunner.core.events import Event
from batchrunner.core.job import Action, Job, State
from batchrunner.core.manifest import Limits
from batchrunner.core.retry import Failure, GiveUp, Step
from batchrunner.core.schedule import Stop
from batchrunner.errors import Exit
from tests.test_engine import Bench, a_job, bench


def of_model(number: int, model: str, **changes: object) -> Job:
    job = a_job(number, **changes)
    return replace(job, spec=replace(job.spec, model=model))


def batch(count: int = 10) -> list[Job]:
    return [of_model(number, "xy"[number % 2]) for number in range(count)]


def table_of(jobs: list[Job], mode: Mode = Mode.GO) -> Bench:
    return bench(jobs, limits=Limits(in_flight=20), canaries=canary.choose(jobs, mode))


def test_the_rest_starts_only_when_every_canary_is_on_disk():
    table = table_of(batch())
    table.world.overrides[Action.DOWNLOAD] = lambda job: late(job, table)
    assert table.run().by_state[State.DONE] == 10
    fetched = [at for at, action, job in table.world.calls if action is Action.DOWNLOAD and job in {"j0", "j1"}]
    others = {job: at for at, _, job in reversed(table.world.calls) if job not in {"j0", "j1"}}
    assert len(others) == 8
    assert min(others.values()) >= max(fetched)
    assert {call[1] for call in table.world.calls[:2]} == {Action.UPLOAD}, "not even an upload of another goes before"


def late(job: Job, table: Bench) -> Event | None:
    waits = table.engine.waits()
    if job.id == "j0":
        assert waits[Step.UPLOAD] == (8, "2 of 2 canaries are not finished (--canary)")
    return None


def broken(job: Job) -> Event:
    return events.RenderFailed(at=2e6, failure=Failure(code="nsfw", message="no"), credits=0, verdict=GiveUp())


def too_short(job: Job) -> Event:
    return events.Downloaded(at=2e6, outputs=(), suspect="2 s where 5 were asked for")


def far_off(job: Job) -> Event:
    return events.Rendered(at=2e6, status="complete", credits=151)


@pytest.mark.parametrize(
    ("action", "effect", "words"),
    [
        (Action.POLL, broken, "j0 failed: no"),
        (Action.DOWNLOAD, too_short, "j0 is suspect: 2 s where 5 were asked for"),
        (Action.POLL, far_off, "j0 was charged 151"),
    ],
)
def test_a_canary_in_doubt_stops_the_buying_and_the_others_are_collected(action, effect, words):
    table = table_of(batch())
    table.world.overrides[action] = lambda job: effect(job) if job.id == "j0" else None
    outcome = table.run()
    assert set(table.world.times(Action.SUBMIT)) == {"j0", "j1"}
    assert table.states()[State.READY] == 8
    assert table.engine.jobs()["j1"].state is State.DONE
    assert outcome.stop is Stop.CANARY
    assert outcome.canaries is not None
    assert words in (outcome.canaries.stops or "")
    code = schedule.exit_code(outcome.by_state, stop=outcome.stop, is_too_dear=outcome.far_off is not None)
    assert code is Exit.INCOMPLETE


def test_it_stops_for_a_look_if_that_is_wanted_and_goes_on_the_next_time():
    table = table_of(batch(), Mode.STOP)
    outcome = table.run()
    assert (outcome.stop, outcome.by_state[State.DONE]) == (Stop.CANARY, 2)
    again = table_of(list(table.engine.jobs().values()), Mode.STOP)
    assert again.run().by_state[State.DONE] == 10
    assert len(again.world.times(Action.SUBMIT)) == 8


def test_a_canary_that_is_left_to_the_next_run_leaves_the_rest_to_it_too():
    table = table_of(batch())
    refused = Failure(code="insufficient_credits", message="HTTP 402", status=402)
    table.world.overrides[Action.SUBMIT] = lambda job: events.Refused(
        at=table.clock.now(), failure=refused, verdict=GiveUp()
    )
    outcome = table.run()
    assert outcome.stop is Stop.OUT_OF_CREDITS
    assert table.states()[State.READY] == 8


def test_what_was_bought_before_is_collected_without_waiting_for_a_canary():
    rendering = of_model(
        0, "x", state=State.RENDERING, project_id="p0", submits=1, held=100, charged=100, accepted_at=999_000.0
    )
    jobs = [rendering, of_model(1, "x"), of_model(2, "y")]
    table = table_of(jobs)
    table.world.rendering["j0"] = table.clock.now()
    outcome = table.run()
    assert outcome.by_state[State.DONE] == 3
    submitted = [job for _, action, job in table.world.calls if action is Action.SUBMIT]
    assert submitted == ["j2", "j1"], "the one that renders is the canary of its group"
