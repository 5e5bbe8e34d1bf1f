"""What the provider holds of our inputs: by what it is known, how long it is relied on, when it may be gone.

The provider deletes an upload after seven days, and until then takes its file path in any number of requests
(inputs-and-outputs, 2026-08). What it answers to one that is gone is not documented; this is the one place that judges.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote

from batchrunner.core.retry import Failure, Instant
from batchrunner.core.spec import Asset, Input, Output

LIBRARY: Final = "https://magichour.ai/my-library?videoId="
"""What the address of a video in the library begins with (inputs-and-outputs, 2026-08)."""

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


def library_address(project_id: str) -> str:
    """The address of a finished render, which is taken in place of a file, of the own account (inputs-and-outputs)."""
    return f"{LIBRARY}{quote(project_id, safe='')}"


def by_address(field: str, project_id: str, *, now: Instant) -> Asset:
    """The render of another job, named to the provider, which has it."""
    expires_at = now + ASSET_LIFE_S  # it is looked up again then, which costs nothing
    return Asset(field=field, file_path=library_address(project_id), expires_at=expires_at, project_id=project_id)


def is_by_address(asset: Asset) -> bool:
    """Whether an asset is another job's render that the provider is only told the address of."""
    return asset.file_path.startswith(LIBRARY)


def as_file(render: Output, field: str) -> Input:
    """The render of another job as a local input, to be uploaded."""
    return Input(field=field, media="video", path=render.path, sha256=render.sha256, size=render.bytes)


def is_reliable(expires_at: Instant, *, now: Instant) -> bool:
    """Whether an upload will still be there when the render starts.

    One that seems to come from the future was dated by a clock that was put back since; by less than the reserve of
    a day, its true age cannot matter.
    """
    return RENEW_BEFORE_S <= expires_at - now <= ASSET_LIFE_S + RENEW_BEFORE_S


def may_be_gone(failure: Failure, assets: Collection[Asset], *, now: Instant) -> bool:
    """Whether a refused submission can be about uploads that the provider no longer has.

    Only uploads that were not sent for this very submission are doubted. A refusal that speaks of files is taken at
    its word; of the others, "not found" and "unable to create" (422) may hide it, and only once the uploads have some
    age. A refusal that blames the body (400) says what is wrong with it. The address of a render is doubted at once:
    whether it is taken everywhere is not documented, and the render behind it may have been deleted.
    """
    if failure.is_about_credits:
        return False
    if failure.status in {400, 404, 422} and any(is_by_address(asset) for asset in assets):
        return failure.status != 400 or _speaks_of_addresses(failure.message)
    earlier = [asset for asset in assets if asset.is_reused or _is_aged(asset, now=now)]
    if not earlier or failure.status not in {400, 404, 422}:
        return False
    if _speaks_of_files(failure.message, earlier):
        return True
    return failure.status != 400 and any(_is_aged(asset, now=now) for asset in earlier)


def _speaks_of_addresses(message: str) -> bool:
    words = message.lower()
    return any(word in words for word in ("url", "library", "file", "asset", "address"))


def _is_aged(asset: Asset, *, now: Instant) -> bool:
    return now - (asset.expires_at - ASSET_LIFE_S) >= DOUBT_AFTER_S


def _speaks_of_files(message: str, assets: Collection[Asset]) -> bool:
    words = message.lower()
    is_named = any(asset.file_path.lower() in words for asset in assets)
    return is_named or any(word in words for word in ("file", "upload", "asset"))
