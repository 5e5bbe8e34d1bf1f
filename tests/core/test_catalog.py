from decimal import Decimal
from typing import Any

import pytest

from batchrunner.core import catalog
from batchrunner.core.kind import Kind
from batchrunner.errors import ManifestError
from tests.core.case_text import CATALOG, CATALOG_TEXT


def problems_of(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(ManifestError) as caught:
        catalog.parse_catalog(text, source="c.yaml")
    return [(problem.place.line, problem.code, problem.path) for problem in caught.value.problems]


def line_of(part: str) -> int:
    return CATALOG_TEXT[: CATALOG_TEXT.index(part)].count("\n") + 1


def test_it_lists_what_the_provider_lists() -> None:
    assert len(CATALOG.art_styles) == len(set(CATALOG.art_styles)) == 75
    assert len(CATALOG.model_names) == 23
    assert CATALOG.resolutions == ("360p", "480p", "720p", "1080p", "4k")
    assert CATALOG.forced_versions == {"Studio Ghibli": "v2"}
    assert CATALOG.median_seconds == {Kind.VIDEO_TO_VIDEO: 772, Kind.IMAGE_TO_VIDEO: 74}
    assert CATALOG.video_extensions == ("mp4", "m4v", "mov", "webm")
    assert len(CATALOG.image_extensions) == 12
    assert CATALOG.max_upload_bytes_by_tier["free"] == 200_000_000


def test_video_is_held_at_thirty_frames_a_second() -> None:
    assert CATALOG.video_credits_per_second_full == 60


# api-reference/models.mdx (2026-08-22), credits per second of output.
@pytest.mark.parametrize(
    ("model", "resolution", "audio", "expected"),
    [
        ("kling-2.6", "720p", False, 36),
        ("kling-2.6", "1080p", False, 72),
        ("kling-2.6", "1080p", True, None),
        ("kling-3.0", "720p", False, 48),
        ("kling-3.0", "720p", True, 72),
        ("kling-3.0", "4k", True, 288),
        ("ltx-2.5", "720p", True, 48),
        ("ltx-2.5", "480p", False, None),
        ("seedance-1.5", "1080p", True, 180),
        ("seedance-2.5", "720p", True, 576),
        ("veo3.1", "1080p", True, 144),
        ("veo3.1-lite", "720p", False, 48),
        ("sora-2", "720p", False, 120),
        ("gemini-omni-1.1", "4k", False, None),
        ("veo3.1-audio", "720p", True, 120),
        ("sora-2", "1080p", False, None),
    ],
)
def test_credits_per_second_are_the_published_ones_or_none(
    model: str, resolution: str, audio: Any, expected: Any
) -> None:
    assert CATALOG.models[model].credits_per_second(resolution=resolution, audio=audio) == expected


@pytest.mark.parametrize(
    ("model", "takes", "refuses"),
    [("kling-2.6", (5, 10), (6, 15)), ("wan-2.2", (3, 10, 15), (2, 11, 5.5)), ("ltx-2.5", (1, 60, 7.0), (0, 61))],
)
def test_models_take_whole_seconds_of_their_list(
    model: str, takes: tuple[float, ...], refuses: tuple[float, ...]
) -> None:
    assert all(CATALOG.models[model].takes_seconds(seconds) for seconds in takes)
    assert not any(CATALOG.models[model].takes_seconds(seconds) for seconds in refuses)


@pytest.mark.parametrize(
    ("name", "tier", "expected", "audio"),
    [
        ("kling-3.0", None, "kling-3.0", False),
        ("veo3.1-audio", None, "veo3.1", True),
        ("kling-2.5", "pro", "kling-2.6", False),
        ("kling-2.5-audio", None, "kling-2.6", True),
        ("seedance", None, "seedance-1.5", False),
        ("default", "free", "ltx-2.5", False),
        ("default", "business", "kling-3.0", False),
    ],
)
def test_names_lead_to_the_model_that_renders(name: str, tier: str | None, expected: Any, audio: Any) -> None:
    resolved = CATALOG.resolve_model(name, audio=False, tier=tier)
    assert resolved is not None
    assert (resolved.model.name, resolved.audio, resolved.asked) == (expected, audio, name)


def test_unlisted_models_and_a_default_without_a_tier_lead_nowhere() -> None:
    assert CATALOG.resolve_model("kling-9", audio=False, tier="pro") is None
    assert CATALOG.resolve_model("default", audio=False, tier=None) is None


def test_the_default_may_lead_to_one_model_for_each_plan() -> None:
    assert [model.name for model in CATALOG.possible_models("default")] == ["ltx-2.5", "kling-3.0"]
    assert [model.name for model in CATALOG.possible_models("seedance")] == ["seedance-1.5"]
    assert CATALOG.possible_models("kling-9") == ()


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        ({}, None),
        ({"resolution": "4k"}, "4k"),
        ({"style": {"high_quality": True}}, "1080p"),
        ({"style": {"high_quality": False}}, "720p"),
        ({"style": {"quality_mode": "studio"}}, "1080p"),
        ({"style": {"quality_mode": "quick"}, "resolution": "480p"}, "480p"),
    ],
)
def test_a_resolution_can_be_asked_for_in_old_ways_too(request_body: dict[str, Any], expected: Any) -> None:
    assert CATALOG.asked_resolution(request_body) == expected


def test_price_bands_follow_each_other_without_a_gap() -> None:
    for band, following in zip(CATALOG.price_bands, CATALOG.price_bands[1:], strict=False):
        assert band.last is not None
        assert band.last == following.first - 1
    assert CATALOG.price_bands[0].first == 1
    assert CATALOG.price_bands[-1].last is None
    assert CATALOG.price_bands[0].usd_per_credit["creator"] == Decimal("0.001200")
    assert CATALOG.subscriptions["pro"].credits == 25_000


def test_every_source_has_a_date() -> None:
    assert all(origin.as_of.startswith("20") for origin in CATALOG.origins.values())
    assert {model.rate_source for model in CATALOG.models.values()} == {"models", "benchmark", None}


def test_a_rate_has_a_source_and_none_is_invented() -> None:
    for model in CATALOG.models.values():
        has_rate = any(rate is not None for rate in model.rates.values())
        assert has_rate == (model.rate_source is not None), model.name
        assert set(model.rates) == set(model.resolutions)


@pytest.mark.parametrize(
    ("old", "new", "code", "path"),
    [
        ("hold_fps: 30", "hold_fps: fast", "wrong-type", "video_to_video.credits.hold_fps"),
        ("hold_fps: 30", "hold_fps: 0", "out-of-range", "video_to_video.credits.hold_fps"),
        ("hold_fps: 30", "hold_pfs: 30", "unknown-key", "video_to_video.credits.hold_pfs"),
        ("source: plans", "source: plan", "unlisted", "subscriptions.source"),
        ("leads_to: seedance-1.5", "leads_to: seedance-1.6", "unlisted", "aliases.seedance.leads_to"),
        ("{free: ltx-2.5,", "{free: ltx-2.6,", "unlisted", "image_to_video.defaults.model.free"),
        ('creator: "0.001200"', 'creator: "a lot"', "bad-value", "usage_prices.bands[0].usd.creator"),
        ("{480p: 30, 720p: 60", "{48p: 30, 720p: 60", "unlisted", "models.seedance-1.5.rates.credits_per_second.48p"),
        ("per_frame: 2", "per_frame: 2\n    per_frame: 2", "duplicate-key", ""),
        ('as_of: "2026-09-12"', "as_of: 2026", "wrong-type", "as_of"),
    ],
)
def test_a_wrong_figure_is_a_problem_with_its_place(old: str, new: str, code: str, path: str) -> None:
    assert old in CATALOG_TEXT
    found = problems_of(CATALOG_TEXT.replace(old, new, 1))
    offset = new.count("\n")
    assert (line_of(old) + offset, code, path) in found


def test_a_file_that_is_no_catalogue_is_explained() -> None:
    assert problems_of("") == [(1, "empty", "")]
    assert problems_of("a: [") == [(1, "yaml-syntax", "")]
    assert problems_of("[]") == [(1, "wrong-type", "")]
