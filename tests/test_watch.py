"""What real clips show and whether they can be heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
import re

import av
from PIL import Image
import pytest

from batchrunner import media, watch
from batchrunner.core import result
from batchrunner.core.result import Doubt, Found
from batchrunner.sandbox import movie

FPS = 24


def write(
    path: Path,
    picture: Callable[[float], Image.Image],
    *,
    seconds: float,
    sound: float | None = None,
    gop: int = 250,
    fps: int = FPS,
) -> Path:
    """A clip of the pictures at each time, with a note of that loudness or none."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "g": str(gop)})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        track = None if sound is None else container.add_stream("aac", rate=44_100, layout="stereo")
        for number in range(round(seconds * fps)):
            frame = av.VideoFrame.from_image(picture(number / fps))
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None:
            for block in _tone(seconds, sound or 0):
                container.mux(track.encode(block))
            container.mux(track.encode(None))
    return path


def _tone(seconds: float, loudness: float):
    if loudness:
        yield from movie.tone(seconds)
        return
    for number in range(round(seconds * 44_100 / 1024)):
        block = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
        for plane in block.planes:
            plane.update(bytes(plane.buffer_size))
        block.sample_rate, block.pts, block.time_base = 44_100, number * 1024, Fraction(1, 44_100)
        yield block


def scene(at_s: float) -> Image.Image:
    """A box that wanders over a wall."""
    picture = Image.new("RGB", (160, 96), (70, 90, 140))
    left = round(10 + 12 * at_s) % 120
    picture.paste((230, 220, 200), (left, 30, left + 24, 70))
    return picture


def black(_at_s: float) -> Image.Image:
    return Image.new("RGB", (160, 96), (4, 4, 4))


def lips(at_s: float) -> Image.Image:
    """A picture that stands still but for a mouth."""
    picture = scene(0)
    picture.paste((200, 60, 60), (100, 60, 108, 62 + round(at_s * 3) % 4))
    return picture


def night(at_s: float) -> Image.Image:
    """Dark, with a lamp that moves."""
    picture = black(at_s)
    left = round(30 * at_s) % 120
    picture.paste((180, 170, 120), (left, 20, left + 24, 44))
    return picture


def until(begin_s: float, then: Callable[[float], Image.Image]) -> Callable[[float], Image.Image]:
    return lambda at_s: scene(at_s) if at_s < begin_s else then(at_s)


def judged(path: Path, *, seconds: float, source: Path | None = None, wants_sound: bool = False) -> Doubt | None:
    seen = watch.clip(path, seconds=seconds, listens=wants_sound)
    of_source = None if source is None else watch.of(source, "video", start_s=0, seconds=seconds)
    found = Found(seconds=seconds, fps=FPS, seen=seen)
    return result.doubt(asked_s=seconds, found=found, wants_sound=wants_sound, source=of_source)


@pytest.mark.parametrize("picture", [scene, lips, night])
def test_what_moves_or_shows_a_little_is_no_suspect(tmp_path, picture):
    assert judged(write(tmp_path / "a.mp4", picture, seconds=4), seconds=4) is None


@pytest.mark.parametrize("gop", [12, 250])
def test_a_black_clip_and_one_that_stands_still(tmp_path, gop):
    dark = judged(write(tmp_path / "black.mp4", black, seconds=4, gop=gop), seconds=4)
    frozen = judged(write(tmp_path / "frozen.mp4", lambda _: scene(1), seconds=4, gop=gop), seconds=4)
    assert dark is not None
    assert dark.words == "it is black"
    assert frozen is not None
    assert frozen.words == "it stands still"
    assert 1 < frozen.at_s < 3


def test_a_clip_that_goes_black_or_freezes_half_way_is_held_against_its_input(tmp_path):
    source = write(tmp_path / "source.mp4", scene, seconds=4)
    for name, then, words in (
        ("black.mp4", black, r"it is black from 1.\d s to 3.\d s"),
        ("frozen.mp4", lambda _: scene(1.5), r"it stands still from 1.\d s to 3.\d s"),
    ):
        path = write(tmp_path / name, until(1.5, then), seconds=4)
        told = judged(path, seconds=4, source=source)
        assert told is not None
        assert re.fullmatch(words, told.words)
        assert judged(path, seconds=4, source=path) is None  # the input did so, too
        assert judged(path, seconds=4) is None  # and without an input, part of a clip may do so


def test_of_a_long_clip_only_pictures_that_need_no_other_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "MOST_DECODED", 40)
    path = write(tmp_path / "a.mp4", scene, seconds=6, gop=12)
    seen = watch.clip(path, seconds=6)
    assert len(seen.shots) == watch.MOMENTS
    assert {round(shot.at_s * 2, 3) % 1 for shot in seen.shots} == {0}  # one key picture each half second
    assert judged(path, seconds=6) is None
    one = watch.clip(write(tmp_path / "b.mp4", scene, seconds=6, gop=250), seconds=6)
    assert len(one.shots) == 1  # one key picture says nothing of movement
    assert not one.shots[0].is_still


def test_the_part_of_an_input_that_is_asked_for(tmp_path):
    path = write(tmp_path / "a.mp4", until(2, black), seconds=6)
    seen = watch.clip(path, start_s=2.5, seconds=3)
    assert len(seen.shots) == watch.MOMENTS
    assert all(shot.is_black for shot in seen.shots)
    assert 0 <= seen.shots[0].at_s < seen.shots[-1].at_s <= 3
    assert not any(shot.is_black for shot in watch.clip(path, seconds=1.9).shots)


@pytest.mark.parametrize(("loudness", "is_silent"), [(0.3, False), (0, True), (None, True)])
def test_a_track_with_sound_one_without_and_none(tmp_path, loudness, is_silent):
    path = write(tmp_path / "a.mp4", scene, seconds=2, sound=loudness)
    assert watch.clip(path, seconds=2, listens=True).is_silent is is_silent
    assert watch.clip(path, seconds=2).is_silent is None
    told = judged(path, seconds=2, wants_sound=True)
    assert (told is not None) is is_silent


def test_a_still_and_what_cannot_be_looked_at(tmp_path):
    scene(0).save(tmp_path / "a.png")
    black(0).save(tmp_path / "b.jpg")
    (tmp_path / "c.mp4").write_bytes(b"no clip")
    (tmp_path / "c.png").write_bytes(b"no picture")
    (bright,) = watch.of(tmp_path / "a.png", "image", start_s=0, seconds=5).shots
    (dark,) = watch.of(tmp_path / "b.jpg", "image", start_s=0, seconds=5).shots
    assert (bright.is_black, dark.is_black) == (False, True)
    assert watch.clip(tmp_path / "c.mp4", seconds=5).shots == ()
    assert watch.still(tmp_path / "c.png").shots == ()


def test_of_a_result_whose_middle_moves_no_more_than_that_is_looked_at(tmp_path):
    path = write(tmp_path / "a.mp4", scene, seconds=4)
    whole, middle = watch.clip(path, seconds=4), watch.render(path, seconds=4)
    assert [shot.at_s for shot in middle.shots] == [shot.at_s for shot in whole.shots[4:7]]
    assert middle.shots[1:] == whole.shots[5:7]
    assert (whole.is_silent, middle.is_silent) == (None, None)
    assert watch.render(path, seconds=4, listens=True).is_silent is True


@pytest.mark.parametrize("picture", [black, lambda _: scene(1), until(1.5, black), until(1.5, lambda _: scene(1.5))])
def test_of_a_result_whose_middle_settles_nothing_all_is_looked_at(tmp_path, picture):
    path = write(tmp_path / "a.mp4", picture, seconds=4)
    assert watch.render(path, seconds=4) == watch.clip(path, seconds=4)
    assert len(watch.render(path, seconds=4).shots) == watch.MOMENTS


def opened_for(path, monkeypatch, *, seconds):
    """What is doubtful about a result, and how often it was opened to find out."""
    opened: Counter[Path] = Counter()

    def counted(path, really=media.opened, **options):
        opened[path] += 1
        return really(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(media, "opened", counted)
        doubt = watch.doubt(path, seconds=seconds, wants_sound=False, source=lambda: None)
    return doubt, opened[path]


@pytest.mark.parametrize(("seconds", "fps"), [(1, 12), (1, 24), (4, 24)])
def test_the_middle_of_a_short_result_is_seen_while_it_is_checked(tmp_path, monkeypatch, seconds, fps):
    path = write(tmp_path / "a.mp4", lambda at_s: scene(4 * at_s / seconds), seconds=seconds, fps=fps)
    assert opened_for(path, monkeypatch, seconds=seconds) == (None, 1)


def test_where_the_check_decodes_none_of_the_middle_it_is_looked_for(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", scene, seconds=4, gop=12)
    assert opened_for(path, monkeypatch, seconds=4) == (None, 2)


@pytest.mark.parametrize("gop", [12, 250])
def test_a_middle_that_settles_nothing_is_no_verdict(tmp_path, monkeypatch, gop):
    frozen, opened = opened_for(
        write(tmp_path / "a.mp4", lambda _: scene(1), seconds=4, gop=gop), monkeypatch, seconds=4
    )
    assert frozen is not None
    assert frozen.words == "it stands still"
    assert opened == (2 if gop == 250 else 3)


def test_a_result_that_cannot_be_looked_at_shows_nothing(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no clip")
    assert watch.render(tmp_path / "a.mp4", seconds=4, listens=True) == watch.clip(tmp_path / "a.mp4", seconds=4)
