"""Results that break off, are not what was asked for, or do not fit: the program against a sandbox that plays it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
import hashlib
import json
from pathlib import Path
import shutil
import signal
from typing import Any

import pytest

from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import Settings
from tests.support.disks import mounted
from tests.support.program import Program, Provider, check_books, misbehave, wait_for

STILL = """\
version: 1
output: out/{id}.mp4
jobs:
  - {id: still, kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p,
     assets: {image_file_path: a.png}}
"""
TWO = """\
version: 1
output: out/{id}.mp4
defaults: {image-to-video: {end_seconds: 3, model: kling-3.0, resolution: 720p}}
jobs:
  - {id: one, kind: image-to-video, assets: {image_file_path: a.png}}
  - {id: two, kind: image-to-video, assets: {image_file_path: b.png}}
"""

Start = Callable[..., Program]


@pytest.fixture
def own(tmp_path: Path, media: Path) -> Iterator[Start]:
    """Starts a provider that misbehaves by these rules, and gives a program that talks to it."""
    running = []

    def start(*rules: dict[str, Any], scale: float = 0.1) -> Program:
        (tmp_path / "faults.json").write_text(json.dumps(rules))
        settings = Settings(data_dir=tmp_path / "data", scale=scale, faults=tmp_path / "faults.json")
        running.append(launch.start(settings))
        folder = tmp_path / "batch"
        folder.mkdir()
        for file in media.iterdir():
            shutil.copy(file, folder)
        return Program(folder=folder, provider=Provider(base_url=running[-1].base_url))

    yield start
    for each in running:
        each.stop()


def written(program: Program, text: str) -> Path:
    manifest = program.folder / "night.yaml"
    manifest.write_text(text)
    return manifest


@pytest.mark.parametrize(
    "rule",
    [
        {"step": "download", "status": 302, "headers": {"Location": "#"}, "count": 1},
        {"step": "download", "packed": True},
        {"step": "project", "preview": True},
    ],
)
def test_a_result_comes_home_however_it_is_handed_out(own: Start, rule: dict[str, Any]) -> None:
    program = own(rule)
    manifest = written(program, STILL)
    ended = program.run("run", manifest.name)
    assert (ended.code, "next try" in ended.err) == (0, False), ended.err
    assert [each.name for each in (program.folder / "out").iterdir()] == ["still.mp4"]
    check_books(program, manifest, jobs=1)


# --- breaks ---


def test_a_run_that_is_killed_while_it_downloads_fetches_only_the_rest(own: Start) -> None:
    program = own({"step": "download", "trickle": 2000})
    manifest = written(program, STILL)
    process = program.start("run", manifest.name)

    def part() -> Path | None:
        found = [each for each in (program.folder / "out").glob("*.part") if each.stat().st_size]
        return found[0] if found else None

    partial = wait_for(part)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = partial.stat().st_size
    note = json.loads(partial.with_suffix(".etag").read_text())
    assert 0 < kept < note["total"]

    misbehave(program)
    ended = program.run("run", manifest.name)
    assert ended.code == 0, ended.err
    check_books(program, manifest, jobs=1)
    assert sorted(each.name for each in (program.folder / "out").iterdir()) == ["still.mp4"]
    first, second = program.provider.ledger()["downloads"]
    assert (first["range"], first["status"]) == (None, 200)
    assert (second["range"], second["if_range"], second["status"]) == (f"bytes={kept}-", note["etag"], 206)
    assert second["sent"] == note["total"] - kept


@pytest.mark.parametrize("etag", ["new", "none", "weak"])
def test_a_break_where_there_is_nothing_to_go_by_starts_over(own: Start, etag: str) -> None:
    program = own({"step": "download", "count": 1, "truncate": 0.5, "etag": etag})
    manifest = written(program, STILL)
    ended = program.run("run", manifest.name)
    assert ended.code == 0, ended.err
    check_books(program, manifest, jobs=1)
    second = program.provider.ledger()["downloads"][-1]
    assert second["status"] == 200, "the whole of it, whether or not a range was asked for"


def test_a_storage_that_knows_no_such_range(own: Start) -> None:
    program = own({"step": "download", "count": 1, "truncate": 0.99}, {"step": "download", "count": 1, "status": 416})
    manifest = written(program, STILL)
    ended = program.run("run", manifest.name)
    assert ended.code == 0, ended.err
    check_books(program, manifest, jobs=1)


def test_what_a_finished_job_left_behind_is_cleared_away(own: Start) -> None:
    program = own()
    manifest = written(program, STILL)
    program.run("run", manifest.name)
    [job] = program.status(manifest)["jobs"]
    mark = hashlib.sha256(f"still/{job['project_id']}".encode()).hexdigest()[:12]
    out = program.folder / "out"
    for name in (f".still.mp4.{mark}.part", f".still.mp4.{mark}.etag", ".still.mp4.0123456789ab.part"):
        (out / name).write_bytes(b"x")
    assert program.run("run", manifest.name).code == 0
    assert sorted(each.name for each in out.iterdir()) == [".still.mp4.0123456789ab.part", "still.mp4"]


def test_what_the_storage_asks_to_wait_is_waited(own: Start) -> None:
    program = own({"step": "download", "count": 1, "status": 503, "retry_after": 2})
    manifest = written(program, STILL)
    ended = program.run("run", manifest.name)
    assert ended.code == 0, ended.err
    events = _events(manifest)
    failed = next(each for each in events if each["type"] == "StepFailed")
    assert failed["body"]["failure"]["retry_after_s"] == 2
    assert failed["body"]["verdict"]["at"] >= failed["at"] + 2


def _events(manifest: Path) -> list[dict[str, Any]]:
    import sqlite3

    with closing(sqlite3.connect(manifest.with_suffix(".state.db"))) as base, base:
        rows = base.execute("SELECT type, at, body FROM event ORDER BY seq").fetchall()
    base.close()
    return [{"type": kind, "at": at, "body": json.loads(body)} for kind, at, body in rows]


# --- not what was asked for ---


def test_a_result_of_half_the_length_is_done_and_suspect(own: Start) -> None:
    program = own({"step": "render", "job": "night/one*", "wrong_output": {"seconds": 1.5}})
    manifest = written(program, TWO)
    ended = program.run("run", manifest.name)
    assert ended.code == 0, ended.err
    reason = "it is 1.50 s long where 3 s were asked for"
    assert "2 jobs: 2 done; 288 credits charged; 1 suspect" in ended.err
    assert f"suspect: one (out/one.mp4): {reason}" in ended.err
    jobs = {job["id"]: job for job in program.status(manifest)["jobs"]}
    assert (jobs["one"]["state"], jobs["one"]["suspect"]) == ("done", reason)
    assert jobs["two"]["suspect"] is None
    assert f"(suspect: {reason})" in program.here("status", manifest.name).out
    [due] = program.here("ledger", manifest.name, "--refunds-due", "--json").json()
    assert (due["job"], due["project_id"], due["credits"]) == ("one", jobs["one"]["project_id"], 144)
    assert (due["error"], due["message"]) == ("suspect", reason)
    assert due["ended_at"]
    assert reason in program.here("ledger", manifest.name, "--refunds-due").out


def test_a_black_result_is_suspect_and_the_picture_that_shows_it_is_recorded(own: Start) -> None:
    program = own({"step": "render", "job": "night/one*", "black": True})
    manifest = written(program, TWO)
    assert program.run("run", manifest.name).code == 0
    jobs = {job["id"]: job for job in program.status(manifest)["jobs"]}
    assert jobs["one"]["suspect"] == "it is black"
    assert jobs["two"]["suspect"] is None
    (downloaded,) = (
        event["body"]
        for event in _events(manifest)
        if event["type"] == "Downloaded" and event["body"]["suspect"] is not None
    )
    assert 0 < downloaded["outputs"][0]["suspect_at_s"] < 3
    assert "it is black" in program.here("ledger", manifest.name, "--refunds-due").out
    told = program.here("log", manifest.name, "one", "--json").json()
    assert (told[-1]["event"], told[-1]["suspect"]) == ("downloaded", "it is black")
    assert {each["suspect"] for each in told[:-1]} == {None}


# --- room ---


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, int], None]]:
    """Mounts a file system of so many kilobytes at a folder."""
    with ExitStack() as stack:

        def mount(folder: Path, kilobytes: int) -> None:
            stack.enter_context(mounted(folder, kilobytes=kilobytes))

        yield mount


LARGE_FIRST = """\
version: 1
output: out/{id}.mp4
limits: {in_flight: 2}
defaults: {image-to-video: {end_seconds: 3, model: kling-3.0, resolution: 720p, assets: {image_file_path: a.png}}}
jobs:
  - {id: large, kind: image-to-video, end_seconds: 15}
""" + "".join(f"  - {{id: small-{number}, kind: image-to-video}}\n" for number in range(9))


def test_a_disk_that_fills_stops_buying_and_loses_nothing(own: Start, small_disk: Callable[[Path, int], None]) -> None:
    program = own()
    manifest = written(program, LARGE_FIRST)
    out = program.folder / "out"
    small_disk(out, 512)
    (out / "somebodys").write_bytes(bytes(488 * 1024))  # of the rest 10 kB are kept free; the large one has 16

    refused = program.run("run", manifest.name)
    assert refused.code == 2
    assert "the results do not fit" in refused.err
    assert "--ignore-disk-space" in refused.err
    assert program.provider.creates("night") == []
    plan = program.here("plan", manifest.name)
    assert "0.0 MB free, and the results may take" in plan.err
    [disk] = program.here("plan", manifest.name, "--json").json()["disks"]
    assert (disk["folder"], disk["free"]) == (str(out), 24 * 1024)
    assert disk["free"] < disk["needed"]["least"] < disk["needed"]["most"]

    ended = program.run("run", manifest.name, "--ignore-disk-space")
    assert ended.code == 3, ended.err
    assert "stopped: the disk is full" in ended.err
    assert "hint: make room and run again" in ended.err
    states = {job["id"]: job["state"] for job in program.status(manifest)["jobs"]}
    assert states["large"] == "rendered"
    assert "done" in states.values(), "what fits is collected"
    assert "ready" in states.values(), "and no more is bought"
    bought = len(program.provider.creates("night"))
    assert bought < len(states)
    assert not list(out.glob(".*")), "what does not fit takes no room"

    (out / "somebodys").unlink()
    ended = program.run("run", manifest.name, "--ignore-disk-space")
    assert ended.code == 0, ended.err
    check_books(program, manifest, jobs=len(states))


def test_collecting_is_not_refused_for_want_of_room(own: Start, small_disk: Callable[[Path, int], None]) -> None:
    program = own({"step": "download", "status": 503, "retry_after": 1})
    manifest = written(program, STILL)
    small_disk(program.folder / "out", 64)
    process = program.start("run", manifest.name, "--ignore-disk-space")
    wait_for(lambda: program.provider.requests().get("GET /outputs/{id}/output.mp4"))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    misbehave(program)
    ended = program.run("download", manifest.name)
    assert ended.code == 0, ended.err
    check_books(program, manifest, jobs=1)
