"""The demonstration: clips and stills made on the spot, and a manifest that renders them."""

from __future__ import annotations

from collections.abc import Iterator
import colorsys
from contextlib import contextmanager
from fractions import Fraction
import math
from pathlib import Path

import av
from PIL import Image, ImageDraw

MANIFEST_NAME = "demo.yaml"

MANIFEST = """\
# Everything this batch renders. Try: change a prompt or a style, then `batchrunner plan`.
version: 1
output: renders/{id}.mp4        # {id} is each job's own id
limits:
  in_flight: 4                  # renders the provider works on at the same time

defaults:                       # what every job of a kind has unless it says otherwise
  video-to-video:
    fps_resolution: HALF        # half the frames, half the credits
    style: {version: v2, prompt_type: default}
  image-to-video:
    model: kling-3.0
    resolution: 720p
    end_seconds: 3

jobs:
  - id: waves-ink
    kind: video-to-video
    input: clips/waves.mp4
    end_seconds: 2
    style: {art_style: Ink}

  - id: waves-ghibli
    kind: video-to-video
    input: clips/waves.mp4      # sent once more under another style
    end_seconds: 2
    style: {art_style: Studio Ghibli}

  - id: orbit-neon
    kind: video-to-video
    input: clips/orbit.mp4
    start_seconds: 0.5
    end_seconds: 2.5
    fps_resolution: FULL
    style:
      art_style: Neon Dream
      prompt_type: append_default
      prompt: a planet of glass

  - id: dunes-push-in
    kind: image-to-video
    input: stills/dunes.png
    style: {prompt: slow push in}

  - id: tower-rise
    kind: image-to-video
    input: stills/tower.png
    model: ltx-2.5
    style: {prompt: the camera rises along the tower}

  - id: day-to-night
    kind: image-to-video
    assets:
      image_file_path: stills/dunes.png
      end_image_file_path: stills/night.png
    end_seconds: 4
    style: {prompt: the sun goes down}
"""

FPS = 24
CLIP_SIZE = (480, 270)
STILL_SIZE = (640, 360)
ENLARGED = 2
"""The pictures are drawn at these sizes, in pixels, and enlarged."""


def prepare(folder: Path) -> Path:
    """Make the demonstration's folder, unless it is there; the path of its manifest.

    What the person changed stays as it is: only files that are missing are made, each whole or not at all.
    """
    for name, paint in (("waves", _waves), ("orbit", _orbit)):
        with _made(folder / "clips" / f"{name}.mp4") as clip:
            if clip is not None:
                _write_clip(clip, (paint(t / FPS) for t in range(3 * FPS)))
    stills = {"dunes": _dunes(night=False), "night": _dunes(night=True), "tower": _tower()}
    for name, picture in stills.items():
        with _made(folder / "stills" / f"{name}.png") as still:
            if still is not None:
                _enlarged(picture).save(still, format="PNG")
    with _made(folder / MANIFEST_NAME) as manifest:
        if manifest is not None:
            manifest.write_text(MANIFEST, encoding="utf-8")
    return folder / MANIFEST_NAME


@contextmanager
def _made(path: Path) -> Iterator[Path | None]:
    """Where to write a file that is missing, which has its name only when the block is over; None where it is there."""
    if path.exists():
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    yield partial
    partial.replace(path)


def _write_clip(path: Path, pictures: Iterator[Image.Image]) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height = (ENLARGED * edge for edge in CLIP_SIZE)
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            frame: av.VideoFrame = av.VideoFrame.from_image(_enlarged(picture))  # type: ignore[no-untyped-call]
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _enlarged(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width * ENLARGED, picture.height * ENLARGED), Image.Resampling.BICUBIC)


def _colour(hue: float, saturation: float = 0.6, value: float = 0.9) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _waves(t: float) -> Image.Image:
    """Rows of waves under a moving sun; `t` in seconds."""
    width, height = CLIP_SIZE
    picture = Image.new("RGB", CLIP_SIZE, _colour(0.58, 0.35, 0.95))
    draw = ImageDraw.Draw(picture)
    sun = (60 + 110 * t, 60 - 20 * math.sin(t))
    draw.ellipse((sun[0] - 28, sun[1] - 28, sun[0] + 28, sun[1] + 28), fill=_colour(0.13))
    for row in range(6):
        base = 110 + row * 28
        line = [(x, base + 12 * math.sin(x / (28 + 5 * row) + 2.2 * t + row)) for x in range(0, width + 8, 8)]
        draw.polygon([*line, (width, height), (0, height)], fill=_colour(0.55 + 0.02 * row, 0.75, 0.85 - 0.1 * row))
    return picture


def _orbit(t: float) -> Image.Image:
    """A planet and its moons."""
    width, height = CLIP_SIZE
    picture = Image.new("RGB", CLIP_SIZE, _colour(0.68, 0.8, 0.15))
    draw = ImageDraw.Draw(picture)
    for star in range(60):
        draw.point((star * 97 % width, star * 57 % height), fill=(255, 255, 255))
    centre = (width / 2, height / 2)
    draw.ellipse((centre[0] - 55, centre[1] - 55, centre[0] + 55, centre[1] + 55), fill=_colour(0.05 + 0.03 * t))
    for moon in range(4):
        angle = 1.4 * t + moon * math.pi / 2
        x, y = centre[0] + 110 * math.cos(angle), centre[1] + 60 * math.sin(angle)
        size = 10 + 3 * moon
        draw.ellipse((x - size, y - size, x + size, y + size), fill=_colour(0.1 + 0.22 * moon))
    return picture


def _dunes(*, night: bool) -> Image.Image:
    width, height = STILL_SIZE
    picture = Image.new("RGB", STILL_SIZE, _colour(0.65, 0.7, 0.25) if night else _colour(0.1, 0.3, 1.0))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((460, 40, 530, 110), fill=_colour(0.15, 0.15, 0.95) if night else _colour(0.12, 0.7, 1.0))
    for row in range(5):
        crest = [(x, 170 + 40 * row + 26 * math.sin(x / 95 + 1.7 * row)) for x in range(0, width + 8, 8)]
        shade = (0.35 if night else 0.9) - 0.06 * row
        draw.polygon([*crest, (width, height), (0, height)], fill=_colour(0.08, 0.55, shade))
    return picture


def _tower() -> Image.Image:
    width, height = STILL_SIZE[1], STILL_SIZE[0]
    picture = Image.new("RGB", (width, height), _colour(0.55, 0.3, 0.95))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((width * 0.35, 90, width * 0.65, height), fill=_colour(0.62, 0.25, 0.45))
    for floor in range(14):
        for column in range(4):
            left, top = width * 0.38 + column * 24, 110 + floor * 36
            is_lit = (floor * 3 + column * 5) % 4 != 0
            draw.rectangle((left, top, left + 14, top + 20), fill=_colour(0.14, 0.6, 1.0 if is_lit else 0.35))
    draw.polygon([(width * 0.35, 90), (width * 0.65, 90), (width * 0.5, 20)], fill=_colour(0.02, 0.6, 0.7))
    return picture
