"""`status --watch` over a run in another process; tables on a narrow terminal."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import shutil
import subprocess
import sys
import time

import pytest

from batchrunner.cli import show
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import Settings
from tests.support.program import Program, Provider

MANIFEST = """\
version: 1
output: renders/{id}.mp4
limits: {in_flight: 1}
defaults:
  image-to-video: {end_seconds: 5, model: ltx-2.3, resolution: 480p, style: {prompt: slow}}
jobs:
"""
IDS = [f"j{number}" for number in range(6)]


@pytest.fixture
def slow(tmp_path: Path, media: Path) -> Iterator[Program]:
    """A batch of six, at a provider whose renders take a while, one after the other."""
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(media / "a.png", folder)
    jobs = "".join(f"  - {{id: {each}, kind: image-to-video, input: a.png}}\n" for each in IDS)
    (folder / "night.yaml").write_text(MANIFEST + jobs)
    settings = Settings(data_dir=tmp_path / "sandbox", scale=0.1, credits=100_000, latency_s=2.0, no_render=True)
    with launch.start(settings) as running:
        yield Program(folder=folder, provider=Provider(base_url=running.base_url))


def begun(program: Program) -> subprocess.Popen[str]:
    """A run that has begun."""
    process = program.start("run", "night.yaml")
    for _ in range(300):
        if (program.folder / "night.state.db").exists() and program.status(program.folder / "night.yaml")["jobs"]:
            return process
        time.sleep(0.05)
    raise AssertionError(process.communicate())


def test_a_run_is_followed_as_lines_until_it_ends(slow: Program) -> None:
    process = begun(slow)
    watched = slow.run("status", "night.yaml", "--watch")
    process.communicate(timeout=30)
    lines = watched.out.splitlines()
    assert watched.code == 0, watched.err
    assert any("waiting: " in line and "limits.in_flight" in line for line in lines)
    assert any(line.endswith(".mp4 (3.6 kB)") or "j5: done: renders/j5.mp4" in line for line in lines)
    assert lines[-1].startswith("6 jobs: 6 done; ")
    assert watched.err == ""


@pytest.mark.skipif(os.name == "nt", reason="terminals of POSIX")
def test_on_a_terminal_it_is_drawn_in_place_within_its_width(slow: Program) -> None:
    import pty

    process = begun(slow)
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-m", "batchrunner", "status", "night.yaml", "--watch"],
        cwd=slow.folder,
        env=slow.environ() | {"COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.STDOUT,
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    assert watching.wait(timeout=30) == 0
    process.communicate(timeout=30)
    text = said.decode()
    assert "of 6 jobs" in text
    assert "credits charged" in text
    assert "6 jobs: 6 done" in text
    assert "\x1b[3" not in text, "no colour where none is wanted"


def test_where_no_run_goes_on_it_says_so_and_what_to_type(slow: Program) -> None:
    assert slow.run("run", "night.yaml").code == 0
    ended = slow.run("status", "night.yaml", "--watch")
    assert (ended.code, ended.out.splitlines()[0]) == (0, "no run goes on")
    (slow.folder / "night.yaml").unlink()
    assert slow.run("status", "night.yaml", "--watch").code == 0


def test_a_state_file_that_cannot_be_used_is_told_as_status_tells_it(slow: Program) -> None:
    state = slow.folder / "night.state.db"
    for rubbish in (b"", b"rubbish", b"SQLite format 3\0" + b"\0" * 5000):
        state.write_bytes(rubbish)
        plain, watched = slow.run("status", "night.yaml"), slow.run("status", "night.yaml", "--watch")
        assert (watched.code, watched.out, watched.err) == (12, "", plain.err)


def test_a_state_file_that_is_put_away_meanwhile_is_not_told_as_no_jobs(slow: Program) -> None:
    process = begun(slow)
    watching = slow.start("status", "night.yaml", "--watch")
    assert watching.stdout is not None
    watching.stdout.readline()
    for path in slow.folder.glob("night.state.db*"):
        path.rename(slow.folder / f"away-{path.name}")
    out, err = watching.communicate(timeout=60)
    process.terminate()
    process.communicate(timeout=60)
    assert watching.returncode == 2
    assert "0 jobs" not in out
    assert "there is no state file" in err


@pytest.mark.parametrize("words", [["--json"], ["--only", "j1"]])
def test_what_does_not_go_with_it_is_refused(slow: Program, words: list[str]) -> None:
    ended = slow.run("status", "night.yaml", "--watch", *words)
    assert ended.code == 2
    assert "--watch shows the whole batch" in ended.err


@pytest.mark.parametrize("room", [80, 60, 40])
@pytest.mark.parametrize("widths", [[60, 14, 9, 7, 120], [3, 14, 9, 7, 200], [90, 90, 90, 3], [5, 5]])
def test_a_row_fits_and_its_last_column_says_why(widths: list[int], room: int) -> None:
    fitted = show._fitted(widths, room)
    gaps = 2 * (len(widths) - 1)
    assert sum(fitted) + gaps <= max(room, gaps + show.NARROWEST * len(widths))
    assert all(got <= wanted for got, wanted in zip(fitted, widths, strict=True))
    if sum(widths) + gaps <= room:
        assert fitted == widths
    elif room == 80:
        assert fitted[-1] >= min(widths[-1], 20)
