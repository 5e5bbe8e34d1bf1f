import json
from typing import Any

import pytest

from batchrunner.core import expand, footage
from batchrunner.core.facts import Facts
from batchrunner.core.inputs import Inspected
from batchrunner.core.problem import Problem, Severity
from batchrunner.errors import ManifestError
from tests.core.case_text import CATALOG, facts as all_there, parse

MB = 1_000_000


def jobs_of(*jobs: dict[str, Any]) -> tuple[expand.ResolvedJob, ...]:
    read = parse(json.dumps({"version": 1, "jobs": jobs}))
    return expand.expand(read, files=all_there(read))


def clip(**more: Any) -> dict[str, Any]:
    return {"id": "a", "kind": "video-to-video", "style": {"art_style": "Ink"}, "input": "a.mp4", **more}


def still(**more: Any) -> dict[str, Any]:
    return {"id": "b", "kind": "image-to-video", "end_seconds": 5, "input": "a.png", **more}


def seen(
    name: str = "a.mp4",
    *,
    size: int = 1000,
    seconds: float | None = 2.5,
    fps: float | None = 24.0,
    width: int = 640,
    height: int = 360,
) -> dict[str, Inspected]:
    found = Facts(width=width, height=height, codec="x", seconds=seconds, fps=fps)
    return {name: Inspected(path=name, size=size, modified_ns=1, sha256="0" * 64, facts=found)}


def refused(
    jobs: tuple[expand.ResolvedJob, ...], found: dict[str, Inspected], tier: str | None = None
) -> tuple[Problem, ...]:
    jobs = expand.with_ends(jobs, found)
    with pytest.raises(ManifestError) as caught:
        footage.check(jobs, found, CATALOG, tier=tier)
    return caught.value.problems


def passes(jobs: tuple[expand.ResolvedJob, ...], found: dict[str, Inspected], tier: str | None = None) -> None:
    assert footage.check(expand.with_ends(jobs, found), found, CATALOG, tier=tier) == ()


def test_each_file_is_wanted_once_from_where_it_stands_first() -> None:
    jobs = jobs_of(
        clip(end_seconds=1), {**clip(end_seconds=2), "id": "c"}, still(assets={"end_image_file_path": "z.png"})
    )
    wanted = footage.wanted(jobs)
    assert [(each.name, each.media, each.path) for each in wanted] == [
        ("a.mp4", "video", "jobs[0].assets.video_file_path"),
        ("a.png", "image", "jobs[2].assets.image_file_path"),
        ("z.png", "image", "jobs[2].assets.end_image_file_path"),
    ]
    assert wanted[0].place == jobs[0].places["video_file_path"]


def test_what_is_not_local_is_not_wanted() -> None:
    assert footage.wanted(jobs_of(still(input="https://example.com/a.png"))) == ()


@pytest.mark.parametrize(
    ("start", "end", "fps"),
    [(0, 2.5, 24.0), (0, 2.52, 24.0), (2.4, 2.5, 24.0), (0, 2.5, None), (0, "end", 24.0), (2.0, "end", 24.0)],
)
def test_a_range_within_the_clip_and_half_a_picture_passes(start: float, end: Any, fps: float | None) -> None:
    passes(jobs_of(clip(start_seconds=start, end_seconds=end)), seen(fps=fps))


@pytest.mark.parametrize(
    ("start", "end", "fps", "field", "said"),
    [
        (0, 2.6, 24.0, "end_seconds", "end_seconds is 2.6, but the clip is only 2.500 seconds long"),
        (0, 2.53, 24.0, "end_seconds", "only 2.500 seconds"),
        (0, 2.501, None, "end_seconds", "only 2.500 seconds"),
        (2.5, 3, 24.0, "start_seconds", "start_seconds is 2.5, but the clip is only 2.500 seconds long"),
        (9, "end", 24.0, "start_seconds", "start_seconds is 9"),
    ],
)
def test_a_range_beyond_the_clip_is_an_error_at_its_place(
    start: float, end: Any, fps: float | None, field: str, said: str
) -> None:
    jobs = jobs_of(clip(start_seconds=start, end_seconds=end))
    (problem,) = refused(jobs, seen(fps=fps))
    assert (problem.code, problem.path, problem.place) == ("beyond-clip", f"jobs[0].{field}", jobs[0].places[field])
    assert said in problem.message


def test_a_clip_too_short_for_its_own_end_is_an_error() -> None:
    assert "too short" in refused(jobs_of(clip(end_seconds="end")), seen(seconds=0.04))[0].message
    found = refused(jobs_of(clip(start_seconds=2.4995, end_seconds="end")), seen(seconds=2.4999))
    assert "too short" in found[0].message


def test_a_clip_without_a_length_is_not_judged() -> None:
    passes(jobs_of(clip(end_seconds=99)), seen(seconds=None))


@pytest.mark.parametrize(
    ("size", "tier", "said", "hint"),
    [
        (200 * MB + 1, "free", "more than the 200 MB that the plan free takes", "creator or pro or business"),
        (2_000 * MB + 1, "creator", "more than the 2 GB", "pro or business would take it"),
        (5_000 * MB + 1, "pro", "more than the 5 GB", "business would take it"),
        (10_000 * MB + 1, "business", "more than the 10 GB", None),
        (10_000 * MB + 1, None, "more than the 10 GB that any plan takes", None),
        (10_000 * MB + 1, "a plan of tomorrow", "that any plan takes", None),
    ],
)
def test_a_file_above_the_plans_limit_is_an_error(size: int, tier: str | None, said: str, hint: str | None) -> None:
    jobs = jobs_of(clip(end_seconds=1))
    (problem,) = refused(jobs, seen(size=size), tier)
    assert (problem.code, problem.path) == ("too-large", "jobs[0].assets.video_file_path")
    assert problem.place == jobs[0].places["video_file_path"]
    assert said in problem.message
    assert (hint in (problem.hint or "")) if hint else problem.hint is None


@pytest.mark.parametrize(("size", "tier"), [(200 * MB, "free"), (200 * MB + 1, "pro"), (10_000 * MB, None)])
def test_a_file_within_the_limit_passes(size: int, tier: str | None) -> None:
    passes(jobs_of(clip(end_seconds=1)), seen(size=size), tier)


def test_everything_is_told_at_once() -> None:
    jobs = jobs_of(clip(end_seconds=9), {**clip(start_seconds=8, end_seconds=9), "id": "c"}, still())
    found = seen(size=201 * MB) | seen("a.png", size=300 * MB, seconds=None, fps=None)
    codes = [problem.code for problem in refused(jobs, found, "free")]
    assert sorted(codes) == ["beyond-clip", "beyond-clip", "too-large", "too-large", "too-large"]


@pytest.mark.parametrize(
    ("model", "width", "height", "warns"),
    [
        ("sora-2", 1920, 1080, False),
        ("sora-2", 1080, 1920, False),
        ("sora-2", 1366, 768, False),
        ("sora-2", 1000, 1000, True),
        ("kling-3.0", 1000, 1000, False),
    ],
)
def test_a_shape_the_model_was_not_documented_for_is_a_warning(
    model: str, width: int, height: int, *, warns: bool
) -> None:
    jobs = jobs_of(still(model=model, end_seconds=4, resolution="720p"))
    told = footage.check(jobs, seen("a.png", seconds=None, width=width, height=height), CATALOG, tier=None)
    assert [problem.severity for problem in told] == ([Severity.WARNING] if warns else [])


# --- what the account's plan chooses ---


@pytest.mark.parametrize(
    ("asked", "field", "said"),
    [
        ({"end_seconds": 2}, "end_seconds", "kling-3.0, renders 3 to 15 seconds, not 2"),
        ({"end_seconds": 2, "model": "default"}, "end_seconds", "kling-3.0, renders 3 to 15 seconds, not 2"),
        ({"resolution": "480p"}, "resolution", "kling-3.0, renders 720p, 1080p or 4k, not 480p"),
    ],
)
def test_what_the_model_of_the_plan_cannot_render_is_a_warning(asked: dict[str, Any], field: str, said: str) -> None:
    jobs, found = jobs_of(still(**asked)), seen("a.png", seconds=None, fps=None)
    [warning] = footage.check(jobs, found, CATALOG, tier="creator")
    assert (warning.severity, warning.path) == (Severity.WARNING, f"jobs[0].{field}")
    assert said in warning.message
    assert "the plan creator" in warning.message
    assert "name a model" in (warning.hint or "")
    assert warning.place.line == jobs[0].place.line
    for tier in ("free", None, "unheard of"):
        assert footage.check(jobs, found, CATALOG, tier=tier) == ()


def test_of_a_resolution_that_the_plan_chooses_nothing_is_said() -> None:
    """kling-3.0 has no 480p, which is what the plan free renders by default."""
    named = still(model="kling-3.0")
    assert CATALOG.default_resolution_by_tier["free"] == "480p"
    assert footage.check(jobs_of(named), seen("a.png", seconds=None, fps=None), CATALOG, tier="free") == ()
