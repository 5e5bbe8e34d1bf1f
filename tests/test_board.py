"""A batch followed from outside: in step with its log, whatever happens to it, at a cost that is that of the news."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchrunner import batch as batches, board as boards, foresight, present, statefile, store
from batchrunner.board import Board
from batchrunner.core import budget, events, job as machine, totals
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.retry import GiveUp
from batchrunner.stateview import View
from tests.core.test_job import FAILURE, SPEC


@pytest.fixture(autouse=True)
def _always_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "LOOK_S", -1.0)


def opened(name: str, attempt: int = 1) -> events.Opened:
    return events.Opened(at=1, id=name, attempt=attempt, spec=replace(SPEC, output=f"{name}.mp4"))


def grown(job: Job | None, *log: Event) -> list[tuple[Event, Job]]:
    """Events, and the job after each."""
    entries = []
    for event in log:
        job = machine.advance(job, event)
        entries.append((event, job))
    return entries


def bought(job: Job, project: str) -> list[tuple[Event, Job]]:
    return grown(
        job,
        events.Uploaded(at=2, assets=()),
        events.SubmitStarted(at=3, name=f"m/{job.id} [{project}]"),
        events.Accepted(at=4, project_id=project, credits=240),
    )


def follow(path: Path) -> Board:
    return Board(batches.read_for_collecting(path), words=lambda event, job: f"{type(event).__name__} {job.attempt}")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "night.yaml"


def begin(manifest: Path) -> store.Store:
    return store.open_for_run(statefile.path_for(manifest), run_id="r1", now=1.0)


def agrees(board: Board, view: View) -> None:
    """Whether the sums that were kept are those that are counted."""
    summary, jobs = board.summary(), view.jobs()
    assert board.jobs() == jobs
    assert dict(summary.by_state) == totals.by_state(jobs)
    assert summary.totals == view.totals()
    assert summary.estimated == totals.estimated(jobs)
    assert summary.reserved == sum(budget.exposure(job) - (job.charged or 0) for job in view.all_attempts())


def test_it_stays_in_step_through_attempts_and_failures(manifest: Path) -> None:
    with begin(manifest) as run:
        first = grown(None, opened("a"))
        run.append_now([*first, *grown(None, opened("b"))])
        board = follow(manifest)
        mark = board.since(None).mark
        agrees(board, run)
        steps: list[Sequence[tuple[Event, Job]]] = [bought(first[-1][1], "p1")]
        steps.append(grown(steps[0][-1][1], events.RenderFailed(at=5, failure=FAILURE, credits=0, verdict=GiveUp())))
        steps.append(grown(steps[1][-1][1], opened("a", attempt=2)))
        steps.append(bought(steps[2][-1][1], "p2")[:2])
        for step in steps:
            run.append_now(step)
            change = board.since(mark)
            mark = change.mark
            assert [(number, job.id) for number, job in change.jobs] == [(0, "a")]
            assert len(change.lines) == len(step)
            agrees(board, run)
        agrees(follow(manifest), run)


def test_who_waits_for_a_job_with_news_is_told_again_as_long_as_it_waits(manifest: Path) -> None:
    spec = replace(SPEC, output="b.mp4", needs=("a",))
    with begin(manifest) as run:
        source = grown(None, opened("a"))
        behind = grown(None, events.Opened(at=1, id="b", attempt=1, spec=spec))
        run.append_now([*source, *behind, *grown(None, opened("c"))])
        board = follow(manifest)
        mark = board.since(None).mark
        source = bought(source[-1][1], "p1")
        run.append_now(source)
        change = board.since(mark)
        assert [job.id for _, job in change.jobs] == ["a", "b"]
        assert {line.job for line in change.lines} == {"a"}
        mark = change.mark
        run.append_now(bought(behind[-1][1], "p2"))
        mark = board.since(mark).mark
        run.append_now(grown(source[-1][1], events.RenderFailed(at=5, failure=FAILURE, credits=0, verdict=GiveUp())))
        assert [job.id for _, job in board.since(mark).jobs] == ["a"], "b was bought, and waits for nothing any more"


def test_a_look_reads_what_is_new_and_nothing_else(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "UNSEEN_S", float("inf"))  # however long this takes here
    with begin(manifest) as run:
        jobs = [grown(None, opened(f"j{number:04}")) for number in range(2000)]
        run.append_now([entry for entries in jobs for entry in entries])
        board = follow(manifest)
        first = board.since(None)
        assert (first.is_all, len(first.jobs)) == (True, 2000)
        read: list[int] = []
        rows = View._rows

        def counted(view: View, *query: Any) -> Any:
            found = rows(view, *query)
            read.append(len(found))
            return found

        monkeypatch.setattr(View, "_rows", counted)
        assert board.since(first.mark).jobs == ()
        assert read == [], "nothing was written, and nothing is opened"
        run.append_now(bought(jobs[1234][0][1], "p1"))
        change = board.since(first.mark)
        assert [(number, job.id, job.charged) for number, job in change.jobs] == [(1234, "j1234", 240)]
        assert sum(read) < 20


def test_another_file_in_its_place_is_begun_anew(manifest: Path) -> None:
    with begin(manifest) as run:
        run.append_now(grown(None, opened("a")))
    board = follow(manifest)
    mark = board.since(None).mark
    state = statefile.path_for(manifest)
    for path in manifest.parent.glob(f"{state.name}*"):
        path.rename(manifest.parent / f"old-{path.name}")
    gone = board.since(mark)
    assert (gone.is_all, gone.jobs) == (True, ())
    with begin(manifest) as run:
        run.append_now(grown(None, opened("b")))
    again = board.since(gone.mark)
    assert (again.is_all, [job.id for _, job in again.jobs]) == (True, ["b"])


def test_a_damaged_file_is_told_and_ends_nothing(manifest: Path) -> None:
    with begin(manifest) as run:
        run.append_now(grown(None, opened("a")))
    board = follow(manifest)
    board.since(None)
    statefile.path_for(manifest).write_bytes(b"rubbish")
    assert "rubbish" not in str(board.summary().trouble)
    assert board.summary().trouble is not None


def test_when_it_will_be_over_is_the_forecast_of_status(manifest: Path) -> None:
    with begin(manifest) as run:
        for number in range(8):
            run.append_now(grown(None, opened(f"j{number}")))
        night = {"in_flight": 2, "per_kind": {}, "per_model": {}, "submits_per_minute": None, "buys": True}
        asyncio.run(run.learn("night", {**night, "opens_at": None, "stops_at": None, "finish_by": None}))
        with store.open_to_read(statefile.path_for(manifest)) as view:
            assert view is not None
            expected = foresight.of_record(view, view.jobs(), now=201.0)
        assert expected is not None
        board = Board(batches.read_for_collecting(manifest), words=lambda _event, _job: None, now=lambda: 201.0)
        assert board.summary().forecast == expected
        run.end_run(at=202.0, exit_code=3)
    over = Board(batches.read_for_collecting(manifest), words=lambda _event, _job: None, now=lambda: 201.0)
    assert over.summary().forecast is None, "no run goes on"


def test_the_present_of_a_run_that_is_over_or_another_is_none(manifest: Path) -> None:
    import asyncio

    waits = [{"step": "submit", "jobs": 2, "why": "so"}]
    said = {"run": "r1", "paused": True, "waits": waits, "stalls": ["the provider is not reachable"]}
    with begin(manifest) as run:
        asyncio.run(run.learn(present.NOW, said))
        wait = present.Wait(step="submit", jobs=2, why="so")
        told = present.Now(is_paused=True, waits=(wait,), stalls=("the provider is not reachable",))
        assert present.read(run) == told
        for other in ({"run": "r0", "paused": True, "waits": []}, {"run": "r1", "waits": "rubbish"}):
            asyncio.run(run.learn(present.NOW, other))
            assert present.read(run) == present.Now()
        run.end_run(at=9.0, exit_code=0)
        assert present.read(run) is None
