"""What is bought is what was shown: its price, its inputs, its model."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from tests.cli.test_consent import on_a_terminal
from tests.support.media import write_clip
from tests.test_crash import TWO_JOBS, lay_out

UNPRICED = """\
version: 1
budget: {credits: 100, unpriced: allow}
jobs:
  - {id: still, hold: 10, kind: image-to-video, input: a.png, end_seconds: 5, model: wan-3.0, resolution: 720p}
"""


def test_a_job_that_was_opened_and_not_bought_takes_the_hold_of_now(own):
    manifest = own.folder / "raised.yaml"
    manifest.write_text(UNPRICED)
    assert own.run("run", manifest.name, "--max-credits", "0").code == 8
    manifest.write_text(UNPRICED.replace("hold: 10", "hold: 300"))
    ended = own.run("run", manifest.name)
    assert (ended.code, "budget.credits is 100" in ended.err) == (8, True), ended.err
    assert own.provider.creates("raised") == []


def test_a_job_that_was_opened_and_not_bought_takes_the_price_of_now(own):
    manifest = own.folder / "corrected.yaml"
    own_hold = UNPRICED.replace("hold: 10", "hold: 55")
    manifest.write_text(own_hold)
    assert own.run("run", manifest.name, "--max-credits", "0").code == 8
    (own.folder / "dear.yaml").write_text("version: 1\nmodels: {wan-3.0: {rates: {credits_per_second: {720p: 11}}}}\n")
    manifest.write_text(own_hold.replace("jobs:", "catalog: dear.yaml\njobs:"))
    (job,) = own.here("plan", manifest.name, "--json").json()["jobs"]
    assert job["reason"].startswith("its price changed before anything was bought: 55 credits by the manifest's own")
    assert (job["action"], job["credits"]["low"]) == ("render", 55)


def test_a_job_that_was_opened_and_not_bought_goes_where_the_manifest_says_now(own):
    manifest = own.folder / "moved.yaml"
    manifest.write_text(TWO_JOBS)
    assert own.run("run", manifest.name, "--max-credits", "0").code == 8
    manifest.write_text(TWO_JOBS.replace("jobs:", "output: elsewhere/{id}.mp4\njobs:"))
    assert own.run("run", manifest.name).code == 0
    assert (own.folder / "elsewhere" / "clip.mp4").exists()


def test_what_moves_while_the_question_waits_is_not_bought(own):
    own.env["BATCHRUNNER_RUN_YES"] = ""
    manifest = own.folder / "swapped.yaml"
    manifest.write_text(TWO_JOBS.replace("end_seconds: 0.5", "end_seconds: end"))
    write_clip(own.folder / "long.mp4", fps=24, seconds=2.0, hue=0.5)

    def swap(screen: bytes) -> bytes:
        if b"go on?" not in screen:
            return b""
        (own.folder / "long.mp4").replace(own.folder / "a.mp4")
        return b"y\n"

    code, screen = on_a_terminal(own, "run", manifest.name, answers=swap)
    assert code == 2, screen
    assert "this is no longer what was agreed to" in screen
    assert "clip: content of a.mp4; end_seconds: 1.0 -> 2.0; price in credits: 30 -> 60" in screen
    assert own.provider.creates("swapped") == []


FREE_OR_PAID = """\
version: 1
jobs:
  - {id: still, kind: image-to-video, input: a.png, end_seconds: 5, resolution: 720p}
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tier": "free", "hold": None, "model": "ltx-2.5"}, "price in credits: unset -> 240"),
        ({"tier": "free", "hold": None, "model": "ltx-2.5"}, 'model: "ltx-2.5" -> "kling-3.0"'),
        ({"tier": "free", "hold": None, "model": "ltx-2.5"}, "the account's plan: free -> creator"),
        ({"tier": None, "hold": None, "model": "default"}, "price in credits: unset -> 240"),
        ({"tier": None, "hold": 239, "model": "default"}, "price in credits: 239 -> 240"),
        ({"tier": None, "hold": 240, "model": "veo3.1"}, 'model: "veo3.1" -> "kling-3.0"'),
        ({"tier": None, "hold": 240, "model": "default"}, None),
        ({"tier": None, "hold": 999, "model": "kling-3.0"}, None),
    ],
)
def test_a_saved_plan_agrees_to_no_more_than_it_showed(program, media, change, words):
    manifest = lay_out(program, media, "shown" + uuid4().hex, FREE_OR_PAID)
    program.env["BATCHRUNNER_RUN_YES"] = ""
    assert program.here("plan", manifest.name, "-o", "saved.json").code == 0
    saved = json.loads((program.folder / "saved.json").read_text())
    saved["tier"] = change["tier"]
    saved["jobs"]["still"] |= {"hold": change["hold"], "model": change["model"]}
    (program.folder / "saved.json").write_text(json.dumps(saved))
    ended = program.run("run", manifest.name, "--plan", "saved.json")
    assert ended.code == (0 if words is None else 2), ended.err
    assert words is None or words in ended.err
    assert len(program.provider.creates(manifest.stem)) == (1 if words is None else 0)


@pytest.mark.parametrize(
    "jobs", [{"j1": 3, "j2": None}, {"j1": {"hold": "3"}}, {"j1": {"inputs": [1]}}, {"j1": {"request": None}}, 7]
)
def test_what_is_no_saved_plan_is_said_to_be_none(program, media, jobs):
    manifest = lay_out(program, media, "none", FREE_OR_PAID)
    assert program.here("plan", manifest.name, "-o", "saved.json").code == 0
    saved = json.loads((program.folder / "saved.json").read_text())
    good = saved["jobs"]["still"]
    saved["jobs"] = (
        {name: good | each if isinstance(each, dict) else each for name, each in jobs.items()}
        if isinstance(jobs, dict)
        else jobs
    )
    (program.folder / "saved.json").write_text(json.dumps(saved))
    ended = program.run("run", manifest.name, "--plan", "saved.json")
    assert (ended.code, "is no saved plan" in ended.err) == (2, True), ended.err


def test_a_job_that_an_earlier_run_opened_is_not_bought_where_others_are_selected(own):
    manifest = own.folder / "selected.yaml"
    manifest.write_text(TWO_JOBS)
    assert own.run("run", manifest.name, "--max-credits", "0").code == 8
    assert own.run("run", manifest.name, "--only", "clip").code == 0
    assert own.provider.creates_by_job("selected") == {"clip": 1}
