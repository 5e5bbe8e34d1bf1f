"""What a render is made from and to: the part of an accepted request that the renderer needs.

An order is written to the journal as it was understood when it was accepted, so that a restart under other
settings renders what was paid for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from batchrunner.sandbox.prices import Resolution

Kind = Literal["video-to-video", "image-to-video"]
FpsResolution = Literal["FULL", "HALF"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where an input comes from.

    `ref` is a file_path for an upload, a project id for an output, and an address for anything elsewhere.
    """

    origin: Literal["upload", "output", "elsewhere"]
    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOrder:
    """Video-to-video: the part of a clip from `start_s` to `end_s`, in an art style."""

    source: Source
    start_s: float
    end_s: float
    fps_resolution: FpsResolution
    art_style: str
    kind: Literal["video-to-video"] = "video-to-video"


@dataclass(frozen=True, slots=True, kw_only=True)
class StillOrder:
    """Image-to-video: `end_s` seconds that move over a still, and to `end_image` when there is one."""

    image: Source
    end_image: Source | None
    end_s: float
    resolution: Resolution
    fps: int
    audio: bool
    prompt: str
    kind: Literal["image-to-video"] = "image-to-video"


Order = ClipOrder | StillOrder


def to_record(order: Order) -> dict[str, Any]:
    """The order as JSON for the journal."""
    return asdict(order)


def from_record(record: Mapping[str, Any]) -> Order:
    """The order that `to_record` wrote."""
    fields = dict(record)
    if fields["kind"] == "video-to-video":
        return ClipOrder(**fields | {"source": Source(**fields["source"])})
    end_image = fields["end_image"]
    return StillOrder(
        **fields | {"image": Source(**fields["image"]), "end_image": None if end_image is None else Source(**end_image)}
    )
