"""The sandbox's own table of models, limits and prices, and the credits it holds and settles.

Written from the provider's documentation (docs models.mdx 2026-08, constraints of the SDK 0.90.0) without
a look at the program's own catalogue: two tables that agree by copying would prove nothing.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from types import MappingProxyType
from typing import Final, Literal

from batchrunner.sandbox import problems
from batchrunner.sandbox.settings import Tier

Resolution = Literal["360p", "480p", "720p", "1080p", "4k"]
RESOLUTIONS: tuple[Resolution, ...] = ("360p", "480p", "720p", "1080p", "4k")
SHORT_SIDE: Mapping[Resolution, int] = MappingProxyType(
    {"360p": 360, "480p": 480, "720p": 720, "1080p": 1080, "4k": 2160}
)
"""Pixels of the short side of a result at nominal size."""

CREDITS_PER_FRAME: Final = 2
"""Video-to-video: 48 credits a second at 24 frames (docs models.mdx)."""

HELD_FRAMES_PER_SECOND: Final = Decimal(30)
"""Video-to-video: the charge at creation is calculated at 30 frames a second (docs models.mdx)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An image-to-video model.

    `rates`: credits per output second without sound, for each resolution the model has. `audio_extra`: credits
    per second that sound adds; None when the model has no sound. `audio_factor` multiplies the rate instead.
    `end_image`: resolutions that take one, of at most `end_image_max_s` seconds. `invented` marks rates that
    the provider does not publish: plausible figures of the sandbox, not facts.
    """

    durations: Container[int]
    rates: Mapping[Resolution, int]
    audio_extra: Mapping[Resolution, int] | None = None
    audio_factor: int = 1
    end_image: Container[Resolution] = RESOLUTIONS
    end_image_max_s: int = 60
    fps: int = 24
    invented: bool = False

    @property
    def has_audio(self) -> bool:
        return self.audio_extra is not None


_FREE_AUDIO: Mapping[Resolution, int] = MappingProxyType({})
_VEO_SECONDS = (4, 6, 8, 16, 24, 32, 40, 48, 56)
_LTX_SECONDS = (*range(1, 11), 15, 20, 25, 30)

MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "gemini-omni-1.1": Model(
            durations=range(3, 11), rates={"360p": 36, "720p": 72, "1080p": 108, "4k": 240}, invented=True
        ),
        "kling-2.6": Model(durations=(5, 10), rates={"720p": 36, "1080p": 72}, end_image=("1080p",)),
        "kling-3.0": Model(
            durations=range(3, 16),
            rates={"720p": 48, "1080p": 72, "4k": 240},
            audio_extra={"720p": 24, "1080p": 24, "4k": 48},
        ),
        # 720p was observed by the provider's own benchmark of 2026-09; the other two repeat ltx-2.3.
        "ltx-2.5": Model(
            durations=range(1, 61),
            rates={"480p": 24, "720p": 48, "1080p": 72},
            audio_extra=_FREE_AUDIO,
            invented=True,
        ),
        "minimax-h3": Model(
            durations=range(1, 31),
            rates={"480p": 30, "720p": 60, "1080p": 90},
            audio_extra=_FREE_AUDIO,
            invented=True,
        ),
        "seedance-1.5": Model(
            durations=range(4, 13),
            rates={"480p": 30, "720p": 60, "1080p": 90},
            audio_extra=_FREE_AUDIO,
            audio_factor=2,
        ),
        # 1080p and 4k of seedance-2.0 are invented; the documentation prices 480p and 720p only.
        "seedance-2.0": Model(
            durations=range(4, 16),
            rates={"480p": 144, "720p": 288, "1080p": 432, "4k": 1440},
            audio_extra=_FREE_AUDIO,
            invented=True,
        ),
        "seedance-2.0-fast": Model(
            durations=range(4, 16), rates={"480p": 120, "720p": 240}, audio_extra=_FREE_AUDIO, invented=True
        ),
        "seedance-2.0-mini": Model(durations=range(4, 16), rates={"480p": 96, "720p": 192}, audio_extra=_FREE_AUDIO),
        # 1080p of seedance-2.5 is invented; the documentation prices 480p and 720p only.
        "seedance-2.5": Model(
            durations=range(4, 31),
            rates={"480p": 288, "720p": 576, "1080p": 864},
            audio_extra=_FREE_AUDIO,
            invented=True,
        ),
        "veo3.1": Model(
            durations=_VEO_SECONDS,
            rates={"720p": 96, "1080p": 120},
            audio_extra={"720p": 24, "1080p": 24},
            end_image_max_s=8,
        ),
        "veo3.1-lite": Model(
            durations=_VEO_SECONDS,
            rates={"720p": 48, "1080p": 72},
            audio_extra={"720p": 24, "1080p": 24},
            end_image_max_s=8,
        ),
        "wan-2.2": Model(durations=(*range(3, 11), 15), rates={"480p": 24, "720p": 48, "1080p": 72}, end_image=()),
        "wan-3.0": Model(
            durations=(*range(2, 11), 15, 20, 25, 30),
            rates={"480p": 30, "720p": 60, "1080p": 90},
            audio_extra=_FREE_AUDIO,
            invented=True,
        ),
        # Still accepted, no longer described by the SDK 0.90.0: limits and rates of docs models.mdx.
        "ltx-2.3": Model(durations=_LTX_SECONDS, rates={"480p": 24, "720p": 48, "1080p": 72}, audio_extra=_FREE_AUDIO),
        "sora-2": Model(
            durations=(4, 8, 12, 24, 36, 48, 60),
            rates={"720p": 120},
            audio_extra=_FREE_AUDIO,
            end_image=(),
            fps=30,
        ),
        # Legacy values "no longer recommended" (docs models.mdx), with no published price.
        "kling-1.6": Model(durations=range(5, 61, 5), rates={"720p": 36, "1080p": 72}, end_image=(), invented=True),
        "ltx-2": Model(
            durations=_LTX_SECONDS,
            rates={"480p": 24, "720p": 48, "1080p": 72},
            audio_extra=_FREE_AUDIO,
            end_image=(),
            invented=True,
        ),
    }
)

_ALIASES: Mapping[str, str] = MappingProxyType(
    {"veo3.1-audio": "veo3.1", "kling-2.5": "kling-2.6", "kling-2.5-audio": "kling-2.6", "seedance": "seedance-1.5"}
)
"""Deprecated values and the model that serves them (docs changelog 2026-06-15 and 2026-08-10)."""

MODEL_NAMES: frozenset[str] = frozenset({"default", *MODELS, *_ALIASES})

_DEFAULT_MODEL: Mapping[Tier, str] = MappingProxyType(
    {"free": "ltx-2.5", "creator": "kling-3.0", "pro": "kling-3.0", "business": "kling-3.0"}
)
_FREE_RESOLUTIONS: Container[Resolution] = ("360p", "480p")


@dataclass(frozen=True, slots=True, kw_only=True)
class StillTerms:
    """What an image-to-video request comes to: resolution, frame rate, sound, and the final price in credits."""

    model: str
    resolution: Resolution
    fps: int
    audio: bool
    credits: int = field(compare=False)


def still_terms(
    *,
    model: str,
    resolution: Resolution | None,
    seconds: float,
    audio: bool,
    has_end_image: bool,
    tier: Tier,
) -> StillTerms:
    """The terms of an image-to-video request, priced for good: per-second tools charge the final amount upfront.

    The SDK 0.90.0 documents the limits and not the status of a combination outside them; the sandbox says 422.

    Raises:
        ApiError: 422 for a combination the model does not have, 402 for a resolution the tier does not have.
    """
    name, sounds = _served_by(model, audio=audio, tier=tier)
    entry = MODELS[name]
    chosen: Resolution = resolution or ("480p" if tier == "free" else "720p")
    _require(chosen in entry.rates, f"{name} does not support {chosen}; it supports {', '.join(entry.rates)}")
    _require(
        seconds == int(seconds) and int(seconds) in entry.durations,
        f"{name} does not support end_seconds {seconds:g}",
    )
    _require(entry.has_audio or not sounds, f"{name} does not support audio")
    if has_end_image:
        _require(chosen in entry.end_image, f"{name} does not support end_image_file_path at {chosen}")
        _require(
            seconds <= entry.end_image_max_s,
            f"{name} requires end_seconds of {entry.end_image_max_s} or less with end_image_file_path",
        )
    if tier == "free" and chosen not in _FREE_RESOLUTIONS:
        raise problems.plan_upgrade_required(f"Resolution {chosen} needs a paid plan")
    return StillTerms(
        model=name,
        resolution=chosen,
        fps=entry.fps,
        audio=sounds,
        credits=_rate(entry, chosen, audio=sounds) * int(seconds),
    )


def _served_by(model: str, *, audio: bool, tier: Tier) -> tuple[str, bool]:
    """The model that serves a name, and whether sound is wanted from it.

    `kling-2.5-audio` is served by kling-2.6, which is silent; what the provider does is not documented. Here old
    clients keep working and get a silent video.
    """
    if model == "default":
        return _DEFAULT_MODEL[tier], audio
    if model == "kling-2.5-audio":
        return _ALIASES[model], False
    return _ALIASES.get(model, model), audio or model.endswith("-audio")


def _rate(entry: Model, resolution: Resolution, *, audio: bool) -> int:
    base = entry.rates[resolution]
    if not audio or entry.audio_extra is None:
        return base
    return base * entry.audio_factor + entry.audio_extra.get(resolution, 0)


def _require(condition: bool, message: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not condition:
        raise problems.unprocessable(message)


def clip_hold(*, start_s: float, end_s: float, fps_resolution: Literal["FULL", "HALF"]) -> int:
    """Credits deducted when a video-to-video job is queued: 30 frames a second, half of it for HALF, rounded up.

    That HALF halves the charge is inferred: half the frames.
    """
    seconds = Decimal(repr(end_s)) - Decimal(repr(start_s))
    frames = seconds * HELD_FRAMES_PER_SECOND / (2 if fps_resolution == "HALF" else 1)
    return int((frames * CREDITS_PER_FRAME).to_integral_value(ROUND_CEILING))


def clip_settlement(*, frames: int, held: int) -> int:
    """Credits a finished video-to-video job costs: two a frame, and never more than was held.

    A source faster than 30 frames a second would pass the hold; what the provider does then is not published.
    """
    return min(frames * CREDITS_PER_FRAME, held)
