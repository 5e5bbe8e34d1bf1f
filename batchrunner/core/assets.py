"""What the provider holds of our inputs: by what it is known, how long it is relied on, when it may be gone.

The provider deletes an upload after seven days, and until then takes its file path in any number of requests
(inputs-and-outputs, 2026-08). What it answers to one that is gone is not documented; this is the one place that judges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from batchrunner.core.retry import Failure, Instant
from batchrunner.core.spec import Asset, Input

ASSET_LIFE_S: Final = 7 * 24 * 3600.0
"""How long the provider keeps an upload (inputs-and-outputs, 2026-08)."""

RENEW_BEFORE_S: Final = 24 * 3600.0
"""One that has less than this to live is sent again: its render may start late."""

DOUBT_AFTER_S: Final = 3600.0
"""From this age on, a refusal that names no reason may mean that an upload is gone; a younger one is surely there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What makes two uploads the same: content, and the two things that an address is asked for."""

    sha256: str
    media: str
    extension: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An upload that the provider took: the path it is known by there, and when it was begun."""

    file_path: str
    sent_at: Instant

    @property
    def expires_at(self) -> Instant:
        """When the provider deletes it."""
        return self.sent_at + ASSET_LIFE_S


def key_of(local: Input) -> Key:
    """The key of a local input."""
    assert local.path is not None
    assert local.sha256 is not None
    extension = PurePosixPath(local.path).suffix.removeprefix(".").lower()
    return Key(sha256=local.sha256, media=local.media, extension=extension)


def is_reliable(expires_at: Instant, *, now: Instant) -> bool:
    """Whether an upload will still be there when the render starts.

    One that seems to come from the future was dated by a clock that was put back since; by less than the reserve of
    a day, its true age cannot matter.
    """
    return RENEW_BEFORE_S <= expires_at - now <= ASSET_LIFE_S + RENEW_BEFORE_S


def may_be_gone(failure: Failure, assets: Iterable[Asset], *, now: Instant) -> bool:
    """Whether a refused submission can be about uploads that the provider no longer has.

    Only uploads that were not sent for this very submission are doubted. A refusal that speaks of files is taken at
    its word; of the others, "not found" and "unable to create" (422) may hide it, and only once the uploads have some
    age. A refusal that blames the body (400) says what is wrong with it.
    """
    earlier = [asset for asset in assets if asset.is_reused or _is_aged(asset, now=now)]
    if not earlier or failure.status not in {400, 404, 422}:
        return False
    if _speaks_of_files(failure.message, earlier):
        return True
    return failure.status != 400 and any(_is_aged(asset, now=now) for asset in earlier)


def _is_aged(asset: Asset, *, now: Instant) -> bool:
    return now - (asset.expires_at - ASSET_LIFE_S) >= DOUBT_AFTER_S


def _speaks_of_files(message: str, assets: Iterable[Asset]) -> bool:
    words = message.lower()
    is_named = any(asset.file_path.lower() in words for asset in assets)
    return is_named or any(word in words for word in ("file", "upload", "asset"))
