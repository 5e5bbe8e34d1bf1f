"""The engine with a clock that jumps and performers that are plain functions: every seam it has, used."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
import itertools
import random
import statistics
from typing import Any

import pytest

from batchrunner.core import events, job as machine, looks, pace as pacing, retry, schedule
from batchrunner.core.breaker import TIMES
from batchrunner.core.budget import Caps, Cutoff, Spending
from batchrunner.core.canary import Canaries
from batchrunner.core.events import Event
from batchrunner.core.evidence import Baseline, Quiet, Reading
from batchrunner.core.job import Action, Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.manifest import Limits
from batchrunner.core.pace import Cooldown, Pace
from batchrunner.core.retry import Again, Failure, GiveUp, Leave, Policy, Step
from batchrunner.core.schedule import Stop
from batchrunner.core.spec import Asset, Output, Spec
from batchrunner.engine import Engine
from batchrunner.errors import Exit, IllegalTransition, KeyRefused, NoAnswer, StateUnusable
from batchrunner.following import Following
from batchrunner.governor import Governor
from batchrunner.inquiry import Money
from batchrunner.purse import Purse
from batchrunner.seams import Outcome, Outside, Settings
from batchrunner.timetable import Timetable

HOUR = 3600.0
NSFW = Failure(code="nsfw", message="no")
UNREACHABLE = Failure(code="unreachable", message="cannot connect")


@dataclass
class JumpingClock:
    """Time stands still while anything can happen, and jumps to the next date when nothing can."""

    time: float = 1_000_000.0
    creep: float = 0.0

    def now(self) -> float:
        self.time += self.creep
        return self.time

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        for _ in range(20):
            if event.is_set():
                return
            await asyncio.sleep(0)
        if until is None:
            await event.wait()
        else:
            self.time = max(self.time, until)


@dataclass
class Memory:
    """A journal that keeps everything in order."""

    log: list[tuple[Event, Job]] = field(default_factory=list)
    transactions: int = 0
    baselines: list[tuple[Baseline, bool]] = field(default_factory=list)
    beside: list[tuple[str, ...]] = field(default_factory=list)
    learned: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)

    async def append(self, entries: Sequence[tuple[Event, Job]], *, quiet: Quiet | None = None) -> None:
        await asyncio.sleep(0)
        self.transactions += 1
        self.log.extend(entries)
        if quiet is not None:
            self.baselines.append((quiet.baseline, quiet.moves))
            self.beside.append(tuple(type(event).__name__ for event, _ in entries))

    async def learn(self, name: str, value: Mapping[str, Any] | None) -> None:
        self.learned[name] = value

    def names(self, job_id: str) -> list[str]:
        return [type(event).__name__ for event, job in self.log if job.id == job_id]


def a_job(number: int, **changes: object) -> Job:
    spec = Spec(
        kind=Kind.IMAGE_TO_VIDEO,
        request='{"end_seconds":5}',
        inputs=(),
        output=f"{number}.mp4",
        seconds=5,
        fingerprint=str(number),
        low=100,
        expected=100,
        hold=100,
    )
    opened = machine.advance(None, events.Opened(at=1.0, id=f"j{number}", attempt=1, spec=spec))
    return replace(opened, **changes)  # type: ignore[arg-type]


class World:
    """A provider in a few lines: each action succeeds after some time, and everything that was asked is on record."""

    def __init__(self, clock: JumpingClock, memory: Memory, *, render_s: float = 60.0) -> None:
        self.clock = clock
        self.memory = memory
        self.render_s = render_s
        self.running: Counter[Action] = Counter()
        self.most: Counter[Action] = Counter()
        self.rendering: dict[str, float] = {}
        self.most_rendering = 0
        self.calls: list[tuple[float, Action, str]] = []
        self.credits = 10_000
        self.overrides: dict[Action, Callable[[Job], Event | None]] = {}
        self.evidence_reads = 0
        self.witness: Callable[[Sequence[str]], Awaitable[Reading]] = self.read_evidence
        self.observe: Callable[[Event, Job], None] = lambda _event, _job: None

    async def perform(self, action: Action, job: Job) -> Event:
        self.calls.append((self.clock.now(), action, job.id))
        self.running[action] += 1
        self.most[action] = max(self.most[action], self.running[action])
        await asyncio.sleep(0)
        try:
            instead = self.overrides[action](job) if action in self.overrides else None
            return instead or getattr(self, action)(job)
        finally:
            self.running[action] -= 1

    def upload(self, job: Job) -> Event:
        asset = Asset(
            field="image_file_path", file_path=f"api-assets/{job.id}", expires_at=self.clock.now() + 7 * 24 * HOUR
        )
        return events.Uploaded(at=self.clock.now(), assets=(asset,))

    def submit(self, job: Job) -> Event:
        last, known = next((e, j) for e, j in reversed(self.memory.log) if j.id == job.id)
        assert isinstance(last, events.SubmitStarted), "the intent must be on disk before the request leaves"
        assert known.name == job.name == last.name
        return self.accept(job)

    def accept(self, job: Job) -> events.Accepted:
        self.credits -= 100
        self.rendering[job.id] = self.clock.now()
        self.most_rendering = max(self.most_rendering, len(self.rendering))
        return events.Accepted(at=self.clock.now(), project_id=f"p-{job.id}-{job.submits}", credits=100)

    def poll(self, job: Job) -> Event:
        now = self.clock.now()
        if now - self.rendering[job.id] < self.render_s:
            return events.Looked(at=now, status="rendering", credits=100)
        del self.rendering[job.id]
        return events.Rendered(at=now, status="complete", credits=100)

    def download(self, job: Job) -> Event:
        output = Output(path=job.spec.output, bytes=1, sha256="00")
        return events.Downloaded(at=self.clock.now(), outputs=(output,))

    async def read_evidence(self, projects: Sequence[str]) -> Reading:
        self.evidence_reads += 1
        return Reading(at=self.clock.now(), credits=self.credits, charges=dict.fromkeys(projects, 100))

    def times(self, action: Action) -> Counter[str]:
        return Counter(job for _, done, job in self.calls if done is action)


@dataclass
class Bench:
    """An engine and everything it was handed."""

    engine: Engine
    world: World
    memory: Memory
    clock: JumpingClock
    told: list[str]

    def run(self) -> Outcome:
        return asyncio.run(self.engine.run())

    def states(self) -> Counter[State]:
        return Counter(job.state for job in self.engine.jobs().values())


def bench(
    jobs: Sequence[Job],
    *,
    limits: Limits | None = None,
    money: Money | None = None,
    observe: Callable[[Event, Job], None] = lambda _event, _job: None,
    witness: Callable[[Sequence[str]], Awaitable[Reading]] | None = None,
    fetch_again: Sequence[str] = (),
    render_s: float = 60.0,
    caps: Caps | None = None,
    pace: Pace | None = None,
    life_s: float = 3 * HOUR,
    top_up_check_s: float | None = None,
    canaries: Canaries | None = None,
    permitted: Collection[tuple[str, int]] | None = None,
    following: Following | None = None,
    cooldowns: Mapping[Step, Cooldown] | None = None,
    timetable: Callable[[Governor], Timetable] = lambda _: Timetable(),
) -> Bench:
    clock, memory = JumpingClock(), Memory()
    told: list[str] = []
    spending = Spending(day_of=lambda at: str(at // (24 * HOUR)))
    spending.begin(jobs)
    purse = Purse(caps=caps or Caps(), spending=spending, tell=told.append, permitted=permitted)
    world = World(clock, memory, render_s=render_s)
    world.witness, world.observe = witness or world.read_evidence, observe
    names = iter(range(10**9))
    governor = Governor(
        limits=limits or Limits(),
        pace=pace or pacing.unthrottled(most_in_flight=(limits or Limits()).in_flight),
        past={},
        show=str,
        tell=told.append,
        cooldowns=cooldowns,
    )
    engine = Engine(
        jobs=jobs,
        outside=Outside(
            journal=memory,
            perform=world.perform,
            witness=lambda projects: world.witness(projects),  # noqa: PLW0108 - a test puts another there
            clock=clock,
            observe=lambda event, job: world.observe(event, job),  # noqa: PLW0108 - as above
        ),
        settings=Settings(
            limits=limits or Limits(),
            name=lambda job: f"m/{job.id} [{next(names)}]",
            grace_s=60.0,
            life_s=life_s,
            top_up_check_s=top_up_check_s,
        ),
        money=money or Money(credits=10_000, moves=True),
        purse=purse,
        governor=governor,
        timetable=timetable(governor),
        fetch_again=fetch_again,
        canaries=canaries,
        following=following,
    )
    return Bench(engine=engine, world=world, memory=memory, clock=clock, told=told)


def test_every_job_is_done_within_the_limits():
    table = bench([a_job(n) for n in range(200)], limits=Limits(in_flight=7, uploads=3, downloads=2))
    outcome = table.run()
    assert outcome.by_state[State.DONE] == 200
    assert table.states() == {State.DONE: 200}
    assert table.world.most_rendering == 7
    assert table.world.most[Action.UPLOAD] == 3
    assert table.world.most[Action.DOWNLOAD] <= 2
    assert set(table.world.times(Action.SUBMIT).values()) == {1}


def test_the_log_replays_to_the_jobs():
    table = bench([a_job(n) for n in range(20)])
    table.run()
    for job in table.engine.jobs().values():
        opened = events.Opened(at=1.0, id=job.id, attempt=1, spec=job.spec)
        assert machine.replay([opened, *(event for event, after in table.memory.log if after.id == job.id)]) == job


def test_looks_that_tell_nothing_are_not_written_down():
    table = bench([a_job(0)], render_s=3600)
    table.run()
    assert table.world.times(Action.POLL)["j0"] > 20
    assert table.memory.names("j0") == ["Uploaded", "SubmitStarted", "Accepted", "Looked", "Rendered", "Downloaded"]


def test_events_that_arrive_together_are_one_transaction():
    table = bench([a_job(n) for n in range(100)], limits=Limits(in_flight=100, uploads=100, downloads=100))
    table.run()
    assert len(table.memory.log) == 600
    assert table.memory.transactions < 300


def test_a_render_is_noticed_at_most_a_tenth_of_its_time_late():
    table = bench([a_job(0)], render_s=600)
    table.run()
    rendered = next(event for event, _ in table.memory.log if isinstance(event, events.Rendered))
    accepted = next(event for event, _ in table.memory.log if isinstance(event, events.Accepted))
    assert 600 <= rendered.at - accepted.at <= 660


def test_jobs_start_in_the_order_given():
    table = bench([a_job(n) for n in (5, 3, 9, 1)], limits=Limits(in_flight=1, uploads=1))
    table.run()
    assert list(table.world.times(Action.SUBMIT)) == ["j5", "j3", "j9", "j1"]


def test_a_refused_key_stops_everything_at_once():
    table = bench([a_job(n) for n in range(50)], limits=Limits(in_flight=5))
    refused = Failure(code="unauthorized", message="HTTP 401", status=401)
    table.world.overrides[Action.SUBMIT] = lambda job: events.Refused(
        at=table.clock.now(), failure=refused, verdict=Leave()
    )
    outcome = table.run()
    assert (outcome.stop, outcome.trouble) == (Stop.KEY_REFUSED, refused)
    assert len(table.world.times(Action.SUBMIT)) <= 5
    assert schedule.exit_code(outcome.by_state, stop=outcome.stop) is Exit.KEY_REFUSED


def test_out_of_credits_stops_buying_and_collects_the_rest():
    table = bench([a_job(n) for n in range(30)], limits=Limits(in_flight=10))
    empty = Failure(code="insufficient_credits", message="HTTP 402", status=402)
    table.world.overrides[Action.SUBMIT] = lambda job: (
        events.Refused(at=table.clock.now(), failure=empty, verdict=Leave()) if int(job.id[1:]) >= 12 else None
    )
    outcome = table.run()
    assert outcome.stop is Stop.OUT_OF_CREDITS
    assert table.states()[State.DONE] == 12
    assert table.states()[State.RENDERING] == table.states()[State.SUBMITTING] == 0
    assert schedule.exit_code(outcome.by_state, stop=outcome.stop) is Exit.OUT_OF_CREDITS


def test_a_plan_that_lacks_one_model_fails_that_job_alone():
    table = bench([a_job(n) for n in range(5)])
    plan = Failure(code="plan_upgrade_required", message="HTTP 402", status=402)
    table.world.overrides[Action.SUBMIT] = lambda job: (
        events.Refused(at=table.clock.now(), failure=plan, verdict=GiveUp()) if job.id == "j2" else None
    )
    outcome = table.run()
    assert outcome.stop is None
    assert table.states() == {State.DONE: 4, State.FAILED: 1}
    assert schedule.exit_code(outcome.by_state) is Exit.JOBS_FAILED


def test_an_interrupt_buys_no_more_and_collects():
    table = bench([a_job(n) for n in range(30)], limits=Limits(in_flight=4))

    def interrupt_after_five(event: Event, _job: Job) -> None:
        if isinstance(event, events.Downloaded) and len(table.world.times(Action.DOWNLOAD)) >= 5:
            table.engine.stop(Stop.INTERRUPTED)

    table.world.observe = interrupt_after_five
    outcome = table.run()
    done = table.states()[State.DONE]
    assert 5 <= done < 30
    assert sum(table.states()[state] for state in machine.BOUGHT) == 0
    assert len(table.world.times(Action.SUBMIT)) == done
    assert schedule.exit_code(outcome.by_state, stop=outcome.stop) is Exit.INTERRUPTED


def test_a_date_in_a_verdict_is_waited_for():
    table = bench([a_job(0)])
    table.world.overrides[Action.UPLOAD] = lambda job: (
        events.StepFailed(at=table.clock.now(), failure=UNREACHABLE, verdict=Again(at=table.clock.now() + HOUR))
        if job.tries < 2
        else None
    )
    table.run()
    times = [at for at, action, _ in table.world.calls if action is Action.UPLOAD]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [HOUR, HOUR]
    assert table.states() == {State.DONE: 1}


def test_a_date_from_an_earlier_run_is_waited_for():
    waiting = a_job(0, state=State.RENDERED, project_id="p", again_at=1_000_000.0 + HOUR, tries=3)
    table = bench([waiting])
    table.run()
    assert table.world.calls == [(1_000_000.0 + HOUR, Action.DOWNLOAD, "j0")]


def test_what_was_left_is_taken_up_by_the_next_run():
    left = a_job(0, state=State.RENDERED, project_id="p", is_left=True, tries=9)
    table = bench([left])
    assert table.run().by_state[State.DONE] == 1


def test_a_provider_that_cannot_be_reached_ends_the_run_and_keeps_the_jobs():
    table = bench([a_job(n) for n in range(3)])
    table.world.overrides[Action.POLL] = lambda job: events.StepFailed(
        at=table.clock.now(), failure=UNREACHABLE, verdict=Leave()
    )
    outcome = table.run()
    assert table.states() == {State.RENDERING: 3}
    assert outcome.is_unreachable
    assert schedule.exit_code(outcome.by_state, is_unreachable=True) is Exit.UNREACHABLE


def test_renders_of_an_earlier_run_are_looked_at_first_of_all():
    known = a_job(0, state=State.RENDERING, project_id="p", accepted_at=0.0, charged=100)
    table = bench([known])
    table.world.rendering["j0"] = 0.0
    table.run()
    assert table.world.calls[0] == (1_000_000.0, Action.POLL, "j0")


def test_renders_that_ended_in_the_night_say_nothing_of_the_next_ones():
    """The run was killed with them out, and gone on with in the morning: what the next run knows of is not hours."""
    began = 1_000_000.0
    out = [
        a_job(n, state=State.RENDERING, project_id=f"p{n}", submitted_at=began - 8 * HOUR, accepted_at=began - 8 * HOUR)
        for n in range(20)
    ]
    table = bench([*out, a_job(20)])
    table.world.rendering.update({job.id: began - 8 * HOUR for job in out})
    assert table.run().by_state[State.DONE] == 21
    ((seconds,),) = looks.past_of(table.engine.jobs().values()).values()
    assert 60 <= seconds < 70, "only the one that was looked at in time"


def test_a_project_that_was_found_later_says_nothing_of_how_long_renders_take():
    began = 1_000_000.0
    lost = a_job(0, state=State.UNCERTAIN, name="m/j0 [x]", submits=1, submitted_at=began - HOUR)
    adopted = machine.advance(lost, events.Adopted(at=began, project_id="p", credits=100))
    governor = Governor(limits=Limits(), pace=pacing.unthrottled(most_in_flight=9), past={}, show=str, tell=print)
    governor.saw(lost, adopted, events.Adopted(at=began, project_id="p", credits=100), now=began)
    seen = governor.dated("j0", events.Rendered(at=began, status="complete", credits=100), now=began)
    assert seen == events.Rendered(at=began, status="complete", credits=100, is_late=True)


def test_inputs_that_the_provider_may_have_deleted_are_sent_again():
    old = Asset(field="image_file_path", file_path="api-assets/old", expires_at=1_000_000.0 + HOUR)
    table = bench([a_job(0, state=State.UPLOADED, assets=(old,))])
    table.run()
    assert table.memory.names("j0")[:3] == ["AssetsExpired", "Uploaded", "SubmitStarted"]
    assert table.states() == {State.DONE: 1}


def test_inputs_that_a_refusal_is_put_down_to_are_sent_again_before_the_next_try():
    gone = Failure(code="unprocessable_entity", message="The file does not exist", status=422)
    table = bench([a_job(0)])
    table.world.overrides[Action.SUBMIT] = lambda job: (
        None
        if job.is_renewed
        else events.Refused(at=table.clock.now(), failure=gone, verdict=Again(at=table.clock.now()), blames_inputs=True)
    )
    table.run()
    assert table.memory.names("j0")[:6] == [
        "Uploaded", "SubmitStarted", "Refused", "AssetsExpired", "Uploaded", "SubmitStarted",
    ]  # fmt: skip
    assert table.states() == {State.DONE: 1}


def test_a_finished_job_whose_file_is_gone_is_fetched_again():
    done = a_job(0, state=State.DONE, project_id="p", charged=100)
    other = a_job(1, state=State.DONE, project_id="q", charged=100)
    table = bench([done, other], fetch_again=["j0"])
    failures = iter([events.StepFailed(at=0, failure=UNREACHABLE, verdict=Again(at=1_000_000.0 + HOUR))])
    table.world.overrides[Action.DOWNLOAD] = lambda job: next(failures, None)
    outcome = table.run()
    assert table.memory.names("j0") == ["StepFailed", "Downloaded"]
    assert table.memory.names("j1") == []
    assert outcome.by_state[State.DONE] == 2


def test_a_bug_in_a_performer_ends_the_run_loudly():
    table = bench([a_job(n) for n in range(3)])
    table.world.overrides[Action.POLL] = lambda job: events.Uploaded(at=0, assets=())
    with pytest.raises(IllegalTransition):
        table.run()


# --- a bug in what is done for one job ---


@pytest.mark.parametrize("action", [Action.UPLOAD, Action.POLL, Action.DOWNLOAD])
def test_a_bug_in_a_step_of_one_job_strands_no_other(action):
    table = bench([a_job(n) for n in range(5)])

    def broken(job: Job) -> Event | None:
        if job.id == "j2":
            raise ZeroDivisionError
        return None

    table.world.overrides[action] = broken
    with pytest.raises(ZeroDivisionError):
        table.run()
    states = {job.id: job.state for job in table.engine.jobs().values()}
    assert [job_id for job_id, state in states.items() if state is not State.DONE] == ["j2"]
    assert table.engine.jobs()["j2"].is_left


def test_a_bug_in_a_submission_is_a_doubt_and_never_a_second_purchase():
    table = bench([a_job(n) for n in range(5)])

    def broken(job: Job) -> Event | None:
        if job.id == "j2" and job.submits == 1:
            table.world.accept(job)
            table.world.rendering.pop(job.id)
            raise ZeroDivisionError
        return None

    table.world.overrides[Action.SUBMIT] = broken
    with pytest.raises(ZeroDivisionError):
        table.run()
    assert table.world.times(Action.SUBMIT)["j2"] == 1
    assert table.engine.jobs()["j2"].state is State.UNCERTAIN


# --- lost submissions ---


def lose(table: Bench, *, accepted: bool, job_ids: set[str]) -> None:
    """Answers to the first submission of these jobs are lost; the request was accepted or not."""

    def submit(job: Job) -> Event | None:
        if job.id not in job_ids or job.submits > 1:
            return None
        if accepted:
            table.world.accept(job)
            table.world.rendering.pop(job.id)
        return events.AnswerLost(at=table.clock.now(), failure=Failure(code="no_answer", message="reset"))

    table.world.overrides[Action.SUBMIT] = submit


def test_a_lost_submission_that_was_not_charged_is_proved_unpaid_and_submitted_again():
    table = bench([a_job(n) for n in range(10)])
    lose(table, accepted=False, job_ids={"j3"})
    outcome = table.run()
    assert outcome.by_state[State.DONE] == 10
    assert table.world.times(Action.SUBMIT)["j3"] == 2
    assert "ProvedUnpaid" in table.memory.names("j3")
    names = [
        event.name for event, job in table.memory.log if isinstance(event, events.SubmitStarted) and job.id == "j3"
    ]
    assert len(set(names)) == 2, "each submission has a name of its own"


def test_a_lost_submission_that_was_charged_is_never_repeated():
    table = bench([a_job(n) for n in range(10)])
    lose(table, accepted=True, job_ids={"j3"})
    outcome = table.run()
    assert table.states() == {State.DONE: 9, State.UNCERTAIN: 1}
    assert table.world.times(Action.SUBMIT)["j3"] == 1
    trouble = table.engine.jobs()["j3"].trouble
    assert trouble is not None
    assert "paid" in trouble.message
    assert any("Unknowable" in names for names in table.memory.beside), "found and recorded in one transaction"
    assert schedule.exit_code(outcome.by_state) is Exit.UNCERTAIN


def tell_charges_at_the_end(table: Bench) -> None:
    """The provider takes credits at once, and tells so only of renders that are complete."""
    world = table.world
    submit, poll = world.overrides.get(Action.SUBMIT, lambda _job: None), world.poll

    def accept(job: Job) -> Event:
        answer = submit(job) or world.submit(job)
        return replace(answer, credits=None) if isinstance(answer, events.Accepted) else answer

    def look(job: Job) -> Event:
        event = poll(job)
        return replace(event, credits=None) if isinstance(event, events.Looked) else event

    async def witness(projects: Sequence[str]) -> Reading:
        reading = await world.read_evidence(projects)
        told = {each: 100 for each in projects if each.split("-")[1] not in world.rendering}
        return replace(reading, charges=told)

    world.overrides[Action.SUBMIT], world.overrides[Action.POLL], world.witness = accept, look, witness


@pytest.mark.parametrize("accepted", [False, True])
def test_a_lost_submission_is_judged_when_the_charges_of_the_others_are_told(accepted):
    """Until then theirs are missing from the ledger, and pass for its own; or hide it, once they are told."""
    table = bench([a_job(n) for n in range(10)], limits=Limits(in_flight=4), render_s=300)
    lose(table, accepted=accepted, job_ids={"j3"})
    tell_charges_at_the_end(table)
    outcome = table.run()
    assert table.world.times(Action.SUBMIT)["j3"] == (1 if accepted else 2)
    assert outcome.by_state[State.DONE] == (9 if accepted else 10)
    assert table.engine.jobs()["j3"].state is (State.UNCERTAIN if accepted else State.DONE)
    assert table.engine.jobs()["j3"].is_paid is accepted
    # What may come back of one that was paid needs a reading before each purchase.
    assert table.world.evidence_reads <= 8 or accepted, "looks tell the charges, and no reading is made in vain"


def test_charges_that_are_never_told_are_not_waited_for_for_ever():
    table = bench([a_job(n) for n in range(6)], limits=Limits(in_flight=3), render_s=4 * HOUR)
    lose(table, accepted=False, job_ids={"j1"})
    tell_charges_at_the_end(table)
    table.run()
    assert table.states() == {State.DONE: 5, State.UNCERTAIN: 1}
    assert table.engine.jobs()["j1"].is_paid is False
    unknowable = next(event for event, _ in table.memory.log if isinstance(event, events.Unknowable))
    assert "has not told what all of the others are charged" in unknowable.evidence


def test_a_charge_that_is_told_after_a_quiet_moment_hides_no_other():
    """The quiet moment has it off the balance, and not in the ledger: told later, it looks like credits that came."""
    known = a_job(0, state=State.RENDERING, project_id="p-j0-1", accepted_at=50.0, submitted_at=49.0)
    money = Money(credits=9_900, moves=True, baseline=Baseline(at=60.0, credits=9_900, ledger=0))
    table = bench([known, a_job(1)], money=money)
    table.world.credits = 9_900
    table.world.rendering["j0"] = table.clock.now()
    lose(table, accepted=True, job_ids={"j1"})
    table.run()
    assert table.world.times(Action.SUBMIT)["j1"] == 1
    assert table.engine.jobs()["j1"].state is State.UNCERTAIN


def test_the_evidence_is_read_only_after_the_request_had_its_time_to_arrive():
    table = bench([a_job(0)])
    lose(table, accepted=False, job_ids={"j0"})
    table.run()
    asked = next(event.at for event, _ in table.memory.log if isinstance(event, events.SubmitStarted))
    proved = next(event.at for event, _ in table.memory.log if isinstance(event, events.ProvedUnpaid))
    assert proved - asked >= 60.0


def test_nothing_is_bought_while_the_evidence_is_read():
    table = bench([a_job(n) for n in range(40)], limits=Limits(in_flight=3), render_s=20)
    lose(table, accepted=False, job_ids={"j0"})
    reading: list[bool] = []

    async def witness(projects: Sequence[str]) -> Reading:
        reading.append(table.world.running[Action.SUBMIT] > 0)
        submits = sum(table.world.times(Action.SUBMIT).values())
        await asyncio.sleep(0)
        assert sum(table.world.times(Action.SUBMIT).values()) == submits
        return await table.world.read_evidence(projects)

    table.world.witness = witness
    assert table.run().by_state[State.DONE] == 40
    assert len(reading) >= 2
    assert not any(reading)


def test_a_balance_that_never_moved_proves_nothing():
    table = bench([a_job(0)], money=Money(credits=10_000, moves=False))
    lose(table, accepted=False, job_ids={"j0"})
    table.run()
    assert table.states() == {State.UNCERTAIN: 1}


def test_one_more_charge_shows_whether_the_balance_moves():
    """The very first submission is lost: the second one's charge says whether this balance can be believed."""
    table = bench([a_job(n) for n in range(3)], money=Money(credits=10_000, moves=False))
    lose(table, accepted=False, job_ids={"j0"})
    assert table.run().by_state[State.DONE] == 3
    assert table.world.times(Action.SUBMIT) == {"j0": 2, "j1": 1, "j2": 1}
    assert table.memory.baselines[-1][1], "from now on it is known to move"


def test_a_balance_that_stands_still_while_others_are_charged_is_recognised():
    table = bench([a_job(n) for n in range(3)], money=Money(credits=500, moves=False))

    async def frozen(projects: Sequence[str]) -> Reading:
        return Reading(at=table.clock.now(), credits=500, charges=dict.fromkeys(projects, 100))

    table.world.witness = frozen
    lose(table, accepted=True, job_ids={"j0"})
    table.run()
    assert table.states() == {State.UNCERTAIN: 1, State.DONE: 2}
    assert table.world.times(Action.SUBMIT)["j0"] == 1


def test_a_submission_that_is_lost_again_and_again_is_left_to_another_run():
    table = bench([a_job(n) for n in range(2)])
    table.world.overrides[Action.SUBMIT] = lambda job: (
        events.AnswerLost(at=table.clock.now(), failure=Failure(code="http_502", message="HTTP 502", status=502))
        if job.id == "j0"
        else None
    )
    table.run()
    assert table.states() == {State.UPLOADED: 1, State.DONE: 1}
    assert table.world.times(Action.SUBMIT)["j0"] == 4


def test_a_due_question_beside_a_slow_submission_does_not_spin():
    """One answer is lost; another submission is still unanswered when the grace is over."""
    lost = a_job(0, state=State.SUBMITTING, name="m/j0 [x]", submits=1, updated_at=1.0)
    table = bench(
        [lost, a_job(1)], money=Money(credits=10_000, moves=True, baseline=Baseline(at=0, credits=10_000, ledger=0))
    )
    turns = 0
    real = table.clock.wait

    async def counted(event: asyncio.Event, until: float | None) -> None:
        nonlocal turns
        turns += 1
        assert turns < 200
        await real(event, until)

    table.clock.wait = counted  # type: ignore[method-assign]
    assert table.run().by_state[State.DONE] == 2


def test_an_observer_that_fails_ends_nothing():
    def broken(_event: Event, _job: Job) -> None:
        raise BrokenPipeError

    table = bench([a_job(n) for n in range(3)], observe=broken)
    assert table.run().by_state[State.DONE] == 3


def test_a_date_far_in_the_future_is_a_clock_that_was_set_back():
    table = bench([a_job(0, state=State.RENDERED, project_id="p", again_at=1_000_000.0 + 400 * 24 * HOUR)])
    table.run()
    assert table.world.calls == [(1_000_000.0, Action.DOWNLOAD, "j0")]


def test_a_refused_key_while_the_evidence_is_read_is_told_as_that():
    async def refused(_projects: Sequence[str]) -> Reading:
        raise KeyRefused("HTTP 401", status=401)

    table = bench([a_job(0)], witness=refused)
    lose(table, accepted=True, job_ids={"j0"})
    assert table.run().stop is Stop.KEY_REFUSED


def test_a_file_that_cannot_be_fetched_again_is_told():
    table = bench([a_job(0, state=State.DONE, project_id="p")], fetch_again=["j0"])
    table.world.overrides[Action.DOWNLOAD] = lambda job: events.StepFailed(at=0, failure=UNREACHABLE, verdict=Leave())
    outcome = table.run()
    assert outcome.not_fetched == 1
    assert schedule.exit_code(outcome.by_state, not_fetched=1) is Exit.INCOMPLETE


def test_while_credits_may_come_back_unseen_every_purchase_has_a_fresh_quiet_moment():
    """An uncertain job's project may be refunded at any time; what it gives back must not pass for another's charge."""
    unsure = a_job(0, state=State.UNCERTAIN, name="m/j0 [x]", submits=1, submitted_at=999_990.0)
    table = bench([unsure, *(a_job(n) for n in range(1, 80))], limits=Limits(in_flight=1), render_s=300)
    table.run()
    submits = [at for at, action, _ in table.world.calls if action is Action.SUBMIT]
    assert 600 <= submits[0] - 999_990 < 610, "nothing is bought while it may most likely be refunded"
    over_at = 999_990 + 3 * HOUR
    assert submits[-1] > over_at
    for at in submits:
        quiet = [baseline.at for baseline, _ in table.memory.baselines if baseline.at <= at]
        assert at - quiet[-1] <= 60 or quiet[-1] >= over_at
    assert sum(baseline.at >= over_at for baseline, _ in table.memory.baselines) <= 2, "once it is over, one is enough"


def test_a_render_without_a_project_that_is_over_hides_nothing():
    """Its charge is final before the quiet moment that the next submission is judged from."""
    unsure = a_job(0, state=State.UNCERTAIN, name="m/j0 [x]", submits=1, submitted_at=999_000.0 - 3 * HOUR)
    table = bench([unsure, *(a_job(n) for n in range(1, 5))])
    lose(table, accepted=False, job_ids={"j2"})
    assert table.run().by_state == {**dict.fromkeys(State, 0), State.UNCERTAIN: 1, State.DONE: 4}


def test_a_submission_from_before_the_crash_is_judged_by_the_balance_of_then():
    before = Baseline(at=1.0, credits=10_000, ledger=0)
    lost = a_job(0, state=State.SUBMITTING, name="m/j0 [x]", submits=1, updated_at=999_000.0)
    unpaid = bench([lost], money=Money(credits=10_000, moves=True, baseline=before))
    assert unpaid.run().by_state[State.DONE] == 1
    paid = bench([lost], money=Money(credits=9_900, moves=True, baseline=before))
    paid.world.credits = 9_900
    paid.run()
    assert paid.states() == {State.UNCERTAIN: 1}
    assert paid.world.calls == []


def test_evidence_that_cannot_be_read_leaves_the_question_to_the_next_run():
    async def silent(_projects: Sequence[str]) -> Reading:
        raise NoAnswer("no answer")

    table = bench([a_job(n) for n in range(3)], witness=silent)
    lose(table, accepted=True, job_ids={"j1"})
    outcome = table.run()
    assert table.states() == {State.DONE: 1, State.SUBMITTING: 1, State.UPLOADED: 1}, "nothing more is bought"
    assert outcome.is_unreachable


def test_why_nothing_starts_is_told():
    table = bench([a_job(n) for n in range(5)], limits=Limits(in_flight=2))
    seen: list[str] = []
    table.world.observe = lambda _event, _job: seen.extend(why for n, why in table.engine.waits().values() if n)
    table.run()
    assert any("2 renders are in flight (limits.in_flight)" in why for why in seen)


def test_a_thousand_jobs_cost_no_more_each_than_ten():
    """Counted, not timed: how often the engine turns for a job."""
    turns = {}
    for count in (10, 1000):
        table = bench([a_job(n) for n in range(count)], limits=Limits(in_flight=10, uploads=10, downloads=10))
        table.run()
        turns[count] = table.memory.transactions / count
    assert turns[1000] <= turns[10] * 1.5


async def test_leaving_at_once_still_hears_the_answer_to_a_paid_request():
    table = bench([a_job(n) for n in range(3)])
    sent, answer = asyncio.Event(), asyncio.Event()
    real = table.world.perform

    async def perform(action: Action, job: Job) -> Event:
        if action is Action.SUBMIT:
            sent.set()
            await answer.wait()
        return await real(action, job)

    table.engine._perform = perform
    running = asyncio.ensure_future(table.engine.run())
    await sent.wait()
    running.cancel()
    await asyncio.sleep(0)
    answer.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert table.memory.names("j0")[-1] == "Accepted", "the project id is on disk"
    assert table.states()[State.RENDERING] == 1


async def test_leaving_is_not_hurried_by_asking_again():
    """Whoever sees nothing happen asks once more; the answer to a paid request is still heard, and written."""
    table = bench([a_job(n) for n in range(3)])
    sent, answer, writing, written = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    real, append = table.world.perform, table.memory.append

    async def perform(action: Action, job: Job) -> Event:
        if action is Action.SUBMIT:
            sent.set()
            await answer.wait()
        return await real(action, job)

    async def slow(entries: Sequence[tuple[Event, Job]], *, quiet: Quiet | None = None) -> None:
        if any(isinstance(event, events.Accepted) for event, _ in entries):
            writing.set()
            await written.wait()
        await append(entries, quiet=quiet)

    table.engine._perform, table.memory.append = perform, slow  # type: ignore[method-assign]
    running = asyncio.ensure_future(table.engine.run())
    await sent.wait()
    for step in (answer, written):
        for _ in range(3):
            running.cancel()
            await asyncio.sleep(0)
        step.set()
        if step is answer:
            await writing.wait()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert table.memory.names("j0")[-1] == "Accepted", "the project id is on disk"


# --- budget ---


def test_a_cap_holds_with_fifty_at_once_and_late_answers():
    """Each job holds 100; whatever is in flight, no more than the cap is ever reserved or charged."""
    table = bench([a_job(n) for n in range(200)], limits=Limits(in_flight=50), caps=Caps(batch=3_050))
    most = 0

    def watch(_event: Event, _job: Job) -> None:
        nonlocal most
        most = max(most, 10_000 - table.world.credits)

    table.world.observe = watch
    outcome = table.run()
    assert most == 3_000
    assert outcome.by_state[State.DONE] == 30
    assert outcome.held_back == 170
    assert "budget.credits is 3,050: 3,000 spent or reserved, and this job may cost 100" in str(outcome.held_back_why)
    assert schedule.exit_code(outcome.by_state, held_back=outcome.held_back) is Exit.BUDGET_REACHED
    assert len(table.told) == 1, "one warning at four fifths"


def test_what_is_given_back_is_spent_again():
    """Charged 100 when accepted, settled at 50: with 300 there is room for more than three."""
    table = bench([a_job(n) for n in range(20)], caps=Caps(batch=300))

    def settle(job: Job) -> Event | None:
        now = table.clock.now()
        if now - table.world.rendering[job.id] < 60:
            return None
        del table.world.rendering[job.id]
        return events.Rendered(at=now, status="complete", credits=50)

    table.world.overrides[Action.POLL] = settle
    outcome = table.run()
    assert outcome.by_state[State.DONE] == 5
    assert outcome.held_back == 15


def test_a_hard_cutoff_leaves_without_collecting():
    table = bench([a_job(n) for n in range(20)], caps=Caps(batch=300, cutoff=Cutoff.HARD))
    outcome = table.run()
    assert outcome.by_state[State.DONE] == 0
    assert outcome.by_state[State.RENDERING] == 3


def test_a_charge_that_is_far_off_stops_its_model_and_no_other():
    table = bench([a_job(n) for n in range(10)])
    spec = replace(a_job(0).spec, request='{"end_seconds":5,"model":"other"}')
    table = bench([a_job(n, spec=spec) if n % 2 else a_job(n) for n in range(10)], limits=Limits(in_flight=1))

    def charge(job: Job) -> Event | None:
        if job.id != "j1":
            return None
        table.world.rendering[job.id] = table.clock.now()
        return events.Accepted(at=table.clock.now(), project_id="p", credits=900)

    table.world.overrides[Action.SUBMIT] = charge
    outcome = table.run()
    assert outcome.by_state[State.DONE] == 6
    assert outcome.held_back == 4
    assert "j1 was charged 900 credits where at most 100 were expected" in str(outcome.held_back_why)


def test_a_job_without_a_price_is_bought_under_no_cap():
    unpriced = replace(a_job(0).spec, hold=None, low=None, expected=None)
    table = bench([a_job(0, spec=unpriced), a_job(1)])
    outcome = table.run()
    assert outcome.by_state[State.DONE] == 1
    assert "price is not known" in str(outcome.held_back_why)


# --- a top-up ---


def out_of_credits(table: Bench, *, until: float) -> None:
    empty = Failure(code="insufficient_credits", message="HTTP 402", status=402)
    table.world.overrides[Action.SUBMIT] = lambda job: (
        events.Refused(at=table.clock.now(), failure=empty, verdict=Leave()) if table.clock.now() < until else None
    )

    async def balance(projects: Sequence[str]) -> Reading:
        credits = 0 if table.clock.now() < until else 500
        return Reading(at=table.clock.now(), credits=credits, charges=dict.fromkeys(projects, 100))

    table.world.witness = balance


def test_a_top_up_is_waited_for_and_the_run_goes_on():
    table = bench([a_job(n) for n in range(4)], top_up_check_s=180.0)
    out_of_credits(table, until=1_000_000.0 + HOUR)
    outcome = table.run()
    assert (outcome.stop, outcome.by_state[State.DONE]) == (None, 4)
    assert table.world.times(Action.SUBMIT)["j0"] == 2, "it is not asked again before there is money"


async def test_an_interrupt_ends_the_wait_for_a_top_up():
    table = bench([a_job(n) for n in range(4)], top_up_check_s=180.0)
    out_of_credits(table, until=1_000_000.0 + 10**9)
    running = asyncio.ensure_future(table.engine.run())
    for _ in range(200):
        await asyncio.sleep(0)
    table.engine.stop(Stop.INTERRUPTED)
    assert (await running).stop is Stop.INTERRUPTED


@pytest.mark.parametrize(
    ("error", "stop"),
    [(KeyRefused("HTTP 401", status=401), Stop.KEY_REFUSED), (NoAnswer("no answer"), None)],
)
def test_a_key_that_is_refused_ends_the_wait_for_a_top_up_and_an_outage_does_not(error, stop):
    table = bench([a_job(n) for n in range(4)], top_up_check_s=180.0)
    out_of_credits(table, until=1_000_000.0 + HOUR)
    balance, asked = table.world.witness, itertools.count()

    async def refused(projects: Sequence[str]) -> Reading:
        if next(asked) < 5:
            raise error
        return await balance(projects)

    table.world.witness = refused
    outcome = table.run()
    assert (outcome.stop, outcome.by_state[State.DONE]) == (stop, 0 if stop else 4)
    assert (outcome.trouble is not None) == (stop is not None)


# --- a pause ---


async def settled(table: Bench) -> None:
    """Give the run every chance to go on."""
    for _ in range(3000):
        await asyncio.sleep(0)


async def test_a_pause_buys_nothing_collects_and_waits_until_it_is_over():
    table = bench([a_job(n) for n in range(10)], limits=Limits(in_flight=3))

    paused: list[bool] = []

    def pause_after_two(event: Event, _job: Job) -> None:
        if isinstance(event, events.Downloaded) and table.states()[State.DONE] >= 2 and not paused:
            paused.append(True)
            table.engine.pause(is_on=True)

    table.world.observe = pause_after_two
    running = asyncio.ensure_future(table.engine.run())
    await settled(table)
    bought = len(table.world.times(Action.SUBMIT))
    assert not running.done()
    assert 2 <= bought < 10
    assert table.states()[State.DONE] == bought, "what was bought is collected"
    assert all("paused" in why for _, why in table.engine.waits().values())
    table.engine.pause(is_on=False)
    outcome = await running
    assert (outcome.stop, outcome.by_state[State.DONE]) == (None, 10)
    assert set(table.world.times(Action.SUBMIT).values()) == {1}


async def test_an_interrupt_ends_a_pause_and_a_pause_with_nothing_to_buy_ends_by_itself():
    table = bench([a_job(n) for n in range(4)])
    table.engine.pause(is_on=True)
    running = asyncio.ensure_future(table.engine.run())
    await settled(table)
    assert not running.done()
    table.engine.stop(Stop.INTERRUPTED)
    outcome = await running
    assert (outcome.stop, outcome.by_state[State.DONE]) == (Stop.INTERRUPTED, 0)
    rest = bench([a_job(0, state=State.RENDERING, project_id="p0", accepted_at=1.0, charged=100, held=100)])
    rest.world.rendering["j0"] = rest.clock.now()
    rest.engine.pause(is_on=True)
    assert (await rest.engine.run()).by_state[State.DONE] == 1


# --- doubts in ordinary nights ---


def lose_first(table: Bench, count: int) -> None:
    """The first submissions of all are answered with a bare 502, and nothing comes of them."""
    left = iter(range(count))
    table.world.overrides[Action.SUBMIT] = lambda job: (
        events.AnswerLost(at=table.clock.now(), failure=Failure(code="http_502", message="HTTP 502", status=502))
        if next(left, None) is not None
        else None
    )


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("in_flight", [1, 20])
def test_a_night_that_begins_with_lost_answers_goes_on_by_itself(count, in_flight):
    fresh = Money(credits=10_000, moves=False)
    table = bench([a_job(n) for n in range(5)], money=fresh, limits=Limits(in_flight=in_flight))
    lose_first(table, count)
    assert table.run().by_state[State.DONE] == 5


@pytest.mark.parametrize("paid", [{"j0"}, {"j1"}, {"j2"}, {"j0", "j2"}])
@pytest.mark.parametrize("in_flight", [1, 20])
def test_of_several_lost_at_the_beginning_those_that_came_to_nothing_go_on(paid, in_flight):
    """Each is held against the balance after its own time to arrive; the first fall shows that it follows charges."""
    limits = Limits(in_flight=in_flight)
    table = bench([a_job(n) for n in range(8)], money=Money(credits=10_000), limits=limits, life_s=120.0)
    lost = {"j0", "j1", "j2"}

    def lose_some(job: Job) -> Event | None:
        if job.id not in lost or job.submits > 1:
            return None
        if job.id in paid:
            table.world.accept(job)
        failure = Failure(code="http_502", message="HTTP 502", status=502)
        return events.AnswerLost(at=table.clock.now(), failure=failure)

    table.world.overrides[Action.SUBMIT] = lose_some
    table.run()
    uncertain = {job.id for job in table.engine.jobs().values() if job.state is State.UNCERTAIN}
    assert uncertain == paid
    assert table.states()[State.DONE] == 8 - len(paid)


def test_a_last_job_that_is_lost_on_an_unknown_account_ends_the_run():
    table = bench([a_job(0)], money=Money(credits=10_000, moves=False))
    lose_first(table, 1)
    assert table.run().by_state[State.UNCERTAIN] == 1


def test_a_doubt_dated_ahead_hides_no_longer_than_a_render_takes():
    """The clock was set back since: whatever is lost in the next eight hours would be in doubt, too."""
    began = 1_000_000.0
    unsure = a_job(0, state=State.UNCERTAIN, name="m/j0 [x]", submits=1, submitted_at=began + 8 * HOUR)
    table = bench([unsure, a_job(1)], life_s=120.0)
    lose(table, accepted=False, job_ids={"j1"})
    outcome = table.run()
    assert outcome.by_state[State.DONE] == 1, table.memory.names("j1")
    submits = [at for at, action, _ in table.world.calls if action is Action.SUBMIT]
    assert began + 120 <= submits[0] < began + 130, "nothing is bought while it may be refunded"


def test_a_quiet_moment_dated_ahead_says_nothing_of_what_came_back():
    """The refund of the one hides the charge of the other, and both are older than the clock's being set back."""
    began = 1_000_000.0
    unsure = a_job(0, state=State.UNCERTAIN, name="m/j0 [x]", submits=1, submitted_at=began + 8 * HOUR)
    lost = a_job(1, state=State.SUBMITTING, name="m/j1 [x]", submits=1, submitted_at=began + 8 * HOUR)
    before = Baseline(at=began + 7 * HOUR, credits=9_900, ledger=0)
    table = bench([unsure, lost], money=Money(credits=9_900, moves=True, baseline=before), life_s=120.0)
    table.world.credits = 9_900
    assert table.run().by_state[State.UNCERTAIN] == 2


def test_patience_that_was_asked_for_before_the_clock_was_set_back_counts_from_now():
    began = 1_000_000.0
    busy = Failure(code="http_503", message="HTTP 503", status=503, retry_after_s=30.0)
    at = began + 8 * HOUR
    lost = a_job(
        0, state=State.SUBMITTING, name="m/j0 [x]", submits=1, submitted_at=at, updated_at=at, tries=1, trouble=busy
    )
    table = bench(
        [lost], money=Money(credits=10_000, moves=True, baseline=Baseline(at=began, credits=10_000, ledger=0))
    )
    assert table.run().by_state[State.DONE] == 1
    (submitted_at,) = (at for at, action, _ in table.world.calls if action is Action.SUBMIT)
    assert began + 30 <= submitted_at < began + 120


def test_an_account_without_a_balance_is_not_asked_for_ever():
    unsure = a_job(0, state=State.UNCERTAIN, name="m/j0 [x]", submits=1)
    old = Baseline(at=0.0, credits=10_000, ledger=0)
    table = bench([unsure, a_job(1), a_job(2)], money=Money(credits=None, moves=True, baseline=old))
    asked = 0

    async def blind(projects: Sequence[str]) -> Reading:
        nonlocal asked
        asked += 1
        return Reading(at=table.clock.now(), credits=None, charges=dict.fromkeys(projects, 100))

    table.world.witness = blind
    assert table.run().by_state[State.DONE] == 2
    assert asked < 10


def test_a_refund_that_comes_late_is_recorded_when_it_is_seen():
    failed = a_job(0, state=State.FAILED, project_id="p-late", charged=100, held=100, trouble=UNREACHABLE)
    table = bench([failed, a_job(1)], money=Money(credits=10_000, moves=True, ledger=100))
    real = table.world.read_evidence

    async def refunded(projects: Sequence[str]) -> Reading:
        reading = await real(projects)
        return Reading(at=reading.at, credits=reading.credits, charges={**reading.charges, "p-late": 0})

    table.world.witness = refunded
    table.run()
    assert table.memory.names("j0") == ["Corrected"]
    assert table.engine.jobs()["j0"].charged == 0


GONE = Failure(code=retry.PROJECT_GONE, message="the provider does not know the project any more")


def lost_for_good() -> Job:
    """A job whose project the provider did not know any more, and that is paid for."""
    return a_job(0, state=State.FAILED, project_id="p-j0", charged=100, held=100, accepted_at=1.0, trouble=GONE)


def say(table: Bench, status: Callable[[], str | None]) -> None:
    """Readings tell of each project that is asked for what `status` gives then; None where it is not known."""

    async def read(projects: Sequence[str]) -> Reading:
        said = status()
        there = {} if said is None else dict.fromkeys(projects, said)
        charges = dict.fromkeys(there, 100)
        return Reading(at=table.clock.now(), credits=table.world.credits, charges=charges, statuses=there)

    table.world.witness = read
    table.world.rendering["j0"] = 0.0


@pytest.mark.parametrize("status", ["complete", "rendering", "thinking"])
def test_a_project_that_is_there_again_is_collected(status):
    table = bench([lost_for_good()], money=Money(credits=10_000, moves=True, ledger=100))
    say(table, lambda: status)
    table.run()
    assert table.memory.names("j0") == ["Reappeared", "Rendered", "Downloaded"]
    assert table.engine.jobs()["j0"].state is State.DONE


@pytest.mark.parametrize("status", [None, "error", "canceled"])
def test_a_project_that_came_to_nothing_stays_failed(status):
    table = bench([lost_for_good()], money=Money(credits=10_000, moves=True, ledger=100))
    say(table, lambda: status)
    table.run()
    assert table.engine.jobs()["j0"].state is State.FAILED


@pytest.mark.parametrize(("status", "state"), [("complete", State.DONE), ("rendering", State.FAILED)])
def test_a_render_that_failed_is_collected_only_if_it_is_complete_after_all(status, state):
    table = bench([replace(lost_for_good(), trouble=UNREACHABLE)], money=Money(credits=10_000, moves=True, ledger=100))
    say(table, lambda: status)
    table.run()
    assert table.engine.jobs()["j0"].state is state


def test_a_project_that_comes_back_while_others_render_is_collected_by_the_same_run():
    table = bench([lost_for_good(), a_job(1)], money=Money(credits=10_000, moves=True, ledger=100))
    began = table.clock.now()
    say(table, lambda: "complete" if table.clock.now() > began + 30 else None)
    outcome = table.run()
    assert outcome.by_state[State.DONE] == 2
    assert table.world.times(Action.SUBMIT) == {"j1": 1}


def test_a_provider_that_contradicts_itself_does_not_hold_a_run_up_for_ever():
    table = bench([lost_for_good()], money=Money(credits=10_000, moves=True, ledger=100))
    say(table, lambda: "complete")
    table.world.overrides[Action.POLL] = lambda _job: events.RenderFailed(
        at=table.clock.now(), failure=GONE, credits=100, verdict=GiveUp()
    )
    outcome = table.run()
    assert outcome.by_state[State.FAILED] == 1
    assert table.memory.names("j0") == ["Reappeared", "RenderFailed"] * 3


def test_what_was_tried_again_is_not_taken_up_beside_its_next_attempt():
    table = bench(
        [replace(a_job(0), attempt=2)], money=Money(credits=10_000, moves=True, ledger=100, past=(lost_for_good(),))
    )
    say(table, lambda: "complete")
    table.run()
    assert "Reappeared" not in table.memory.names("j0")


@pytest.mark.parametrize("present", [replace(a_job(0), attempt=2), a_job(1)])
def test_what_nobody_collects_is_still_charged_what_the_provider_says(present):
    """The balance has it; a charge that is not in the ledger would be missed, and put down to another submission."""
    past = replace(lost_for_good(), charged=70, held=70)
    table = bench([present], money=Money(credits=10_000, moves=True, ledger=70, past=(past,)))
    say(table, lambda: "complete")
    table.run()
    told = [(type(event), job.charged) for event, job in table.memory.log if (job.id, job.attempt) == ("j0", 1)]
    assert told == [(events.Corrected, 100)]


def test_an_old_attempt_that_may_be_refunded_acquits_nobody():
    """Its refund, unseen, would hide the charge of a lost one at the same price."""
    old = a_job(0, state=State.FAILED, project_id="p-old", charged=100, held=100, trouble=UNREACHABLE)
    money = Money(credits=10_000, moves=True, ledger=100, past=(old,))
    table = bench([replace(a_job(0), attempt=2), a_job(1)], money=money)
    lose(table, accepted=True, job_ids={"j1"})
    charge = table.world.accept

    def and_refund(job: Job) -> events.Accepted:
        table.world.credits += 100 if job.id == "j1" else 0
        return charge(job)

    table.world.accept = and_refund  # type: ignore[method-assign]
    real = table.world.read_evidence

    async def read(projects: Sequence[str]) -> Reading:
        reading = await real(projects)
        is_refunded = table.world.times(Action.SUBMIT)["j1"] > 0
        charges = {**reading.charges, "p-old": 0 if is_refunded else 100}
        return Reading(at=reading.at, credits=reading.credits, charges=charges)

    table.world.witness = read
    table.run()
    assert table.world.times(Action.SUBMIT)["j1"] == 1
    assert table.engine.jobs()["j1"].state is State.UNCERTAIN
    assert "Corrected" in [type(event).__name__ for event, job in table.memory.log if job.attempt == 1]


# --- pace, breakers, looks ---


def refuse(table: Bench, failure: Failure, *, when: Callable[[Job], bool], wait_s: float = 1.0) -> None:
    """Submissions that `when` picks are refused, to be tried again after a while."""
    table.world.overrides[Action.SUBMIT] = lambda job: (
        events.Refused(at=table.clock.now(), failure=failure, verdict=Again(at=table.clock.now() + wait_s))
        if when(job)
        else None
    )


def test_too_many_requests_slow_everyone_down_once_and_are_remembered():
    table = bench([a_job(n) for n in range(36)], limits=Limits(in_flight=20))
    table.world.overrides[Action.SUBMIT] = lambda job: (
        events.Refused(
            at=table.clock.now(),
            failure=Failure(code="http_429", message="HTTP 429", status=429, retry_after_s=30.0),
            verdict=Again(at=table.clock.now() + 30.0),
        )
        if job.id == "j5" and job.submits == 1
        else None
    )
    assert table.run().by_state[State.DONE] == 36
    submits = [at for at, action, _ in table.world.calls if action is Action.SUBMIT]
    refused = submits[5]
    assert not [at for at in submits if refused < at < refused + 30], "nobody submits before the time that was asked"
    assert 16 <= table.world.most_rendering < 20, "0.8 of twenty, and a little more for every calm while"
    assert 16 <= table.memory.learned["pace"]["in_flight"] < 20  # type: ignore[index]


def test_a_pause_holds_from_the_moment_it_begins():
    """On a clock that moves on with every look at it, as the real one does."""
    table = bench([a_job(n) for n in range(12)], limits=Limits(in_flight=20))
    table.clock.creep = 0.001
    busy = Failure(code="http_429", message="HTTP 429", status=429, retry_after_s=30.0)
    refuse(table, busy, when=lambda job: job.id == "j2" and job.submits == 1, wait_s=30.0)
    assert table.run().by_state[State.DONE] == 12
    submits = [at for at, action, _ in table.world.calls if action is Action.SUBMIT]
    assert not [at for at in submits if submits[2] < at < submits[2] + 30]


DAY_OFF = Failure(code="http_429", message="HTTP 429", status=429, retry_after_s=24 * HOUR)


@pytest.mark.parametrize("count", [1, 4])
def test_a_wait_that_is_longer_than_a_step_is_tried_for_ends_the_run_and_the_next_one_alike(count):
    first = bench([a_job(n) for n in range(count)], limits=Limits(in_flight=9, uploads=1))
    until = 1_000_000 + 24 * HOUR
    first.world.overrides[Action.SUBMIT] = lambda job: (
        events.Refused(at=first.clock.now(), failure=DAY_OFF, verdict=Leave(until=first.clock.now() + 24 * HOUR))
        if job.id == "j1" or count == 1
        else None
    )
    outcome = first.run()
    assert first.clock.now() - 1_000_000 < HOUR, "it does not sit there for a day"
    assert first.states()[State.DONE] == (0 if count == 1 else 1), "what was bought before is collected"
    assert outcome.again_at == pytest.approx(until, abs=60)
    assert schedule.exit_code(outcome.by_state, stop=outcome.stop) is Exit.INCOMPLETE

    kept = pacing.from_kept(first.memory.learned["cooldowns"], now=1_000_600.0)
    second = bench(list(first.engine.jobs().values()), cooldowns=kept)
    second.clock.time = 1_000_600.0
    assert second.run().again_at == outcome.again_at
    assert not second.world.times(Action.SUBMIT), "nor are the others bought at once"
    assert second.clock.now() < 1_000_000 + HOUR

    third = bench(
        list(first.engine.jobs().values()),
        cooldowns=pacing.from_kept(first.memory.learned["cooldowns"], now=until + 60),
    )
    third.clock.time = until + 60
    ended = third.run()
    assert third.states() == {State.DONE: count}
    assert ended.again_at is None


def test_a_wait_that_is_worth_it_is_waited_for_and_told():
    busy = replace(DAY_OFF, retry_after_s=HOUR / 2)
    job = replace(
        a_job(0), state=State.READY, tries=1, again_at=1_000_000 + HOUR / 2, trouble=busy, updated_at=999_999.0
    )
    table = bench([job])
    words: list[str] = []
    wait = table.clock.wait

    async def waiting(event: asyncio.Event, until: float | None) -> None:
        words.extend(table.engine.stalls())
        await wait(event, until)

    table.clock.wait = waiting  # type: ignore[method-assign]
    assert table.run().by_state[State.DONE] == 1
    assert f"nothing can be done before {1_000_000 + HOUR / 2}; j0: HTTP 429" in words


def test_looks_that_are_to_be_left_alone_for_a_day_end_the_run_too():
    table = bench([a_job(n) for n in range(3)])
    table.world.overrides[Action.POLL] = lambda job: events.StepFailed(
        at=table.clock.now(), failure=DAY_OFF, verdict=Leave(until=table.clock.now() + 24 * HOUR)
    )
    outcome = table.run()
    assert outcome.by_state[State.RENDERING] == 3
    assert table.clock.now() - 1_000_000 < HOUR
    assert outcome.again_at is not None
    assert table.world.times(Action.POLL).total() == 1


def test_a_rate_of_ours_is_waited_for_however_little_a_step_is_tried():
    pace = pacing.unthrottled(most_in_flight=20, most_per_minute=1)
    table = bench([a_job(n) for n in range(3)], limits=Limits(submits_per_minute=1), pace=pace)
    table.engine._settings = replace(
        table.engine._settings, policy=Policy.of({"submit": {"for": "1s"}, "poll": {"for": "1s"}})
    )
    assert table.run().by_state[State.DONE] == 3


def test_a_laptop_that_sleeps_in_an_outage_goes_on_when_it_wakes():
    table = bench([a_job(n) for n in range(6)])
    awake_at = 1_000_000 + 9 * HOUR

    def down(job: Job) -> Event | None:
        now = table.clock.now()
        if now > awake_at or now < 1_000_060:
            return None
        if now > 1_000_200:  # the lid is closed
            table.clock.time = awake_at + 1
        return events.StepFailed(at=table.clock.now(), failure=UNREACHABLE, verdict=Again(at=table.clock.now() + 1))

    table.world.overrides[Action.POLL] = down
    assert table.run().by_state[State.DONE] == 6


def test_a_night_starts_at_the_pace_that_the_last_one_learned():
    pace = pacing.from_learned({"in_flight": 3.0, "at": 999_000.0}, most_in_flight=20, most_per_minute=None, now=1e6)
    table = bench([a_job(n) for n in range(9)], limits=Limits(in_flight=20), pace=pace)
    table.run()
    assert table.world.most_rendering == 3


def test_submissions_keep_to_a_rate():
    pace = pacing.unthrottled(most_in_flight=20, most_per_minute=6)
    table = bench([a_job(n) for n in range(8)], limits=Limits(submits_per_minute=6), pace=pace)
    table.run()
    submits = [at for at, action, _ in table.world.calls if action is Action.SUBMIT]
    assert [later - earlier for earlier, later in itertools.pairwise(submits)] == pytest.approx([10.0] * 7)


def test_each_kind_and_each_model_has_room_of_its_own():
    videos = [a_job(n, kind=Kind.VIDEO_TO_VIDEO) for n in range(8)]
    table = bench([*videos, *(a_job(n) for n in range(8, 16))], limits=Limits(per_kind={"video-to-video": 2}))
    together: list[Counter[Kind]] = []
    table.world.observe = lambda _event, _job: together.append(
        Counter(job.kind for job in table.engine.jobs().values() if job.state in machine.IN_FLIGHT)
    )
    assert table.run().by_state[State.DONE] == 16
    assert max(each[Kind.VIDEO_TO_VIDEO] for each in together) == 2
    assert max(each[Kind.IMAGE_TO_VIDEO] for each in together) == 8
    first = [job for _, action, job in table.world.calls if action is Action.SUBMIT][:10]
    assert first == ["j0", "j1", *(f"j{n}" for n in range(8, 16))], "a full kind holds up no other"


def test_an_endpoint_that_fails_again_and_again_is_probed_by_one_request_and_collecting_goes_on():
    table = bench([a_job(n) for n in range(40)], limits=Limits(in_flight=5))
    until = table.clock.now() + 700
    refuse(table, UNREACHABLE, when=lambda job: 1_000_070 < table.clock.now() < until)
    waits: set[str] = set()
    table.world.observe = lambda _event, _job: waits.update(why for _, why in table.engine.waits().values())
    assert table.run().by_state[State.DONE] == 40
    tries = [at for at, action, _ in table.world.calls if action is Action.SUBMIT and 1_000_070 < at < until]
    assert len(tries) <= 5 + 8, "five failures open it; then one probe each, at doubling waits"
    assert any("not reachable; 1 probe then" in why for why in waits)
    assert table.memory.learned["pauses"] is None, "closed again"
    collected = [at for at, action, _ in table.world.calls if action is Action.DOWNLOAD and at < until]
    assert collected, "what was bought is collected meanwhile"


def test_an_outage_without_end_ends_the_run_and_loses_nothing():
    table = bench([a_job(n) for n in range(40)], limits=Limits(in_flight=5))
    refuse(table, UNREACHABLE, when=lambda job: int(job.id[1:]) >= 12)
    outcome = table.run()
    assert outcome.is_unreachable
    assert outcome.stop is Stop.UNREACHABLE
    assert outcome.by_state[State.DONE] == 12
    assert table.clock.now() - 1_000_000 < HOUR


def test_an_outage_that_shows_in_several_ways_ends_the_run_too():
    table = bench([a_job(n) for n in range(6)])
    lost = Failure(code="no_answer", message="reset")
    sorts = itertools.cycle([lost, Failure(code="http_503", message="HTTP 503", status=503)])
    table.world.overrides[Action.POLL] = lambda job: (
        events.StepFailed(at=table.clock.now(), failure=next(sorts), verdict=Again(at=table.clock.now() + 1))
        if table.clock.now() < 1_000_000 + 2 * HOUR
        else None
    )
    outcome = table.run()
    assert outcome.is_unreachable
    assert outcome.by_state[State.RENDERING] == 6
    assert table.world.times(Action.POLL).total() <= 40, "probed, not asked by each in turn"
    assert table.clock.now() - 1_000_000 < HOUR


def test_a_group_that_is_always_refused_is_left_alone_and_the_others_go_on():
    jobs = [a_job(n, kind=Kind.VIDEO_TO_VIDEO if n % 2 else Kind.IMAGE_TO_VIDEO) for n in range(40)]
    jobs = [replace(job, spec=replace(job.spec, kind=job.kind)) for job in jobs]
    table = bench(jobs)
    table.world.overrides[Action.SUBMIT] = lambda job: (
        events.Refused(
            at=table.clock.now(),
            failure=Failure(code="invalid_request", message="no", status=400, is_lasting=True),
            verdict=GiveUp(),
        )
        if job.kind is Kind.VIDEO_TO_VIDEO
        else None
    )
    outcome = table.run()
    assert outcome.by_state[State.DONE] == 20
    assert outcome.by_state[State.FAILED] == 5
    assert f"5 {TIMES} invalid_request in a row: no more of video-to-video is bought in this run" in table.told


def test_a_group_that_is_left_alone_holds_no_place_in_line():
    dead = [a_job(n, kind=Kind.VIDEO_TO_VIDEO) for n in range(12)]
    dead = [replace(job, spec=replace(job.spec, kind=job.kind)) for job in dead]
    table = bench([*dead, *(a_job(n) for n in range(12, 16))], limits=Limits(in_flight=3))
    failure = Failure(code="no_source_face", message="no face")
    table.world.overrides[Action.POLL] = lambda job: (
        events.RenderFailed(at=table.clock.now(), failure=failure, credits=0, verdict=GiveUp())
        if job.kind is Kind.VIDEO_TO_VIDEO
        else None
    )
    assert table.run().by_state[State.DONE] == 4


def test_what_an_adopted_render_was_given_back_hides_no_other_charge():
    """It failed and was refunded while nobody could look; the next one is judged from a quiet moment after that."""
    before = Baseline(at=999_000.0, credits=9_900, ledger=0)
    asked = a_job(0, state=State.UNCERTAIN, name="m/j0 [x]", submits=1, submitted_at=998_000.0)
    adopted = machine.advance(asked, events.Adopted(at=999_500.0, project_id="p-j0-1", credits=0))
    money = Money(credits=10_000, moves=True, baseline=before)
    table = bench([adopted, a_job(1), a_job(2)], money=money)
    table.world.overrides[Action.POLL] = lambda job: (
        events.RenderFailed(
            at=table.clock.now(), failure=Failure(code="nsfw", message="no"), credits=0, verdict=GiveUp()
        )
        if job.id == "j0"
        else None
    )
    lose(table, accepted=True, job_ids={"j1"})
    real = table.world.read_evidence

    async def read(projects: Sequence[str]) -> Reading:
        reading = await real(projects)
        return Reading(at=reading.at, credits=reading.credits, charges={**reading.charges, "p-j0-1": 0})

    table.world.witness = read
    table.run()
    assert table.world.times(Action.SUBMIT)["j1"] == 1
    assert table.engine.jobs()["j1"].state is State.UNCERTAIN


async def test_a_project_id_that_cannot_be_written_is_told():
    table = bench([a_job(0)])
    append = table.memory.append

    async def full(entries: Sequence[tuple[Event, Job]], *, quiet: Quiet | None = None) -> None:
        if any(isinstance(event, events.Accepted) for event, _ in entries):
            raise StateUnusable("the disk is full")
        await append(entries, quiet=quiet)

    table.memory.append = full  # type: ignore[method-assign]
    with pytest.raises(StateUnusable, match="keep this: j0 = p-j0-1"):
        await table.engine.run()


async def disk_that_fills_up(table: Bench, *, is_full: Callable[[], bool] = lambda: True) -> None:
    """Run while the log cannot be written from the answer to j2 on; the slow disk lets others go on meanwhile."""
    append, real, fails = table.memory.append, table.world.perform, asyncio.Event()

    async def full(entries: Sequence[tuple[Event, Job]], *, quiet: Quiet | None = None) -> None:
        has_answer = any(isinstance(event, events.Accepted) and job.id == "j2" for event, job in entries)
        if has_answer or fails.is_set():
            is_first = not fails.is_set()
            fails.set()
            for _ in range(50):
                await asyncio.sleep(0)
            if is_first or is_full():
                raise StateUnusable("the disk is full")
        await append(entries, quiet=quiet)

    async def perform(action: Action, job: Job) -> Event:
        if action is Action.UPLOAD and job.id == "j3":
            await fails.wait()
        return await real(action, job)

    table.memory.append = full  # type: ignore[method-assign]
    table.engine._perform = perform
    await table.engine.run()


async def test_a_project_id_is_told_although_what_comes_after_it_cannot_be_written_either():
    table = bench([a_job(n) for n in range(4)])
    with pytest.raises(StateUnusable, match="NOT recorded, keep this: j2 = p-j2-1"):
        await disk_that_fills_up(table)
    assert table.memory.names("j3") == []


async def test_what_could_not_be_written_is_tried_again_before_leaving():
    """Room may have been made; then nothing is lost, and nothing needs to be kept by hand."""
    table = bench([a_job(n) for n in range(4)])
    with pytest.raises(StateUnusable) as caught:
        await disk_that_fills_up(table, is_full=lambda: False)
    assert "keep this" not in str(caught.value)
    assert table.memory.names("j2")[-1] == "Accepted"
    assert table.memory.names("j3") == ["Uploaded"], "an intent that was never written is no submission"


def test_renders_are_looked_at_seldom_and_seen_soon():
    """Sixty seconds, thirty per cent more or less: at most twelve looks each, and five per cent late in the middle."""
    chance = random.Random(7)
    table = bench([a_job(n) for n in range(600)], limits=Limits(in_flight=50))
    takes = {f"j{n}": chance.uniform(42, 78) for n in range(600)}
    late: list[float] = []

    def poll(job: Job) -> Event:
        out = table.clock.now() - table.world.rendering[job.id]
        if out < takes[job.id]:
            return events.Looked(at=table.clock.now(), status="rendering", credits=100)
        late.append((out - takes[job.id]) / takes[job.id])
        del table.world.rendering[job.id]
        return events.Rendered(at=table.clock.now(), status="complete", credits=100)

    table.world.overrides[Action.POLL] = poll
    table.run()
    looks = table.world.times(Action.POLL)
    assert looks.total() / 600 <= 12
    assert statistics.median(late) <= 0.05


# --- clocks ---


@pytest.mark.parametrize("seed", range(30))
def test_a_clock_that_is_set_and_a_laptop_that_sleeps_cost_nothing_twice(seed):
    """Whatever the clock does between two events, by eight hours back or ahead, and whatever fails meanwhile."""
    chance = random.Random(seed)
    table = bench([a_job(n) for n in range(30)], limits=Limits(in_flight=6))

    def disturbed(step: Action) -> Callable[[Job], Event | None]:
        def maybe(job: Job) -> Event | None:
            if chance.random() < 0.05:
                table.clock.time += chance.choice([-8, 8]) * HOUR
            if chance.random() > 0.1:
                return None
            now = table.clock.now()
            again = Again(at=now + 30 * chance.random())
            if step is Action.SUBMIT:
                return events.Refused(at=now, failure=UNREACHABLE, verdict=again)
            return events.StepFailed(at=now, failure=UNREACHABLE, verdict=again)

        return maybe

    for step in (Action.UPLOAD, Action.SUBMIT, Action.POLL, Action.DOWNLOAD):
        table.world.overrides[step] = disturbed(step)
    assert table.run().by_state[State.DONE] == 30
    accepted = Counter(job.id for event, job in table.memory.log if isinstance(event, events.Accepted))
    assert set(accepted.values()) == {1}


def test_a_verdict_from_before_the_clock_was_set_back_waits_as_long_as_it_said():
    job = a_job(0, state=State.RENDERED, project_id="p", updated_at=1_000_000.0 + 8 * HOUR)
    table = bench([replace(job, again_at=1_000_000.0 + 8 * HOUR + 20)])
    table.run()
    assert table.world.calls == [(1_000_020.0, Action.DOWNLOAD, "j0")]


# --- retries ---


def test_a_date_of_a_step_that_was_left_is_waited_for_by_the_next_run():
    left = a_job(0, state=State.RENDERED, project_id="p", again_at=1_000_000.0 + HOUR, tries=9, is_left=True)
    table = bench([left])
    table.run()
    assert table.world.calls == [(1_000_000.0 + HOUR, Action.DOWNLOAD, "j0")]


def test_a_render_that_starts_over_frees_what_it_held():
    """The cap has room for one job: the second submission of the same job takes the place of the refunded first."""
    table = bench([a_job(0)], caps=Caps(batch=100, run=100))
    nsfw = Failure(code="nsfw", message="no")

    def fail_once(job: Job) -> Event | None:
        now = table.clock.now()
        if job.retried or now - table.world.rendering[job.id] < 60:
            return None
        if job.broke_at is None:
            return events.RefundAwaited(at=now, failure=nsfw, credits=100)
        table.world.credits += 100
        return events.RenderFailed(at=now, failure=nsfw, credits=0, verdict=Again(at=now + 2))

    table.world.overrides[Action.POLL] = fail_once
    outcome = table.run()
    assert (outcome.by_state[State.DONE], outcome.held_back) == (1, 0)
    assert table.world.times(Action.SUBMIT) == {"j0": 2}
    job = table.engine.jobs()["j0"]
    assert (job.attempt, job.retried, job.charged) == (1, ("nsfw",), 100)
    last, _ = table.memory.baselines[-1]
    assert (last.credits, last.ledger) == (9_900, 100), "the account and the ledger agree"


def test_a_charge_that_is_never_told_is_asked_for_once_at_once():
    table = bench([a_job(0)])

    def accept(job: Job) -> Event:
        table.world.accept(job)
        return events.Accepted(at=table.clock.now(), project_id="p", credits=None)

    def look(job: Job) -> Event | None:
        now = table.clock.now()
        is_out = now - table.world.rendering[job.id] < 60
        return events.Looked(at=now, status="rendering", credits=None) if is_out else None

    table.world.overrides |= {Action.SUBMIT: accept, Action.POLL: look}
    assert table.run().by_state[State.DONE] == 1
    assert table.world.times(Action.POLL)["j0"] < 60


def test_a_run_that_buys_nothing_leaves_a_question_that_a_charge_can_answer():
    lost = a_job(0, state=State.SUBMITTING, name="m/j0 [x]", submits=1, submitted_at=1.0)
    table = bench(
        [lost, a_job(1)], money=Money(credits=10_000, moves=False, baseline=Baseline(at=0.0, credits=10_000, ledger=0))
    )
    table.engine.stop(Stop.COLLECTING)
    outcome = table.run()
    assert outcome.by_state[State.SUBMITTING] == 1
    assert table.world.evidence_reads >= 2


def test_a_submission_proved_unpaid_waits_as_long_as_its_answer_asked():
    table = bench([a_job(0), a_job(1)])
    busy = Failure(code="http_503", message="HTTP 503", status=503, retry_after_s=HOUR)
    table.world.overrides[Action.SUBMIT] = lambda job: (
        events.AnswerLost(at=table.clock.now(), failure=busy) if (job.id, job.submits) == ("j0", 1) else None
    )
    assert table.run().by_state[State.DONE] == 2
    first, second = [at for at, action, job in table.world.calls if action is Action.SUBMIT and job == "j0"]
    assert second - first >= HOUR


# --- only what was agreed to ---


def test_what_proved_unpaid_and_was_not_agreed_to_is_left():
    lost = a_job(0, state=State.SUBMITTING, name="m/j0 [x]", submits=1, updated_at=1.0)
    before = Baseline(at=0, credits=10_000, ledger=0)
    table = bench(
        [lost, a_job(1), a_job(2)],
        money=Money(credits=10_000, moves=True, baseline=before),
        limits=Limits(in_flight=1),
        permitted={("j0", 2), ("j1", 1), ("j2", 1)},
    )
    outcome = table.run()
    assert outcome.by_state[State.DONE] == 2, "what is left takes no place"
    assert (table.engine.jobs()["j0"].state, table.engine.jobs()["j0"].is_left) == (State.UPLOADED, True)
    assert table.world.times(Action.SUBMIT)["j0"] == 0
    assert sum(line.startswith("j0: it cost nothing") for line in table.told) == 1


def test_a_render_that_cost_nothing_and_was_not_agreed_to_is_left():
    out = a_job(0, state=State.RENDERING, name="m/j0 [x]", submits=1, project_id="p", charged=100, held=100)
    table = bench([out, a_job(1)], permitted={("j1", 1)})
    table.world.overrides[Action.POLL] = lambda job: (
        events.RenderFailed(at=table.clock.now(), failure=NSFW, credits=0, verdict=Again(at=table.clock.now() + HOUR))
        if job.id == "j0"
        else None
    )
    outcome = table.run()
    assert outcome.by_state[State.READY] == outcome.by_state[State.DONE] == 1
    assert table.world.times(Action.UPLOAD)["j0"] == 0
    assert table.clock.time < 1_000_000 + HOUR, "nobody waits for it"


def test_a_charge_above_its_hold_raises_what_the_next_one_reserves_and_a_passed_cap_is_told():
    table = bench([a_job(n) for n in range(5)], caps=Caps(run=500), limits=Limits(in_flight=1))
    table.world.overrides[Action.SUBMIT] = lambda job: replace(table.world.accept(job), credits=140)
    table.world.overrides[Action.POLL] = lambda job: events.Rendered(
        at=table.clock.now(), status="complete", credits=None
    )
    outcome = table.run()
    assert table.world.times(Action.SUBMIT) == {"j0": 1, "j1": 1, "j2": 1}
    assert (outcome.held_back, outcome.passed) == (2, None)
    assert "may cost 140" in str(outcome.held_back_why)
    table = bench([a_job(0)], caps=Caps(run=100))
    table.world.overrides[Action.SUBMIT] = lambda job: replace(table.world.accept(job), credits=140)
    assert "--max-credits is 100 and was passed: 140" in str(table.run().passed)
