"""What is inside a media file. The only module that knows PyAV.

Reading runs in the caller's thread and can take a while; call it off the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from batchrunner.errors import DamagedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A video file as it was found: seconds, pixels, frames a second."""

    seconds: float
    width: int
    height: int
    fps: float


FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
"""Containers that are read, by FFmpeg's names. No playlists, which make FFmpeg open other files and addresses, and no
pictures, which it takes for videos of one frame."""


def check_video(path: Path) -> Video:
    """What the file holds, after reading it to its end.

    Every packet is read, and those from the last key picture on are decoded, so that a file that was cut short is
    noticed, or one whose tail is not its own.

    Raises:
        DamagedFile: it is no video that can be played.
    """
    try:
        # Edit lists are left out of account, since they hide pictures, and the number found could not be compared
        # with the number announced.
        with _open(path, ignore_editlist="1") as container:
            return _video(container, path)
    except DamagedFile:
        raise
    except Exception as error:  # whatever it is, a file did it: FFmpeg's errors, and PyAV's own on odd streams
        raise DamagedFile(f"{path.name} cannot be played: {_words(error)}") from error


def _video(container: InputContainer, path: Path) -> Video:
    if not container.streams.video:
        raise DamagedFile(f"{path.name} holds no picture")
    stream = container.streams.video[0]
    first = next(container.decode(stream), None)
    if first is None:
        raise DamagedFile(f"{path.name} holds no picture")
    container.seek(0)
    span = _span(container, stream, path)
    if span.last_key is not None:
        container.seek(span.last_key, stream=stream)
    for _ in container.decode(stream):
        pass
    return Video(
        seconds=float((span.end - span.begin) * stream.time_base) if stream.time_base else 0.0,
        width=first.width,
        height=first.height,
        fps=float(stream.average_rate or 0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """When the pictures begin and end, and when the last that needs no other is shown; in the stream's time base."""

    begin: int
    end: int
    last_key: int | None


def _span(container: InputContainer, stream: VideoStream, path: Path) -> _Span:
    count, begin, end, last_key = 0, None, 0, None
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise DamagedFile(f"{path.name} is cut short")
        count += packet.size > 0
        if packet.pts is None:
            continue
        begin = packet.pts if begin is None else min(begin, packet.pts)
        end = max(end, packet.pts + (packet.duration or 0))
        if packet.is_keyframe:
            last_key = packet.pts
    if count < stream.frames:  # 0 where the container does not say
        raise DamagedFile(f"{path.name} is cut short: {count} of {stream.frames} pictures are there")
    return _Span(begin=begin or 0, end=end, last_key=last_key)


def _words(error: Exception) -> str:
    """The error in FFmpeg's words, without our own path in them."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def probe_clip(path: Path) -> Video | None:
    """What a clip says of itself, without reading it through; None when it cannot be read as a clip."""
    try:
        with _open(path) as container:
            stream = next(iter(container.streams.video), None)
            if stream is None:
                return None
            return Video(
                seconds=_announced_seconds(container, stream),
                width=stream.width,
                height=stream.height,
                fps=float(stream.average_rate or 0),
            )
    except Exception:  # noqa: BLE001 - whatever it is, a file did it
        return None


def _announced_seconds(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def _open(path: Path, **options: str) -> InputContainer:
    """The file as a container; the prefix keeps a name with a colon from being read as an address."""
    guards = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    return av.open(f"file:{path}", "r", options=guards | options)
