"""What a run waits for before it begins, and what others can tell of it meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, time
from pathlib import Path

import pytest

from batchrunner import batch as batches, foresight, statelock, store, waiting, zones
from batchrunner.batch import Batch
from batchrunner.core import events, job as machine
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.window import ALWAYS, Hours
from batchrunner.errors import UsageError
from batchrunner.waiting import Asked, Doorstep, Waits
from tests.core.test_plan import spec

MANIFEST = """\
version: 1
window: {start: 22:00, stop: 06:00, timezone: Europe/Berlin}
jobs: [{id: a, kind: image-to-video, end_seconds: 5, model: kling-3.0, resolution: 720p, input: a.png}]
"""
NOON = datetime(2026, 6, 10, 12, tzinfo=zones.zone("Europe/Berlin")).timestamp()
HOUR = 3600.0


@pytest.fixture
def read(tmp_path: Path, media: Path) -> Batch:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    (tmp_path / "a.png").write_bytes((media / "a.png").read_bytes())
    return batches.read(tmp_path / "m.yaml")


NIGHT = Hours(opens_at=NOON + 10 * HOUR, stops_at=NOON + 18 * HOUR)


@pytest.mark.parametrize(
    ("asked", "hours"),
    [
        (Asked(), NIGHT),
        (Asked(start_at="now"), Hours(stops_at=NIGHT.stops_at)),
        (Asked(start_at=time(23)), replace(NIGHT, opens_at=NOON + 11 * HOUR)),
        (Asked(finish_by=time(7)), replace(NIGHT, finish_by=NOON + 19 * HOUR)),
        (Asked(stop_at=datetime(2026, 6, 11, 1, tzinfo=UTC)), replace(NIGHT, stops_at=NOON + 15 * HOUR)),
        (Asked(is_rehearsal=True), ALWAYS),
        (Asked(is_rehearsal=True, stop_at=time(13, tzinfo=None)), None),
    ],
)
def test_flags_stand_over_the_manifest(read: Batch, asked: Asked, hours: Hours | None) -> None:
    planned = waiting.planned(read, asked, now=NOON)
    assert planned.hours == (hours or Hours(stops_at=NOON + HOUR))
    assert planned.wait_for == ()


def test_flags_and_manifest_together_can_be_a_window_that_is_never_open(read: Batch) -> None:
    with pytest.raises(UsageError, match="never open"):
        waiting.planned(read, Asked(start_at=time(6)), now=NOON)


def test_what_is_waited_for_is_a_manifest_or_a_state_file(read: Batch, tmp_path: Path) -> None:
    named = waiting.planned(read, Asked(wait_for=(read.path, tmp_path / "m.yaml")), now=NOON).wait_for
    assert named == (store.path_for(read.path), store.path_for(read.path))
    with pytest.raises(UsageError, match=r"gone\.yaml"):
        waiting.planned(read, Asked(wait_for=(tmp_path / "gone.yaml",)), now=NOON)


def _rendering(opened: store.Store) -> Job:
    made = events.Opened(at=1.0, id="a", attempt=1, spec=spec())
    entries: list[tuple[Event, Job]] = []
    job: Job | None = None
    for event in (
        made,
        events.Uploaded(at=2.0, assets=()),
        events.SubmitStarted(at=3.0, name="m/a [1-x]"),
        events.Accepted(at=4.0, project_id="p", credits=1),
    ):
        job = machine.advance(job, event)
        entries.append((event, job))
    opened.append_now(entries)
    assert job is not None
    return job


def test_what_was_bought_is_collected_and_not_waited_with(read: Batch) -> None:
    told: list[str] = []
    with store.open_for_run(read.state, run_id="r", now=1.0) as opened:
        assert not waiting.has_bought(read.state)
        _rendering(opened)
    assert waiting.has_bought(read.state)
    far = Waits(hours=Hours(opens_at=4e9))
    asyncio.run(asyncio.wait_for(Doorstep(tell=told.append).wait(read, far), 30))
    assert told == []


def test_who_is_told_to_stop_waits_no_longer(read: Batch) -> None:
    told: list[str] = []
    far = Waits(hours=Hours(opens_at=4e9))
    asyncio.run(asyncio.wait_for(Doorstep(tell=told.append, hurries=lambda: True).wait(read, far), 30))
    assert told[0].startswith("buying begins at 2096-10-0")


def test_a_state_file_is_in_use_while_a_run_holds_it(read: Batch) -> None:
    assert not statelock.is_locked(read.state)
    assert list(read.root.glob("*.lock")) == [], "nothing is made by asking"
    with store.open_for_run(read.state, run_id="r", now=1.0):
        assert statelock.is_locked(read.state)
    assert not statelock.is_locked(read.state)


def test_the_times_of_a_run_are_told_with_their_day_where_that_is_another() -> None:
    noon = datetime(2026, 6, 10, 12, tzinfo=zones.MACHINE).timestamp()
    assert zones.time_words(noon + HOUR, noon) == "13:00"
    assert zones.time_words(noon + 13 * HOUR + 5, noon) == "2026-06-11 01:00:05"
    night = Hours(opens_at=noon + HOUR, stops_at=noon + 2 * HOUR, finish_by=noon + 3 * HOUR)
    assert waiting.words(night, noon) == [
        "buying begins at 13:00, in 1 h 0 min",
        "buying stops at 14:00",
        "only what is on disk by 15:00 is bought",
    ]
    assert waiting.words(night, noon + 2 * HOUR) == ["the window ended at 14:00: nothing is bought"]
    assert waiting.words(ALWAYS, noon) == []


# --- the forecast of a run that goes on ---


def test_while_a_run_goes_on_its_state_file_tells_when_it_is_done(read: Batch) -> None:
    noted = {
        "in_flight": 1,
        "per_kind": {},
        "per_model": {},
        "submits_per_minute": None,
        "buys": True,
        "opens_at": None,
        "stops_at": None,
        "finish_by": None,
    }
    with store.open_for_run(read.state, run_id="r", now=1.0) as opened:
        job = _rendering(opened)
        with store.open_to_read(read.state) as view:
            assert view is not None
            assert foresight.of_run(view, [job]) is None, "the run has noted nothing yet"
        asyncio.run(opened.learn(foresight.NIGHT, noted))
        with store.open_to_read(read.state) as view:
            assert view is not None
            made = foresight.of_run(view, [job], now=14.0)
            assert made is not None
            assert made.median_at > 14.0
            assert made.basis == "the provider's medians"
            assert foresight.of_run(view, []) is None
    with store.open_to_read(read.state) as view:
        assert view is not None
        assert foresight.of_run(view, [job]) is None, "no run goes on"
