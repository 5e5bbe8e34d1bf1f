"""Clips that nobody rendered: tiny, made once for each length, rate and size, and then handed out as links."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
import os
from pathlib import Path
import shutil
from typing import Final

from av.video.frame import VideoFrame

from batchrunner.sandbox import movie
from batchrunner.sandbox.orders import ClipOrder, Order
from batchrunner.sandbox.prices import SHORT_SIDE
from batchrunner.sandbox.renderer import Rendered
from batchrunner.sandbox.settings import Settings

_CLIP_FPS: Final = 24
_SHAPE: Final = 16 / 9
_BLACK: Final = 16
_NEUTRAL: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Blank:
    """A clip of one colour that slowly gets brighter, or of black; `size` is width and height, both even."""

    kind: str
    frames: int
    fps: Fraction
    size: tuple[int, int]
    sound_s: float
    is_black: bool


def blank_for(order: Order, settings: Settings, *, is_black: bool) -> Blank:
    """What stands for the result of an order, without a look at its input.

    A clip is taken for one of 24 frames a second that is as long as the asked part; any input for one of 16:9.
    """
    if isinstance(order, ClipOrder):
        fps, seconds = _CLIP_FPS // (2 if order.fps_resolution == "HALF" else 1), order.end_s - order.start_s
        height = settings.plan.longest_edge / _SHAPE
    else:
        fps, seconds = order.fps, order.end_s
        height = float(SHORT_SIDE[order.resolution])
    return Blank(
        kind=order.kind,
        frames=max(1, round(seconds * fps)),
        fps=Fraction(fps),
        size=(_even(height * _SHAPE * settings.scale), _even(height * settings.scale)),
        sound_s=seconds if getattr(order, "audio", False) else 0.0,
        is_black=is_black,
    )


def _even(pixels: float) -> int:
    return max(16, 2 * round(pixels / 2))


def make(blank: Blank, folder: Path) -> Path:
    """The clip in `folder`, written unless it is there; at one time called for one clip only."""
    path = folder / (
        f"{blank.kind}-{blank.frames}-{blank.fps}-{blank.size[0]}x{blank.size[1]}"
        f"{f'-sound-{blank.sound_s:g}' if blank.sound_s else ''}{'-black' if blank.is_black else ''}.mp4"
    )
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write(blank, path)
    return path


def write(blank: Blank, path: Path) -> None:
    """The clip at `path`, replacing what is there."""
    part = path.with_name(path.name + ".part")
    frame = VideoFrame(*blank.size, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes([_NEUTRAL]) * plane.buffer_size)
    luma = frame.planes[0]
    try:
        with movie.create(part, rate=blank.fps, size=blank.size, sound=blank.sound_s > 0) as film:
            for number in range(blank.frames):
                shade = _BLACK if blank.is_black else 64 + 128 * number // blank.frames
                luma.update(bytes([shade]) * luma.buffer_size)
                film.add_picture(frame)
            for block in movie.tone(blank.sound_s):
                film.add_sound(block)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def hand_out(path: Path, blank: Blank, target: Path) -> Rendered:
    """The clip under a project's name, at no cost of disk where the file system has links."""
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:
        # No links here, or as many of one file as there can be.
        shutil.copyfile(path, target)
    return _rendered(blank)


def blacken(target: Path, rendered: Rendered, kind: str) -> Rendered:
    """A result that is as long and as large as it was, and shows nothing; its sound is gone too."""
    blank = Blank(
        kind=kind,
        frames=rendered.frames,
        fps=Fraction(rendered.fps).limit_denominator(1001),
        size=(rendered.width, rendered.height),
        sound_s=0.0,
        is_black=True,
    )
    write(blank, target)
    return _rendered(blank)


def _rendered(blank: Blank) -> Rendered:
    return Rendered(
        frames=blank.frames,
        fps=float(blank.fps),
        width=blank.size[0],
        height=blank.size[1],
    )
