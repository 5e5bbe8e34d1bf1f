"""The check of a result, on real files and on broken ones."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
import shutil
import struct
import sys
from typing import Any, Literal
import zlib

import av
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
import pytest

from batchrunner import media as media_module
from batchrunner.core.facts import Facts
from batchrunner.errors import DamagedFile
from batchrunner.media import Video


def write_noise(
    path: Path,
    *,
    options: dict[str, str],
    container: dict[str, str],
    frames: int = 48,
    encoder: Literal["libx264", "libvpx"] = "libx264",
) -> Path:
    """A clip whose pictures are noise, so that its data is most of the file."""
    with av.open(str(path), "w", options=container) as output:
        stream = output.add_stream(encoder, rate=24, options={"preset": "ultrafast", "g": "12"} | options)
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


@pytest.mark.parametrize("options", [{}, {"bf": "3", "b-adapt": "0", "preset": "medium"}])
@pytest.mark.parametrize("container", [{}, {"use_editlist": "0"}])
def test_what_is_decoded_is_shown_with_its_time(
    tmp_path: Path, options: dict[str, str], container: dict[str, str]
) -> None:
    path = write_noise(tmp_path / "a.mp4", options=options, container=container)
    shown: list[tuple[Video, float]] = []
    found = media_module.check_video(path, lambda video, at_s, _: shown.append((video, at_s)))
    assert [video for video, _ in shown] == [found] * len(shown)
    times = [at_s for _, at_s in shown]
    assert times == pytest.approx([number / 24 for number in range(48 - len(times), 48)], abs=0.001)


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


def test_a_hole_in_the_middle(tmp_path: Path, noise: Path) -> None:
    """Space that was taken and not written, with the index and the last pictures in place."""
    whole = bytearray(noise.read_bytes())
    start, end = len(whole) * 2 // 5, len(whole) * 3 // 5
    whole[start:end] = bytes(end - start)
    (tmp_path / "hole.mp4").write_bytes(whole)
    with pytest.raises(DamagedFile, match="zeros for pictures"):
        media_module.check_video(tmp_path / "hole.mp4")


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


# --- inputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "encoder", "container"),
    [
        ("a.mp4", "h264", "libx264", {}),
        ("pieces.mp4", "h264", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.mov", "h264", "libx264", {}),
        ("a.webm", "vp9", "libvpx-vp9", {}),
        ("a.mkv", "vp8", "libvpx", {}),
    ],
)
def test_facts_of_a_clip(
    tmp_path: Path, name: str, codec: str, encoder: Literal["libx264", "libvpx"], container: dict[str, str]
) -> None:
    found = media_module.probe(write_noise(tmp_path / name, options={}, container=container, encoder=encoder), "video")
    assert (found.width, found.height, found.codec, found.has_audio) == (96, 64, codec, False)
    assert found.fps == pytest.approx(24, abs=0.01)
    assert found.seconds == pytest.approx(2, abs=0.002)
    assert (found.seconds or 9) <= 2


def test_a_clip_with_sound_has_audio(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=10)
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream("aac", rate=44100)
        for number in range(10):
            frame = av.VideoFrame.from_image(Image.new("RGB", (96, 64)))
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(picture.encode(frame))
        heard = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
        heard.sample_rate = 44100
        for plane in heard.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(sound.encode(heard))
        for stream in (picture, sound):
            container.mux(stream.encode(None))
    found = media_module.probe(path, "video")
    assert (found.has_audio, found.seconds) == (True, 1.0)


def test_an_edit_list_shortens_a_clip(tmp_path: Path, noise: Path) -> None:
    with av.open(str(noise)) as source, av.open(str(tmp_path / "cut.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts, packet.dts = packet.pts - 12288, packet.dts - 12288
            packet.stream = stream
            target.mux(packet)
    assert media_module.probe(tmp_path / "cut.mp4", "video").seconds == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_an_input_that_is_cut_short_is_refused(tmp_path: Path, noise: Path, share: float) -> None:
    whole = noise.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DamagedFile, match=r"cut\.mp4"):
        media_module.probe(tmp_path / "cut.mp4", "video")


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_clip_whose_place_on_disk_is_not_filled_yet_is_refused(tmp_path: Path, noise: Path, share: float) -> None:
    whole = noise.read_bytes()
    kept = int(len(whole) * share)
    (tmp_path / "zeros.mp4").write_bytes(whole[:kept] + bytes(len(whole) - kept))
    with pytest.raises(DamagedFile, match=r"zeros\.mp4"):
        media_module.probe(tmp_path / "zeros.mp4", "video")


@pytest.mark.parametrize("content", [b"", b"\0" * 10_000, b"<html></html>", PLAYLIST])
@pytest.mark.parametrize("kind", ["video", "image"])
def test_what_is_no_input(tmp_path: Path, content: bytes, kind: Any, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"a\.bin"):
        media_module.probe(path, kind)
    assert capfd.readouterr() == ("", "")


def test_a_still_is_no_clip_and_a_clip_no_still(media: Path) -> None:
    with pytest.raises(DamagedFile):
        media_module.probe(media / "a.png", "video")
    with pytest.raises(DamagedFile, match="no picture that can be read"):
        media_module.probe(media / "a.mp4", "image")
    with pytest.raises(DamagedFile, match="none"):
        media_module.probe(media / "none.png", "image")


STILLS = ["png", "jpg", "jfif", "webp", "avif", "jp2", "tif", "bmp", "heic"]


def write_picture(path: Path, *, orientation: int | None = None) -> Path:
    if path.suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    picture = Image.effect_noise((200, 150), 80).convert("RGB")
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    formats = {".jfif": "JPEG", ".heic": "HEIF"}
    options: dict[str, Any] = {} if orientation is None else {"exif": exif}
    picture.save(path, format=formats.get(path.suffix), **options)
    return path


@pytest.mark.parametrize("extension", STILLS)
def test_facts_of_a_still(tmp_path: Path, extension: str) -> None:
    found = media_module.probe(write_picture(tmp_path / f"a.{extension}"), "image")
    names = {"jpg": "jpeg", "jfif": "jpeg", "tif": "tiff", "jp2": "jpeg2000", "heic": "heif"}
    assert found == Facts(width=200, height=150, codec=names.get(extension, extension))


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "avif"])
@pytest.mark.parametrize(("orientation", "size"), [(1, (200, 150)), (3, (200, 150)), (6, (150, 200)), (8, (150, 200))])
def test_a_still_is_measured_as_it_is_shown(
    tmp_path: Path, extension: str, orientation: int, size: tuple[int, int]
) -> None:
    found = media_module.probe(write_picture(tmp_path / f"a.{extension}", orientation=orientation), "image")
    assert (found.width, found.height) == size


def test_a_turned_tiff_is_measured_as_it_is_shown(tmp_path: Path) -> None:
    Image.new("RGB", (200, 150)).save(tmp_path / "a.tif", tiffinfo={0x0112: 6})
    found = media_module.probe(tmp_path / "a.tif", "image")
    assert (found.width, found.height) == (150, 200)


@pytest.mark.parametrize("extension", STILLS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_still_that_is_cut_short_is_refused(tmp_path: Path, extension: str, share: float) -> None:
    path = write_picture(tmp_path / f"a.{extension}")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DamagedFile, match=r"a\.") as caught:
        media_module.probe(path, "image")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "jp2"])
def test_a_still_whose_place_on_disk_is_not_filled_yet_is_refused(tmp_path: Path, extension: str) -> None:
    path = write_picture(tmp_path / f"a.{extension}")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    with pytest.raises(DamagedFile):
        media_module.probe(path, "image")


def test_zeros_after_the_end_of_a_jpeg_are_no_damage(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert media_module.probe(path, "image").codec == "jpeg"


def test_a_picture_that_claims_to_be_huge_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    header = struct.pack(">II5B", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    data = zlib.compress(bytes(1000))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk
        + struct.pack(">I", len(data))
        + b"IDAT"
        + data
        + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    )
    with pytest.raises(DamagedFile, match="60,000 x 60,000 pixels"):
        media_module.probe(path, "image")


def test_heic_without_its_package_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_picture(tmp_path / "a.heic")
    monkeypatch.setattr(media_module, "_read_heif", lambda: False)
    with pytest.raises(DamagedFile, match="HEIC") as caught:
        media_module.probe(path, "image")
    assert "batchrunner[heic]" in str(caught.value.hint)


def test_without_the_package_for_heic_other_stills_are_read(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    media_module._read_heif.cache_clear()
    try:
        assert media_module.probe(media / "a.png", "image").codec == "png"
    finally:
        media_module._read_heif.cache_clear()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=30))
def test_damage_in_an_input_is_a_damaged_file_or_none(
    tmp_path: Path, noise: Path, media: Path, places: list[tuple[float, int]]
) -> None:
    for source, kind in ((noise, "video"), (media / "a.png", "image")):
        content = bytearray(source.read_bytes())
        for place, value in places:
            content[int(place * len(content))] = value
        path = tmp_path / "x.bin"
        path.write_bytes(content)
        try:
            media_module.probe(path, kind)  # type: ignore[arg-type]
        except DamagedFile as error:
            assert str(error)  # noqa: PT017 - whether it is raised is up to the bytes
