"""Small real clips and stills."""

from __future__ import annotations

import colorsys
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

SIZE = (160, 96)


def write_clip(path: Path, *, fps: int, seconds: float, hue: float) -> Path:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(round(fps * seconds)):
            frame = av.VideoFrame.from_image(_picture(hue + number / 200))
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_still(path: Path, *, hue: float) -> Path:
    _picture(hue).save(path)
    return path


def _picture(hue: float) -> Image.Image:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, 0.7, 0.9)
    picture = Image.new("RGB", SIZE, (round(red * 255), round(green * 255), round(blue * 255)))
    picture.paste((255, 255, 255), (20, 20, 70, 60))
    return picture
