"""The catalogue, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
import os
from pathlib import Path
import textwrap
from typing import TYPE_CHECKING, Any

from batchrunner.cli import show
from batchrunner.core.kind import Kind

if TYPE_CHECKING:
    from batchrunner.core.catalog import Catalog, Model

UNKNOWN = "?"
NOT_POSSIBLE = "-"
WIDTH = 80
"""Columns that a terminal has at least."""


def read(manifest: Path | None, file: Path | None) -> Catalog:
    """The catalogue for a manifest, with the corrections of a file."""
    from batchrunner import places

    text = manifest.read_text(encoding="utf-8-sig", errors="replace") if manifest and manifest.exists() else None
    catalog = places.load_catalog(manifest, text, os.environ, around=places.around({}, os.environ))
    return places.with_file(catalog, file) if file else catalog


# --- for people ------------------------------------------------------------------------------------------------------


class _Notes:
    """Numbers for the sources that a table names, in the order in which it does."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._numbers: dict[str, int] = {}

    def mark(self, *paths: tuple[str | int, ...]) -> str:
        """The numbers of where the figures at these paths are from."""
        sources = [self._catalog.source_of(*path) for path in paths]
        numbers = {self._numbers.setdefault(key, len(self._numbers) + 1) for key in sources if key}
        return ",".join(map(str, sorted(numbers)))

    def lines(self) -> Iterator[str]:
        for key, number in self._numbers.items():
            origin = self._catalog.origins[key]
            line = f"[{number}] {origin.title}, {origin.as_of or 'no date given'}"
            yield from textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_long_words=False)


def print_tables(catalog: Catalog, kinds: frozenset[Kind]) -> None:
    """The catalogue as tables on standard output."""
    notes = _Notes(catalog)
    if Kind.IMAGE_TO_VIDEO in kinds:
        _print_prices(catalog, notes)
        _print_limits(catalog, notes)
        _print_aliases(catalog, notes)
    if Kind.VIDEO_TO_VIDEO in kinds:
        _print_video(catalog, notes)
    _print_plans(catalog, notes)
    show.line("sources, and the date they are from")
    for line in notes.lines():
        show.line(line)


def _print_prices(catalog: Catalog, notes: _Notes) -> None:
    show.line("image-to-video: credits for a second of the result (after the /: with audio)")
    rows = [
        (
            model.name,
            *(_price(model, resolution) for resolution in catalog.resolutions),
            "yes" if model.audio_supported else "no",
            notes.mark(*(("models", model.name, "rates", "credits_per_second", each) for each in _priced(model))),
        )
        for model in _real(catalog)
    ]
    last = len(catalog.resolutions)
    show.table(("model", *catalog.resolutions, "audio", "from"), rows, right=frozenset(range(1, last + 1)))
    show.line(f"{UNKNOWN} not published   {NOT_POSSIBLE} not possible\n")


def _print_limits(catalog: Catalog, notes: _Notes) -> None:
    rows = [
        (
            model.name,
            lengths(model.durations),
            _end_image(model),
            str(model.output_fps or UNKNOWN),
            "" if model.status == "current" else model.status,
            notes.mark(
                ("models", model.name, "limits", "seconds"),
                ("models", model.name, "limits", "end_image"),
                ("models", model.name, "output_fps", "value"),
            ),
        )
        for model in _real(catalog)
    ]
    show.table(("model", "seconds", "end image", "fps", "", "from"), rows)
    show.line("")


def _print_aliases(catalog: Catalog, notes: _Notes) -> None:
    rows = [
        (
            model.name,
            f"{model.leads_to}{_audio_of(model)}",
            notes.mark(("aliases", model.name, "leads_to")),
        )
        for model in catalog.models.values()
        if model.leads_to
    ]
    for tier, name in catalog.default_model_by_tier.items():
        place = ("image_to_video", "defaults", "model", tier)
        what = f"{name} at {catalog.default_resolution_by_tier[tier]}"
        rows.append((f"default ({tier})", what, notes.mark(place)))
    show.table(("old name or none", "leads to", "from"), rows)
    show.line("")


def _audio_of(model: Model) -> str:
    if not model.implies_audio:
        return ""
    return " with audio" if model.audio_supported else ", which has no audio"


def _print_video(catalog: Catalog, notes: _Notes) -> None:
    per_frame, full = catalog.video_credits_per_frame, catalog.video_credits_per_second_full
    mark = notes.mark(
        ("video_to_video", "credits", "per_frame"),
        ("video_to_video", "credits", "hold_fps"),
    )
    show.line(f"video-to-video: {per_frame} credits for each frame that renders [{mark}]")
    rows = [
        ("FULL", "every one", str(full), str(per_frame * 24), str(per_frame * 30)),
        ("HALF", "every second", str(full // 2), str(per_frame * 12), str(per_frame * 15)),
    ]
    headings = ("fps_resolution", "frames", "held a second", "settled at 24 fps", "at 30 fps")
    show.table(headings, rows, right=frozenset({2, 3, 4}))
    show.line("That HALF costs half is inferred from its frames; it is not published.\n")
    for line in _wrapped("style.art_style is one of: ", catalog.art_styles):
        show.line(line)
    for line in _wrapped("style.version is one of: ", catalog.style_versions):
        show.line(line)
    show.line(f"from [{notes.mark(('video_to_video', 'art_styles'), ('video_to_video', 'style_versions'))}]\n")


def _wrapped(begin: str, names: Iterable[str]) -> Iterator[str]:
    """The names in lines, none of them broken in two."""
    whole = ", ".join(name.replace(" ", "\xa0") for name in names)
    for line in textwrap.wrap(begin + whole, WIDTH, subsequent_indent="  ", break_long_words=False):
        yield line.replace("\xa0", " ")


def _print_plans(catalog: Catalog, notes: _Notes) -> None:
    rows = []
    first = catalog.price_bands[0].usd_per_credit
    for tier in catalog.tiers:
        subscription = catalog.subscriptions.get(tier)
        rows.append(
            (
                tier,
                show.bytes_(catalog.max_upload_bytes_by_tier[tier])
                if tier in catalog.max_upload_bytes_by_tier
                else "?",
                f"{catalog.video_longest_edge_by_tier.get(tier, UNKNOWN)} px",
                f"${subscription.usd}: {subscription.credits:,} credits" if subscription else NOT_POSSIBLE,
                f"${first[tier] * 1000:.2f}" if tier in first else NOT_POSSIBLE,
            )
        )
    show.table(("plan", "upload up to", "clip up to", "a month", "1,000 credits by use"), rows, right=frozenset({1, 2}))
    mark = notes.mark(
        ("uploads", "max_bytes", catalog.tiers[0]),
        ("video_to_video", "longest_edge", "by_tier", catalog.tiers[0]),
        ("subscriptions", "monthly"),
        ("usage_prices", "bands"),
    )
    packs = ", ".join(f"{pack.credits:,} for ${pack.usd}" for pack in catalog.packs)
    show.line(f"By use it is less from {catalog.price_bands[0].last or 0:,} credits a month on: see --json. [{mark}]")
    show.line(f"Packs of credits: {packs}.\n")


def _real(catalog: Catalog) -> Iterator[Model]:
    return (model for model in catalog.models.values() if not model.leads_to)


def _priced(model: Model) -> Iterator[str]:
    return (resolution for resolution, rate in model.rates.items() if rate is not None)


def _price(model: Model, resolution: str) -> str:
    if resolution not in model.resolutions:
        return NOT_POSSIBLE
    silent = model.credits_per_second(resolution=resolution, audio=False)
    if silent is None:
        return UNKNOWN
    heard = model.credits_per_second(resolution=resolution, audio=True)
    return str(silent) if heard in {None, silent} else f"{silent}/{heard}"


def _end_image(model: Model) -> str:
    if not model.end_image_resolutions:
        return "no"
    limits = (
        [] if model.end_image_resolutions == model.resolutions else [f"at {', '.join(model.end_image_resolutions)}"]
    )
    if model.end_image_max_seconds:
        limits.append(f"up to {model.end_image_max_seconds} s")
    return ", ".join(limits) or "yes"


def lengths(seconds: Iterable[int]) -> str:
    """Whole numbers in few words: `3 to 10, 15`, `4, 6, 8 to 56 by 8`."""
    left = sorted(seconds)
    parts = []
    while left:
        run = _run(left)
        step = run[1] - run[0] if len(run) > 1 else 1
        if len(run) >= (3 if step == 1 else 5):
            parts.append(f"{run[0]} to {run[-1]}" + (f" by {step}" if step > 1 else ""))
            left = left[len(run) :]
        else:
            parts.append(str(left.pop(0)))
    return ", ".join(parts)


def _run(numbers: Sequence[int]) -> Sequence[int]:
    """The longest beginning whose steps are equal."""
    end = min(2, len(numbers))
    while end < len(numbers) and numbers[end] - numbers[end - 1] == numbers[1] - numbers[0]:
        end += 1
    return numbers[:end]


# --- for programs ----------------------------------------------------------------------------------------------------


def shape(catalog: Catalog, kinds: frozenset[Kind]) -> dict[str, Any]:
    """The catalogue as JSON; fields may be added, none renamed. Where a figure is not published it is null."""
    made: dict[str, Any] = {
        "as_of": catalog.as_of,
        "sources": {key: asdict(origin) for key, origin in catalog.origins.items()},
        "tiers": list(catalog.tiers),
        "uploads": {
            "max_bytes": dict(catalog.max_upload_bytes_by_tier),
            "video_extensions": list(catalog.video_extensions),
            "image_extensions": list(catalog.image_extensions),
            "source": catalog.source_of("uploads"),
        },
        "usage_prices": {
            "bands": [
                {"first": band.first, "last": band.last, "usd": _texts(band.usd_per_credit)}
                for band in catalog.price_bands
            ],
            "source": catalog.source_of("usage_prices", "bands"),
        },
        "subscriptions": {
            "monthly": {
                tier: {"usd": str(each.usd), "usd_paid_yearly": str(each.usd_paid_yearly), "credits": each.credits}
                for tier, each in catalog.subscriptions.items()
            },
            "packs": [{"credits": pack.credits, "usd": str(pack.usd)} for pack in catalog.packs],
            "source": catalog.source_of("subscriptions"),
        },
    }
    if Kind.VIDEO_TO_VIDEO in kinds:
        made["video_to_video"] = _video_shape(catalog)
    if Kind.IMAGE_TO_VIDEO in kinds:
        made["image_to_video"] = _image_shape(catalog)
        made["models"] = [_model_shape(catalog, model) for model in _real(catalog)]
        made["aliases"] = [
            {
                "name": model.name,
                "leads_to": model.leads_to,
                "implies_audio": model.implies_audio,
                "source": catalog.source_of("aliases", model.name, "leads_to"),
            }
            for model in catalog.models.values()
            if model.leads_to
        ]
    return made


def _texts(prices: Any) -> dict[str, str]:
    return {tier: str(price) for tier, price in prices.items()}


def _video_shape(catalog: Catalog) -> dict[str, Any]:
    return {
        "fps_resolutions": list(catalog.fps_resolutions),
        "art_styles": list(catalog.art_styles),
        "style_versions": list(catalog.style_versions),
        "style_models": list(catalog.style_models),
        "prompt_types": list(catalog.prompt_types),
        "forced_versions": dict(catalog.forced_versions),
        "source": catalog.source_of("video_to_video", "art_styles"),
        "credits": {
            "per_frame": catalog.video_credits_per_frame,
            "hold_fps": catalog.video_hold_fps,
            "hold_per_second": {
                "FULL": catalog.video_credits_per_second_full,
                "HALF": catalog.video_credits_per_second_full // 2,
            },
            "source": catalog.source_of("video_to_video", "credits", "per_frame"),
        },
        "longest_edge": {
            "by_tier": dict(catalog.video_longest_edge_by_tier),
            "source": catalog.source_of("video_to_video", "longest_edge"),
        },
        "median_seconds": {
            "value": catalog.median_seconds[Kind.VIDEO_TO_VIDEO],
            "source": catalog.source_of("video_to_video", "median_seconds", "value"),
        },
    }


def _image_shape(catalog: Catalog) -> dict[str, Any]:
    return {
        "seconds": {"from": catalog.image_seconds_min, "to": catalog.image_seconds_max},
        "resolutions": list(catalog.resolutions),
        "source": catalog.source_of("image_to_video", "seconds"),
        "defaults": {
            tier: {"model": name, "resolution": catalog.default_resolution_by_tier[tier]}
            for tier, name in catalog.default_model_by_tier.items()
        },
        "defaults_source": catalog.source_of("image_to_video", "defaults"),
        "median_seconds": {
            "value": catalog.median_seconds[Kind.IMAGE_TO_VIDEO],
            "source": catalog.source_of("image_to_video", "median_seconds", "value"),
        },
    }


def _model_shape(catalog: Catalog, model: Model) -> dict[str, Any]:
    rates = ("models", model.name, "rates", "credits_per_second")
    return {
        "name": model.name,
        "status": model.status,
        "seconds": sorted(model.durations),
        "resolutions": list(model.resolutions),
        "audio": model.audio_supported,
        "end_image": list(model.end_image_resolutions),
        "end_image_max_seconds": model.end_image_max_seconds,
        "aspect_ratios": list(model.aspect_ratios),
        "source": catalog.source_of("models", model.name, "limits", "seconds"),
        "credits_per_second": {
            resolution: {
                "silent": model.credits_per_second(resolution=resolution, audio=False),
                "audio": model.credits_per_second(resolution=resolution, audio=True),
                "source": catalog.source_of(*rates, resolution) if model.rates[resolution] is not None else None,
            }
            for resolution in model.resolutions
        },
        "output_fps": model.output_fps,
        "output_fps_source": catalog.source_of("models", model.name, "output_fps", "value"),
    }
