"""The check of a result, on real files and on broken ones."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
import shutil
import struct

import av
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
import pytest

from batchrunner import media as media_module
from batchrunner.errors import DamagedFile
from batchrunner.media import Video


def write_noise(path: Path, *, options: dict[str, str], container: dict[str, str], frames: int = 48) -> Path:
    """A clip whose pictures are noise, so that its data is most of the file."""
    with av.open(str(path), "w", options=container) as output:
        stream = output.add_stream("libx264", rate=24, options={"preset": "ultrafast", "g": "12"} | options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_image(Image.effect_noise((96, 64), 80).convert("RGB"))
            frame.pts, frame.time_base = number, Fraction(1, 24)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds with the index at the front, as a service writes what is to be played over the network."""
    path = tmp_path_factory.mktemp("noise") / "front.mp4"
    return write_noise(path, options={}, container={"movflags": "faststart"})


GOOD = Video(seconds=2.0, width=96, height=64, fps=24.0)


@pytest.mark.parametrize(
    ("name", "options", "container"),
    [
        ("front.mp4", {}, {"movflags": "faststart"}),
        ("back.mp4", {}, {}),
        ("pieces.mp4", {}, {"movflags": "frag_keyframe+empty_moov"}),
        ("reordered.mp4", {"bf": "3", "b-adapt": "0", "preset": "medium"}, {}),
        ("open.mp4", {"bf": "3", "preset": "medium", "x264-params": "open-gop=1"}, {}),
        ("a.mov", {}, {}),
        ("a.mkv", {}, {}),
        ("no suffix at all", {}, {"movflags": "faststart"}),
    ],
)
def test_a_good_file(tmp_path: Path, name: str, options: dict[str, str], container: dict[str, str]) -> None:
    made = name if "." in name else "x.mp4"
    path = write_noise(tmp_path / made, options=options, container=container).rename(tmp_path / name)
    found = media_module.check_video(path)
    assert (found.width, found.height, found.fps) == (96, 64, 24.0)
    assert found.seconds == pytest.approx(2.0, abs=0.01)


def test_clips_of_the_sandbox_and_of_the_tests_are_good(media: Path) -> None:
    assert media_module.check_video(media / "a.mp4") == Video(seconds=1.0, width=160, height=96, fps=24.0)
    assert media_module.check_video(media / "b.mp4").fps == 30.0


def test_one_picture_is_a_video(tmp_path: Path) -> None:
    write_noise(tmp_path / "a.mp4", options={}, container={}, frames=1)
    assert media_module.check_video(tmp_path / "a.mp4").seconds == pytest.approx(1 / 24, abs=0.001)


def test_an_edit_list_that_hides_pictures_is_no_damage(tmp_path: Path, noise: Path) -> None:
    with av.open(str(noise)) as source, av.open(str(tmp_path / "cut.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None or packet.pts is None:
                continue
            # The first half lies before zero: it is written, and an edit list hides it.
            packet.pts, packet.dts = packet.pts - 12288 - 6144, packet.dts - 12288 - 6144
            packet.stream = stream
            target.mux(packet)
    media_module.check_video(tmp_path / "cut.mp4")


@pytest.mark.parametrize("name", ["a:b.mp4", "http:x.mp4", "a%20b#?.mp4", "-i.mp4", "ünï 💾.mp4"])
def test_a_name_is_only_a_name(
    tmp_path: Path, noise: Path, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(noise, name)
    assert media_module.check_video(Path(name)) == GOOD
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_is_cut_short(tmp_path: Path, noise: Path, share: float) -> None:
    whole = noise.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DamagedFile, match=r"cut\.mp4"):
        media_module.check_video(tmp_path / "cut.mp4")


def test_a_file_that_is_cut_between_two_pictures(tmp_path: Path, noise: Path) -> None:
    with av.open(str(noise)) as container:
        ends = [packet.pos + packet.size for packet in container.demux(video=0) if packet.pos]
    (tmp_path / "cut.mp4").write_bytes(noise.read_bytes()[: ends[len(ends) // 2]])
    with pytest.raises(DamagedFile, match="cut short"):
        media_module.check_video(tmp_path / "cut.mp4")


def test_a_file_whose_last_bytes_are_missing(tmp_path: Path, noise: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(noise.read_bytes()[:-10])
    with pytest.raises(DamagedFile, match="cut short"):
        media_module.check_video(tmp_path / "cut.mp4")


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_tail_that_is_not_the_files_own(tmp_path: Path, noise: Path, share: float) -> None:
    whole = noise.read_bytes()
    kept = int(len(whole) * share)
    (tmp_path / "zeros.mp4").write_bytes(whole[:kept] + bytes(len(whole) - kept))
    with pytest.raises(DamagedFile):
        media_module.check_video(tmp_path / "zeros.mp4")


def test_an_index_that_is_missing(tmp_path: Path) -> None:
    whole = write_noise(tmp_path / "a.mp4", options={}, container={}).read_bytes()
    for end in (whole.index(b"moov") - 4, whole.index(b"moov") + 50, len(whole) - 100):
        (tmp_path / "cut.mp4").write_bytes(whole[:end])
        with pytest.raises(DamagedFile):
            media_module.check_video(tmp_path / "cut.mp4")


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 10_000,
        b"<html><body>Sign in</body></html>",
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        b"plain text\n" * 1000,
        PLAYLIST,
        b"ffconcat version 1.0\nfile a.mp4\n",
        struct.pack(">I4s", 8, b"ftyp"),
        struct.pack(">I4sQ", 1, b"mdat", 2**63),
    ],
)
def test_what_is_no_video(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"a\.mp4"):
        media_module.check_video(path)
    assert capfd.readouterr() == ("", "")


def test_a_picture_is_no_video(tmp_path: Path, media: Path) -> None:
    shutil.copy(media / "a.png", tmp_path / "a.mp4")
    with pytest.raises(DamagedFile):
        media_module.check_video(tmp_path / "a.mp4")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
        frame.sample_rate = 44100
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DamagedFile, match="no picture"):
        media_module.check_video(path)


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.mp4", tmp_path):
        with pytest.raises(DamagedFile):
            media_module.check_video(path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=30))
def test_damage_anywhere_is_a_damaged_file_or_none(
    tmp_path: Path, noise: Path, places: list[tuple[float, int]]
) -> None:
    content = bytearray(noise.read_bytes())
    index = content.index(b"moov") + 2000
    for place, value in places:
        content[int(place * index)] = value
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    try:
        media_module.check_video(path)
    except DamagedFile as error:
        assert str(error)  # noqa: PT017 - whether it is raised is up to the bytes
