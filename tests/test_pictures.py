"""Pictures of real clips and stills: what they are of, how large they are, and where they are kept."""

from __future__ import annotations

import asyncio
from dataclasses import replace
import hashlib
import io
import os
from pathlib import Path
import threading
import time

from PIL import Image
import pytest

from batchrunner import pictures
from batchrunner.core.facts import Media
from batchrunner.pictures import Made, Missing, Pictures, Wanted
from tests.support.media import write_clip
from tests.test_watch import scene, until, write


def wanted(path: Path, *, at_s: float | None = 0.4, media: Media = "video") -> Wanted:
    data = path.read_bytes()
    return Wanted(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        known_at=time.time(),
        media=media,
        at_s=None if media == "image" else at_s,
    )


def one(cache: Path | None, each: Wanted) -> Made | Missing:
    (made,) = pictures.every(cache, [each])
    return made


def opened(made: Made | Missing) -> Image.Image:
    assert isinstance(made, Made), made
    image = Image.open(io.BytesIO(made.data))
    assert image.format == "WEBP"
    assert image.size == (made.width, made.height)
    return image


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def clip(tmp_path) -> Path:
    """Two seconds of a blue wall, then two of a red one."""
    return write(tmp_path / "clip.mp4", until(2, lambda _: Image.new("RGB", (160, 96), (200, 20, 20))), seconds=4)


def test_a_poster_is_of_its_moment_and_small(cache, clip):
    corners = []
    for at_s in (0.5, 3, 99):
        poster = opened(one(cache, wanted(clip, at_s=at_s)))
        assert poster.size == (160, 96)  # never larger than the clip
        corners.append(tuple(poster.convert("RGB").tobytes()[:3]))
    blue, red, late = corners  # after the end, the last there is
    assert blue[2] > blue[0] + 40
    assert red[0] > red[2] + 100
    assert late == red


def test_a_large_picture_is_fitted_and_a_detailed_one_is_made_coarser(cache, tmp_path):
    Image.effect_noise((900, 1600), 90).convert("RGB").save(tmp_path / "noise.png")
    made = one(cache, wanted(tmp_path / "noise.png", media="image"))
    assert isinstance(made, Made)
    assert opened(made).height in {288, 202, 144}
    coarse = one(cache, replace(wanted(tmp_path / "noise.png", media="image"), most_bytes=3_500))
    assert isinstance(coarse, Made)
    assert len(coarse.data) <= 3_500 < len(made.data) <= pictures.POSTER_BYTES
    smooth = one(cache, wanted(write_clip(tmp_path / "a.mp4", fps=24, seconds=1, hue=0.3)))
    assert isinstance(smooth, Made)
    assert len(smooth.data) <= pictures.POSTER_BYTES


def test_a_picture_is_upright_as_the_camera_was_held(cache, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    scene(0).save(tmp_path / "turned.jpg", exif=exif)
    assert opened(one(cache, wanted(tmp_path / "turned.jpg", media="image"))).size == (96, 160)


def test_a_loop_moves_is_silent_and_ends(cache, clip):
    loop = opened(one(cache, wanted(clip, at_s=None)))
    assert getattr(loop, "n_frames", 1) == pictures.LOOP_FRAMES
    assert loop.info["loop"] == 0  # for ever
    one_picture = write(clip.with_name("short.mp4"), scene, seconds=1 / 24)
    assert getattr(opened(one(cache, wanted(one_picture, at_s=None))), "n_frames", 1) == 1


def test_what_was_made_is_kept_by_content_and_not_by_name(cache, clip, tmp_path):
    first = one(cache, wanted(clip))
    (kept,) = cache.glob("*/*.webp")
    kept.write_bytes(made_elsewhere := opened_bytes())
    again = one(cache, wanted(clip))
    assert isinstance(again, Made)
    assert again.data == made_elsewhere  # not made again
    renamed = clip.rename(tmp_path / "renamed.mp4")
    moved = one(cache, wanted(renamed))
    assert isinstance(moved, Made)
    assert moved.data == made_elsewhere
    other = one(cache, wanted(renamed, at_s=1.5))
    assert isinstance(other, Made)
    assert other.data not in {made_elsewhere, getattr(first, "data", None)}
    assert list(tmp_path.glob("*.webp")) == []


def opened_bytes() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(file, "WEBP")
    return file.getvalue()


def test_a_file_that_changed_is_not_shown_as_what_it_was(cache, clip, tmp_path):
    asked = wanted(clip)
    assert isinstance(one(cache, asked), Made)
    grown = clip.read_bytes() + b"more"
    clip.write_bytes(grown)
    assert one(cache, asked) == Missing(why="the file was changed since")
    # Of the same length, and written after it was known: it is read again.
    replaced = bytearray(grown[:-4])
    replaced[-1] ^= 1
    clip.write_bytes(replaced)
    later = time.time() + 60
    os.utime(clip, (later, later))
    assert one(cache, asked) == Missing(why="the file was changed since")
    clip.write_bytes(grown[:-4])
    os.utime(clip, (later, later))
    assert isinstance(one(cache, asked), Made)


def test_of_a_file_that_is_gone_there_is_what_was_kept(cache, clip):
    asked, never = wanted(clip), wanted(clip, at_s=2.0)
    assert isinstance(one(cache, asked), Made)
    clip.unlink()
    assert isinstance(one(cache, asked), Made)
    assert one(cache, never) == Missing(why="the file is not there")


@pytest.mark.parametrize(("name", "media"), [("a.mp4", "video"), ("a.png", "image")])
def test_what_cannot_be_decoded_says_why_without_its_path(cache, tmp_path, name, media):
    path = tmp_path / name
    path.write_bytes(b"this is neither a clip nor a still" * 40)
    made = one(cache, wanted(path, media=media))
    assert isinstance(made, Missing)
    assert made.why.startswith("it cannot be decoded: ")
    assert str(tmp_path) not in made.why
    assert not list(cache.glob("*/*"))


def test_a_damaged_cache_and_one_that_cannot_be_written_do_no_harm(cache, clip, tmp_path):
    one(cache, wanted(clip))
    (kept,) = cache.glob("*/*.webp")
    kept.write_bytes(b"no picture")
    assert isinstance(one(cache, wanted(clip)), Made)
    (tmp_path / "file").write_text("in the way")
    assert isinstance(one(tmp_path / "file", wanted(clip)), Made)
    assert isinstance(one(None, wanted(clip)), Made)


def test_the_cache_keeps_what_was_used_last(cache, clip):
    for number in range(4):
        one(cache, wanted(clip, at_s=float(number)))
    kept = list(cache.glob("*/*.webp"))
    for number, path in enumerate(kept):
        os.utime(path, (number, number))
    size = kept[-1].stat().st_size
    keeper = Pictures(cache)
    keeper.tidy(most=size)
    keeper.close()
    assert list(cache.glob("*/*.webp")) == [kept[-1]]


async def test_pictures_are_made_beside_the_loop_a_few_at_a_time(monkeypatch, clip):
    at_work, most, lock = 0, 0, threading.Lock()
    both, go = threading.Event(), threading.Event()

    def make(each: Wanted) -> Made:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
            if most == 2:
                both.set()
        assert go.wait(30)
        with lock:
            at_work -= 1
        return Made(data=b"", width=1, height=1)

    monkeypatch.setattr(pictures, "_make", make)
    keeper = Pictures(None, workers=2)
    counts: list[int] = []
    task = asyncio.ensure_future(keeper.make([wanted(clip, at_s=n / 10) for n in range(6)], done=counts.append))
    assert await asyncio.to_thread(both.wait, 30)  # the loop goes on while they are made
    go.set()
    assert len(await task) == 6
    keeper.close()
    assert (most, sorted(counts)) == (2, [1, 2, 3, 4, 5, 6])
