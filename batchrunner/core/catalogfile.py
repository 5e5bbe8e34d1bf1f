"""The shape of the catalogue file, of a person's corrections to it, and what must agree across it.

A correction is written like the catalogue itself, under the same keys, with only what differs in it; where its
figures are from is its own name, so it has no `source`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import re
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from batchrunner.core import explain, findings, yamltext
from batchrunner.core.problem import Problem

Path: TypeAlias = tuple[str | int, ...]

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


def _dollars(value: str) -> str:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) or not value.strip("0."):
        raise PydanticCustomError("no_price", 'a price is an amount above zero, in quotes, as "0.0012"')
    return value


Dollars = Annotated[str, AfterValidator(_dollars)]
Words = Annotated[list[str], Field(min_length=1)]
Ratios = list[Annotated[str, Field(pattern=r"^[1-9][0-9]*:[1-9][0-9]*$")]]

LEFT_OUT: Any = None


class Block(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


# --- the file --------------------------------------------------------------------------------------------------------


class Origin(Block):
    title: str
    as_of: str


class Figure(Block):
    value: Positive
    source: str


class Uploads(Block):
    source: str
    video_extensions: Words
    image_extensions: Words
    max_bytes: dict[str, Positive]


class Band(Block):
    first: Positive
    last: Positive | None
    usd: dict[str, Dollars]


class UsagePrices(Block):
    source: str
    bands: list[Band]


class Subscription(Block):
    usd: Dollars
    usd_paid_yearly: Dollars
    credits: Positive


class Pack(Block):
    credits: Positive
    usd: Dollars


class Subscriptions(Block):
    source: str
    monthly: dict[str, Subscription]
    packs: list[Pack]


class ForcedVersions(Block):
    source: str
    by_art_style: dict[str, str]


class FrameCredits(Block):
    source: str
    per_frame: Positive
    hold_fps: Positive


class LongestEdge(Block):
    source: str
    by_tier: dict[str, Positive]


class VideoToVideo(Block):
    source: str
    video_sources: Words
    fps_resolutions: Words
    style_versions: Words
    prompt_types: Words
    style_models: Words
    art_styles: Words
    forced_versions: ForcedVersions
    credits: FrameCredits
    longest_edge: LongestEdge
    median_seconds: Figure


class Range(Block):
    first: Positive = Field(alias="from")
    last: Positive = Field(alias="to")


def _form(value: Any) -> str:
    return explain.FORM + ("list" if isinstance(value, list) else "range")


Lengths = Annotated[
    Annotated[Range, Tag(explain.FORM + "range")] | Annotated[list[Positive], Tag(explain.FORM + "list")],
    Discriminator(_form),
]
"""Whole seconds, as a range or as a list."""


class Defaults(Block):
    source: str
    model: dict[str, str]
    resolution: dict[str, str]


class Deprecated(Block):
    source: str
    high_quality: dict[Literal["true", "false"], str]
    quality_mode: dict[str, str]


class ImageToVideo(Block):
    source: str
    seconds: Range
    resolutions: Words
    defaults: Defaults
    deprecated: Deprecated
    median_seconds: Figure


class Alias(Block):
    leads_to: str
    implies_audio: bool
    source: str


class ModelLimits(Block):
    source: str
    seconds: Lengths
    resolutions: Words
    audio: bool
    end_image: list[str]
    end_image_max_seconds: Positive | None = None
    aspect_ratios: Ratios = Field(default_factory=list)


class Rates(Block):
    source: str | None
    credits_per_second: dict[str, Positive | None]
    audio_surcharge: dict[str, Count] = Field(default_factory=dict)
    audio_multiplier: Positive = 1


class Model(Block):
    status: Literal["current", "undescribed", "legacy"]
    limits: ModelLimits
    rates: Rates
    output_fps: Figure | None = None


class File(Block):
    version: Literal[1]
    as_of: str
    sources: dict[str, Origin]
    tiers: Words
    uploads: Uploads
    usage_prices: UsagePrices
    subscriptions: Subscriptions
    video_to_video: VideoToVideo
    image_to_video: ImageToVideo
    aliases: dict[str, Alias]
    models: dict[str, Model]


# --- a correction ----------------------------------------------------------------------------------------------------


class UploadsPatch(Block):
    video_extensions: Words = LEFT_OUT
    image_extensions: Words = LEFT_OUT
    max_bytes: dict[str, Positive] = LEFT_OUT


class UsagePricesPatch(Block):
    bands: Annotated[list[Band], Field(min_length=1)]


class SubscriptionsPatch(Block):
    monthly: dict[str, Subscription] = LEFT_OUT
    packs: list[Pack] = LEFT_OUT


class FigurePatch(Block):
    value: Positive


class ForcedVersionsPatch(Block):
    by_art_style: dict[str, str]


class FrameCreditsPatch(Block):
    per_frame: Positive = LEFT_OUT
    hold_fps: Positive = LEFT_OUT


class LongestEdgePatch(Block):
    by_tier: dict[str, Positive]


class VideoToVideoPatch(Block):
    style_versions: Words = LEFT_OUT
    style_models: Words = LEFT_OUT
    art_styles: Words = LEFT_OUT
    forced_versions: ForcedVersionsPatch = LEFT_OUT
    credits: FrameCreditsPatch = LEFT_OUT
    longest_edge: LongestEdgePatch = LEFT_OUT
    median_seconds: FigurePatch = LEFT_OUT


class DefaultsPatch(Block):
    model: dict[str, str] = LEFT_OUT
    resolution: dict[str, str] = LEFT_OUT


class ImageToVideoPatch(Block):
    seconds: Range = LEFT_OUT
    resolutions: Words = LEFT_OUT
    defaults: DefaultsPatch = LEFT_OUT
    median_seconds: FigurePatch = LEFT_OUT


class AliasPatch(Block):
    leads_to: str = LEFT_OUT
    implies_audio: bool = LEFT_OUT


class ModelLimitsPatch(Block):
    seconds: Lengths = LEFT_OUT
    resolutions: Words = LEFT_OUT
    audio: bool = LEFT_OUT
    end_image: list[str] = LEFT_OUT
    end_image_max_seconds: Positive | None = LEFT_OUT
    aspect_ratios: Ratios = LEFT_OUT


class RatesPatch(Block):
    credits_per_second: dict[str, Positive | None] = LEFT_OUT
    audio_surcharge: dict[str, Count] = LEFT_OUT
    audio_multiplier: Positive = LEFT_OUT


class ModelPatch(Block):
    status: Literal["current", "undescribed", "legacy"] = LEFT_OUT
    limits: ModelLimitsPatch = LEFT_OUT
    rates: RatesPatch = LEFT_OUT
    output_fps: FigurePatch = LEFT_OUT


class Patch(Block):
    version: Literal[1]
    as_of: str = LEFT_OUT
    uploads: UploadsPatch = LEFT_OUT
    usage_prices: UsagePricesPatch = LEFT_OUT
    subscriptions: SubscriptionsPatch = LEFT_OUT
    video_to_video: VideoToVideoPatch = LEFT_OUT
    image_to_video: ImageToVideoPatch = LEFT_OUT
    aliases: dict[str, AliasPatch] = LEFT_OUT
    models: dict[str, ModelPatch] = LEFT_OUT


ADDED_TO: frozenset[Path] = frozenset(
    {
        ("uploads", "video_extensions"),
        ("uploads", "image_extensions"),
        ("video_to_video", "style_versions"),
        ("video_to_video", "style_models"),
        ("video_to_video", "art_styles"),
        ("image_to_video", "resolutions"),
    }
)
"""Lists that a correction adds to; every other list it replaces."""


# --- what must agree -------------------------------------------------------------------------------------------------


class _Reference(NamedTuple):
    """A word that must be one of others: where it stands, as a key or as a value, and what those are."""

    path: Path
    word: str
    among: Iterable[str]
    meant: str


def inconsistencies(written: File, node: yamltext.Node) -> Iterator[Problem]:
    """Yield what does not agree across a catalogue; `node` is the text to point at, which may be a correction."""
    for path, word, among, meant in _references(written, node):
        if word not in among:
            said = f"{yamltext.quoted(word)} is not {meant}"
            yield _problem(node, path, "unlisted", said, findings.did_you_mean(word, tuple(among)))
    for name in written.aliases.keys() & written.models.keys():
        yield _problem(node, ("aliases", name), "conflict", f"{yamltext.quoted(name)} is a model and an alias")
    expected: int | None = 1
    for index, band in enumerate(written.usage_prices.bands):
        at = ("usage_prices", "bands", index, "first")
        if band.first != expected:
            yield _problem(
                node, at, "out-of-range", "each band begins with the credit after the last of the one before"
            )
        expected = band.last + 1 if band.last else None
    if expected is not None:
        yield _problem(node, ("usage_prices", "bands"), "out-of-range", "the last band has no end: last: null")


def _references(written: File, node: yamltext.Node) -> Iterator[_Reference]:
    video, image = written.video_to_video, written.image_to_video
    for path, name in _named_sources(node, ()):
        yield _Reference(path, name, written.sources, "one of the sources")
    for style, version in video.forced_versions.by_art_style.items():
        at = ("video_to_video", "forced_versions", "by_art_style", style)
        yield _Reference(at, style, video.art_styles, "an art style")
        yield _Reference(at, version, video.style_versions, "a version of a style")
    for tier, name in image.defaults.model.items():
        yield _Reference(("image_to_video", "defaults", "model", tier), name, written.models, "a model")
    for tier, name in image.defaults.resolution.items():
        at = ("image_to_video", "defaults", "resolution", tier)
        yield _Reference(at, name, image.resolutions, "a resolution")
    for name, alias in written.aliases.items():
        yield _Reference(("aliases", name, "leads_to"), alias.leads_to, written.models, "a model")
    yield from _tier_references(written)
    for name, model in written.models.items():
        yield from _model_references(name, model, image.resolutions)


def _tier_references(written: File) -> Iterator[_Reference]:
    video, image = written.video_to_video, written.image_to_video
    by_tier: list[tuple[Path, Iterable[str]]] = [
        (("uploads", "max_bytes"), written.uploads.max_bytes),
        (("subscriptions", "monthly"), written.subscriptions.monthly),
        (("video_to_video", "longest_edge", "by_tier"), video.longest_edge.by_tier),
        (("image_to_video", "defaults", "model"), image.defaults.model),
        (("image_to_video", "defaults", "resolution"), image.defaults.resolution),
        *((("usage_prices", "bands", index, "usd"), band.usd) for index, band in enumerate(written.usage_prices.bands)),
    ]
    for path, tiers in by_tier:
        for tier in tiers:
            yield _Reference((*path, tier), tier, written.tiers, "a plan")


def _model_references(name: str, model: Model, resolutions: Iterable[str]) -> Iterator[_Reference]:
    limits, rates = ("models", name, "limits"), ("models", name, "rates")
    own = model.limits.resolutions
    for index, resolution in enumerate(own):
        yield _Reference((*limits, "resolutions", index), resolution, resolutions, "a resolution")
    for index, resolution in enumerate(model.limits.end_image):
        yield _Reference((*limits, "end_image", index), resolution, own, f"a resolution of {name}")
    for key, figures in (
        ("credits_per_second", model.rates.credits_per_second),
        ("audio_surcharge", model.rates.audio_surcharge),
    ):
        for resolution in figures:
            yield _Reference((*rates, key, resolution), resolution, own, f"a resolution of {name}")


def _named_sources(node: yamltext.Node, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield every `source:` that names one, with its path."""
    if isinstance(node, yamltext.MapNode):
        for key, entry in node.entries.items():
            if key == "source" and isinstance(entry.node, yamltext.ScalarNode):
                if isinstance(entry.node.value, str):
                    yield (*path, key), entry.node.value
            else:
                yield from _named_sources(entry.node, (*path, key))


def _problem(node: yamltext.Node, path: Path, code: str, message: str, hint: str | None = None) -> Problem:
    place = yamltext.place_of(yamltext.locate(node, path))
    return Problem(place=place, code=code, message=message, path=explain.joined("", path), hint=hint)
