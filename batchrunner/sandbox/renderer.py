"""Real renders, small ones: a part of a clip through a filter, or a movement over a still.

Functions from files to a file. They know nothing of accounts, requests or the server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Final
import zlib

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image, ImageOps, UnidentifiedImageError

from batchrunner.sandbox import movie, styles
from batchrunner.sandbox.orders import FpsResolution
from batchrunner.sandbox.prices import SHORT_SIDE, Resolution

Size = tuple[int, int]
"""Width and height in pixels."""

_MINIMUM_EDGE: Final = 16
_FALLBACK_RATE: Final = Fraction(30)
_HIGHEST_RATE: Final = 240
# Containers that count in milliseconds put a frame up to one after its true time.
_CLOCK_TOLERANCE: Final = Fraction(2, 1000)
_ZOOM: Final = 0.25
_TURNS: Final = {
    90: (("transpose", "dir=cclock"),),
    -90: (("transpose", "dir=clock"),),
    180: (("hflip", ""), ("vflip", "")),
    -180: (("hflip", ""), ("vflip", "")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What a finished render is: `fps` of the file, and frames that were really made."""

    frames: int
    fps: float
    width: int
    height: int


class RenderError(Exception):
    """A render that failed for a reason the account is told; `code` as in docs webhook/event-types."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Abandoned(Exception):
    """The render was told to stop."""


def _never() -> bool:
    return False


def render_video_to_video(
    source: Path,
    target: Path,
    *,
    start_s: float,
    end_s: float,
    fps_resolution: FpsResolution,
    art_style: str,
    longest_edge: int,
    scale: float,
    is_abandoned: Callable[[], bool] = _never,
) -> Rendered:
    """The part of `source` between two times, seen through its art style, written to `target`.

    FULL keeps the source's frame rate, HALF every second frame; the duration stays. A range that passes the end
    of the clip gives the frames there are. `longest_edge` is in pixels before `scale`.

    Raises:
        RenderError: the input is no video, or nothing of it lies in the range.
        Abandoned: `is_abandoned` said so between two frames.
    """
    span = (_exactly(start_s), _exactly(end_s))
    try:
        return _publish(
            target,
            partial(
                _render_clip,
                source,
                span=span,
                every=2 if fps_resolution == "HALF" else 1,
                art_style=art_style,
                longest_edge=longest_edge,
                scale=scale,
                is_abandoned=is_abandoned,
            ),
        )
    except av.FFmpegError as error:
        raise _no_video() from error


def render_image_to_video(
    image: Path,
    target: Path,
    *,
    end_image: Path | None,
    seconds: float,
    resolution: Resolution,
    fps: int,
    audio: bool,
    prompt: str,
    scale: float,
    is_abandoned: Callable[[], bool] = _never,
) -> Rendered:
    """A slow movement over `image` of the asked length, fading to `end_image` when there is one.

    The short side is the resolution's, times `scale`; the shape follows the still. The prompt decides whether the
    camera goes in or out, and which way it drifts.

    Raises:
        RenderError: an input is no image.
        Abandoned: `is_abandoned` said so between two frames.
    """
    first = _open_still(image)
    size = _still_size(first.size, round(SHORT_SIDE[resolution] * scale))
    last = None if end_image is None else _fit(_open_still(end_image), size)
    return _publish(
        target,
        partial(
            _render_still,
            _fit(first, size),
            last,
            size=size,
            frames=round(seconds * fps),
            fps=fps,
            seconds=seconds if audio else 0,
            prompt=prompt,
            is_abandoned=is_abandoned,
        ),
    )


def _exactly(seconds: float) -> Fraction:
    """The decimal number that was typed, not the binary one next to it: 0.1 is one tenth."""
    return Fraction(repr(seconds))


def _publish(target: Path, render: Callable[[Path], Rendered]) -> Rendered:
    """Render beside `target` and rename: a file under its final name is always whole."""
    part = target.with_name(target.name + ".part")
    try:
        rendered = render(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return rendered


# --- video-to-video


def _render_clip(
    source: Path,
    part: Path,
    *,
    span: tuple[Fraction, Fraction],
    every: int,
    art_style: str,
    longest_edge: int,
    scale: float,
    is_abandoned: Callable[[], bool],
) -> Rendered:
    with av.open(str(source)) as container:
        stream = _first_video(container)
        rate = _rate(stream) / every
        _seek(container, stream, span[0])
        frames = _on_grid(container.decode(stream), span=span, interval=1 / rate, source=stream)
        first = next(frames, None)
        if first is None:
            raise _nothing_to_render(stream, span[0])
        size = _clip_size(_upright_size(stream, first), longest_edge=longest_edge, scale=scale)
        look = _Look(stream, first.rotation, size=size, art_style=art_style)
        with movie.create(part, rate=rate, size=size, sound=_has_sound(container)) as film:
            film.add_picture(look.apply(first))
            for frame in frames:
                if is_abandoned():
                    raise Abandoned
                film.add_picture(look.apply(frame))
            _copy_sound(source, film, span=(span[0], span[0] + film.frames / rate))
            count = film.frames
    return Rendered(frames=count, fps=float(rate), width=size[0], height=size[1])


def _no_video() -> RenderError:
    return RenderError("invalid_video_file", "The video file contains invalid data. Please try a different file.")


def _nothing_to_render(stream: VideoStream, start: Fraction) -> RenderError:
    """Why no frame came: the range begins after the clip's end, or the clip promises frames it does not have."""
    if (stream.duration or 0) * (stream.time_base or 0) > start:
        return _no_video()
    return RenderError("invalid_parameters", "start_seconds is past the end of the video.")


def _first_video(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise RenderError("invalid_video_file", "The file contains no video. Please try a different file.")
    return container.streams.video[0]


def _rate(stream: VideoStream) -> Fraction:
    """Frames per second of the source, tidied so that every container can store it."""
    rate = stream.average_rate or stream.guessed_rate or _FALLBACK_RATE
    # Browsers record WebM whose only stated rate is its clock, 1000 a second.
    return _FALLBACK_RATE if rate > _HIGHEST_RATE else Fraction(rate).limit_denominator(1001)


def _has_sound(container: InputContainer) -> bool:
    return any(stream.codec_context is not None for stream in container.streams.audio[:1])


def _seek(container: InputContainer, stream: VideoStream | AudioStream, start: Fraction) -> None:
    """Go to a key frame before `start`; a second early, since indexes count in decoding order."""
    if start > 1 and stream.time_base:
        offset = int((start - 1) / stream.time_base) + (stream.start_time or 0)
        container.seek(offset, stream=stream, backward=True)


def _on_grid(
    frames: Iterator[VideoFrame], *, span: tuple[Fraction, Fraction], interval: Fraction, source: VideoStream
) -> Iterator[VideoFrame]:
    """The frame on show at `span[0]`, one interval later, and so on; the same one twice where none is new.

    This is what trims to the frame, halves the rate, and turns a variable rate into a constant one.
    """
    start, end = span
    time_base, origin = source.time_base or Fraction(1), source.start_time or 0
    due, shown, shown_until = start, None, start
    for frame in frames:
        if frame.pts is None:
            continue
        at = (frame.pts - origin) * time_base
        while shown is not None and due + _CLOCK_TOLERANCE < at and due < end:
            yield shown
            due += interval
        shown, shown_until = frame, at + 1 / _rate(source)
        if at >= end:
            return
    while shown is not None and due + _CLOCK_TOLERANCE < shown_until and due < end:
        yield shown
        due += interval


def _upright_size(stream: VideoStream, frame: VideoFrame) -> Size:
    """Pixels as a player shows them: square, and turned the way the phone was held."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    width, height = round(frame.width * aspect), frame.height
    return (height, width) if abs(frame.rotation) == 90 else (width, height)


def _clip_size(size: Size, *, longest_edge: int, scale: float) -> Size:
    factor = min(1.0, longest_edge / max(size)) * scale
    return _even(size[0] * factor), _even(size[1] * factor)


def _even(pixels: float) -> int:
    """The nearest even number of pixels: yuv420p halves the colour planes."""
    return max(_MINIMUM_EDGE, 2 * round(pixels / 2))


class _Look:
    """A libavfilter graph: turn upright, scale, apply the art style."""

    def __init__(self, stream: VideoStream, rotation: int, *, size: Size, art_style: str) -> None:
        self._graph = Graph()
        chain = [self._graph.add_buffer(template=stream)]
        for name, options in (
            *_TURNS.get(rotation, ()),
            ("scale", f"w={size[0]}:h={size[1]}:flags=bilinear"),
            ("setsar", "1"),
            ("format", "pix_fmts=yuv420p"),
            *styles.FILTERS[art_style],
            ("format", "pix_fmts=yuv420p"),
            ("buffersink", ""),
        ):
            chain.append(_node(self._graph, name, options))
        self._graph.link_nodes(*chain).configure()

    def apply(self, frame: VideoFrame) -> VideoFrame:
        self._graph.vpush(frame)
        return self._graph.vpull()


def _node(graph: Graph, name: str, options: str) -> FilterContext:
    return graph.add(name, options) if options else graph.add(name)


def _copy_sound(source: Path, film: movie.Movie, *, span: tuple[Fraction, Fraction]) -> None:
    """The source's sound in the span, exact to one block of samples (about 20 ms)."""
    start, end = span
    with av.open(str(source)) as container:
        if not _has_sound(container):
            return
        stream = container.streams.audio[0]
        origin = (stream.start_time or 0) * (stream.time_base or Fraction(1))
        _seek(container, stream, start)
        for frame in container.decode(stream):
            if frame.pts is None or frame.time_base is None:
                continue
            at = frame.pts * frame.time_base - origin
            if at >= end:
                return
            if at >= start:
                film.add_sound(frame)


# --- image-to-video


def _open_still(path: Path) -> Image.Image:
    """The picture in a file, upright; of a video its first frame, and of HEIC what FFmpeg can decode."""
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError:
        return _first_frame(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _no_image() from error


def _first_frame(path: Path) -> Image.Image:
    try:
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0), None)
            if frame is not None:
                image: Image.Image = frame.to_image().convert("RGB")  # type: ignore[no-untyped-call]
                return image
    except (av.FFmpegError, IndexError) as error:
        raise _no_image() from error
    raise _no_image()


def _no_image() -> RenderError:
    return RenderError("invalid_image_file", "The image file contains invalid data. Please try a different file.")


def _still_size(size: Size, short_side: int) -> Size:
    factor = max(short_side, _MINIMUM_EDGE) / min(size)
    return _even(size[0] * factor), _even(size[1] * factor)


def _fit(image: Image.Image, size: Size) -> Image.Image:
    """The still in the shape of the result, with as many more pixels as the camera can go in."""
    room = (round(size[0] * (1 + _ZOOM)), round(size[1] * (1 + _ZOOM)))
    return ImageOps.fit(image, room, method=Image.Resampling.BILINEAR)


def _render_still(
    first: Image.Image,
    last: Image.Image | None,
    part: Path,
    *,
    size: Size,
    frames: int,
    fps: int,
    seconds: float,
    prompt: str,
    is_abandoned: Callable[[], bool],
) -> Rendered:
    character = zlib.crc32(prompt.encode())
    with movie.create(part, rate=Fraction(fps), size=size, sound=seconds > 0) as film:
        for number in range(frames):
            if is_abandoned():
                raise Abandoned
            progress = number / max(1, frames - 1)
            picture = _moved(_faded(first, last, progress), size, progress=progress, character=character)
            film.add_picture(_as_frame(picture))
        for block in movie.tone(seconds):
            film.add_sound(block)
    return Rendered(frames=frames, fps=float(fps), width=size[0], height=size[1])


def _faded(first: Image.Image, last: Image.Image | None, progress: float) -> Image.Image:
    """The first still for the first half, then more and more of the last one."""
    share = max(0.0, 2 * progress - 1)
    return first if last is None or not share else Image.blend(first, last, share)


def _moved(image: Image.Image, size: Size, *, progress: float, character: int) -> Image.Image:
    """What the camera sees: a window that grows or shrinks, and drifts towards one corner."""
    closeness = 1 - progress if character & 1 else progress
    factor = 1 - closeness * _ZOOM / (1 + _ZOOM)
    width, height = image.width * factor, image.height * factor
    left = (image.width - width) * (progress if character & 2 else 1 - progress)
    top = (image.height - height) * (progress if character & 4 else 1 - progress)
    return image.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))


def _as_frame(picture: Image.Image) -> VideoFrame:
    frame: VideoFrame = VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
    return frame.reformat(format="yuv420p")
