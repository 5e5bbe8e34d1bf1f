"""A provider that does not know a paid project for a while: its clip is on disk in the end, and is bought once."""

from __future__ import annotations

import pytest

from tests.support.program import check_books, misbehave

MANIFEST = """\
version: 1
output: out/{id}.mp4
retry: {poll: {attempts: 1}, download: {attempts: 1}}
jobs:
  - {id: clip, kind: video-to-video, input: a.mp4, end_seconds: 0.5, style: {art_style: Ink}}
  - {id: still, kind: image-to-video, input: a.png, end_seconds: 3, model: kling-3.0, resolution: 720p}
"""

UNKNOWN = {"step": "project", "status": 404}
FOR_A_MOMENT = [{**UNKNOWN, "job": f"*/{job} *", "count": 3} for job in ("clip", "still")]


@pytest.mark.parametrize("own", [FOR_A_MOMENT], indirect=True)
def test_a_project_that_is_not_known_for_a_moment_is_collected_by_the_same_run(own):
    manifest = own.folder / "moment.yaml"
    manifest.write_text(MANIFEST)
    ended = own.run("run", manifest.name)
    assert ended.code == 0, ended.err
    check_books(own, manifest, jobs=2)


@pytest.mark.parametrize("own", [[UNKNOWN]], indirect=True)
@pytest.mark.parametrize("command", ["run", "download"])
def test_a_project_that_was_given_up_is_collected_when_it_is_there_again(own, command):
    manifest = own.folder / "night.yaml"
    manifest.write_text(MANIFEST)
    ended = own.run("run", manifest.name)
    assert (ended.code, ended.err.count("failed: project_gone")) == (4, 2), ended.err
    misbehave(own)
    ended = own.run(command, manifest.name)
    assert (ended.code, ended.err.count("is there after all: complete")) == (0, 2), ended.err
    check_books(own, manifest, jobs=2)
    log = own.here("log", manifest.name, "still").out
    assert "reappeared      project " in log


@pytest.mark.parametrize("own", [[UNKNOWN]], indirect=True)
def test_who_tries_again_is_told_that_the_first_may_be_there_again(own):
    manifest = own.folder / "again.yaml"
    manifest.write_text(MANIFEST)
    assert own.run("run", manifest.name).code == 4
    asked = own.run("retry", manifest.name)
    assert "`run` asks for what is paid for at no cost" in asked.err
    assert own.provider.creates_by_job("again") == {"clip": 1, "still": 1}, "nobody said yes"
