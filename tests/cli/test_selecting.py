"""One selection for every command: what fits is done, what was bought is collected whatever is selected."""

from __future__ import annotations

import pytest

from batchrunner.cli import options
from batchrunner.core import selection

JOBS = """\
version: 1
jobs:
  - {id: clip, kind: video-to-video, input: a.mp4, end_seconds: 0.5, style: {art_style: Ink}, tags: [night]}
  - {id: still, kind: image-to-video, input: a.png, end_seconds: 3, model: kling-3.0, resolution: 720p, tags: [day, x]}
  - {id: other, kind: image-to-video, input: b.png, end_seconds: 3, model: kling-3.0, resolution: 720p, priority: 9}
"""


@pytest.fixture
def batch(own):
    manifest = own.folder / "some.yaml"
    manifest.write_text(JOBS)
    return own


def planned(program, *flags: str) -> set[str]:
    ended = program.here("plan", "some.yaml", "--json", *flags)
    assert ended.code == 0, ended.err
    return {job["id"] for job in ended.json()["jobs"] if job["action"] != "skip"}


def test_it_is_the_same_on_every_command(batch):
    assert planned(batch, "--tag", "night", "--tag", "x") == {"clip", "still"}
    assert planned(batch, "--kind", "image-to-video", "--exclude", "o*") == {"still"}
    assert planned(batch, "--limit", "1") == {"other"}
    assert planned(batch, "--sample", "2") == planned(batch, "--sample", "2", "--seed", "0")
    shown = batch.here("plan", "some.yaml", "--tag", "x").out
    assert "1 job (2 not selected), 1 to render" in shown
    assert "clip" not in shown
    assert batch.run("run", "some.yaml", "--tag", "x").code == 0
    assert batch.provider.creates_by_job("some") == {"still": 1}
    assert planned(batch, "--state", "new") == {"clip", "other"}
    assert batch.run("run", "some.yaml", "--state", "new", "--limit", "1").code == 0
    assert batch.provider.creates_by_job("some") == {"still": 1, "other": 1}

    (batch.folder / "some.yaml").write_text("version: 1\njobs: [")  # what is on record can be told without it
    status = batch.here("status", "some.yaml", "--tag", "day", "--json").json()
    assert [(job["id"], job["tags"]) for job in status["jobs"]] == [("still", ["day", "x"])]
    assert status["totals"]["credits"]["charged"] == 144
    assert status["totals"]["jobs"] == 1
    assert "still" not in batch.here("status", "some.yaml", "--limit", "1").out

    for name in ("still", "other"):
        (batch.folder / "renders" / f"{name}.mp4").unlink()
    assert batch.run("download", "some.yaml", "--only", "still").code == 0
    assert [path.name for path in (batch.folder / "renders").iterdir()] == ["still.mp4"]


def test_what_was_bought_is_collected_whatever_is_selected(batch):
    either = ("--kind", "image-to-video", "--max-credits", "144", "--cutoff", "hard")
    ended = batch.run("run", "some.yaml", *either)
    assert ended.code == 8, ended.err
    ((bought, count),) = batch.provider.creates_by_job("some").items()
    assert (bought in {"still", "other"}, count) == (True, 1)
    assert not (batch.folder / "renders" / f"{bought}.mp4").exists(), "it was left to a later run"
    ended = batch.run("run", "some.yaml", "--exclude", bought, "--kind", "video-to-video")
    assert ended.code == 0, ended.err
    assert batch.provider.creates_by_job("some") == {"clip": 1, bought: 1}
    assert {path.name for path in (batch.folder / "renders").iterdir()} == {"clip.mp4", f"{bought}.mp4"}


@pytest.mark.parametrize("command", ["plan", "run", "status", "download", "retry"])
@pytest.mark.parametrize(
    "slip",
    [
        (["--only", "clop"], "--only clop: no job has such an id"),
        (["--exclude", "x*"], "--exclude x*: no job has such an id"),
        (["--tag", "nihgt"], "--tag nihgt: no job has this tag"),
        (["--state", "faild"], "there is no state 'faild' (did you mean failed?)"),
        (["--state", "a.db", "--state", "b.db"], "names two state files"),
        (["--seed", "3"], "--seed is for --sample"),
    ],
)
def test_a_slip_is_told_and_nothing_is_done(done, command, slip):
    flags, words = slip
    before = done.provider.creates("done")
    ended = done.here(command, "done.yaml", *flags)
    assert ended.code == 2
    assert words in ended.err
    assert done.provider.creates("done") == before
    assert len(list(done.folder.glob("*.db"))) == 1


@pytest.fixture(scope="module")
def done(provider, media, tmp_path_factory):
    """A batch that is done; nothing here may buy more."""
    import shutil

    from tests.support.program import Program

    program = Program(folder=tmp_path_factory.mktemp("done"), provider=provider)
    for file in media.iterdir():
        shutil.copy(file, program.folder)
    (program.folder / "done.yaml").write_text(JOBS)
    assert program.run("run", "done.yaml").code == 0
    return program


def test_every_state_may_be_selected_by():
    assert options.STATES == selection.STATES


def test_a_state_file_may_be_called_as_a_state_is_by_its_path(batch):
    assert batch.run("run", "some.yaml", "--only", "other", "--state", "./failed").code == 0
    assert (batch.folder / "failed").exists()
    assert batch.here("status", "some.yaml", "--state", "./failed", "--state", "done").out.count("other.mp4") == 1
