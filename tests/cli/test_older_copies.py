"""An older copy of the state file is put back: nothing is bought by it that was bought since."""

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
    ended = own.run("run", manifest.name)
    assert ended.code == 0, ended.err
    assert own.provider.creates_by_job("newest") == {"clip": 1, "still": 1}
