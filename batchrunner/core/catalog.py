"""What the provider can do and what it costs, read from the catalogue file.

Every figure has its source and date in that file; what nobody published is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from batchrunner.core import catalogfile, explain, findings, yamltext
from batchrunner.core.catalogfile import Path
from batchrunner.core.kind import DEFAULT, Kind
from batchrunner.core.problem import Problem

_Shape = TypeVar("_Shape", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One value of `model` in an image-to-video request.

    An alias has `leads_to` set to the model that really renders; its limits and rates are that model's.
    `status` is `current`, `undescribed` (accepted, no longer described), `legacy` or `alias`. `aspect_ratios` is
    empty where every shape can be rendered.
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
    aspect_ratios: tuple[str, ...] = ()
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
class Pack:
    """Credits that can be bought at once, and their price in dollars."""

    credits: int
    usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A source that figures of the catalogue name, and from when it is; empty where it does not say."""

    title: str
    as_of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The whole catalogue.

    `written` is what stands in the file, corrections included, and `corrected` the corrections' sources by the path
    of what they changed; `source_of` knows both.
    """

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
    packs: tuple[Pack, ...]
    written: Mapping[str, Any] = field(repr=False)
    corrected: Mapping[Path, str] = field(default_factory=dict, repr=False)

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

    def renders(self, kind: Kind, request: Mapping[str, Any], *, tier: str | None) -> str:
        """Return the model that renders a request; what was asked for where nothing tells where that leads."""
        if kind is Kind.VIDEO_TO_VIDEO:
            return str((request.get("style") or {}).get("model", DEFAULT))
        asked = str(request.get("model", DEFAULT))
        resolved = self.resolve_model(asked, audio=False, tier=tier)
        possible = {resolved.model.name} if resolved else {model.name for model in self.possible_models(asked)}
        return possible.pop() if len(possible) == 1 else asked

    def possible_models(self, name: str) -> tuple[Model, ...]:
        """Return every model that `name` may lead to: several for `default`, none for an unlisted one."""
        names = dict.fromkeys(self.default_model_by_tier.values()) if name == DEFAULT else (name,)
        resolved = (self.resolve_model(each, audio=False, tier=None) for each in names)
        return tuple(each.model for each in resolved if each is not None)

    def source_of(self, *path: str | int) -> str | None:
        """Return the key in `origins` of where the figure at this path of the catalogue file is from."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.corrected:
                return self.corrected[path[:end]]
        here: Any = self.written
        source = None
        for step in (*path, None):
            if isinstance(here, dict):
                source = here.get("source", source)
                here = here.get(step)
        return source

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


# --- reading -------------------------------------------------------------------------------------------------------


def parse_catalog(text: str, *, source: str) -> Catalog:
    """Read a catalogue file; raises ManifestError with every problem in it."""
    found = findings.Findings()
    node = yamltext.document(text, source=source, report=found.add)
    if node is None:
        raise found.error()
    return _checked(yamltext.plain(node), node, found, corrected={})


def _checked(plain: Any, node: yamltext.Node, found: findings.Findings, *, corrected: Mapping[Path, str]) -> Catalog:
    """Return the catalogue that these values are; problems are told at their place in `node`."""
    written = _validated(catalogfile.File, plain, node, found)
    if written is not None:
        for problem in catalogfile.inconsistencies(written, node):
            found.add(problem)
    if written is None or found.has_errors:
        raise found.error()
    return _catalog(written, plain, corrected)


def _validated(model: type[_Shape], plain: Any, node: yamltext.Node, found: findings.Findings) -> _Shape | None:
    try:
        return model.model_validate(plain)
    except ValidationError as error:
        for refusal in explain.explain(error, node=node, model=model, prefix=""):
            found.add(refusal.problem)
    return None


# --- corrections ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogPatch:
    """What a person's own file adds to the catalogue and corrects in it; checked in itself, not against another.

    `source` is the file's name, and `as_of` the date it gives its figures, empty where it gives none.
    """

    source: str
    as_of: str
    node: yamltext.Node = field(repr=False)


def parse_catalog_patch(text: str, *, source: str) -> CatalogPatch:
    """Read a file of corrections; raises ManifestError with every problem in it."""
    found = findings.Findings()
    node = yamltext.document(text, source=source, report=found.add)
    patch = _validated(catalogfile.Patch, yamltext.plain(node), node, found) if node is not None else None
    if node is None or patch is None or found.has_errors:
        raise found.error()
    return CatalogPatch(source=source, as_of=patch.as_of or "", node=node)


def merge(catalog: Catalog, patch: CatalogPatch) -> Catalog:
    """Return the catalogue with the corrections in it; raises ManifestError for those that do not fit it.

    Every figure that the patch gives has the patch as its source.
    """
    changes = yamltext.plain(patch.node)
    found = findings.Findings()
    for problem in _unfinished_models(catalog, changes.get("models", {}), patch.node):
        found.add(problem)
    found.raise_errors()
    corrected = {**catalog.corrected, **dict.fromkeys(_figures(changes, ()), patch.source)}
    merged = _over(catalog.written, {key: changes[key] for key in changes.keys() - {"version", "as_of"}}, ())
    merged["sources"][patch.source] = {"title": patch.source, "as_of": patch.as_of}
    _complete_models(merged, changes, patch.source)
    return _checked(merged, patch.node, found, corrected=corrected)


def _over(below: Any, above: Any, path: Path) -> Any:
    """Return a copy of the values below with those above in their place: mappings by key, certain lists by item."""
    if isinstance(above, dict):
        kept = below if isinstance(below, dict) else {}
        return {
            key: _over(kept.get(key), above[key], (*path, key)) if key in above else _over(None, kept[key], ())
            for key in (*kept, *(key for key in above if key not in kept))
        }
    if isinstance(above, list) and path in catalogfile.ADDED_TO:
        return [*below, *(item for item in above if item not in below)]
    return list(above) if isinstance(above, list) else above


def _figures(changes: Any, path: Path) -> Iterator[Path]:
    """Yield the path of everything that a patch says; of an item that is added to a list, with the item as a step."""
    if isinstance(changes, dict):
        for key, value in changes.items():
            yield from _figures(value, (*path, key))
    elif path in catalogfile.ADDED_TO:
        yield from ((*path, item) for item in changes)
    else:
        yield path


def _unfinished_models(catalog: Catalog, models: Mapping[str, Any], node: yamltext.Node) -> Iterator[Problem]:
    """Yield a problem for each name that is new, but has no limits: most likely it is a slip of a known one."""
    known = tuple(name for name, model in catalog.models.items() if not model.leads_to)
    for name, block in models.items():
        if name in catalog.models and name not in known:
            message = f"{yamltext.quoted(name)} is another name for {catalog.models[name].leads_to}"
            hint = f"correct {catalog.models[name].leads_to}, or the alias under aliases"
        elif name not in known and "limits" not in (block or {}):
            message = f"{yamltext.quoted(name)} is not a model of the catalogue, and a new one needs limits"
            hint = findings.did_you_mean(name, known)
        else:
            continue
        place = yamltext.place_of(yamltext.locate(node, ("models", name)))
        yield Problem(place=place, code="unlisted", message=message, path=f"models.{name}", hint=hint)


def _complete_models(merged: dict[str, Any], changes: Mapping[str, Any], source: str) -> None:
    """Put in what a patch need not write: its own name as source, and what follows from resolutions that changed."""
    for name, change in changes.get("models", {}).items():
        block = merged["models"][name]
        block.setdefault("status", "current")
        rates = block.setdefault("rates", {"source": None, "credits_per_second": {}})
        rates.setdefault("credits_per_second", {})
        for part in ("limits", "rates", "output_fps"):
            if part in change and block[part].get("source") is None:
                block[part]["source"] = source
        if "resolutions" in change.get("limits", {}):
            _drop_resolutions(block, change)
    for alias in changes.get("aliases", {}):
        merged["aliases"][alias] = {"source": source, "implies_audio": False, **merged["aliases"][alias]}


def _drop_resolutions(block: dict[str, Any], change: Mapping[str, Any]) -> None:
    """Take out what the catalogue knew of resolutions that a model no longer has."""
    kept = block["limits"]["resolutions"]
    if "end_image" not in change["limits"]:
        block["limits"]["end_image"] = [each for each in block["limits"].get("end_image", []) if each in kept]
    for key in ("credits_per_second", "audio_surcharge"):
        own = change.get("rates", {}).get(key, {})
        figures = block["rates"].get(key, {})
        block["rates"][key] = {each: figures[each] for each in figures if each in kept or each in own}


# --- from the file's shape to the values that others use -----------------------------------------------------------


def _catalog(written: catalogfile.File, plain: Mapping[str, Any], corrected: Mapping[Path, str]) -> Catalog:
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
        packs=tuple(Pack(credits=each.credits, usd=Decimal(each.usd)) for each in written.subscriptions.packs),
        written=plain,
        corrected=corrected,
    )


def _models(written: catalogfile.File) -> Mapping[str, Model]:
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


def _model(name: str, block: catalogfile.Model) -> Model:
    seconds = block.limits.seconds
    durations = range(seconds.first, seconds.last + 1) if isinstance(seconds, catalogfile.Range) else seconds
    return Model(
        name=name,
        status=block.status,
        durations=frozenset(durations),
        resolutions=tuple(block.limits.resolutions),
        audio_supported=block.limits.audio,
        end_image_resolutions=tuple(block.limits.end_image),
        end_image_max_seconds=block.limits.end_image_max_seconds,
        rates={each: block.rates.credits_per_second.get(each) for each in block.limits.resolutions},
        audio_surcharge=block.rates.audio_surcharge,
        audio_multiplier=block.rates.audio_multiplier,
        output_fps=block.output_fps.value if block.output_fps else None,
        rate_source=block.rates.source,
        aspect_ratios=tuple(block.limits.aspect_ratios),
    )


def _band(band: catalogfile.Band) -> PriceBand:
    usd = {tier: Decimal(price) for tier, price in band.usd.items()}
    return PriceBand(first=band.first, last=band.last, usd_per_credit=usd)


def _subscription(each: catalogfile.Subscription) -> Subscription:
    return Subscription(usd=Decimal(each.usd), usd_paid_yearly=Decimal(each.usd_paid_yearly), credits=each.credits)
