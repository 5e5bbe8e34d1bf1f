"""How much room results need on disk: a guess from their length and size, generous and sparing."""

from __future__ import annotations

from dataclasses import dataclass

from batchrunner.core.kind import Kind
from batchrunner.core.spec import Spec

USUAL = "1080p"
"""Where a request names no size; video-to-video goes up to 1472 pixels at the longest edge (docs, 2026-08)."""

SMALLEST = "360p"
"""What the result of a clip is at least taken for; it may be as small as the clip, of which nothing is known here."""

BITS_A_SECOND = {"360p": 1_000_000, "480p": 2_500_000, "720p": 5_000_000, "1080p": 8_000_000, "4k": 45_000_000}
"""H.264 at up to 30 frames a second, as YouTube recommends it for uploads ("Recommended upload encoding settings", SDR,
2024), which is meant to lose nothing that can be seen. The provider publishes no rates of its own."""

GENEROUS = 1.5
"""Times that rate: frames may come at 60 a second (12 in place of 8 million bits at 1080p, same page)."""

SPARING = 0.1
"""Of that rate: less than this a moving picture of that size hardly takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Bytes that results take: surely, and at the most that is likely."""

    least: int
    most: int


def need_of(spec: Spec) -> Need:
    """What the result of one job takes."""
    asked = spec.body().get("resolution") if spec.kind is Kind.IMAGE_TO_VIDEO else None
    known = BITS_A_SECOND.get(str(asked).lower())
    seconds = max(0.0, spec.seconds)
    least, most = known or BITS_A_SECOND[SMALLEST], known or BITS_A_SECOND[USUAL]
    return Need(least=int(least * SPARING * seconds / 8), most=int(most * GENEROUS * seconds / 8))
