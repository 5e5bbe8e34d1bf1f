"""What the provider can do and what it costs, read from the catalogue file.

Every figure has its source and date in that file; what nobody published is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from batchrunner.core import explain, findings, yamltext
from batchrunner.core.kind import Kind
from batchrunner.core.problem import Problem

DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One value of `model` in an image-to-video request.

    An alias has `leads_to` set to the model that really renders; its limits and rates are that model's.
    `status` is `current`, `undescribed` (accepted, no longer described), `legacy` or `alias`.
    """

    name: str
    status: str
    durations: frozenset[int]
    resolutions: tuple[str, ...]
    audio_supported: bool
    end_image_resolutions: tuple[str, ...]
    end_image_max_seconds: int | None
    rates: Mapping[str, int | None]
    audio_surcharge: Mapping[str, int]
    audio_multiplier: int
    output_fps: int | None
    rate_source: str | None
    leads_to: str | None = None
    implies_audio: bool = False

    def takes_seconds(self, seconds: float) -> bool:
        return seconds in self.durations

    def credits_per_second(self, *, resolution: str, audio: bool) -> int | None:
        """Return credits per second of output; None where no figure is published."""
        rate = self.rates.get(resolution)
        if rate is None or not audio:
            return rate
        if not self.audio_supported:
            return None
        return rate * self.audio_multiplier + self.audio_surcharge.get(resolution, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """What a requested model comes down to on the provider's side; `model` is never an alias."""

    model: Model
    audio: bool
    asked: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBand:
    """Dollars for one credit, by tier, from the `first` to the `last` credit of a month (None: no end)."""

    first: int
    last: int | None
    usd_per_credit: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Dollars for a month, paid monthly or yearly, and the credits that come with it."""

    usd: Decimal
    usd_paid_yearly: Decimal
    credits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A source that figures of the catalogue name, and from when it is."""

    title: str
    as_of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The whole catalogue."""

    as_of: str
    origins: Mapping[str, Origin]
    tiers: tuple[str, ...]
    art_styles: tuple[str, ...]
    style_versions: tuple[str, ...]
    prompt_types: tuple[str, ...]
    style_models: tuple[str, ...]
    forced_versions: Mapping[str, str]
    fps_resolutions: tuple[str, ...]
    video_sources: tuple[str, ...]
    resolutions: tuple[str, ...]
    image_seconds_min: int
    image_seconds_max: int
    models: Mapping[str, Model]
    default_model_by_tier: Mapping[str, str]
    default_resolution_by_tier: Mapping[str, str]
    high_quality_resolutions: Mapping[bool, str]
    quality_mode_resolutions: Mapping[str, str]
    video_credits_per_frame: int
    video_hold_fps: int
    video_longest_edge_by_tier: Mapping[str, int]
    median_seconds: Mapping[Kind, int]
    video_extensions: tuple[str, ...]
    image_extensions: tuple[str, ...]
    max_upload_bytes_by_tier: Mapping[str, int]
    price_bands: tuple[PriceBand, ...]
    subscriptions: Mapping[str, Subscription]

    @property
    def video_credits_per_second_full(self) -> int:
        """Credits held per second of FULL video-to-video until it settles."""
        return self.video_credits_per_frame * self.video_hold_fps

    @property
    def model_names(self) -> tuple[str, ...]:
        """Return every value that a request's `model` may have."""
        return (DEFAULT, *self.models)

    @property
    def quality_modes(self) -> tuple[str, ...]:
        return tuple(self.quality_mode_resolutions)

    def resolve_model(self, name: str, *, audio: bool, tier: str | None) -> ResolvedModel | None:
        """Follow aliases and the tier's default; None for an unlisted model, or `default` when no tier is known."""
        wanted = self.default_model_by_tier.get(tier) if name == DEFAULT and tier else name
        model = self.models.get(wanted) if wanted else None
        if model is None:
            return None
        target = self.models[model.leads_to] if model.leads_to else model
        return ResolvedModel(model=target, audio=audio or model.implies_audio, asked=name)

    def possible_models(self, name: str) -> tuple[Model, ...]:
        """Return every model that `name` may lead to: several for `default`, none for an unlisted one."""
        names = dict.fromkeys(self.default_model_by_tier.values()) if name == DEFAULT else (name,)
        resolved = (self.resolve_model(each, audio=False, tier=None) for each in names)
        return tuple(each.model for each in resolved if each is not None)

    def asked_resolution(self, request: Mapping[str, Any]) -> str | None:
        """Return the resolution that an image-to-video request asks for; None leaves it to the tier's default."""
        style = request.get("style", {})
        if "resolution" in request:
            return str(request["resolution"])
        if "quality_mode" in style:
            return self.quality_mode_resolutions.get(style["quality_mode"])
        if "high_quality" in style:
            return self.high_quality_resolutions.get(style["high_quality"])
        return None


def parse_catalog(text: str, *, source: str) -> Catalog:
    """Read a catalogue file; raises ManifestError with every problem in it."""
    found = findings.Findings()
    node = yamltext.document(text, source=source, report=found.add)
    if node is None:
        raise found.error()
    try:
        written = _File.model_validate(yamltext.plain(node))
    except ValidationError as error:
        for refusal in explain.explain(error, node=node, model=_File, prefix=""):
            found.add(refusal.problem)
    else:
        for problem in _inconsistencies(written, node):
            found.add(problem)
        if not found.has_errors:
            return _catalog(written)
    raise found.error()


# --- the file's shape ----------------------------------------------------------------------------------------------

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Dollars = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$")]
Words = Annotated[list[str], Field(min_length=1)]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Origin(_Block):
    title: str
    as_of: str


class _Figure(_Block):
    value: Positive
    source: str


class _Uploads(_Block):
    source: str
    video_extensions: Words
    image_extensions: Words
    max_bytes: dict[str, Positive]


class _Band(_Block):
    first: Positive
    last: Positive | None
    usd: dict[str, Dollars]


class _UsagePrices(_Block):
    source: str
    bands: list[_Band]


class _Subscription(_Block):
    usd: Dollars
    usd_paid_yearly: Dollars
    credits: Positive


class _Pack(_Block):
    credits: Positive
    usd: Dollars


class _Subscriptions(_Block):
    source: str
    monthly: dict[str, _Subscription]
    packs: list[_Pack]


class _ForcedVersions(_Block):
    source: str
    by_art_style: dict[str, str]


class _FrameCredits(_Block):
    source: str
    per_frame: Positive
    hold_fps: Positive


class _LongestEdge(_Block):
    source: str
    by_tier: dict[str, Positive]


class _VideoToVideo(_Block):
    source: str
    video_sources: Words
    fps_resolutions: Words
    style_versions: Words
    prompt_types: Words
    style_models: Words
    art_styles: Words
    forced_versions: _ForcedVersions
    credits: _FrameCredits
    longest_edge: _LongestEdge
    median_seconds: _Figure


class _Range(_Block):
    first: Positive = Field(alias="from")
    last: Positive = Field(alias="to")


class _Defaults(_Block):
    source: str
    model: dict[str, str]
    resolution: dict[str, str]


class _Deprecated(_Block):
    source: str
    high_quality: dict[Literal["true", "false"], str]
    quality_mode: dict[str, str]


class _ImageToVideo(_Block):
    source: str
    seconds: _Range
    resolutions: Words
    defaults: _Defaults
    deprecated: _Deprecated
    median_seconds: _Figure


class _Alias(_Block):
    leads_to: str
    implies_audio: bool
    source: str


class _ModelLimits(_Block):
    source: str
    seconds: _Range | list[Positive]
    resolutions: Words
    audio: bool
    end_image: list[str]
    end_image_max_seconds: Positive | None = None


class _Rates(_Block):
    source: str | None
    credits_per_second: dict[str, Positive | None]
    audio_surcharge: dict[str, Count] = Field(default_factory=dict)
    audio_multiplier: Positive = 1


class _Model(_Block):
    status: Literal["current", "undescribed", "legacy"]
    limits: _ModelLimits
    rates: _Rates
    output_fps: _Figure | None = None


class _File(_Block):
    version: Literal[1]
    as_of: str
    sources: dict[str, _Origin]
    tiers: Words
    uploads: _Uploads
    usage_prices: _UsagePrices
    subscriptions: _Subscriptions
    video_to_video: _VideoToVideo
    image_to_video: _ImageToVideo
    aliases: dict[str, _Alias]
    models: dict[str, _Model]


# --- what must agree across the file -------------------------------------------------------------------------------


def _inconsistencies(written: _File, node: yamltext.Node) -> Iterator[Problem]:
    image = written.image_to_video
    sources = tuple(written.sources)
    for path, name in _named_sources(node, ()):
        if name not in sources:
            yield _unlisted(node, path, name, sources)
    for alias, block in written.aliases.items():
        if block.leads_to not in written.models:
            yield _unlisted(node, ("aliases", alias, "leads_to"), block.leads_to, tuple(written.models))
    for tier, name in image.defaults.model.items():
        if name not in written.models:
            yield _unlisted(node, ("image_to_video", "defaults", "model", tier), name, tuple(written.models))
    for name, model in written.models.items():
        at = ("models", name, "rates", "credits_per_second")
        for resolution in model.rates.credits_per_second:
            if resolution not in model.limits.resolutions:
                yield _unlisted(node, (*at, resolution), resolution, tuple(model.limits.resolutions))


def _named_sources(node: yamltext.Node, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield every `source:` that names one, with its path."""
    if isinstance(node, yamltext.MapNode):
        for key, entry in node.entries.items():
            if key == "source" and isinstance(entry.node, yamltext.ScalarNode):
                if isinstance(entry.node.value, str):
                    yield (*path, key), entry.node.value
            else:
                yield from _named_sources(entry.node, (*path, key))


def _unlisted(node: yamltext.Node, path: tuple[str | int, ...], name: str, among: tuple[str, ...]) -> Problem:
    found = yamltext.locate(node, path)
    value = found.node if isinstance(found, yamltext.Entry) else found
    return Problem(
        place=yamltext.place_of(value),
        code="unlisted",
        message=f"{yamltext.quoted(name)} is not defined in this file",
        path=explain.joined("", path),
        hint=findings.did_you_mean(name, among),
    )


# --- from the file's shape to the values that others use -----------------------------------------------------------


def _catalog(written: _File) -> Catalog:
    video, image = written.video_to_video, written.image_to_video
    return Catalog(
        as_of=written.as_of,
        origins={key: Origin(title=each.title, as_of=each.as_of) for key, each in written.sources.items()},
        tiers=tuple(written.tiers),
        art_styles=tuple(video.art_styles),
        style_versions=tuple(video.style_versions),
        prompt_types=tuple(video.prompt_types),
        style_models=tuple(video.style_models),
        forced_versions=video.forced_versions.by_art_style,
        fps_resolutions=tuple(video.fps_resolutions),
        video_sources=tuple(video.video_sources),
        resolutions=tuple(image.resolutions),
        image_seconds_min=image.seconds.first,
        image_seconds_max=image.seconds.last,
        models=_models(written),
        default_model_by_tier=image.defaults.model,
        default_resolution_by_tier=image.defaults.resolution,
        high_quality_resolutions={key == "true": value for key, value in image.deprecated.high_quality.items()},
        quality_mode_resolutions=image.deprecated.quality_mode,
        video_credits_per_frame=video.credits.per_frame,
        video_hold_fps=video.credits.hold_fps,
        video_longest_edge_by_tier=video.longest_edge.by_tier,
        median_seconds={
            Kind.VIDEO_TO_VIDEO: video.median_seconds.value,
            Kind.IMAGE_TO_VIDEO: image.median_seconds.value,
        },
        video_extensions=tuple(written.uploads.video_extensions),
        image_extensions=tuple(written.uploads.image_extensions),
        max_upload_bytes_by_tier=written.uploads.max_bytes,
        price_bands=tuple(_band(band) for band in written.usage_prices.bands),
        subscriptions={tier: _subscription(each) for tier, each in written.subscriptions.monthly.items()},
    )


def _models(written: _File) -> Mapping[str, Model]:
    models = {name: _model(name, block) for name, block in written.models.items()}
    for name, alias in written.aliases.items():
        models[name] = replace(
            models[alias.leads_to],
            name=name,
            status="alias",
            leads_to=alias.leads_to,
            implies_audio=alias.implies_audio,
        )
    return models


def _model(name: str, block: _Model) -> Model:
    seconds = block.limits.seconds
    durations = range(seconds.first, seconds.last + 1) if isinstance(seconds, _Range) else seconds
    return Model(
        name=name,
        status=block.status,
        durations=frozenset(durations),
        resolutions=tuple(block.limits.resolutions),
        audio_supported=block.limits.audio,
        end_image_resolutions=tuple(block.limits.end_image),
        end_image_max_seconds=block.limits.end_image_max_seconds,
        rates=block.rates.credits_per_second,
        audio_surcharge=block.rates.audio_surcharge,
        audio_multiplier=block.rates.audio_multiplier,
        output_fps=block.output_fps.value if block.output_fps else None,
        rate_source=block.rates.source,
    )


def _band(band: _Band) -> PriceBand:
    usd = {tier: Decimal(price) for tier, price in band.usd.items()}
    return PriceBand(first=band.first, last=band.last, usd_per_credit=usd)


def _subscription(each: _Subscription) -> Subscription:
    return Subscription(usd=Decimal(each.usd), usd_paid_yearly=Decimal(each.usd_paid_yearly), credits=each.credits)
