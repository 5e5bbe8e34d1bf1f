"""What is in a media file. Apart from `inputs`, since whoever looks into a file need not know how one is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Media: TypeAlias = Literal["video", "image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is in a media file.

    `seconds` and `fps` are None for a still, and `fps` for a clip that does not tell it. `width` and `height` are in
    pixels as it is shown, after the rotation that a camera noted. `codec` is lower case, such as h264 or png.
    """

    width: int
    height: int
    codec: str
    seconds: float | None = None
    fps: float | None = None
    has_audio: bool = False
