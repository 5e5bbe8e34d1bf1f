"""Killed at any moment and run again: nothing is paid for twice, and everything paid for is on disk."""

from __future__ import annotations

import os
from pathlib import Path
import random
import shutil
import subprocess

import pytest

from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import Settings
from tests.support.program import Ended, Program, Provider, check_books, ended

TWO_JOBS = """\
version: 1
jobs:
  - {id: clip, kind: video-to-video, input: a.mp4, end_seconds: 0.5, style: {art_style: Ink}}
  - {id: still, kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p,
     assets: {image_file_path: a.png, end_image_file_path: b.png}}
"""

MOST_POINTS = 72
"""No fewer than an undisturbed run of TWO_JOBS passes; the test below says so when that changes."""


def lay_out(program: Program, media: Path, name: str, text: str) -> Path:
    for file in media.iterdir():
        shutil.copy(file, program.folder)
    manifest = program.folder / f"{name}.yaml"
    manifest.write_text(text)
    return manifest


def crash_at(program: Program, manifest: Path, point: int | str) -> Ended:
    words = (str(manifest), str(point))
    return ended("tests.support.crash_child", *words, folder=Path(__file__).parents[1], env=program.environ())


def test_the_points_reach_to_the_end_of_a_run(program, media):
    manifest = lay_out(program, media, "undisturbed", TWO_JOBS)
    ended = crash_at(program, manifest, 10**6)
    assert ended.code == 0, ended.err
    assert int(ended.out) <= MOST_POINTS


@pytest.mark.parametrize("point", range(MOST_POINTS))
def test_a_crash_at_any_point_costs_nothing_twice(program, media, point):
    manifest = lay_out(program, media, f"crash{point}", TWO_JOBS)
    ended = crash_at(program, manifest, point)
    assert ended.code in {-9, 0}, ended.err
    again = program.run("run", manifest.name)
    assert again.code in {0, 9}, again.err
    status = check_books(program, manifest, jobs=2)
    assert (again.code == 9) == ("uncertain" in status["totals"]["by_state"])


@pytest.mark.parametrize("point", [f"{when} append #{number}" for number in range(4) for when in ("before", "after")])
def test_a_crash_while_a_lost_submission_is_judged_does_not_acquit_it(program, media, point):
    """Accepted, and killed before the answer was read; killed again at each record of the next run."""
    manifest = lay_out(program, media, f"judged-{point.replace(' ', '-').replace('#', '')}", TWO_JOBS)
    assert crash_at(program, manifest, "after POST /v1/image-to-video").code == -9
    assert crash_at(program, manifest, point).code in {-9, 9}
    ended = program.run("run", manifest.name)
    assert ended.code == 9, ended.err
    states = {job["id"]: job["state"] for job in check_books(program, manifest, jobs=2)["jobs"]}
    assert states["still"] == "uncertain"  # the clip is, too, where its own answer was lost by the second kill


CHAIN = """\
version: 1
jobs:
  - {id: clip, kind: video-to-video, input: {job: still}, end_seconds: end, style: {art_style: Ink}}
  - {id: still, kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p, input: a.png}
"""

CHAIN_STEP = int(os.environ.get("CHAIN_STEP", "6"))
"""Every so many points of a chain a crash is tried; CHAIN_STEP=1 tries them all."""


@pytest.mark.parametrize("point", range(3, 66, CHAIN_STEP))
def test_a_crash_in_a_chain_buys_no_link_of_it_twice(program, media, point):
    manifest = lay_out(program, media, f"chain{point}", CHAIN)
    ended = crash_at(program, manifest, point)
    assert ended.code in {-9, 0}, ended.err
    again = program.run("run", manifest.name)
    assert again.code in {0, 9}, again.err
    status = program.status(manifest)
    if again.code == 0:
        check_books(program, manifest, jobs=2)
        return
    uncertain = [job["id"] for job in status["jobs"] if job["state"] == "uncertain"]
    assert len(uncertain) == 1
    assert all(count == 1 for count in program.provider.creates_by_job(manifest.stem).values())
    if uncertain == ["still"]:
        (clip,) = (job for job in status["jobs"] if job["id"] == "clip")
        assert (clip["state"], clip["waits_for"]) == ("ready", ["still"])


def mixed_jobs(count: int) -> str:
    lines = ["version: 1", "output: out/{id}.mp4", "limits: {in_flight: 3, uploads: 3, downloads: 3}", "jobs:"]
    for number in range(count):
        if number % 2:
            lines.append(
                f"  - {{id: still-{number}, kind: image-to-video, input: {'ab'[number // 2 % 2]}.png, end_seconds: 3,"
                " model: kling-3.0, resolution: 720p}"
            )
        else:
            rate = ("HALF", "FULL")[number // 2 % 2]
            lines.append(
                f"  - {{id: clip-{number}, kind: video-to-video, input: {'ab'[number // 4 % 2]}.mp4,"
                f" end_seconds: 0.5, fps_resolution: {rate}, style: {{art_style: Ink}}}}"
            )
    return "\n".join(lines) + "\n"


@pytest.fixture
def unhurried(tmp_path):
    """A provider whose renders outlast a run: of three in flight, ten runs can collect thirty of forty at the most."""
    with launch.start(Settings(data_dir=tmp_path / "sandbox", scale=0.1, latency_s=1.6)) as running:
        yield Program(folder=tmp_path, provider=Provider(base_url=running.base_url))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(int(os.environ.get("KILL_SEEDS", "2"))))
def test_forty_jobs_killed_ten_times(unhurried, media, seed):
    """KILL_SEEDS=50 tries fifty nights."""
    program, chance = unhurried, random.Random(seed)
    manifest = lay_out(program, media, "forty", mixed_jobs(40))
    for _ in range(10):
        process = program.start("run", manifest.name)
        try:
            _, err = process.communicate(timeout=0.7 + chance.random() * 0.8)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        else:
            pytest.fail(f"it ended by itself with {process.returncode}: {err}")
    ended = program.run("run", manifest.name)
    assert ended.code in {0, 9}, ended.err
    check_books(program, manifest, jobs=40)
    before = program.provider.requests()
    again = program.run("run", manifest.name)
    assert again.code == ended.code
    after = program.provider.requests()
    assert {route: after[route] for route in after if "POST" in route} == {
        route: before[route] for route in before if "POST" in route
    }
