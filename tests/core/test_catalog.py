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
        ('creator: "0.001200"', 'creator: "0"', "bad-value", "usage_prices.bands[0].usd.creator"),
        ('creator: "0.001200"', 'creator: "0.00"', "bad-value", "usage_prices.bands[0].usd.creator"),
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


# --- sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("models", "kling-3.0", "rates", "credits_per_second", "720p"), "models"),
        (("models", "ltx-2.5", "rates", "credits_per_second", "720p"), "benchmark"),
        (("models", "wan-3.0", "rates", "credits_per_second", "720p"), None),
        (("models", "kling-3.0", "limits", "seconds"), "sdk"),
        (("models", "kling-3.0", "output_fps", "value"), "benchmark"),
        (("models", "kling-2.6", "output_fps", "value"), None),
        (("aliases", "seedance", "leads_to"), "changelog"),
        (("uploads", "max_bytes", "free"), "inputs"),
        (("usage_prices", "bands", 0, "usd", "pro"), "prices"),
        (("subscriptions", "packs"), "plans"),
        (("video_to_video", "credits", "per_frame"), "models"),
        (("video_to_video", "median_seconds", "value"), "medians"),
        (("video_to_video", "art_styles"), "openapi"),
        (("image_to_video", "defaults", "model", "free"), "sdk"),
    ],
)
def test_every_figure_leads_to_its_source(path: tuple[str | int, ...], expected: str | None) -> None:
    assert CATALOG.source_of(*path) == expected
    assert expected is None or CATALOG.origins[expected].as_of


def test_every_figure_of_the_file_has_a_source_unless_nobody_published_it() -> None:
    def leaves(node: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(node, dict):
            for key, value in node.items():
                yield from leaves(value, (*path, key))
        elif node is not None:
            yield path

    unsourced = {
        path[0]
        for path in leaves(CATALOG.written, ())
        if CATALOG.source_of(*path) is None and "audio_multiplier" not in path
    }
    # The file's own head, the names of the plans, and what a model is said to be.
    assert unsourced == {"version", "as_of", "sources", "tiers", "models"}
    assert {
        path[2]
        for path in leaves(CATALOG.written["models"], ("models",))
        if CATALOG.source_of(*path) is None and CATALOG.models[str(path[1])].rate_source
    } == {"status"}


def test_packs_are_told() -> None:
    assert [(pack.credits, int(pack.usd)) for pack in CATALOG.packs] == [(4000, 10), (12000, 30), (32000, 80)]


# --- corrections -----------------------------------------------------------------------------------------------------


def merged(text: str, base: catalog.Catalog = CATALOG, source: str = "ours.yaml") -> catalog.Catalog:
    return catalog.merge(base, catalog.parse_catalog_patch(f"version: 1\n{text}", source=source))


def problems_in(text: str) -> list[tuple[int, int, str, str, str | None]]:
    with pytest.raises(ManifestError) as caught:
        merged(text)
    return [(each.place.line - 1, each.place.column, each.code, each.path, each.hint) for each in caught.value.problems]


def test_a_correction_of_nothing_changes_nothing() -> None:
    found = merged("")
    assert found.models == CATALOG.models
    assert found.art_styles == CATALOG.art_styles
    assert found.price_bands == CATALOG.price_bands


def test_a_rate_is_corrected_and_only_that_one_has_the_file_as_its_source() -> None:
    found = merged(
        'as_of: "2026-11-01"\n'
        "models: {kling-3.0: {rates: {credits_per_second: {720p: 50}, audio_surcharge: {720p: 30}}}}"
    )
    model = found.models["kling-3.0"]
    assert model.rates == {"720p": 50, "1080p": 72, "4k": 240}
    assert model.credits_per_second(resolution="720p", audio=True) == 80
    rates = ("models", "kling-3.0", "rates", "credits_per_second")
    assert found.source_of(*rates, "720p") == "ours.yaml"
    assert found.source_of(*rates, "1080p") == "models"
    assert found.origins["ours.yaml"] == catalog.Origin(title="ours.yaml", as_of="2026-11-01")
    assert CATALOG.models["kling-3.0"].rates["720p"] == 48, "the catalogue itself stays as it is"
    assert "ours.yaml" not in CATALOG.origins


def test_a_rate_that_nobody_published_can_be_given_and_taken_away() -> None:
    found = merged("models: {wan-3.0: {rates: {credits_per_second: {720p: 60}}}}")
    assert found.models["wan-3.0"].rates == {"480p": None, "720p": 60, "1080p": None}
    assert found.models["wan-3.0"].rate_source == "ours.yaml"
    gone = merged("models: {wan-3.0: {rates: {credits_per_second: {720p: null}}}}", found, "theirs.yaml")
    assert gone.models["wan-3.0"].rates["720p"] is None


def test_an_alias_follows_what_its_model_became() -> None:
    found = merged("models: {seedance-1.5: {rates: {credits_per_second: {720p: 1}, audio_multiplier: 3}}}")
    assert found.models["seedance"].credits_per_second(resolution="720p", audio=True) == 3


NEW = """\
models:
  kling-9:
    limits: {seconds: {from: 1, to: 20}, resolutions: [720p, 8k], audio: true, end_image: [], aspect_ratios: ["1:1"]}
    rates: {credits_per_second: {720p: 99}}
    output_fps: {value: 60}
image_to_video: {resolutions: [8k], defaults: {model: {pro: kling-9}}}
aliases: {kling-next: {leads_to: kling-9, implies_audio: true}, seedance: {leads_to: seedance-2.0}}
"""


def test_a_model_and_its_names_can_be_added() -> None:
    found = merged(NEW)
    model = found.models["kling-9"]
    assert (model.status, model.rates, model.output_fps) == ("current", {"720p": 99, "8k": None}, 60)
    assert model.aspect_ratios == ("1:1",)
    assert found.resolutions == (*CATALOG.resolutions, "8k")
    assert found.resolve_model("default", audio=False, tier="pro") == catalog.ResolvedModel(
        model=model, audio=False, asked="default"
    )
    assert found.models["kling-next"].implies_audio
    assert found.models["seedance"].leads_to == "seedance-2.0"
    assert found.source_of("aliases", "seedance", "leads_to") == "ours.yaml"
    assert found.source_of("models", "kling-9", "limits", "seconds") == "ours.yaml"
    assert found.source_of("image_to_video", "defaults", "model", "free") == "sdk"


def test_a_model_without_rates_is_unpriced() -> None:
    found = merged("models: {m: {limits: {seconds: [5], resolutions: [720p], audio: false, end_image: []}}}")
    assert found.models["m"].rates == {"720p": None}
    assert found.models["m"].rate_source is None


def test_styles_are_added_and_figures_of_video_are_corrected() -> None:
    found = merged(
        "video_to_video: {art_styles: [Fresco, Ink], forced_versions: {by_art_style: {Fresco: v1}},"
        " credits: {per_frame: 3}, median_seconds: {value: 600}}"
    )
    assert found.art_styles == (*CATALOG.art_styles, "Fresco")
    assert found.forced_versions == {"Studio Ghibli": "v2", "Fresco": "v1"}
    assert (found.video_credits_per_frame, found.video_hold_fps) == (3, 30)
    assert found.median_seconds[Kind.VIDEO_TO_VIDEO] == 600
    assert found.source_of("video_to_video", "art_styles", "Fresco") == "ours.yaml"
    assert found.source_of("video_to_video", "art_styles", "Clay") == "openapi"
    assert found.source_of("video_to_video", "credits", "per_frame") == "ours.yaml"
    assert found.source_of("video_to_video", "credits", "hold_fps") == "models"


def test_prices_in_dollars_are_replaced() -> None:
    found = merged(
        'usage_prices: {bands: [{first: 1, last: null, usd: {pro: "0.001"}}]}\nuploads: {max_bytes: {free: 5}}'
    )
    assert [(band.first, band.last, band.usd_per_credit) for band in found.price_bands] == [
        (1, None, {"pro": Decimal("0.001")})
    ]
    assert found.max_upload_bytes_by_tier == {**CATALOG.max_upload_bytes_by_tier, "free": 5}
    assert found.source_of("usage_prices", "bands") == "ours.yaml"


def test_a_resolution_that_is_gone_takes_its_figures_with_it() -> None:
    found = merged("models: {kling-3.0: {limits: {resolutions: [1080p]}}}")
    assert found.models["kling-3.0"].rates == {"1080p": 72}
    assert found.models["kling-3.0"].end_image_resolutions == ("1080p",)


def test_the_later_of_two_corrections_holds() -> None:
    first = merged("models: {kling-3.0: {rates: {credits_per_second: {720p: 50, 1080p: 60}}}}")
    both = merged("models: {kling-3.0: {rates: {credits_per_second: {720p: 70}}}}", first, "theirs.yaml")
    rates = ("models", "kling-3.0", "rates", "credits_per_second")
    assert both.models["kling-3.0"].rates == {"720p": 70, "1080p": 60, "4k": 240}
    assert [both.source_of(*rates, each) for each in ("720p", "1080p", "4k")] == ["theirs.yaml", "ours.yaml", "models"]


LIMITS = "limits: {seconds: [5], resolutions: [720p], audio: false, end_image: []}"


@pytest.mark.parametrize(
    ("text", "column", "code", "path", "hint"),
    [
        ("modles: {}", 1, "unknown-key", "modles", "did you mean models?"),
        ("models: {kling-3.0: {ratse: {}}}", 22, "unknown-key", "models.kling-3.0.ratse", "did you mean rates?"),
        (
            "models: {kling-3.0: {limits: {seconds: {form: 3, to: 9}}}}",
            41,
            "unknown-key",
            "models.kling-3.0.limits.seconds.form",
            "did you mean from?",
        ),
        ("models: {kling-3.0: {rates: {source: sdk}}}", 30, "unknown-key", "models.kling-3.0.rates.source", None),
        (
            "models: {kling-30: {rates: {credits_per_second: {720p: 1}}}}",
            10,
            "unlisted",
            "models.kling-30",
            "did you mean kling-3.0?",
        ),
        ("models: {seedance: {status: legacy}}", 10, "unlisted", "models.seedance", None),
        (
            "models: {kling-3.0: {rates: {credits_per_second: {720: 1}}}}",
            51,
            "unlisted",
            "models.kling-3.0.rates.credits_per_second.720",
            "did you mean 720p?",
        ),
        (
            "models: {kling-3.0: {rates: {credits_per_second: {720p: fifty}}}}",
            57,
            "wrong-type",
            "models.kling-3.0.rates.credits_per_second.720p",
            None,
        ),
        (
            "models: {kling-3.0: {rates: {credits_per_second: {720p: 1.5}}}}",
            57,
            "wrong-type",
            "models.kling-3.0.rates.credits_per_second.720p",
            None,
        ),
        (
            "models: {kling-3.0: {limits: {seconds: long}}}",
            40,
            "wrong-type",
            "models.kling-3.0.limits.seconds",
            None,
        ),
        (
            f"models: {{m: {{{LIMITS.replace('720p', '7200p')}}}}}",
            51,
            "unlisted",
            "models.m.limits.resolutions[0]",
            None,
        ),
        ("models: {m: {limits: {seconds: [5], resolutions: [720p]}}}", 14, "missing", "models.m.limits.audio", None),
        ("aliases: {x: {leads_to: kling-31}}", 15, "unlisted", "aliases.x.leads_to", "did you mean kling-3.0?"),
        ("aliases: {kling-3.0: {leads_to: sora-2}}", 11, "conflict", "aliases.kling-3.0", None),
        ("aliases: {x: {implies_audio: true}}", 11, "missing", "aliases.x.leads_to", None),
        ("uploads: {max_bytes: {por: 5}}", 23, "unlisted", "uploads.max_bytes.por", "did you mean pro?"),
        (
            "image_to_video: {defaults: {resolution: {pro: 720}}}",
            47,
            "wrong-type",
            "image_to_video.defaults.resolution.pro",
            None,
        ),
        (
            "video_to_video: {forced_versions: {by_art_style: {Inc: v2}}}",
            51,
            "unlisted",
            "video_to_video.forced_versions.by_art_style.Inc",
            "did you mean Ink?",
        ),
        (
            'usage_prices: {bands: [{first: 1, last: 9, usd: {pro: "1"}}, {first: 11, last: null, usd: {}}]}',
            63,
            "out-of-range",
            "usage_prices.bands[1].first",
            None,
        ),
        (
            'usage_prices: {bands: [{first: 1, last: 9, usd: {pro: "1"}}]}',
            16,
            "out-of-range",
            "usage_prices.bands",
            None,
        ),
    ],
)
def test_a_correction_that_does_not_fit_is_a_problem_with_its_place(
    text: str, column: int, code: str, path: str, hint: str | None
) -> None:
    (found,) = [each for each in problems_in(text) if each[3] == path]
    assert found[:3] == (1, column, code)
    assert hint is None or hint in (found[4] or "")


def test_a_correction_needs_its_version() -> None:
    with pytest.raises(ManifestError, match="version is missing"):
        catalog.parse_catalog_patch("models: {}", source="ours.yaml")
    with pytest.raises(ManifestError, match="nothing in this file"):
        catalog.parse_catalog_patch("# nothing\n", source="ours.yaml")
