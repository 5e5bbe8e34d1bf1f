"""What is inside a media file. The only module that knows PyAV, and Pillow for reading.

Reading runs in the caller's thread and can take a while; call it off the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, TypeAlias, assert_never

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from batchrunner.core.facts import Facts, Media
from batchrunner.errors import DamagedFile, TransferError

if TYPE_CHECKING:
    from PIL.Image import Image


class Readable(Protocol):
    """Something with a name that can be read from any byte on: a path, or what is elsewhere."""

    @property
    def name(self) -> str:
        """Its own name, without folders."""

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """Open it for reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A video file as it was found: seconds, pixels, frames a second."""

    seconds: float
    width: int
    height: int
    fps: float


MOST_VIDEO_PIXELS = 40_000_000
"""Of one picture of a clip: 8K has 33 million. A file of a few kilobytes can announce gigabytes of them."""

SMALL_PIXELS = 1280 * 720
"""Of one picture of a clip: up to there, threads take longer to begin than they save."""

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
"""Containers that are read, by FFmpeg's names. No playlists, which make FFmpeg open other files and addresses, and no
pictures, which it takes for videos of one frame."""


See: TypeAlias = Callable[[Video, float, VideoFrame], None]
"""Is shown a picture of a video, with the seconds from its first one on; must not raise."""


def check_video(path: Readable, see: See = lambda *_: None) -> Video:
    """What the file holds, after reading it to its end.

    Every packet is read, and those from the last key picture on are decoded, so that a file that was cut short is
    noticed, or one whose tail is not its own. `see` is shown what is decoded.

    Raises:
        DamagedFile: it is no video that can be played.
    """
    try:
        # Edit lists are left out of account, since they hide pictures, and the number found could not be compared
        # with the number announced.
        with opened(path, ignore_editlist="1") as container:
            return _video(container, path, see)
    except TransferError:  # ours already: damaged, or it cannot be read any more
        raise
    except Exception as error:  # whatever it is, a file did it: FFmpeg's errors, and PyAV's own on odd streams
        raise DamagedFile(f"{path.name} cannot be played: {words(error)}") from error


def _video(container: InputContainer, path: Readable, see: See) -> Video:
    stream, first, span = _whole(container, path)
    video = Video(
        seconds=_seconds(span, stream), width=first.width, height=first.height, fps=float(stream.average_rate or 0)
    )
    if span.last_key is not None:
        container.seek(span.last_key, stream=stream)
    base = stream.time_base or Fraction(0)
    for frame in container.decode(stream):
        # Divided as whole numbers: exact as the fraction is, at a tenth of what that takes for each picture.
        see(video, ((frame.pts or 0) - span.begin) * base.numerator / base.denominator, frame)
    return video


def _read_through(container: InputContainer, path: Readable) -> tuple[VideoStream, VideoFrame, _Span]:
    """The stream of pictures, the first of them, and what its packets say, all of which were read."""
    if not container.streams.video:
        raise DamagedFile(f"{path.name} holds no picture")
    stream = container.streams.video[0]
    if stream.codec_context.width * stream.codec_context.height > MOST_VIDEO_PIXELS:
        raise DamagedFile(f"{path.name} says that its pictures have more than {MOST_VIDEO_PIXELS:,} pixels")
    first = next(container.decode(stream), None)
    if first is None:
        raise DamagedFile(f"{path.name} holds no picture")
    container.seek(0)
    return stream, first, _span(container, stream, path)


def _whole(container: InputContainer, path: Readable) -> tuple[VideoStream, VideoFrame, _Span]:
    """As `_read_through`, for a file that must hold data for every picture it announces."""
    stream, first, span = _read_through(container, path)
    if span.is_blank and stream.codec_context.name != "rawvideo":
        raise DamagedFile(f"{path.name} has zeros for pictures: it was not written to its end")
    return stream, first, span


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """When the pictures begin and end, and when the last that needs no other is shown; in the stream's time base.

    `is_blank` when the data of one of them is nothing but zeros.
    """

    begin: int
    end: int
    last_key: int | None
    is_blank: bool


_BLANK = bytes(16)
"""No picture of a codec that compresses begins so; space on disk that is taken, and not written yet, does."""


def _span(container: InputContainer, stream: VideoStream, path: Readable) -> _Span:
    count, begin, end, last_key, is_blank = 0, None, 0, None, False
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise DamagedFile(f"{path.name} is cut short")
        is_blank = is_blank or bytes(memoryview(packet)[: len(_BLANK)]) == _BLANK
        count += packet.size > 0
        if packet.pts is None:
            continue
        begin = packet.pts if begin is None else min(begin, packet.pts)
        end = max(end, packet.pts + (packet.duration or 0))
        if packet.is_keyframe:
            last_key = packet.pts
    if count < stream.frames:  # 0 where the container does not say
        raise DamagedFile(f"{path.name} is cut short: {count} of {stream.frames} pictures are there")
    return _Span(begin=begin or 0, end=end, last_key=last_key, is_blank=is_blank)


def words(error: Exception) -> str:
    """The error in FFmpeg's words, without our own path in them."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(said.split())


def probe(path: Readable, media: Media) -> Facts:
    """What an input holds, read to its end, so that one that is cut short is noticed before it is paid for.

    Of a clip the first picture and the last that needs no other are decoded; a still is decoded whole.

    Raises:
        DamagedFile: it cannot be used; the text says why.
    """
    match media:
        case "video":
            return _clip(path)
        case "image":
            return _still(path)
        case _:
            assert_never(media)


def probe_far(path: Readable, media: Media) -> Facts:
    """The same for what is far to fetch: of a clip only the two pictures are read, where its index tells the rest."""
    return (_far_clip(path) if media == "video" else None) or probe(path, media)


# --- clips -----------------------------------------------------------------------------------------------------------


def _clip(path: Readable) -> Facts:
    try:
        # Without edit lists for the packets, whose number is announced without them; with them for the length.
        with opened(path, ignore_editlist="1") as container:
            first, seconds, is_indexed = _checked_clip(container, path)
        with opened(path) as container:
            stream = container.streams.video[0]
            if is_indexed and stream.duration and stream.time_base:
                seconds = float(stream.duration * stream.time_base)
            return _facts(container, first, seconds)
    except TransferError:  # ours already: damaged, or it cannot be read any more
        raise
    except Exception as error:  # whatever it is, a file did it
        raise DamagedFile(f"{path.name} cannot be played: {words(error)}") from error


def _facts(container: InputContainer, first: VideoFrame, seconds: float) -> Facts:
    stream = container.streams.video[0]
    is_turned = first.rotation % 180 != 0
    return Facts(
        seconds=seconds,
        fps=float(stream.average_rate) if stream.average_rate else None,
        width=first.height if is_turned else first.width,
        height=first.width if is_turned else first.height,
        has_audio=bool(container.streams.audio),
        codec=stream.codec_context.codec.canonical_name,
    )


def _far_clip(path: Readable) -> Facts | None:
    """What a clip holds by its index, its first picture and the last that needs no other; None without such an index.

    The index says where the data of every picture lies, so that a clip that is cut short is noticed without it.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
        with opened(path) as container:
            return _indexed(container, path, size)
    except TransferError:
        raise
    except Exception as error:  # whatever it is, a file did it
        raise DamagedFile(f"{path.name} cannot be played: {words(error)}") from error


def _indexed(container: InputContainer, path: Readable, size: int) -> Facts | None:
    stream = next(iter(container.streams.video), None)
    if stream is None or not (stream.frames and stream.duration and stream.time_base):
        return None
    if stream.codec_context.width * stream.codec_context.height > MOST_VIDEO_PIXELS:
        raise DamagedFile(f"{path.name} says that its pictures have more than {MOST_VIDEO_PIXELS:,} pixels")
    entries = list(stream.index_entries)
    keys = [entry.timestamp for entry in entries if entry.is_keyframe]
    if not keys:
        return None
    if max(entry.pos + entry.size for entry in entries) > size:
        raise DamagedFile(f"{path.name} is cut short")
    first = next(container.decode(stream), None)
    container.seek(max(keys), stream=stream)
    if first is None or next(container.decode(stream), None) is None:
        raise DamagedFile(f"{path.name} is cut short")
    return _facts(container, first, float(stream.duration * stream.time_base))


def _checked_clip(container: InputContainer, path: Readable) -> tuple[VideoFrame, float, bool]:
    """The first picture, the seconds that the packets cover, and whether the container announces their number."""
    stream, first, span = _whole(container, path)
    if span.last_key is not None:
        container.seek(span.last_key, stream=stream)
        if next(container.decode(stream), None) is None:
            raise DamagedFile(f"{path.name} is cut short")
    return first, _seconds(span, stream), stream.frames > 0


def _seconds(span: _Span, stream: VideoStream) -> float:
    return float((span.end - span.begin) * stream.time_base) if stream.time_base else 0.0


def opened(path: Readable, **options: str) -> InputContainer:
    """The file as a container; the prefix keeps a name with a colon from being read as an address."""
    guards = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    file = f"file:{path}" if isinstance(path, Path) else path.open("rb")
    container = av.open(file, "r", options=guards | options)
    for stream in container.streams.video:
        if stream.codec_context.width * stream.codec_context.height <= SMALL_PIXELS:
            stream.codec_context.thread_count = 1
    return container


# --- stills ----------------------------------------------------------------------------------------------------------

STILL_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "JPEG2000", "TIFF", "BMP", "HEIF")
"""Pictures that are read, by Pillow's names: the provider's list, and nothing that starts another program."""

MAX_PIXELS = 178_956_970
"""What Pillow, too, takes for an attack on memory. The largest cameras stay below; eight bytes a pixel are 1.4 GB."""

_TAIL = 64 * 1024
_UNWRITTEN = 512
_END_OF_JPEG = b"\xff\xd9"  # cameras fill up to the end of a block after it
_ORIENTATION = 0x0112
_TURNED = frozenset({5, 6, 7, 8})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


def opened_still(path: Readable) -> Image:
    """The file as a picture, not decoded yet; of the formats that are read and of no other."""
    from PIL import Image  # noqa: PLC0415 - loaded for those who render stills

    # Pillow's own limit is a warning on standard error, and only an error at twice of it; ours is checked by `probe`.
    Image.MAX_IMAGE_PIXELS = None
    file = path if isinstance(path, Path) else path.open("rb")
    return Image.open(file, formats=STILL_FORMATS if _read_heif() else STILL_FORMATS[:-1])


def _still(path: Readable) -> Facts:
    from PIL import UnidentifiedImageError  # noqa: PLC0415 - loaded for those who render stills

    try:
        with opened_still(path) as image:
            return _decoded(image, path)
    except TransferError:  # ours already: damaged, or it cannot be read any more
        raise
    except UnidentifiedImageError as error:
        if not _read_heif() and _is_heif(path):
            raise DamagedFile(
                f"{path.name} is a HEIC picture, which needs one more package to be read",
                hint="pip install 'batchrunner[heic]', or save it as JPEG",
            ) from error
        raise DamagedFile(f"{path.name} is no picture that can be read, or a damaged one") from error
    except Exception as error:  # whatever it is, a file did it: Pillow raises what its decoders raise
        raise DamagedFile(f"{path.name} cannot be read as a picture: {words(error)}") from error


def _decoded(image: Image, path: Readable) -> Facts:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DamagedFile(
            f"{path.name} claims {width:,} x {height:,} pixels; more than {MAX_PIXELS:,} are not read",
            hint="make it smaller",
        )
    codec = (image.format or "").lower()
    if codec in {"jpeg", "mpo", "webp"} and _ends_in_zeros(path):
        raise DamagedFile(f"{path.name} ends in zeros: it was not written to its end")
    if codec in {"jpeg", "mpo"}:
        # Decoded at an eighth: all of the data is read, at a fraction of the time and memory.
        image.draft("RGB", (width // 8, height // 8))
        image.load()
    else:
        image.load()
        # Where Pillow has turned it while loading, the orientation is gone as well.
        width, height = image.size
    if image.getexif().get(_ORIENTATION) in _TURNED:
        width, height = height, width
    return Facts(width=width, height=height, codec="jpeg" if codec == "mpo" else codec)


def _ends_in_zeros(path: Readable) -> bool:
    """Whether the space for the file was taken, but not filled, which these formats' decoders pass over in silence."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        tail = file.read(_TAIL)
    written = tail.rstrip(b"\0")
    return len(tail) - len(written) >= _UNWRITTEN and not written.endswith(_END_OF_JPEG)


@cache
def _read_heif() -> bool:
    """Teach Pillow to read HEIC; False where the optional package for it is missing."""
    try:
        import pillow_heif  # noqa: PLC0415 - optional
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _is_heif(path: Readable) -> bool:
    with path.open("rb") as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS
