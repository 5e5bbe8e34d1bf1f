"""The kinds of render that a manifest can ask for."""

from __future__ import annotations

from enum import StrEnum

DEFAULT = "default"
"""The name under which a request asks for whatever model, or version of a style, the provider holds best."""


class Kind(StrEnum):
    """Which of the provider's tools renders the job; the value is the endpoint's own name."""

    VIDEO_TO_VIDEO = "video-to-video"
    IMAGE_TO_VIDEO = "image-to-video"
