"""A run that begins: what was worked out for the question a moment before is worked out again only where it must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
import sqlite3
import time

from PIL import Image
import pytest

from batchrunner import batch, planning, session as sessions, store
from batchrunner.access import Access
from batchrunner.batch import Batch
from batchrunner.core import events, job as machine, looks, pins as pinning
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.manifest import Limits
from batchrunner.core.plan import Plan, Wishes
from batchrunner.core.selection import Selection
from batchrunner.core.spec import Output
from batchrunner.errors import PlanMoved, StateUnusable
from batchrunner.planning import Preview
from batchrunner.provider import wire
from batchrunner.session import Goal

MANIFEST = """\
version: 1
output: renders/{id}.mp4
defaults:
  image-to-video: {end_seconds: 5, model: kling-3.0, resolution: 720p, style: {prompt: up}}
jobs:
  - {id: hero, kind: image-to-video, input: hero.png}
  - {id: tower, kind: image-to-video, input: tower.png}
"""

ACCOUNT = wire.Account(id="me", tier="pro", credits=100_000)


@pytest.fixture
def night(tmp_path: Path) -> Batch:
    for name, colour in (("hero", "red"), ("tower", "blue")):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "night.yaml").write_text(MANIFEST)
    return batch.read(tmp_path / "night.yaml")


def seen(night: Batch, wishes: Wishes | None = None) -> Preview:
    return planning.preview(night, wishes=wishes or Wishes(), tier=ACCOUNT.tier)


def begun(night: Batch, order: sessions.Order) -> Plan:
    access = Access(base_url="http://127.0.0.1:1", key="k")
    with sessions.begin(night, order, access=access, account=ACCOUNT) as session:
        return session.plan


def is_same(one: Plan, other: Plan) -> bool:
    return one is other


def test_a_plan_of_a_moment_ago_is_taken_where_nothing_moved(night):
    before = seen(night)
    made = begun(night, sessions.Order(seen=before))
    assert is_same(made, before.plan)
    assert made == begun_anew(night)


def begun_anew(night: Batch) -> Plan:
    """The plan of an order that nobody looked at before, of a state file that knows nothing yet."""
    night.state.unlink()
    return begun(night, sessions.Order())


def put_on_record(night: Batch, _seen: Preview) -> None:
    (hero, _) = _seen.plan.entries
    with store.open_for_run(night.state, run_id="other", now=1.0) as file:
        assert hero.spec is not None
        event = events.Opened(at=1.0, id="hero", attempt=1, spec=hero.spec)
        file.append_now([(event, machine.advance(None, event))])


def paint_another(night: Batch, _seen: Preview) -> None:
    Image.new("RGB", (64, 66), "green").save(night.root / "hero.png")


@pytest.mark.parametrize("move", [put_on_record, paint_another])
def test_a_plan_is_made_anew_where_something_moved(night: Batch, move: Callable[[Batch, Preview], None]) -> None:
    before = seen(night)
    move(night, before)
    made = begun(night, sessions.Order(seen=before))
    assert made != before.plan
    assert made.entries[1] == before.plan.entries[1]


@pytest.mark.parametrize(
    "order",
    [
        lambda seen: sessions.Order(seen=seen, wishes=Wishes(rerender=True)),
        lambda seen: sessions.Order(seen=seen, history=Path("/nowhere")),
        lambda seen: sessions.Order(seen=replace(seen, tier="creator")),
    ],
    ids=["other wishes", "another history", "another tier"],
)
def test_a_plan_is_made_anew_for_another_order(night: Batch, order: Callable[[Preview], sessions.Order]) -> None:
    before = seen(night)
    assert not is_same(begun(night, order(before)), before.plan)


# --- a run that collects ---------------------------------------------------------------------------------------------

LONG_AGO = time.time() - 86_400

Change = Callable[[list[Event]], list[Event]]


def lives(night: Batch, changes: Mapping[str, Change]) -> None:
    """Put on record that both jobs are done, since yesterday, with their files; `changes` are what else happened."""
    made = seen(night).plan
    with store.open_for_run(night.state, run_id="before", now=LONG_AGO) as file:
        for entry in made.entries:
            assert entry.spec is not None
            output = Output(path=entry.spec.output, bytes=4, sha256="0" * 64)
            life: list[Event] = [
                events.Opened(at=LONG_AGO, id=entry.id, attempt=1, spec=entry.spec),
                events.Uploaded(at=LONG_AGO, assets=()),
                events.SubmitStarted(at=LONG_AGO, name=f"night/{entry.id} [1-00]"),
                events.Accepted(at=LONG_AGO, project_id=f"p-{entry.id}", credits=entry.spec.hold),
                events.Rendered(at=LONG_AGO + 60, status="complete", credits=entry.spec.hold),
                events.Downloaded(at=LONG_AGO + 61, outputs=(output,)),
            ]
            job: Job | None = None
            entries = []
            for event in changes.get(entry.id, list)(life):
                job = machine.advance(job, event)
                entries.append((event, job))
            file.append_now(entries)
            path = night.root / entry.spec.output
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"done")


def unnamed_model(life: list[Event]) -> list[Event]:
    """As records of before the model was kept."""
    first = life[0]
    assert isinstance(first, events.Opened)
    return [replace(first, spec=replace(first.spec, model=None)), *life[1:]]


def suspect(life: list[Event]) -> list[Event]:
    last = life[-1]
    assert isinstance(last, events.Downloaded)
    return [*life[:-1], replace(last, suspect="it is black")]


def untold(life: list[Event]) -> list[Event]:
    """The charge is told by nobody."""
    accepted = events.Accepted(at=LONG_AGO, project_id="p-hero", credits=None)
    return [*life[:3], accepted, events.Rendered(at=LONG_AGO + 60, status="complete", credits=None), life[5]]


@contextmanager
def collecting(night: Batch, wishes: Wishes | None = None) -> Iterator[sessions.Session]:
    read = batch.read_for_collecting(night.path)
    order = sessions.Order(goal=Goal.COLLECT, wishes=wishes or Wishes())
    access = Access(base_url="http://127.0.0.1:1", key="k")
    with sessions.begin(read, order, access=access, account=ACCOUNT) as session:
        yield session


def taken_up(night: Batch) -> tuple[list[str], list[str]]:
    """The jobs that a run which collects takes up, and those that it leaves at rest."""
    with collecting(night) as session:
        every = session.every_job({job.id: job for job in session.jobs})
        assert [job.id for job in every] == ["hero", "tower"]
        assert every == tuple(session.store.jobs())
        return [job.id for job in session.jobs], [job.id for job in session.at_rest]


def test_what_is_done_for_good_is_left_at_rest(night: Batch) -> None:
    lives(night, {"hero": lambda life: life[:4]})
    assert taken_up(night) == (["hero"], ["tower"])


@pytest.mark.parametrize(
    "change",
    [
        suspect,
        untold,
        lambda life: [*life[:4], *(replace(each, at=time.time() - 60) for each in life[4:])],
        lambda life: [
            *life[:3],
            events.Unknowable(at=LONG_AGO, evidence="nobody can tell"),
            events.Adopted(at=LONG_AGO, project_id="p-hero", credits=1),
            *life[4:],
        ],
    ],
    ids=["suspect", "charge never told", "may still settle", "a person decided"],
)
def test_what_is_done_and_not_yet_settled_is_taken_up(night: Batch, change: Change) -> None:
    lives(night, {"hero": change})
    assert taken_up(night) == (["hero"], ["tower"])


@pytest.mark.parametrize("how", [Path.unlink, lambda path: path.write_bytes(b"cut")], ids=["gone", "cut off"])
def test_what_is_done_and_lacks_its_file_is_taken_up(night: Batch, how: Callable[[Path], object]) -> None:
    lives(night, {})
    how(night.root / "renders/hero.mp4")
    assert taken_up(night) == (["hero"], ["tower"])


def under_the_name_of_hero(size: int) -> Change:
    """As when the one was taken away, and what came next found its name free."""

    def change(life: list[Event]) -> list[Event]:
        last = life[-1]
        assert isinstance(last, events.Downloaded)
        output = Output(path="renders/hero.mp4", bytes=size, sha256=f"{size:064}")
        return [*life[:-1], replace(last, outputs=(output,))]

    return change


@pytest.mark.parametrize("sizes", [(4, 9), (9, 4)])
def test_of_two_results_of_one_name_the_one_that_is_not_there_is_taken_up(night: Batch, sizes: tuple[int, int]) -> None:
    lives(night, dict(zip(("hero", "tower"), map(under_the_name_of_hero, sizes), strict=True)))
    (night.root / "renders/hero.mp4").write_bytes(b"done")
    gone = "tower" if sizes[0] == 4 else "hero"
    assert taken_up(night)[0] == [gone]
    with store.open_to_read(night.state) as view:
        assert view is not None
        assert [job.id for job in sessions.missing_outputs(night.root, view.jobs())] == [gone]


def test_all_is_read_where_some_are_selected(night: Batch) -> None:
    lives(night, {})
    with collecting(night, Wishes(selection=Selection(only=("hero",)))) as session:
        assert [job.id for job in session.jobs] == ["hero", "tower"]
        assert session.at_rest == ()


def test_all_is_read_where_a_job_waits_for_another(tmp_path: Path, night: Batch) -> None:
    text = MANIFEST.replace("input: tower.png}", "input: tower.png, needs: [hero]}")
    (tmp_path / "night.yaml").write_text(text)
    chained = batch.read(tmp_path / "night.yaml")
    lives(chained, {"tower": lambda life: life[:1]})
    with collecting(chained) as session:
        assert [job.id for job in session.jobs] == ["hero", "tower"]


def test_what_is_told_of_a_finished_job_is_what_its_record_says(night: Batch) -> None:
    lives(night, {"hero": suspect, "tower": unnamed_model})
    with store.open_to_read(night.state) as view:
        assert view is not None
        told = {each.id: each for each in view.finished()}
        for job in view.jobs():
            each = told.pop(job.id)
            assert (each.project_id, each.charged, each.output) == (job.project_id, job.charged, job.spec.output)
            assert (each.ended_at, each.decided_at) == (job.ended_at, job.decided_at)
            assert (each.group, each.accepted_at, each.rendered_at) == next(looks.times_of([job]))
            assert (each.suspect, each.files) == (job.suspect, tuple((file.path, file.bytes) for file in job.outputs))
        assert not told


@pytest.mark.parametrize(
    "order",
    [sessions.Order(), sessions.Order(wishes=Wishes(redo=frozenset({"hero"}))), sessions.Order(goal=Goal.JUDGE)],
    ids=["a run", "a run with another attempt", "a judgement"],
)
def test_a_session_has_every_attempt_as_it_is_on_record(night: Batch, order: sessions.Order) -> None:
    lives(night, {"tower": lambda life: life[:1]})
    access = Access(base_url="http://127.0.0.1:1", key="k")
    with sessions.begin(night, order, access=access, account=ACCOUNT) as session:
        recorded = {(job.id, job.attempt): job for job in session.store.all_attempts()}
        assert {(job.id, job.attempt): job for job in session.attempts()} == recorded
        assert len(session.attempts()) == len(recorded) == (3 if order.wishes.redo else 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [("outputs", '"none"'), ("spec.request", "1"), ("spec.request", '"[1]"'), ("spec.seconds", "1e400")],
)
def test_a_finished_job_that_makes_no_sense_is_named(night: Batch, field: str, value: str) -> None:
    lives(night, {"tower": unnamed_model})
    with closing(sqlite3.connect(night.state)) as database, database:
        values = (f"$.{field}", value)
        database.execute("UPDATE job SET body = json_set(body, ?, json(?)) WHERE id = 'tower'", values)
    database.close()
    with store.open_to_read(night.state, is_known=True) as view:
        assert view is not None
        with pytest.raises(StateUnusable, match="'tower' makes no sense"):
            view.finished()


def test_the_limits_of_a_manifest_hold_for_collecting_whatever_is_wrong_with_its_jobs(night: Batch) -> None:
    lives(night, {})
    night.path.write_text(f"limits: {{in_flight: 7}}\n{MANIFEST}  - {{id: bad, kind: none}}\n")
    assert batch.read_for_collecting(night.path).manifest.limits.in_flight == 7
    night.path.write_text(f"limits: {{in_flight: few}}\n{MANIFEST}")
    assert batch.read_for_collecting(night.path).manifest.limits == Limits()


def test_a_run_that_is_refused_is_not_recorded_as_cut_short(night: Batch) -> None:
    agreed = pinning.pins(planning.preview(night, wishes=Wishes(), tier=ACCOUNT.tier).plan)
    Image.new("RGB", (64, 64), "green").save(night.root / "hero.png")
    with pytest.raises(PlanMoved):
        begun(night, sessions.Order(agreed=agreed))
    with store.open_to_read(night.state) as view:
        assert view is not None
        run = view.last_run()
    assert run is not None
    assert run.ended_at is not None
