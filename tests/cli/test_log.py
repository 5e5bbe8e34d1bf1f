"""What happened to a job, told from the state file; and the published shape of events."""

from __future__ import annotations

import json

import jsonschema
import pytest

TWO = """\
version: 1
jobs:
  - {id: clip, kind: video-to-video, input: a.mp4, end_seconds: 0.5, style: {art_style: Ink}}
  - {id: still, kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p, input: a.png}
"""
TROUBLE = [
    {"step": "create", "job": "*/still *", "status": 503, "count": 1},
    {"step": "render", "job": "*/clip *", "render_error": {"code": "nsfw"}, "count": 1},
]


@pytest.mark.parametrize("own", [TROUBLE], indirect=True)
def test_it_tells_all_that_happened_in_order(own):
    (own.folder / "night.yaml").write_text(TWO)
    ran = own.run("run", "night.yaml", "--events", "events.jsonl")
    assert ran.code == 0, ran.err
    shown = own.here("log", "night.yaml", "still")
    assert shown.code == 0
    words = shown.out
    order = [
        "opened",
        "uploaded",
        "submit-started",
        "answer-lost",
        "proved-unpaid",
        "accepted",
        "rendered",
        "downloaded",
    ]
    places = [words.index(each) for each in order]
    assert places == sorted(places)
    assert "sent as 'night/still [1-" in words
    assert "HTTP 503" in words
    assert "renders/still.mp4 (" in words
    told = own.here("log", "night.yaml", "clip", "--json").json()
    lines = [json.loads(line) for line in (own.folder / "events.jsonl").read_text().splitlines()]
    assert told == [line for line in lines if line["job"] == "clip"]
    schema = own.run("schema", "--events").json()
    for line in lines:
        jsonschema.validate(line, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**lines[0], "state": "lost"}, schema)


def test_a_job_that_is_not_there_is_told_with_the_nearest(own):
    (own.folder / "night.yaml").write_text(TWO)
    nothing = own.here("log", "night.yaml", "still")
    assert nothing.code == 2
    assert "nothing has happened yet" in nothing.err
    assert own.run("run", "night.yaml").code == 0
    unknown = own.here("log", "night.yaml", "stil")
    assert unknown.code == 2
    assert "knows no job 'stil'" in unknown.err
    assert "still" in unknown.err.splitlines()[-1]
