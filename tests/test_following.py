"""The engine lets a job go when what it waits for is there, and never before."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from batchrunner.core import canary, events, schedule
from batchrunner.core.canary import Mode
from batchrunner.core.events import Event
from batchrunner.core.job import Action, Job, State
from batchrunner.core.manifest import Limits
from batchrunner.core.retry import Again, Failure, GiveUp, Step
from batchrunner.core.spec import Input
from batchrunner.errors import Exit
from batchrunner.following import Following
from tests.test_engine import Bench, a_job, bench


def fed_by(number: int, source: int, **changes: object) -> Job:
    job = a_job(number, **changes)
    link = Input(field="video_file_path", media="video", job=f"j{source}", made_from=str(source))
    return replace(job, spec=replace(job.spec, inputs=(link,)))


def needing(number: int, *needs: int, **changes: object) -> Job:
    job = a_job(number, **changes)
    return replace(job, spec=replace(job.spec, needs=tuple(f"j{each}" for each in needs)))


def moment(table: Bench, job: str, kind: type[Event]) -> int:
    """Where in the log an event of a job stands."""
    return next(at for at, (event, after) in enumerate(table.memory.log) if after.id == job and type(event) is kind)


def test_a_job_starts_when_its_input_is_rendered_and_its_needs_are_done():
    table = bench([fed_by(0, 1), needing(2, 1), a_job(1)])
    assert table.run().by_state[State.DONE] == 3
    assert moment(table, "j1", events.Rendered) < moment(table, "j0", events.Uploaded)
    assert moment(table, "j1", events.Downloaded) < moment(table, "j2", events.Uploaded)
    assert set(table.world.times(Action.SUBMIT).values()) == {1}


def test_a_render_is_not_waited_for_until_it_is_on_disk():
    table = bench([fed_by(0, 1), a_job(1)])
    table.world.overrides[Action.DOWNLOAD] = lambda job: slow(job, table)
    assert table.run().by_state[State.DONE] == 2
    assert moment(table, "j0", events.Uploaded) < moment(table, "j1", events.Downloaded)


def slow(job: Job, table: Bench) -> Event | None:
    if job.id != "j1" or job.tries > 2:
        return None
    now = table.clock.now()
    return events.StepFailed(at=now, failure=Failure(code="transfer", message="no"), verdict=Again(at=now + 1000))


def test_a_thousand_in_one_chain_and_a_thousand_behind_one():
    jobs = [fed_by(n, n + 1) for n in range(1000)] + [a_job(1000)] + [needing(n, 1000) for n in range(1001, 2001)]
    table = bench(jobs, limits=Limits(in_flight=50), render_s=1.0)
    assert table.run().by_state[State.DONE] == 2001
    assert table.world.times(Action.UPLOAD) == Counter(f"j{n}" for n in range(2001))


def broken(job: Job, table: Bench) -> Event | None:
    failure = Failure(code="nsfw", message="no")
    gone = events.RenderFailed(at=table.clock.now(), failure=failure, credits=0, verdict=GiveUp())
    return gone if job.id == "j2" else None


def test_behind_a_job_that_failed_nothing_is_bought_and_the_run_ends():
    table = bench([fed_by(0, 1), fed_by(1, 2), a_job(2), a_job(3)])
    table.world.overrides[Action.POLL] = lambda job: broken(job, table)
    outcome = table.run()
    assert outcome.by_state == {**dict.fromkeys(State, 0), State.READY: 2, State.FAILED: 1, State.DONE: 1}
    assert schedule.exit_code(outcome.by_state) is Exit.JOBS_FAILED
    assert set(table.world.times(Action.UPLOAD)) == {"j2", "j3"}
    assert table.engine.waits()[Step.UPLOAD] == (2, "they wait for other jobs of their chain")


def test_what_is_done_beside_the_run_is_there():
    source = a_job(1, state=State.DONE)
    jobs = [fed_by(0, 1), needing(2, 1), needing(3, 9)]
    table = bench(jobs, following=Following(jobs, {"j1": source}))
    outcome = table.run()
    assert (outcome.by_state[State.DONE], outcome.by_state[State.READY]) == (2, 1)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_canary_brings_what_it_waits_for_and_nobody_starts_twice(mode):
    jobs = [fed_by(0, 1), fed_by(1, 2), a_job(2), *(fed_by(n, 2) for n in range(3, 9))]
    alike = [
        replace(job, spec=replace(job.spec, model="x" if job.id != "j0" else "y", hold=100 + n))
        for n, job in enumerate(jobs)
    ]
    canaries = canary.choose(alike, mode)
    assert canaries.ids == {"j0", "j1", "j2"}
    table = bench(alike, canaries=canaries)
    assert table.run().by_state[State.DONE] == (9 if mode is Mode.GO else 3)
    assert max(table.world.times(Action.UPLOAD).values()) == 1


def test_a_refused_address_is_sent_once_as_a_file_and_only_from_disk():
    table = bench([fed_by(0, 1), a_job(1)])
    refusals: list[str] = []

    def submit(job: Job) -> Event | None:
        if job.id == "j0" and not job.is_renewed:
            refusals.append(job.id)
            now = table.clock.now()
            failure = Failure(code="unprocessable", message="no", status=422)
            return events.Refused(at=now, failure=failure, verdict=Again(at=now), blames_inputs=True)
        return None

    table.world.overrides[Action.SUBMIT] = submit
    table.world.overrides[Action.DOWNLOAD] = lambda job: slow(job, table)
    assert table.run().by_state[State.DONE] == 2
    assert refusals == ["j0"]
    again = [at for at, action, job in table.world.calls if (action, job) == (Action.UPLOAD, "j0")]
    on_disk = max(at for at, action, job in table.world.calls if (action, job) == (Action.DOWNLOAD, "j1"))
    assert len(again) == 2
    assert again[1] >= on_disk
    assert table.memory.names("j0").count("Refused") == 1


def test_once_files_are_sent_all_wait_for_theirs():
    following = Following(jobs := [fed_by(0, 1), a_job(1)])
    assert following.holds(jobs[0])
    assert following.waiting == 1
    following.refused_address()
    assert following.saw(replace(jobs[1], state=State.RENDERED)) == []
    assert following.saw(replace(jobs[1], state=State.DONE)) == ["j0"]
    assert following.waiting == 0
    assert following.saw(replace(jobs[1], state=State.DONE)) == [], "let go once"
