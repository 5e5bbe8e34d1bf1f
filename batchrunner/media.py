"""What is inside a media file. The only module that knows PyAV.

Reading runs in the caller's thread and can take a while; call it off the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import av.error

from batchrunner.errors import DamagedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A video file as it was found: seconds, pixels, frames a second."""

    seconds: float
    width: int
    height: int
    fps: float


def check_video(path: Path) -> Video:
    """What the file holds, after reading it to its end.

    Every packet is read, so that a file that was cut short is noticed, and the first picture is decoded.

    Raises:
        DamagedFile: it is no video that can be played.
    """
    try:
        with av.open(str(path), "r") as container:
            if not container.streams.video:
                raise DamagedFile(f"{path.name} holds no picture")
            stream = container.streams.video[0]
            frame = next(container.decode(stream), None)
            if frame is None:
                raise DamagedFile(f"{path.name} holds no picture")
            container.seek(0)
            end = max(
                (packet.pts + (packet.duration or 0) for packet in container.demux(stream) if packet.pts is not None),
                default=0,
            )
            return Video(
                seconds=float(end * stream.time_base) if stream.time_base else 0.0,
                width=frame.width,
                height=frame.height,
                fps=float(stream.average_rate or 0),
            )
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise DamagedFile(f"{path.name} cannot be played: {error}") from error
