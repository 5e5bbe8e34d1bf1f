"""What must be true of a job beyond the types of its fields, checked before anything is sent.

The provider's SDK checks none of it (tested with 0.90.0), so a slip costs a failed night there. Each check yields
problems; none stops the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from batchrunner.core import explain, findings, inputs, possible, yamltext
from batchrunner.core.catalog import Catalog
from batchrunner.core.facts import Media
from batchrunner.core.inputs import Input, Source
from batchrunner.core.kind import DEFAULT, Kind
from batchrunner.core.matrix import Variant
from batchrunner.core.problem import Place, Problem, Severity
from batchrunner.core.shape import END

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A job, or the defaults of a kind, while it is checked.

    `values` are those of the job over those of the defaults. Paths in `broken` were refused already and say nothing
    about what is there. `moved` tells where a value was written that stands elsewhere in the request. `variant` is
    the combination of a matrix that the job is.
    """

    kind: Kind
    values: Mapping[str, Any]
    node: yamltext.Node
    defaults: yamltext.Node | None = None
    prefix: str
    broken: frozenset[Path] = frozenset()
    moved: Mapping[Path, Path] = field(default_factory=dict)
    variant: Variant | None = None

    def of_variant(self, variant: Variant) -> Draft:
        """Return the job of another combination, which has the same values."""
        return Draft(
            kind=self.kind,
            values=self.values,
            node=self.node,
            defaults=self.defaults,
            prefix=self.prefix,
            broken=self.broken,
            moved=self.moved,
            variant=variant,
        )

    def get(self, *path: str) -> Any:
        """Return the value at the path; None where nothing usable stands."""
        value: Any = self.values
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return value

    def is_broken(self, *path: str) -> bool:
        """Tell whether what was written at the path, or around it, was refused already."""
        return bool(self.broken) and any(path[:end] in self.broken for end in range(1, len(path) + 1))

    def lacks(self, *path: str) -> bool:
        """Tell whether nothing was written at the path, not even something refused."""
        return self.get(*path) is None and not self.is_broken(*path)

    def place(self, *path: str) -> Place:
        """Return where the value stands: in the job, in the defaults, or the job's beginning when it is missing."""
        wanted = self.moved.get(path, path)
        varied = self.variant.value_at(wanted) if self.variant is not None else None
        if varied is not None:
            return yamltext.place_of(varied)
        for root in (self.node, self.defaults):
            found = yamltext.exact(root, wanted)
            if found is not None:
                return yamltext.place_of(found)
        return yamltext.place_of(self.node)

    def problem(self, path: Path, code: str, message: str, hint: str | None = None) -> Problem:
        shown = explain.joined(self.prefix, self.moved.get(path, path))
        return Problem(place=self._place_in_variant(path), code=code, message=message, path=shown, hint=hint)

    def warning(self, path: Path, code: str, message: str, hint: str | None = None) -> Problem:
        return replace(self.problem(path, code, message, hint), severity=Severity.WARNING)

    def _place_in_variant(self, path: Path) -> Place:
        place = self.place(*path)
        if self.variant is None:
            return place
        said = f"with {self.variant.shown()}"
        return replace(place, via=f"{place.via}; {said}" if place.via else said)


class ListedField(NamedTuple):
    """A field whose values are listed; `grows` where the provider may have added one since."""

    path: Path
    among: str
    grows: bool = False


LISTED: Mapping[Kind, tuple[ListedField, ...]] = {
    Kind.VIDEO_TO_VIDEO: (
        ListedField(("fps_resolution",), "fps_resolutions"),
        ListedField(("style", "art_style"), "art_styles", grows=True),
        ListedField(("style", "version"), "style_versions", grows=True),
        ListedField(("style", "prompt_type"), "prompt_types"),
        ListedField(("style", "model"), "style_models", grows=True),
        ListedField(("assets", "video_source"), "video_sources"),
    ),
    Kind.IMAGE_TO_VIDEO: (
        ListedField(("model",), "model_names", grows=True),
        ListedField(("resolution",), "resolutions", grows=True),
        ListedField(("style", "quality_mode"), "quality_modes"),
    ),
}

# OpenAPI 2026-09 and Python SDK 0.90.0 mark these as deprecated.
_IGNORED = "the provider ignores it; remove it"
DEPRECATED: Mapping[Kind, tuple[tuple[Path, str], ...]] = {
    Kind.VIDEO_TO_VIDEO: ((("height",), _IGNORED), (("width",), _IGNORED)),
    Kind.IMAGE_TO_VIDEO: (
        (("height",), _IGNORED),
        (("width",), _IGNORED),
        (("style", "high_quality"), "write resolution: 720p or resolution: 1080p"),
        (("style", "quality_mode"), "write resolution: 720p (quick) or resolution: 1080p (studio)"),
    ),
}

_ASSETS: Mapping[Kind, tuple[tuple[str, Media], ...]] = {
    Kind.VIDEO_TO_VIDEO: (("video_file_path", "video"), ("youtube_url", "video")),
    Kind.IMAGE_TO_VIDEO: (("image_file_path", "image"), ("end_image_file_path", "image")),
}
MAIN_ASSET: Mapping[Kind, str] = {kind: assets[0][0] for kind, assets in _ASSETS.items()}


def main_asset(kind: Kind) -> tuple[str, Media]:
    """Return the asset that `input` stands for, and its media."""
    return _ASSETS[kind][0]


def listed(kind: Kind, catalog: Catalog) -> explain.Listed:
    """Return the listed values of each field that has such a list."""
    values: dict[tuple[explain.Step, ...], tuple[str, ...]] = {
        field.path: getattr(catalog, field.among) for field in LISTED[kind]
    }
    if kind is Kind.VIDEO_TO_VIDEO:
        values["end_seconds",] = (END,)
    return values


def check_values(draft: Draft, catalog: Catalog, *, allow_unlisted: bool) -> Iterator[Problem]:
    """Yield what is wrong with single values, as in defaults that no job may use."""
    yield from _unlisted(draft, catalog, allow_unlisted=allow_unlisted)
    for path, instead in DEPRECATED[draft.kind]:
        if draft.get(*path) is not None:
            yield draft.warning(path, "deprecated", f"{path[-1]} is deprecated", instead)
    if draft.kind is Kind.IMAGE_TO_VIDEO:
        yield from _old_model(draft, catalog)


def check_job(draft: Draft, catalog: Catalog, *, allow_unlisted: bool) -> Iterator[Problem]:
    """Yield everything that is wrong with a whole job, except for its inputs."""
    yield from check_values(draft, catalog, allow_unlisted=allow_unlisted)
    if draft.kind is Kind.VIDEO_TO_VIDEO:
        yield from _video_range(draft)
        yield from _video_source(draft)
        yield from _video_style(draft, catalog)
    else:
        yield from _image_required(draft, catalog)
        yield from _possible(draft, catalog, allow_unlisted=allow_unlisted)


def read_inputs(draft: Draft, catalog: Catalog) -> tuple[list[Input], list[Problem]]:
    """Return the inputs that can be told from how they are written, and a problem for each that cannot."""
    found: list[Input] = []
    problems: list[Problem] = []
    for name, media in _ASSETS[draft.kind]:
        value = draft.get("assets", name)
        if not isinstance(value, str):
            continue
        extensions = catalog.image_extensions if media == "image" else catalog.video_extensions
        try:
            found.append(inputs.read_input(value, field=name, media=media, extensions=extensions))
        except inputs.NotAnInput as error:
            problems.append(draft.problem(("assets", name), "bad-input", str(error), error.hint))
    return found, problems


_NO_END: Mapping[Source, str] = {
    Source.URL: "a clip at an address",
    Source.LIBRARY: "a clip of the library",
    Source.UPLOADED: "a clip that was uploaded before",
    Source.YOUTUBE: "a YouTube video",
}


def check_end(draft: Draft, given: Iterable[Input]) -> Iterator[Problem]:
    """Yield a problem where a job asks for the end of a clip whose length cannot be measured here."""
    if draft.get("end_seconds") != END:
        return
    for each in given:
        if each.source in _NO_END:
            yield draft.problem(
                ("end_seconds",),
                "not-possible",
                f"end_seconds: {END} needs a local clip; {_NO_END[each.source]} cannot be measured",
                "write the seconds as a number",
            )


def _unlisted(draft: Draft, catalog: Catalog, *, allow_unlisted: bool) -> Iterator[Problem]:
    for listed in LISTED[draft.kind]:
        value = draft.get(*listed.path)
        if value is None:
            continue
        among: tuple[str, ...] = getattr(catalog, listed.among)
        if value in among:
            continue
        name = listed.path[-1]
        message = f"{yamltext.quoted(value)} is not a listed {name}"
        tell = draft.warning if allow_unlisted and listed.grows else draft.problem
        yield tell(listed.path, "unlisted", message, findings.did_you_mean(value, among))


def _missing(draft: Draft, path: Path, hint: str | None = None) -> Problem:
    return draft.problem(path, "missing", f"{'.'.join(path)} is missing", hint)


# --- video-to-video ------------------------------------------------------------------------------------------------


def _video_range(draft: Draft) -> Iterator[Problem]:
    if draft.lacks("end_seconds"):
        yield _missing(draft, ("end_seconds",), "the second of the clip at which the render ends")
    start, end = draft.get("start_seconds") or 0, draft.get("end_seconds")
    if end is not None and end != END and end <= start:
        yield draft.problem(
            ("end_seconds",), "out-of-range", f"end_seconds is {end}, not after start_seconds, which is {start}"
        )


def _video_source(draft: Draft) -> Iterator[Problem]:
    """Yield what is wrong between video_source, video_file_path and youtube_url."""
    path, address = ("assets", "video_file_path"), ("assets", "youtube_url")
    source = draft.get("assets", "video_source")
    if not draft.lacks(*path) and not draft.lacks(*address):
        yield draft.problem(
            address, "conflict", "a job renders either a file or a YouTube video", "remove one of the two"
        )
    elif draft.lacks(*path) and draft.lacks(*address):
        if source == "youtube":
            yield _missing(draft, address, "write youtube_url: https://www.youtube.com/watch?v=…")
        else:
            yield _missing(draft, path, "write input: clips/intro.mp4")
    elif source == "youtube" and draft.lacks(*address):
        yield draft.problem(
            ("assets", "video_source"), "conflict", "video_source is youtube, but youtube_url is missing"
        )
    elif source == "file" and draft.lacks(*path):
        yield draft.problem(
            ("assets", "video_source"), "conflict", "video_source is file, but video_file_path is missing"
        )


def _video_style(draft: Draft, catalog: Catalog) -> Iterator[Problem]:
    if draft.lacks("style", "art_style"):
        yield _missing(draft, ("style", "art_style"), "such as Ink; `batchrunner models` lists all art styles")
    yield from _forced_version(draft, catalog)
    prompt, kind = draft.get("style", "prompt"), draft.get("style", "prompt_type") or DEFAULT
    if kind in {"custom", "append_default"}:
        if draft.lacks("style", "prompt") or (prompt is not None and not prompt.strip()):
            yield draft.problem(
                ("style", "prompt_type"), "missing", f"prompt_type is {kind}, but there is no style.prompt"
            )
    elif prompt and kind == DEFAULT and not draft.is_broken("style", "prompt_type"):
        yield draft.warning(
            ("style", "prompt"),
            "ignored",
            "the provider ignores this prompt, because prompt_type is default",
            "write prompt_type: custom or prompt_type: append_default",
        )


def _forced_version(draft: Draft, catalog: Catalog) -> Iterator[Problem]:
    """Yield a problem where a style's default version is not offered through the API (Python SDK 0.90.0)."""
    style, version = draft.get("style", "art_style"), draft.get("style", "version")
    forced = catalog.forced_versions.get(style)
    if forced is not None and version != forced and not draft.is_broken("style", "version"):
        yield draft.problem(
            ("style", "version") if version is not None else ("style", "art_style"),
            "not-possible",
            f"{style} renders through the API only with version {forced}; its default, v3, is not available there",
            f"set version: {forced}",
        )


# --- image-to-video ------------------------------------------------------------------------------------------------


def _image_required(draft: Draft, catalog: Catalog) -> Iterator[Problem]:
    if draft.lacks("assets", "image_file_path"):
        yield _missing(draft, ("assets", "image_file_path"), "write input: stills/hero.png")
    seconds = draft.get("end_seconds")
    least, most = catalog.image_seconds_min, catalog.image_seconds_max
    if draft.lacks("end_seconds"):
        yield _missing(draft, ("end_seconds",), "the length of the render in seconds")
    elif seconds is not None and not least <= seconds <= most:
        yield draft.problem(
            ("end_seconds",),
            "out-of-range",
            f"{seconds} seconds cannot be rendered from an image",
            f"from {least} to {most}",
        )


def _old_model(draft: Draft, catalog: Catalog) -> Iterator[Problem]:
    """Yield warnings for names of models that are on their way out."""
    model = catalog.models.get(draft.get("model"))
    if model is None:
        return
    if model.status == "legacy":
        yield draft.warning(("model",), "deprecated", f"the provider no longer recommends {model.name}")
    if model.leads_to is None:
        return
    spelled = f"model: {model.leads_to}"
    if not model.implies_audio:
        said = f"{model.name} is an old name: the provider renders with {model.leads_to}"
    elif model.audio_supported:
        said = f"{model.name} is an old name for {model.leads_to} with audio"
        spelled += " and audio: true"
    else:
        said = f"{model.name} leads to {model.leads_to}, which has no audio: the render may be silent"
    yield draft.warning(("model",), "deprecated", said, f"write {spelled}")


def _possible(draft: Draft, catalog: Catalog, *, allow_unlisted: bool) -> Iterator[Problem]:
    """Yield why no plan could render the job.

    Where one was written and refused, nothing is said of what would be chosen in its place.
    """
    if draft.is_broken("model"):
        return
    values = {**draft.values, "resolution": ""} if draft.is_broken("resolution") else draft.values
    tell = draft.warning if allow_unlisted else draft.problem
    for fault in possible.faults(values, catalog, tiers=catalog.tiers):
        yield tell(fault.path, "not-possible", fault.message, fault.hint)


# --- caps ----------------------------------------------------------------------------------------------------------


def capped_names(catalog: Catalog) -> Mapping[str, str]:
    """Return what `budget.per_model` may name, and which model or kind each name means."""
    models = {name: model.leads_to or name for name, model in catalog.models.items()}
    styles = {name: name for name in catalog.style_models if name != DEFAULT}
    return {str(kind): str(kind) for kind in Kind} | styles | models


def capped_hint(word: str, catalog: Catalog) -> str:
    """Return the hint for a name that `budget.per_model` does not know."""
    if word == DEFAULT:
        targets = ", ".join(dict.fromkeys(catalog.default_model_by_tier.values()))
        return f"write the model that the account's plan leads to: {targets}"
    return findings.did_you_mean(word, tuple(capped_names(catalog)))
