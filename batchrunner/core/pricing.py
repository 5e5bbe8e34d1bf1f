"""What a render costs, in whole credits: the least, the likely and the most that must be assumed until it settles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import Any

from batchrunner.core.catalog import Catalog
from batchrunner.core.kind import Kind


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


def _video_to_video(request: Mapping[str, Any], catalog: Catalog, fps: float | None) -> Estimate:
    """Held at 30 fps when queued, settled by the frames that really render.

    Sources: models.mdx 2026-08 (the estimate is calculated at 30 fps); OpenAPI 2026-09 (charged for frames that
    render). That half the frames cost half is inferred; nothing states it.
    """
    seconds = request["end_seconds"] - request["start_seconds"]
    share = 0.5 if request.get("fps_resolution", "HALF") == "HALF" else 1.0
    hold = math.ceil(seconds * share * catalog.video_credits_per_second_full)
    frames = seconds * share * (fps or TYPICAL_FPS)
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
    resolved = catalog.resolve_model(
        request.get("model", "default"), audio=bool(request.get("audio", False)), tier=tier
    )
    if resolved is None:
        return None
    resolution = catalog.asked_resolution(request) or catalog.default_resolution_by_tier.get(tier or "", "720p")
    rate = resolved.model.credits_per_second(resolution=resolution, audio=resolved.audio)
    return None if rate is None else math.ceil(rate * request["end_seconds"])
