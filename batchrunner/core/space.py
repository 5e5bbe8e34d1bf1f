"""How much room results need on disk: a guess from their length and size, generous and sparing.

And what no result of such a job can have: an answer that goes on without end, or names a length out of all proportion,
is no video, however much of it a disk could hold.
"""

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


LIKELY = 4.0
LEAST_LIKELY = 16 * 1024 * 1024
"""Times the most that is likely, and bytes: what is larger than both and does not fit on the disk tells of itself, and
not of the disk. The other results may fit well."""

BEYOND = 16.0
LEAST_BOUND = 256 * 1024 * 1024
"""The same: no result is larger than both. 16 times our rate is 120 million bits a
second at 720p and 192 million at 1080p, near what H.264 takes to lose nothing at all. What is refused wrongly was paid
for and does not get to the disk, so this is meant to be far off, for a length that comes out otherwise as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Bytes that the file of one result has: at most, if it is as usual, and at most whatever it is."""

    likely: int
    most: int

    def objection(self, size: int) -> str | None:
        """Why a file of this size, or one that has it already and goes on, is no result of the job; None if it may."""
        if size <= self.most:
            return None
        return f"{size:,} bytes or more are no result of this job, which has {self.most:,} at the very most"


def bound_of(spec: Spec) -> Bound:
    """What the file of one job's result has at most."""
    need = need_of(spec)
    return Bound(
        likely=max(LEAST_LIKELY, int(LIKELY * need.most)),
        most=max(LEAST_BOUND, int(BEYOND * need.most)),
    )


def need_of(spec: Spec) -> Need:
    """What the result of one job takes."""
    asked = spec.body().get("resolution") if spec.kind is Kind.IMAGE_TO_VIDEO else None
    known = BITS_A_SECOND.get(str(asked).lower())
    seconds = max(0.0, spec.seconds)
    least, most = known or BITS_A_SECOND[SMALLEST], known or BITS_A_SECOND[USUAL]
    return Need(least=int(least * SPARING * seconds / 8), most=int(most * GENEROUS * seconds / 8))
