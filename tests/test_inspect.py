"""Looking into many inputs at once, on real files."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
import os
from pathlib import Path
import shutil
import threading
from typing import Any

import pytest

from batchrunner import inspect as inspecting, media as media_module
from batchrunner.core.facts import Facts
from batchrunner.core.footage import Wanted
from batchrunner.core.inputs import Inspected
from batchrunner.core.problem import Place, Problem
from batchrunner.errors import DamagedFile, ManifestError


def wanted(*names: str) -> list[Wanted]:
    return [
        Wanted(
            name=name,
            media="video" if name.endswith("mp4") else "image",
            place=Place(source="m.yaml", line=number, column=7),
            path=f"jobs[{number - 1}].assets.x",
        )
        for number, name in enumerate(names, start=1)
    ]


def problems_of(root: Path, *names: str, **more: Any) -> tuple[Problem, ...]:
    with pytest.raises(ManifestError) as caught:
        inspecting.look(root, wanted(*names), {}, **more)
    return caught.value.problems


@pytest.fixture
def folder(tmp_path: Path, media: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "a.png"):
        shutil.copy(media / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were decoded."""
    names: list[str] = []
    probe = media_module.probe

    def noted(path: Path, media: Any) -> Facts:
        names.append(path.name)
        return probe(path, media)

    monkeypatch.setattr(media_module, "probe", noted)
    return names


def test_content_and_facts_in_the_order_asked_for(folder: Path) -> None:
    found = inspecting.look(folder, wanted("b.mp4", "a.png", "a.mp4"), {})
    assert list(found) == ["b.mp4", "a.png", "a.mp4"]
    clip, still = found["b.mp4"], found["a.png"]
    path = folder / "b.mp4"
    assert clip == Inspected(
        path="b.mp4",
        size=path.stat().st_size,
        modified_ns=path.stat().st_mtime_ns,
        sha256=sha256(path.read_bytes()).hexdigest(),
        facts=Facts(width=160, height=96, codec="h264", seconds=1.0, fps=30.0),
    )
    assert still.facts == Facts(width=160, height=96, codec="png")


def test_nothing_to_look_at_is_nothing(folder: Path) -> None:
    assert inspecting.look(folder, [], {}, on_progress=lambda *_: pytest.fail("there is no progress")) == {}


def test_what_is_remembered_is_not_read_again(folder: Path, probed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    names = wanted("a.mp4", "a.png")
    first = inspecting.look(folder, names, {})
    assert sorted(probed) == ["a.mp4", "a.png"]
    probed.clear()
    monkeypatch.setattr(inspecting, "_sha256", lambda *_: pytest.fail("it was read again"))
    assert inspecting.look(folder, names, first) == first
    assert probed == []


def test_without_facts_only_the_facts_are_looked_up(
    folder: Path, probed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Old:
        size = (folder / "a.mp4").stat().st_size
        modified_ns = (folder / "a.mp4").stat().st_mtime_ns
        sha256 = "f" * 64
        facts = None

    monkeypatch.setattr(inspecting, "_sha256", lambda *_: pytest.fail("it was read again"))
    found = inspecting.look(folder, wanted("a.mp4"), {"a.mp4": Old()})
    assert (found["a.mp4"].sha256, found["a.mp4"].facts.seconds, probed) == ("f" * 64, 1.0, ["a.mp4"])


@pytest.mark.parametrize("change", ["size", "modified_ns"])
def test_a_file_that_changed_is_read_again(folder: Path, probed: list[str], change: str) -> None:
    first = inspecting.look(folder, wanted("a.mp4"), {})
    old = first["a.mp4"]
    stale = replace(old, sha256="0" * 64, **{change: getattr(old, change) - 1})
    assert inspecting.look(folder, wanted("a.mp4"), {"a.mp4": stale}) == first
    assert probed == ["a.mp4", "a.mp4"]


def test_all_that_cannot_be_used_is_told_at_once_with_its_place(folder: Path) -> None:
    (folder / "cut.mp4").write_bytes((folder / "a.mp4").read_bytes()[:500])
    (folder / "text.png").write_text("hello")
    (folder / "folder.png").mkdir()
    found = problems_of(folder, "a.mp4", "cut.mp4", "text.png", "none.png", "folder.png")
    assert [(each.place.line, each.code, each.path) for each in found] == [
        (2, "unusable-file", "jobs[1].assets.x"),
        (3, "unusable-file", "jobs[2].assets.x"),
        (4, "unreadable-file", "jobs[3].assets.x"),
        (5, "unreadable-file", "jobs[4].assets.x"),
    ]
    assert "cut.mp4" in found[0].message


def test_the_hint_of_what_is_missing_is_passed_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_module, "_read_heif", lambda: False)
    (folder / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (found,) = problems_of(folder, "a.heic")
    assert "batchrunner[heic]" in str(found.hint)


def test_a_file_that_grows_while_it_is_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = media_module.probe

    def growing(path: Path, media: Any) -> Facts:
        with path.open("ab") as file:
            file.write(b"more")
        return probe(path, media)

    monkeypatch.setattr(media_module, "probe", growing)
    (found,) = problems_of(folder, "a.mp4")
    assert found.code == "changing-file"
    assert '"a.mp4" is still being written' in found.message


def test_a_file_that_is_written_in_place_while_it_is_read_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touching(path: Path, _: Any) -> Facts:
        os.utime(path, ns=(1, 1))
        raise DamagedFile("a.mp4 is cut short")

    monkeypatch.setattr(media_module, "probe", touching)
    assert [each.code for each in problems_of(folder, "a.mp4")] == ["changing-file"]


def test_progress_ends_with_everything_and_comes_from_the_callers_thread(folder: Path) -> None:
    told: list[tuple[int, int, int]] = []

    def listen(done: int, total: int, read: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append((done, total, read))

    names = ("a.mp4", "b.mp4", "a.png")
    inspecting.look(folder, wanted(*names), {}, workers=2, on_progress=listen)
    assert told[-1] == (3, 3, sum((folder / name).stat().st_size for name in names))
    assert told == sorted(told)


def test_a_display_that_fails_or_ctrl_c_ends_it_soon(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspecting, "PIECE", 1)

    def interrupted(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspecting.look(folder, wanted("a.mp4", "b.mp4", "a.png"), {}, workers=1, on_progress=interrupted)
    assert not [each for each in threading.enumerate() if each.name.startswith("inspect")]


# --- files of a folder, which can wait for the next run --------------------------------------------------------------


def listed(root: Path, *names: str, **more: int) -> list[Wanted]:
    """The files as a listing a moment ago has them; `more` are bytes that were not there then."""
    files = []
    for each in wanted(*names):
        found = (root / each.name).stat()
        files.append(replace(each, listed=(found.st_size - more.get(each.name, 0), found.st_mtime_ns)))
    return files


def test_a_file_that_changed_since_it_was_listed_is_left_for_the_next_run(folder: Path) -> None:
    unready: set[str] = set()
    files = [*listed(folder, "a.mp4"), *listed(folder, "b.mp4", **{"b.mp4": 1})]
    assert list(inspecting.look(folder, files, {}, unready=unready)) == ["a.mp4"]
    assert unready == {"b.mp4"}


def test_a_file_that_was_taken_away_since_it_was_listed_is_left_out(folder: Path) -> None:
    unready: set[str] = set()
    files = listed(folder, "a.mp4", "b.mp4")
    (folder / "a.mp4").unlink()
    assert list(inspecting.look(folder, files, {}, unready=unready)) == ["b.mp4"]
    assert unready == {"a.mp4"}


def test_a_damaged_file_is_left_for_the_next_run_only_while_it_is_young(folder: Path) -> None:
    whole = (folder / "a.mp4").read_bytes()
    (folder / "a.mp4").write_bytes(whole[: len(whole) // 2])
    unready: set[str] = set()
    assert list(inspecting.look(folder, listed(folder, "a.mp4", "b.mp4"), {}, unready=unready)) == ["b.mp4"]
    assert unready == {"a.mp4"}
    os.utime(folder / "a.mp4", (1, 1))
    with pytest.raises(ManifestError) as caught:
        inspecting.look(folder, listed(folder, "a.mp4", "b.mp4"), {}, unready=unready)
    (problem,) = caught.value.problems
    assert (problem.code, problem.hint) == ("unusable-file", "mend it, or leave it out with exclude")


def test_a_file_that_the_manifest_names_itself_never_waits(folder: Path) -> None:
    (folder / "a.mp4").unlink()
    with pytest.raises(ManifestError):
        inspecting.look(folder, wanted("a.mp4"), {}, unready=set())
