"""Renders, straight from the functions: how long, how large, which frames, which look."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
import struct
from tempfile import TemporaryDirectory
from typing import Any

import av
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageChops, ImageStat
import pytest

from batchrunner.sandbox import renderer, styles
from batchrunner.sandbox.renderer import Abandoned, RenderError


def from_clip(source: Path, target: Path, **changes: Any) -> renderer.Rendered:
    options: dict[str, Any] = {
        "start_s": 0.0,
        "end_s": 1.0,
        "fps_resolution": "FULL",
        "art_style": "No Art Style",
        "longest_edge": 1472,
        "scale": 1.0,
    }
    return renderer.render_video_to_video(source, target, **options | changes)


def from_still(image: Path, target: Path, **changes: Any) -> renderer.Rendered:
    options: dict[str, Any] = {
        "end_image": None,
        "seconds": 1.0,
        "resolution": "480p",
        "fps": 24,
        "audio": False,
        "prompt": "",
        "scale": 0.1,
    }
    return renderer.render_image_to_video(image, target, **options | changes)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean distance of two pictures, 0 to 255."""
    bands = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean
    return sum(bands) / len(bands)


@pytest.mark.parametrize("span", [(0.0, 1.0), (0.25, 0.75), (0.5, 0.51), (2.5, 3.0), (0.0, 99.0)])
@pytest.mark.parametrize("rate", [Fraction(24), Fraction(25), Fraction(30000, 1001)])
def test_exactly_the_frames_of_the_range(
    make_clip: Any, tmp_path: Path, probe: Any, rate: Fraction, span: tuple[float, float]
) -> None:
    start, end = span
    source = make_clip(rate=rate, frames=75)
    whole = probe(source)
    rendered = from_clip(source, tmp_path / "out.mp4", start_s=start, end_s=end)
    movie = probe(tmp_path / "out.mp4")
    until = min(Fraction(repr(end)), 75 / rate)
    assert rendered.frames == movie.frames
    assert abs(movie.frames - (until - Fraction(repr(start))) * rate) <= 1
    assert movie.seconds == pytest.approx(float(until) - start, abs=float(1 / rate))
    assert movie.fps == pytest.approx(float(rate), abs=0.01)
    with av.open(str(source)) as container:
        pictures = [frame.to_image() for frame in container.decode(video=0)]
    nearest = min(range(whole.frames), key=lambda number: difference(pictures[number], movie.first))
    assert nearest == int(Fraction(repr(start)) * rate + Fraction(1, 20))


def test_half_keeps_the_duration_and_every_second_frame(clip: Path, tmp_path: Path, probe: Any) -> None:
    full = from_clip(clip, tmp_path / "full.mp4")
    half = from_clip(clip, tmp_path / "half.mp4", fps_resolution="HALF")
    assert (half.frames, half.fps) == (full.frames // 2, full.fps / 2)
    assert probe(tmp_path / "half.mp4").seconds == pytest.approx(1, abs=1 / 12)


def test_the_sound_of_the_range_is_kept(make_clip: Any, tmp_path: Path, probe: Any) -> None:
    source = make_clip(frames=72, sound=True)
    from_clip(source, tmp_path / "out.mp4", start_s=1.0, end_s=2.5)
    movie = probe(tmp_path / "out.mp4")
    assert movie.sound_s == pytest.approx(1.5, abs=0.06)
    assert movie.seconds == pytest.approx(1.5, abs=1 / 24)


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((96, 64), {}, (96, 64)),
        ((96, 64), {"longest_edge": 48}, (48, 32)),
        ((96, 64), {"scale": 0.5}, (48, 32)),
        ((96, 64), {"scale": 0.01}, (16, 16)),
        ((64, 96), {"longest_edge": 48}, (32, 48)),
    ],
)
def test_sizes(make_clip: Any, tmp_path: Path, size: Any, limits: dict[str, Any], expected: Any) -> None:
    made = from_clip(make_clip(size=size, frames=3), tmp_path / "out.mp4", **limits)
    assert (made.width, made.height) == expected


def test_every_style_looks_different_from_every_other(clip: Path, tmp_path: Path, probe: Any) -> None:
    looks = {}
    for name in sorted(styles.NAMES):
        from_clip(clip, tmp_path / "out.mp4", end_s=0.1, art_style=name)
        looks[name] = probe(tmp_path / "out.mp4").first
    names = sorted(looks)
    assert len(names) == 75
    alike = [
        (one, other)
        for number, one in enumerate(names)
        for other in names[number + 1 :]
        if difference(looks[one], looks[other]) < 5
    ]
    assert not alike


def test_nothing_in_the_range(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(RenderError) as caught:
        from_clip(clip, tmp_path / "out.mp4", start_s=5.0, end_s=6.0)
    assert caught.value.code == "invalid_parameters"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_a_file_that_is_no_video(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(RenderError) as caught:
        from_clip(tmp_path / "bad.mp4", tmp_path / "out.mp4")
    assert caught.value.code == "invalid_video_file"


def test_a_truncated_video(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:900])
    with pytest.raises(RenderError) as caught:
        from_clip(tmp_path / "cut.mp4", tmp_path / "out.mp4")
    assert caught.value.code == "invalid_video_file"


@pytest.mark.parametrize("content", [b"", b"no image at all" * 100, b"\x89PNG\r\n\x1a\n" + b"\0" * 64])
def test_a_file_that_is_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(RenderError) as caught:
        from_still(tmp_path / "bad.png", tmp_path / "out.mp4")
    assert caught.value.code == "invalid_image_file"


def test_the_first_frame_of_a_video_serves_as_a_still(clip: Path, tmp_path: Path) -> None:
    assert from_still(clip, tmp_path / "out.mp4").frames == 24


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [("360p", (64, 36)), ("480p", (86, 48)), ("720p", (128, 72)), ("1080p", (192, 108)), ("4k", (384, 216))],
)
def test_nominal_sizes_of_a_still(still: Path, tmp_path: Path, resolution: Any, expected: Any) -> None:
    made = from_still(still, tmp_path / "out.mp4", resolution=resolution, seconds=0.2)
    assert (made.width, made.height) == expected


def test_an_upright_still_gives_an_upright_video(red_still: Path, tmp_path: Path) -> None:
    made = from_still(red_still, tmp_path / "out.mp4", resolution="720p")
    assert (made.width, made.height) == (72, 128)


def test_the_camera_moves(still: Path, tmp_path: Path, probe: Any) -> None:
    from_still(still, tmp_path / "out.mp4")
    movie = probe(tmp_path / "out.mp4")
    assert difference(movie.first, movie.last) > 3


def test_an_abandoned_render_leaves_nothing(clip: Path, still: Path, tmp_path: Path) -> None:
    with pytest.raises(Abandoned):
        from_clip(clip, tmp_path / "out.mp4", is_abandoned=lambda: True)
    with pytest.raises(Abandoned):
        from_still(still, tmp_path / "out.mp4", is_abandoned=lambda: True)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 900), length=st.integers(100, 1500), rate=st.sampled_from([("FULL", 24), ("HALF", 12)]))
def test_frames_follow_from_the_range(clip: Path, probe: Any, start: int, length: int, rate: tuple[str, int]) -> None:
    fps_resolution, fps = rate
    begin, end = Fraction(start, 1000), Fraction(min(start + length, 1000), 1000)
    with TemporaryDirectory() as folder:
        target = Path(folder) / "out.mp4"
        rendered = from_clip(
            clip, target, start_s=start / 1000, end_s=(start + length) / 1000, fps_resolution=fps_resolution
        )
        assert abs(rendered.frames - (end - begin) * fps) <= 1
        assert probe(target).frames == rendered.frames


def test_a_clip_filmed_upright_stays_upright(clip: Path, tmp_path: Path, probe: Any) -> None:
    # The track header's matrix, as a phone writes it: turn by 90 degrees when showing.
    identity = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    turned = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    content = clip.read_bytes()
    header = content.index(b"tkhd")
    assert content.count(identity, header) == 1
    (tmp_path / "turned.mp4").write_bytes(content[:header] + content[header:].replace(identity, turned))
    from_clip(tmp_path / "turned.mp4", tmp_path / "out.mp4")
    movie = probe(tmp_path / "out.mp4")
    assert movie.size == (64, 96)
    upright = probe(clip).first.transpose(Image.Transpose.ROTATE_270)
    assert difference(movie.first, upright) < 5


@pytest.mark.parametrize(("fps_resolution", "frames"), [("FULL", 24), ("HALF", 12)])
def test_a_container_that_counts_in_milliseconds(tmp_path: Path, probe: Any, fps_resolution: Any, frames: int) -> None:
    source = tmp_path / "clip.webm"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libvpx", rate=24)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(48):
            frame = av.VideoFrame.from_image(Image.new("RGB", (96, 64), (number * 5, 0, 0)))
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    rendered = from_clip(source, tmp_path / "out.mp4", start_s=0.5, end_s=1.5, fps_resolution=fps_resolution)
    assert rendered.frames == frames
    assert probe(tmp_path / "out.mp4").seconds == pytest.approx(1.0, abs=1 / 24)
