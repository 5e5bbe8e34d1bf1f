"""A result against what was asked for: whole and playable is not yet what was paid for."""

from __future__ import annotations

SHARE = 0.1
"""Part of the length asked for by which a result may be longer or shorter."""

FRAMES = 2
"""Pictures by which it may be so in any case: ranges are cut at pictures, at either end."""

USUAL_FPS = 24.0
"""Where a file does not say; the provider's models render 24 or 30 (models.mdx, 2026-08)."""


def suspicion(*, asked_s: float, found_s: float, fps: float) -> str | None:
    """Why a result may not be what was paid for, in words; None when its length in seconds is as asked.

    It did happen: the provider's changelog of 2025-07-13 tells of 480p renders of the wrong length, and refunds them.
    """
    slack_s = max(SHARE * asked_s, FRAMES / (fps or USUAL_FPS))
    # A hair of slack beyond that: lengths come as sums of fractions.
    if asked_s <= 0 or abs(found_s - asked_s) <= slack_s + 1e-6:
        return None
    return f"it is {found_s:.2f} s long where {asked_s:g} s were asked for"
