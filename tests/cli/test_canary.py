"""`run --canary`: one job of every group first, and a look before the rest if anything is wrong with it."""

from __future__ import annotations

import pytest

from tests.cli.test_advice import advised

STILL = "kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p"
JOBS = f"""\
version: 1
retry: {{render: {{nsfw: 0}}}}
jobs:
  - {{id: s1, {STILL}, input: a.png, style: {{prompt: one}}}}
  - {{id: s2, {STILL}, input: b.png, style: {{prompt: two}}}}
  - {{id: s3, {STILL}, input: a.png, style: {{prompt: three}}}}
  - {{id: c1, kind: video-to-video, input: a.mp4, end_seconds: 0.5, style: {{art_style: Ink}}}}
  - {{id: c2, kind: video-to-video, input: b.mp4, end_seconds: 0.5, style: {{art_style: Ink}}}}
"""


@pytest.fixture
def batch(own):
    (own.folder / "m.yaml").write_text(JOBS)
    return own


def test_it_stops_for_a_look_and_the_command_it_names_buys_the_rest(batch):
    ended = batch.run("run", "--canary=stop", "m.yaml")
    assert ended.code == 3, ended.err
    assert batch.provider.creates_by_job("m") == {"s1": 1, "c1": 1}
    assert "stopped: 2 canaries are there to be looked at" in ended.err
    assert "look: renders/s1.mp4" in ended.err
    assert advised(ended) == ["run", "m.yaml"]
    assert batch.run("run", "m.yaml").code == 0
    assert batch.provider.creates_by_job("m") == dict.fromkeys(("s1", "s2", "s3", "c1", "c2"), 1)


def test_the_rest_follows_in_the_same_run_when_all_are_good(batch):
    ended = batch.run("run", "--canary", "m.yaml")
    assert ended.code == 0, ended.err
    creates = [each["name"][2:4] for each in batch.provider.creates("m")]
    assert (set(creates[:2]), len(creates)) == ({"s1", "c1"}, 5)


NSFW = [{"step": "render", "job": "m/s1*", "count": 1, "render_error": {"code": "nsfw", "message": "no"}}]
SHORT = [{"step": "render", "job": "m/s1*", "count": 1, "wrong_output": {"seconds": 1}}]
DEAR = [{"step": "create", "job": "m/s1*", "count": 1, "charge": {"factor": 2.0}}]


@pytest.mark.parametrize(
    ("own", "words"),
    [(NSFW, "s1 failed: no"), (SHORT, "s1 is suspect: "), (DEAR, "s1 was charged 288")],
    indirect=["own"],
)
def test_a_canary_that_is_not_good_stops_the_buying(batch, words):
    ended = batch.run("run", "--canary", "m.yaml")
    assert ended.code == 3, ended.err
    assert f"stopped: {words}" in ended.err
    assert batch.provider.creates_by_job("m")["s1"] == 1
    assert set(batch.provider.creates_by_job("m")) <= {"s1", "c1"}
    first, rest = [line for line in ended.err.splitlines() if line.startswith("next: ")]
    assert "batchrunner run m.yaml --canary    tries another canary first" in first
    assert rest == "next: batchrunner run m.yaml    buys the rest"


@pytest.mark.parametrize("own", [NSFW], indirect=True)
def test_another_canary_takes_the_place_of_one_that_failed(batch):
    assert batch.run("run", "--canary", "m.yaml").code == 3
    ended = batch.run("run", "--canary", "m.yaml")
    assert ended.code == 4, ended.err
    assert batch.provider.creates_by_job("m") == dict.fromkeys(("s1", "s2", "s3", "c1", "c2"), 1)
    created = [each["name"][2:4] for each in batch.provider.creates("m")]
    assert created.index("s2") < created.index("s3")
