"""The state file is an older one, or another: what was bought is not bought again unnoticed."""

from __future__ import annotations

import shutil

from batchrunner import store
from batchrunner.core.job import State

MANIFEST = """\
version: 1
output: out/{id}.mp4
jobs:
  - {id: clip, kind: video-to-video, input: a.mp4, end_seconds: 0.5, style: {art_style: Ink}}
  - {id: still, kind: image-to-video, input: a.png, end_seconds: 3, model: kling-3.0, resolution: 720p}
"""


def test_what_was_bought_since_an_older_copy_is_not_bought_again(own):
    manifest = own.folder / "older.yaml"
    manifest.write_text(MANIFEST)
    state = store.path_for(manifest)
    kept, newest = own.folder / "kept.db", own.folder / "newest.db"
    assert own.run("run", manifest.name, "--only", "clip").code == 0
    shutil.copy(state, kept)
    assert own.run("run", manifest.name).code == 0
    shutil.copy(state, newest)

    shutil.copy(kept, state)
    refused = own.run("run", manifest.name)
    assert (refused.code, "is an older copy" in refused.err, "Traceback" in refused.err) == (12, True, False)
    assert "--accept-lost-log" in refused.err
    planned = own.here("plan", manifest.name)
    assert (planned.code, "a run would not begin" in planned.err, "is an older copy" in planned.err) == (0, True, True)
    (own.folder / "out" / "clip.mp4").unlink()
    fetched = own.run("download", manifest.name)
    assert fetched.code == 0, fetched.err
    assert own.run("run", manifest.name).code == 12, "what only collects does not make it the newest"

    examined = own.here("doctor", manifest.name)
    assert (examined.code, "is an older copy" in examined.out) == (12, True)
    accepted = own.here("doctor", manifest.name, "--accept-lost-log")
    assert "another copy had come further" in accepted.out
    assert own.run("run", manifest.name).code == 9
    states = {job["id"]: job["state"] for job in own.status(manifest)["jobs"]}
    assert states == {"clip": State.DONE, "still": State.UNCERTAIN}
    assert own.provider.creates_by_job("older") == {"clip": 1, "still": 1}


def test_the_newest_copy_goes_on(own):
    manifest = own.folder / "newest.yaml"
    manifest.write_text(MANIFEST)
    state = store.path_for(manifest)
    assert own.run("run", manifest.name, "--only", "clip").code == 0
    kept = shutil.copy(state, own.folder / "kept.db")
    shutil.copy(kept, state)
    assert "would not begin" not in own.here("plan", manifest.name).err
    ended = own.run("run", manifest.name)
    assert ended.code == 0, ended.err
    assert own.provider.creates_by_job("newest") == {"clip": 1, "still": 1}


TAKEN = "to be bought, and there is"


def test_renders_that_are_there_already_are_pointed_out_before_they_are_bought_again(own):
    manifest = own.folder / "night.yaml"
    manifest.write_text(MANIFEST)
    fresh = own.here("plan", manifest.name)
    assert TAKEN not in fresh.err
    assert own.run("run", manifest.name).code == 0
    renamed = manifest.rename(own.folder / "monday.yaml")

    told = own.here("plan", renamed.name)
    assert f'monday.yaml:4:5: warning: 2 new jobs are {TAKEN} "out/clip.mp4", "out/still.mp4" already' in told.err
    ended = own.run("run", renamed.name, "--max-credits", "0")
    assert (ended.code, ended.err.count(TAKEN)) == (8, 1)
    assert TAKEN in own.here("plan", renamed.name).err, "what was opened and never submitted is as new"
    told = own.here("plan", renamed.name, "--state", "night.state.db", "--json")
    assert (told.json()["problems"], told.json()["totals"]["to_render"]) == ([], 0)


def test_of_one_new_job_one_file_is_named(own):
    manifest = own.folder / "one.yaml"
    manifest.write_text(MANIFEST)
    (own.folder / "out").mkdir()
    (own.folder / "out" / "still.mp4").touch()
    (problem,) = own.here("plan", manifest.name, "--json").json()["problems"]
    assert problem["code"] == "output-taken"
    assert problem["message"].startswith(f'1 new job is {TAKEN} "out/still.mp4" already')
