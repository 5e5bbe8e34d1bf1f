"""Inputs on other people's servers. The sandbox never goes out to the network.

An address that is not the sandbox's own stands for a clip or a still that is generated from the address:
always the same one, and another one for another address. A rehearsal with public URLs thus needs no network.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
import hashlib
import math
from pathlib import Path
from threading import Lock
from typing import Final

from av.filter import Graph
from PIL import Image, ImageDraw

from batchrunner.sandbox import movie

_SIZE: Final = (320, 180)
_RATE: Final = 24
_LONGEST_S: Final = 60
_making = Lock()


def clip(address: str, folder: Path, *, until_s: float) -> Path:
    """A clip at least `until_s` seconds long (one minute at most), 320x180 at 24 fps, made on first use."""
    seconds = min(_LONGEST_S, max(1, math.ceil(until_s)))
    return _made_once(
        folder / f"{_digest(address)}-{seconds}.mp4",
        lambda part: _write_clip(part, hue=_hue(address), seconds=seconds),
    )


def still(address: str, folder: Path) -> Path:
    """A picture of 640x360, made on first use."""
    return _made_once(
        folder / f"{_digest(address)}.png", lambda part: _draw_still(_hue(address)).save(part, format="PNG")
    )


def _made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """The file, made if it is not there; renders that ask for the same one wait for each other."""
    with _making:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            make(part)
            part.replace(path)
    return path


def _digest(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:32]


def _hue(address: str) -> int:
    return int(_digest(address)[:4], 16) % 360


def _write_clip(path: Path, *, hue: int, seconds: int) -> None:
    graph = Graph()
    graph.link_nodes(
        graph.add("testsrc2", f"size={_SIZE[0]}x{_SIZE[1]}:rate={_RATE}:duration={seconds}"),
        graph.add("hue", f"h={hue}"),
        graph.add("format", "pix_fmts=yuv420p"),
        graph.add("buffersink"),
    ).configure()
    with movie.create(path, rate=Fraction(_RATE), size=_SIZE, sound=False) as film:
        for _ in range(seconds * _RATE):
            film.add_picture(graph.vpull())


def _draw_still(hue: int) -> Image.Image:
    size = (_SIZE[0] * 2, _SIZE[1] * 2)
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.ellipse((220, 80, 420, 280), fill=f"hsl({hue}, 80%, 50%)")
    draw.rectangle((40, 40, 160, 120), fill=f"hsl({(hue + 120) % 360}, 70%, 60%)")
    return image
