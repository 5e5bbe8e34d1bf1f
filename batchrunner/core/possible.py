"""Whether a model can render what an image-to-video request asks for, by the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from batchrunner.core.catalog import Catalog, Model
from batchrunner.core.kind import DEFAULT

Path = tuple[str, ...]


class Fault(NamedTuple):
    """What cannot be rendered: the field that asks for it, why, and what helps."""

    path: Path
    message: str
    hint: str | None


def faults(request: Mapping[str, Any], catalog: Catalog, *, tiers: Sequence[str]) -> tuple[Fault, ...]:
    """Return why none of these plans could render the request; nothing where one can, or its model is not listed.

    Without a model or a resolution the provider's choice depends on the plan, so it is enough when one plan can. A
    resolution that is empty is not known, and nothing is said of it.
    """
    found = [_of_model(request, catalog, *candidate) for candidate in _candidates(request, catalog, tiers)]
    return found[0] if found and all(found) else ()


def _of_model(request: Mapping[str, Any], catalog: Catalog, model: Model, resolution: str) -> tuple[Fault, ...]:
    return tuple(_faults(request, catalog, model, resolution))


def faults_of_choice(request: Mapping[str, Any], catalog: Catalog, *, tier: str) -> tuple[Fault, ...]:
    """Return what the model that a plan chooses cannot render; nothing where the request names a model itself.

    The resolution is left out where the plan chooses it: it may fit the model better than the catalogue knows.
    """
    if request.get("model", DEFAULT) != DEFAULT or tier not in catalog.tiers:
        return ()
    asked = catalog.asked_resolution(request)
    return faults({**request, "resolution": asked or ""}, catalog, tiers=(tier,))


def _candidates(request: Mapping[str, Any], catalog: Catalog, tiers: Sequence[str]) -> Iterable[tuple[Model, str]]:
    """Return the model and resolution that each plan would render with, the dearest plan first."""
    asked = catalog.asked_resolution(request)
    name = request.get("model") or DEFAULT
    candidates = {}
    for tier in reversed(tiers):
        resolved = catalog.resolve_model(name, audio=False, tier=tier)
        if resolved is not None:
            resolution = asked if asked is not None else catalog.default_resolution_by_tier[tier]
            candidates[resolved.model.name, resolution] = (resolved.model, resolution)
    return candidates.values()


def _faults(request: Mapping[str, Any], catalog: Catalog, model: Model, resolution: str) -> Iterator[Fault]:
    """Yield what this model cannot do of what the job asks for."""
    subject = _subject(request, model)
    seconds: Any = request.get("end_seconds")
    in_range = seconds is not None and catalog.image_seconds_min <= seconds <= catalog.image_seconds_max
    if in_range and not model.takes_seconds(seconds):
        near = min(sorted(model.durations), key=lambda possible: abs(possible - seconds))
        said = f"{subject} renders {spans(model.durations)} seconds, not {seconds}"
        yield Fault(("end_seconds",), said, f"the nearest is {near}")
    if resolution in catalog.resolutions and resolution not in model.resolutions:
        said = f"{subject} renders {_either(model.resolutions)}, not {resolution}"
        yield Fault(("resolution",), said, None)
    if request.get("audio") and not model.audio_supported:
        able = [each.name for each in catalog.models.values() if each.audio_supported and not each.leads_to]
        yield Fault(("audio",), f"{subject} has no audio", f"models with audio: {', '.join(able)}")
    if (request.get("assets") or {}).get("end_image_file_path") is not None:
        yield from _end_image_faults(model, subject, resolution, seconds)


def _end_image_faults(model: Model, subject: str, resolution: str, seconds: float | None) -> Iterator[Fault]:
    path = ("assets", "end_image_file_path")
    longest = model.end_image_max_seconds
    if not model.end_image_resolutions:
        yield Fault(path, f"{subject} takes no end image", None)
    elif resolution in model.resolutions and resolution not in model.end_image_resolutions:
        possible = _either(model.end_image_resolutions)
        yield Fault(path, f"{subject} takes an end image only at {possible}, not at {resolution}", None)
    if longest is not None and seconds is not None and seconds > longest:
        yield Fault(path, f"{subject} takes an end image only up to {longest} seconds, not {seconds}", None)


def _subject(request: Mapping[str, Any], model: Model) -> str:
    asked = request.get("model") or DEFAULT
    if asked == DEFAULT:
        return f"the default model, {model.name},"
    return asked if asked == model.name else f"{asked} (now {model.name})"


def spans(numbers: Iterable[int]) -> str:
    """Return whole numbers as people write them: 3 to 10, 15."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    long_run = 3
    parts: list[str] = []
    for run in runs:
        parts.extend([f"{run[0]} to {run[-1]}"] if len(run) >= long_run else map(str, run))
    return _either(parts)


def _either(parts: Iterable[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} or {last}" if most else last
