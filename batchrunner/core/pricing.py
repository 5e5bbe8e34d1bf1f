"""What a render costs, in whole credits: the least, the likely and the most that must be assumed until it settles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
import math
from typing import Any

from batchrunner.core.catalog import Catalog
from batchrunner.core.kind import DEFAULT, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Credits for one render.

    Attributes:
        low: the least that a render which succeeds can settle at.
        expected: what it will most likely settle at.
        hold: the most that must be assumed until it settles.
    """

    low: int
    expected: int
    hold: int


NONE_ABOVE = Fraction(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What renders of one sort were charged.

    Attributes:
        renders: how many settled.
        held: the sum of their holds.
        settled: the sum of what they came to.
        dearest: the highest first charge of any, as a share of the hold that the catalogue gives for it now; 1 where
            none was above it.
    """

    renders: int = 0
    held: int = 0
    settled: int = 0
    dearest: Fraction = NONE_ABOVE

    def __str__(self) -> str:
        """The basis of an estimate, as it is told."""
        return _basis(self.renders, self.settled, self.held)

    @property
    def warning(self) -> str:
        """The basis of a hold above the catalogue's, as it is told."""
        return f"a charge of {float(self.dearest):.2f} times the catalogue's hold"


@lru_cache(maxsize=256)
def _basis(renders: int, settled: int, held: int) -> str:
    """In words that all jobs of a sort share, instead of a text and a fraction for each."""
    return f"{renders} settled renders: {float(Fraction(settled, held)):.2f} of the hold"


ENOUGH = 3
"""Settled renders of a sort from which they say more than the catalogue's typical frame rate."""

Sort = tuple[str, str, str, str, bool]
History = Mapping[Sort, Experience]


def sort_of(kind: Kind, request: Mapping[str, Any], catalog: Catalog, *, tier: str | None, model: str) -> Sort:
    """What makes renders alike in price: kind, model that renders, resolution, frame-rate choice, audio.

    By what is rendered, however it was asked for: by name, by a quality, by an alias, or not at all.
    """
    if kind is Kind.VIDEO_TO_VIDEO:
        return (str(kind), model, "", str(request.get("fps_resolution", "HALF")), False)
    audio = bool(request.get("audio", False))
    resolved = catalog.resolve_model(request.get("model", DEFAULT), audio=audio, tier=tier)
    return (str(kind), model, _resolution(request, catalog, tier), "", resolved.audio if resolved else audio)


def _resolution(request: Mapping[str, Any], catalog: Catalog, tier: str | None) -> str:
    """The resolution that an image-to-video request is rendered at."""
    return catalog.asked_resolution(request) or catalog.default_resolution_by_tier.get(tier or "", "720p")


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one attempt was charged.

    Attributes:
        sort: what it is alike with.
        hold: what was assumed when it was bought.
        settled: what it came to, where it rendered and that is known.
        excess: its first charge over the hold that the catalogue gives for it now; at least 1.
    """

    sort: Sort
    hold: int
    settled: int | None = None
    excess: Fraction = NONE_ABOVE


def learn(charges: Iterable[Charge]) -> History:
    """The history that charges make."""
    known: dict[Sort, tuple[int, int, int, Fraction]] = {}
    for charge in charges:
        renders, held, settled, dearest = known.get(charge.sort, (0, 0, 0, NONE_ABOVE))
        if charge.settled is not None and charge.hold > 0:
            renders, held, settled = renders + 1, held + charge.hold, settled + charge.settled
        if charge.excess is not NONE_ABOVE:
            dearest = max(dearest, charge.excess)
        known[charge.sort] = renders, held, settled, dearest
    return {
        sort: Experience(renders=renders, held=held, settled=settled, dearest=dearest)
        for sort, (renders, held, settled, dearest) in known.items()
    }


def calibrated(price: Estimate, sort: Sort, history: History) -> tuple[Estimate, str | None]:
    """The estimate with what this account was charged before in it, and the basis, where there is one.

    The likely figure follows what renders settled at. The hold stays, unless the account was charged more than the
    catalogue says: what must be assumed is then what was seen.
    """
    known = history.get(sort)
    if known is None:
        return price, None
    if known.dearest > 1:
        hold = math.ceil(price.hold * known.dearest)
        return replace(price, hold=hold, expected=max(price.expected, hold)), known.warning
    if known.renders < ENOUGH or price.low == price.hold:
        return price, None
    likely = -(-price.hold * known.settled // known.held)  # rounded up, and without a fraction for each job
    expected = min(price.hold, max(price.low, likely))
    return Estimate(low=price.low, expected=expected, hold=price.hold), str(known)


TYPICAL_FPS = 24
"""Frame rate that the provider's own price example assumes ("48 credits/second at 24fps", models.mdx 2026-08)."""


def estimate(
    kind: Kind, request: Mapping[str, Any], catalog: Catalog, *, tier: str | None, fps: float | None = None
) -> Estimate | None:
    """The price of one request; None where the provider publishes no rate for it.

    Args:
        kind: which endpoint it goes to.
        request: the body as it travels.
        catalog: rates and what they apply to.
        tier: decides what `model: default` and a missing resolution mean; None takes the dearest of all tiers.
        fps: frames a second of the clip, where it could be probed.
    """
    if kind is Kind.VIDEO_TO_VIDEO:
        return _video_to_video(request, catalog, fps)
    return _image_to_video(request, catalog, tier)


ROUNDING_FPS = 0.5
"""A phone's clip of 30 frames a second is measured as 30.01: not faster."""


def is_fast(kind: Kind, fps: float | None, catalog: Catalog) -> bool:
    """Whether a clip has more frames a second than the provider says it estimates with."""
    return kind is Kind.VIDEO_TO_VIDEO and fps is not None and fps > catalog.video_hold_fps + ROUNDING_FPS


def _video_to_video(request: Mapping[str, Any], catalog: Catalog, fps: float | None) -> Estimate:
    """Held at 30 fps when queued, settled by the frames that really render.

    Sources: models.mdx 2026-08 (the estimate is calculated at 30 fps); OpenAPI 2026-09 (charged for frames that
    render). That half the frames cost half is inferred; nothing states it. Whether a faster clip is charged for all
    of its frames is not stated either: 30 fps is likely, and all of them must be assumed.
    """
    seconds = request["end_seconds"] - request["start_seconds"]
    share = 0.5 if request.get("fps_resolution", "HALF") == "HALF" else 1.0
    full = catalog.video_credits_per_second_full
    if fps is not None and is_fast(Kind.VIDEO_TO_VIDEO, fps, catalog):
        full = math.ceil(fps * catalog.video_credits_per_frame)
    hold = math.ceil(seconds * share * full)
    frames = seconds * share * min(fps or TYPICAL_FPS, catalog.video_hold_fps)
    expected = min(hold, math.ceil(frames * catalog.video_credits_per_frame))
    # Rounding at both ends of the range, and of half a frame rate, can lose a frame each.
    fewest = max(1, math.floor(frames) - 2) if fps else 1
    return Estimate(low=min(expected, fewest * catalog.video_credits_per_frame), expected=expected, hold=hold)


def _image_to_video(request: Mapping[str, Any], catalog: Catalog, tier: str | None) -> Estimate | None:
    """Rate times seconds, final when queued: exact to the credit in all 46 priced rows of the 2026-09 benchmark."""
    tiers = [tier] if tier in catalog.tiers else list(catalog.tiers)
    prices = [_image_price(request, catalog, each) for each in tiers]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices) or not known:
        return None
    return Estimate(low=min(known), expected=max(known), hold=max(known))


def _image_price(request: Mapping[str, Any], catalog: Catalog, tier: str | None) -> int | None:
    resolved = catalog.resolve_model(request.get("model", DEFAULT), audio=bool(request.get("audio", False)), tier=tier)
    if resolved is None:
        return None
    rate = resolved.model.credits_per_second(resolution=_resolution(request, catalog, tier), audio=resolved.audio)
    return None if rate is None else math.ceil(rate * request["end_seconds"])
