"""Folders on a real file system."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import sys
import time
import unicodedata

import pytest

from batchrunner import listing
from batchrunner.core import folder as folders
from batchrunner.core.folder import Folder, Listing
from batchrunner.core.problem import Place

LONG_AGO_NS = 1_700_000_000_000_000_000
NOW_NS = LONG_AGO_NS + 3_600_000_000_000


def wanted(*globs: str, **more: object) -> Folder:
    return Folder(
        globs=globs,
        field="video_file_path",
        media="video",
        extensions=("mp4", "mov"),
        place=Place(source="m.yaml", line=1, column=1),
        path="jobs[0].input.glob",
        **more,  # type: ignore[arg-type]
    )


def no_pause(_: float) -> None:
    raise AssertionError("nothing here is fresh")


def look(root: Path, *asked: Folder, pause: Callable[[float], None] = no_pause) -> Listing:
    return listing.look(root, asked, now_ns=NOW_NS, pause=pause)


def names(found: Listing) -> list[str]:
    return sorted(each.path for each in found.files)


def chosen(root: Path, asked: Folder) -> list[str]:
    return [each.path for each in folders.choose(asked, look(root, asked)).files]


def put(root: Path, *paths: str, modified_ns: int = LONG_AGO_NS) -> None:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
        os.utime(file, ns=(modified_ns, modified_ns))


def test_the_folder_of_a_rehearsal_is_no_material_unless_a_pattern_begins_with_it(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "night.sandbox/outputs/b.mp4", "c.sandbox.mp4")
    assert names(look(tmp_path, wanted("**/*.mp4"))) == ["a.mp4", "c.sandbox.mp4"]
    assert names(look(tmp_path, wanted("night.sandbox/outputs/*.mp4"))) == ["night.sandbox/outputs/b.mp4"]


def test_only_what_a_pattern_fits_is_listed(tmp_path: Path) -> None:
    put(tmp_path, "clips/a.mp4", "clips/day/b.MP4", "clips/day/c.txt", "else/d.mp4", "clips/.git/e.mp4", "clips/.f.mp4")
    assert names(look(tmp_path, wanted("clips/**/*.mp4"))) == ["clips/a.mp4", "clips/day/b.MP4"]
    (found,) = (each for each in look(tmp_path, wanted("clips/*")).files if each.path == "clips/a.mp4")
    assert (found.size, found.modified_ns, found.real, found.is_growing) == (1, LONG_AGO_NS, None, False)


def test_one_walk_serves_all_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "clips/a.mp4", "clips/day/b.mp4", "other/c.mp4")
    walked: list[Path] = []
    scandir = os.scandir

    def noted(path: Path) -> object:
        walked.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noted)
    found = look(tmp_path, wanted("**/*.mp4"), wanted("clips/*.mp4", "clips/**"), wanted("clips/day/*.mov"))
    assert names(found) == ["clips/a.mp4", "clips/day/b.mp4", "other/c.mp4"]
    assert len(walked) == len(set(walked)) == 4


def test_folders_that_no_pattern_reaches_are_not_read(tmp_path: Path) -> None:
    put(tmp_path, "clips/a/raw/x.mp4", "clips/b/fine/y.mp4")
    (tmp_path / "clips" / "b" / "fine").chmod(0)
    found = look(tmp_path, wanted("clips/*/raw/*.mp4"))
    (tmp_path / "clips" / "b" / "fine").chmod(0o755)
    assert names(found) == ["clips/a/raw/x.mp4"]
    assert found.unreadable == {}


ODD = ["-lead.mp4", " space .mp4", 'it\'s "quoted".mp4', "new\nline.mp4", "a*b?c[d]{e}.mp4", "🎬.mp4", "$HOME;`x`.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="such names are impossible there")
def test_odd_names_are_found_and_become_jobs_of_their_own(tmp_path: Path) -> None:
    put(tmp_path, *(f"clips/{name}" for name in ODD), f"clips/{'l' * 251}.mp4", f"clips/{'l' * 250}m.mp4")
    assert len(chosen(tmp_path, wanted("clips/*.mp4"))) == len(ODD) + 2


@pytest.mark.skipif(sys.platform == "win32", reason="such names are impossible there")
def test_names_that_are_no_text_are_counted_and_left_out(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes no such name")
    found = look(tmp_path, wanted("*.mp4"))
    assert names(found) == ["a.mp4"]
    assert found.unnamable == 1
    (note,) = folders.choose(wanted("*.mp4"), found).notes
    assert "another encoding" in note.message


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_letters_are_found_however_they_are_composed(tmp_path: Path, on_disk: str, written: str) -> None:
    put(tmp_path, unicodedata.normalize(on_disk, "été/sous/où.mp4"))  # type: ignore[arg-type]
    for pattern in ("été/sous/*.mp4", "été/**/où.mp4", "**/o*.mp4", "été/sous/où.mp4"):
        found = chosen(tmp_path, wanted(unicodedata.normalize(written, pattern)))  # type: ignore[arg-type]
        assert [unicodedata.normalize("NFC", each) for each in found] == ["été/sous/où.mp4"], pattern
        assert (tmp_path / found[0]).is_file()


def test_a_folder_that_is_missing_is_told_with_what_is_beside_it(tmp_path: Path) -> None:
    put(tmp_path, "clips/day/a.mp4")
    found = look(tmp_path, wanted("clips/dya/*.mp4"), wanted("nowhere/at/all/*.mp4"))
    assert found.missing == {"clips/dya": ("day",), "nowhere/at/all": ("clips",)}
    (note,) = folders.choose(wanted("clips/dya/*.mp4"), found).notes
    assert (note.code, note.hint) == ("missing-folder", "did you mean clips/day?")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="nothing is unreadable for this user")
def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    put(tmp_path, "clips/locked/a.mp4")
    (tmp_path / "clips" / "locked").chmod(0)
    found = look(tmp_path, wanted("clips/**"))
    (tmp_path / "clips" / "locked").chmod(0o755)
    assert found.unreadable == {"clips/locked": "Permission denied"}


def test_patterns_may_lead_out_of_the_manifests_folder(tmp_path: Path) -> None:
    put(tmp_path, "footage/day/a.mp4", "batch/x.txt")
    root = tmp_path / "batch"
    assert chosen(root, wanted("../footage/**/*.mp4")) == ["../footage/day/a.mp4"]
    absolute = f"{(tmp_path / 'footage').as_posix()}/*/*.mp4"
    assert chosen(root, wanted(absolute)) == [(tmp_path / "footage" / "day" / "a.mp4").as_posix()]


# --- links -----------------------------------------------------------------------------------------------------------


def link(root: Path, path: str, target: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    try:
        (root / path).symlink_to(target)
    except OSError:
        pytest.skip("no links can be made here")


def test_a_link_that_leads_out_or_nowhere_is_left_out_and_told(tmp_path: Path) -> None:
    put(tmp_path, "outside/secret.mp4", "batch/clips/a.mp4")
    root = tmp_path / "batch"
    link(root, "clips/file.mp4", "../../outside/secret.mp4")
    link(root, "clips/folder", "../../outside")
    link(root, "clips/broken.mp4", "nothing.mp4")
    link(root, "clips/notes.txt", "/etc/hostname")
    found = look(root, wanted("clips/**/*.mp4"))
    assert names(found) == ["clips/a.mp4"]
    assert sorted(found.astray) == ["clips/broken.mp4", "clips/file.mp4", "clips/folder"]


def test_a_folder_that_the_person_names_may_itself_be_a_link(tmp_path: Path) -> None:
    put(tmp_path, "disk/day/a.mp4", "batch/m.yaml")
    link(tmp_path, "batch/clips", "../disk")
    assert chosen(tmp_path / "batch", wanted("clips/**/*.mp4")) == ["clips/day/a.mp4"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    put(tmp_path, "clips/a.mp4", "clips/day/b.mp4")
    link(tmp_path, "clips/day/up", "..")
    link(tmp_path, "clips/self", ".")
    link(tmp_path, "clips/knot.mp4", "knot.mp4")
    for number in range(12):
        link(tmp_path, f"web/{number}/x{number}.mp4", "../../clips/a.mp4")
        for other in range(12):
            link(tmp_path, f"web/{number}/to{other}", f"../{other}")
    assert chosen(tmp_path, wanted("clips/**/*.mp4")) == ["clips/a.mp4", "clips/day/b.mp4"]
    assert chosen(tmp_path, wanted("clips/**/*.mp4", "web/**/*.mp4")) == ["clips/a.mp4", "clips/day/b.mp4"]
    assert len(chosen(tmp_path, wanted("web/**/*.mp4"))) == 1


def test_a_selection_made_of_links_is_rendered_each_clip_once(tmp_path: Path) -> None:
    put(tmp_path, "all/a.mp4", "all/b.mp4", "all/day/c.mp4")
    link(tmp_path, "picked/1.mp4", "../all/a.mp4")
    link(tmp_path, "picked/2.mp4", "../all/a.mp4")
    link(tmp_path, "picked/day", "../all/day")
    assert chosen(tmp_path, wanted("picked/**/*.mp4")) == ["picked/1.mp4", "picked/day/c.mp4"]
    both = wanted("picked/**/*.mp4", "all/**/*.mp4")
    assert chosen(tmp_path, both) == ["all/a.mp4", "all/b.mp4", "all/day/c.mp4"]


# --- files that are being written ------------------------------------------------------------------------------------


def test_what_was_modified_a_moment_ago_is_looked_at_twice(tmp_path: Path) -> None:
    put(tmp_path, "old.mp4")
    put(tmp_path, "whole.mp4", "growing.mp4", "leaving.mp4", modified_ns=NOW_NS - 1_000_000_000)
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        with (tmp_path / "growing.mp4").open("ab") as file:
            file.write(b"more")
        (tmp_path / "leaving.mp4").unlink()

    found = {each.path: each.is_growing for each in look(tmp_path, wanted("*.mp4"), pause=pause).files}
    assert found == {"old.mp4": False, "whole.mp4": False, "growing.mp4": True}
    assert paused == [listing.BETWEEN_LOOKS_S]


def test_a_file_that_keeps_its_size_is_growing_too_when_it_is_written_to(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", modified_ns=NOW_NS - 1)
    found = look(tmp_path, wanted("*.mp4"), pause=lambda _: os.utime(tmp_path / "a.mp4", ns=(0, NOW_NS)))
    assert [each.is_growing for each in found.files] == [True]


def test_a_date_far_ahead_is_a_wrong_clock_and_no_reason_to_wait(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", modified_ns=NOW_NS + 86_400_000_000_000)
    assert names(look(tmp_path, wanted("*.mp4"))) == ["a.mp4"]


def test_newer_than_counts_from_now(tmp_path: Path) -> None:
    put(tmp_path, "old.mp4", modified_ns=NOW_NS - 90_000_000_000_000)
    put(tmp_path, "new.mp4", modified_ns=NOW_NS - 3_000_000_000_000)
    assert chosen(tmp_path, wanted("*.mp4", newer_than="1d")) == ["new.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="the zone cannot be set there")
def test_dates_are_of_this_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = []
    for zone in ("UTC0", "XYZ-5"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        moments.append(look(tmp_path, wanted("*.mp4", newer_than="2026-11-01")).since["2026-11-01"])
    monkeypatch.undo()
    time.tzset()
    assert moments[0] - moments[1] == 5 * 3_600_000_000_000
