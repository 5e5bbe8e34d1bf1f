import json
from typing import Any

import pytest

from batchrunner.core import drift
from batchrunner.core.drift import Match
from batchrunner.core.job import Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.spec import Spec
from tests.core.case_text import CATALOG


def attempt(
    request: dict[str, Any],
    *,
    kind: Kind = Kind.IMAGE_TO_VIDEO,
    state: State = State.DONE,
    seconds: float = 5,
    held: int | None = None,
    charged: int | None = None,
) -> Job:
    spec = Spec(kind=kind, request=json.dumps(request), inputs=(), output="a.mp4", seconds=seconds, fingerprint="0")
    return Job(
        id="a", kind=kind, attempt=1, state=state, spec=spec, opened_at=0, updated_at=0, held=held, charged=charged
    )


def still(model: str | None = "kling-3.0", resolution: str | None = "720p", **more: Any) -> dict[str, Any]:
    given = {"model": model, "resolution": resolution, "end_seconds": 5, **more}
    return {key: value for key, value in given.items() if value is not None}


def rows_of(*attempts: Job) -> tuple[drift.Row, ...]:
    charges = (drift.charge_of(each, CATALOG) for each in attempts)
    return drift.compare(charge for charge in charges if charge is not None)


def test_what_is_charged_as_published_is_equal() -> None:
    (row,) = rows_of(attempt(still(), charged=240), attempt(still(), charged=480, seconds=10))
    assert (row.match, row.count, row.different, row.credits, row.table) == (Match.EQUAL, 2, 0, 720, 720)
    assert row.per_second == row.table_per_second == (48.0, 48.0)


def test_a_charge_that_is_not_the_tables_is_named() -> None:
    (row,) = rows_of(attempt(still(), charged=240), attempt(still(), charged=250))
    assert (row.match, row.different, row.credits, row.table) == (Match.DIFFERENT, 1, 490, 480)
    assert row.per_second == (48.0, 50.0)


def test_audio_and_resolution_are_groups_of_their_own_and_differences_come_first() -> None:
    rows = rows_of(
        attempt(still(), charged=240),
        attempt(still(), charged=240),
        attempt(still(audio=True), charged=360),
        attempt(still(resolution="1080p"), charged=300),
    )
    assert [(row.resolution, row.audio, row.match) for row in rows] == [
        ("1080p", False, Match.DIFFERENT),
        ("720p", False, Match.EQUAL),
        ("720p", True, Match.EQUAL),
    ]


@pytest.mark.parametrize(
    ("request_body", "charged", "match"),
    [
        (still(model="ltx-2.5", resolution="480p"), 120, Match.NOT_IN_TABLE),
        (still(model="tomorrow-1"), 120, Match.NOT_IN_TABLE),
        (still(model="veo3.1-audio", end_seconds=4), 600, Match.EQUAL),
        # What the default leads to depends on the plan; the price of the free one is not published.
        (still(model=None, resolution=None), 240, Match.EQUAL),
        (still(model=None, resolution=None), 120, Match.NOT_IN_TABLE),
        (still(resolution=None, style={"quality_mode": "studio"}), 360, Match.EQUAL),
    ],
)
def test_what_has_no_published_figure_is_no_difference(request_body: Any, charged: int, match: Match) -> None:
    (row,) = rows_of(attempt(request_body, charged=charged))
    assert row.match is match
    assert (row.table is None) == (match is Match.NOT_IN_TABLE)


@pytest.mark.parametrize(
    ("rendered", "seconds", "held", "match"),
    [
        ("FULL", 5, 300, Match.EQUAL),
        ("HALF", 5, 150, Match.EQUAL),
        (None, 5, 150, Match.EQUAL),
        ("HALF", 0.55, 17, Match.EQUAL),
        ("HALF", 5, 300, Match.DIFFERENT),
    ],
)
def test_video_is_compared_by_what_was_held(rendered: str | None, seconds: float, held: int, match: Match) -> None:
    body = {"style": {"art_style": "Ink", "version": "v2"}} | ({"fps_resolution": rendered} if rendered else {})
    job = attempt(body, kind=Kind.VIDEO_TO_VIDEO, seconds=seconds, held=held, charged=held // 2)
    (row,) = rows_of(job)
    assert (row.model, row.resolution, row.match) == ("v2", rendered or "HALF", match)


def test_what_failed_counts_by_what_it_was_charged_before_it_was_paid_back() -> None:
    (row,) = rows_of(attempt(still(), state=State.FAILED, held=240, charged=0))
    assert (row.match, row.credits) == (Match.EQUAL, 240)


@pytest.mark.parametrize(
    ("state", "held", "charged"), [(State.READY, None, None), (State.FAILED, None, 0), (State.UNCERTAIN, None, None)]
)
def test_what_was_never_charged_is_not_compared(state: State, held: int | None, charged: int | None) -> None:
    assert rows_of(attempt(still(), state=state, held=held, charged=charged)) == ()
