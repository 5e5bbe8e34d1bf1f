"""Another take lies beside the first, and the manifest goes on to count the job as done."""

from __future__ import annotations

import pytest

from tests.cli.test_advice import advised
from tests.cli.test_consent import on_a_terminal

JOBS = """\
version: 1
jobs:
  - {id: hero, kind: image-to-video, input: a.png, end_seconds: 3, model: kling-3.0, resolution: 720p,
     style: {prompt: slow}}
  - {id: hero.3, kind: video-to-video, input: a.mp4, end_seconds: 0.5, style: {art_style: Ink}}
"""


@pytest.fixture
def done(own):
    own.env["BATCHRUNNER_RUN_YES"] = ""
    (own.folder / "m.yaml").write_text(JOBS)
    assert own.run("run", "m.yaml", "--yes").code == 0
    return own


def job_of(program, job_id: str = "hero"):
    (job,) = [job for job in program.status(program.folder / "m.yaml")["jobs"] if job["id"] == job_id]
    return job


def test_another_take_lies_beside_the_first_and_is_no_change(done):
    first = (done.folder / "renders" / "hero.mp4").read_bytes()
    code, screen = on_a_terminal(done, "redo", "m.yaml", "hero", "--set", "style.prompt=fast", answers="n\n")
    assert code == 130, screen
    for words in (
        'hero, attempt 2, redo: style.prompt: "slow" -> "fast"',
        "into renders/hero.2.mp4; renders/hero.mp4 stays as it is",
        "to buy: 1 job for 144 credits",
    ):
        assert words in screen
    assert done.run("redo", "m.yaml", "hero").code == 2, "nobody to ask"
    assert len(done.provider.creates("m")) == 2

    ended = done.run("redo", "m.yaml", "hero", "--set", "style.prompt=fast", "--set", "input=b.png", "--yes")
    assert ended.code == 0, ended.err
    assert "redo: content of b.png" in ended.err
    assert (done.folder / "renders" / "hero.mp4").read_bytes() == first
    job = job_of(done)
    assert (job["attempt"], job["state"], job["set"]) == (2, "done", ["style.prompt=fast", "input=b.png"])
    assert [output["path"] for output in job["outputs"]] == ["renders/hero.2.mp4"]
    (before,) = job["earlier"]
    assert (before["attempt"], before["state"], before["set"]) == (1, "done", [])
    assert [output["path"] for output in before["outputs"]] == ["renders/hero.mp4"]
    created = done.provider.creates("m")[-1]
    assert created["body"]["style"]["prompt"] == "fast"

    (planned, _) = done.here("plan", "m.yaml", "--json").json()["jobs"]
    assert (planned["action"], planned["reason"]) == ("skip", "done, with style.prompt=fast, input=b.png (set by redo)")
    assert done.run("run", "m.yaml", "--yes", "--rerender").code == 0
    assert len(done.provider.creates("m")) == 3

    ended = done.run("redo", "m.yaml", "hero", "--yes")
    assert (ended.code, 'style.prompt: "fast" -> "slow"' in ended.err) == (0, True), ended.err
    charged = done.status(done.folder / "m.yaml")["totals"]["credits"]["charged"]
    (first_charge, *_) = [each["credits"]["charged"] for each in job_of(done)["earlier"]]
    assert f"1 job: 1 done; {first_charge:,} credits charged by this run, {charged:,} in all" in ended.err
    job = job_of(done)
    assert [output["path"] for output in job["outputs"]] == ["renders/hero.4.mp4"], "hero.3.mp4 is another job's"
    assert [each["attempt"] for each in job["earlier"]] == [1, 2]
    assert len(done.provider.creates("m")) == 4

    (done.folder / "m.yaml").write_text(JOBS.replace("slow", "new"))
    (planned, _) = done.here("plan", "m.yaml", "--json").json()["jobs"]
    assert planned["reason"] == 'done, but changed since (style.prompt: "slow" -> "new"); --rerender buys it again'


def test_what_is_set_is_checked_before_anything_is_asked(done):
    for words, said in (
        (["hero", "--set", "resolution=721p"], '--set resolution=721p:1:12: "721p" is not a listed resolution'),
        (["hero", "--set", "input=c.png"], '--set input=c.png:1:7: there is no file "c.png" (did you mean'),
        (["hero.3", "--set", "end_seconds=9"], "--set end_seconds=9:1:13: "),
        (["hero", "--set", "nonsense=9"], "image-to-video has no field nonsense"),
        (["hreo"], "did you mean hero?"),
    ):
        ended = done.run("redo", "m.yaml", *words, "--yes")
        assert (ended.code, said in ended.err) == (2, True), ended.err
    (done.folder / "m.yaml").write_text("\n".join(JOBS.splitlines()[:4]))
    ended = done.run("redo", "m.yaml", "hero.3", "--yes")
    assert (ended.code, "no longer in m.yaml" in ended.err) == (2, True), ended.err
    assert len(done.provider.creates("m")) == 2


def test_what_was_never_rendered_or_is_not_over_is_no_case_for_it(own):
    (own.folder / "m.yaml").write_text(JOBS)
    ended = own.run("redo", "m.yaml", "hero", "--yes")
    assert (ended.code, "was not rendered yet" in ended.err) == (2, True), ended.err
    assert own.run("run", "m.yaml", "--max-credits", "0").code == 8
    ended = own.run("redo", "m.yaml", "hero", "--yes")
    assert (ended.code, "attempt 1 of hero is not over (ready)" in ended.err) == (2, True), ended.err


FAILS_SECOND = [
    {"step": "render", "job": "m/hero *", "skip": 1, "count": 1, "render_error": {"code": "other", "message": "oh"}}
]


@pytest.mark.parametrize("own", [FAILS_SECOND], indirect=True)
def test_a_take_that_is_not_bought_or_fails_goes_on_as_it_was_asked_for(done):
    ended = done.run("redo", "m.yaml", "hero", "--set", "style.prompt=fast", "--yes", "--max-credits", "10")
    assert ended.code == 8, ended.err
    (planned, _) = done.here("plan", "m.yaml", "--json").json()["jobs"]
    assert (planned["action"], planned["reason"]) == (
        "resume",
        "not submitted yet, with style.prompt=fast (set by redo)",
    )
    ended = done.run("run", "m.yaml", "--yes")
    assert ended.code == 4, ended.err
    assert advised(ended) == ["retry", "m.yaml"]
    ended = done.run("retry", "m.yaml", "--yes")
    assert ended.code == 0, ended.err
    job = job_of(done)
    assert (job["attempt"], job["set"]) == (3, ["style.prompt=fast"])
    assert [each["state"] for each in job["earlier"]] == ["done", "failed"]
    assert [each["body"]["style"]["prompt"] for each in done.provider.creates("m") if "hero [" in each["name"]] == [
        "slow",
        "fast",
        "fast",
    ]


def test_a_take_that_was_not_bought_can_be_corrected(done):
    wrong = done.run("redo", "m.yaml", "hero", "--set", "style.prompt=wrong", "--yes", "--max-credits", "0")
    assert (wrong.code, job_of(done)["state"]) == (8, "ready"), wrong.err
    row = next(line for line in done.here("status", "m.yaml").out.splitlines() if line.startswith("hero "))
    assert "renders/hero.mp4 of an earlier attempt" in row

    right = done.run("redo", "m.yaml", "hero", "--set", "style.prompt=right", "--yes")
    assert right.code == 0, right.err
    assert 'attempt 3, redo: style.prompt: "wrong" -> "right"' in right.err
    assert "attempt 2, which was never bought, is dropped" in right.err
    prompts = [each["body"]["style"]["prompt"] for each in done.provider.creates("m") if "hero [" in each["name"]]
    assert prompts == ["slow", "right"]
    assert [(each["attempt"], each["state"]) for each in job_of(done)["earlier"]] == [(1, "done"), (2, "ready")]


def test_a_take_that_was_not_bought_is_dropped_when_the_manifest_moves_on(done):
    assert done.run("redo", "m.yaml", "hero", "--set", "style.prompt=x", "--yes", "--max-credits", "0").code == 8
    (done.folder / "m.yaml").write_text(JOBS.replace("slow", "new"))
    ended = done.run("run", "m.yaml", "--yes")
    assert ended.code == 0, ended.err
    assert len(done.provider.creates("m")) == 2
    (planned, _) = done.here("plan", "m.yaml", "--json").json()["jobs"]
    changed = 'done, but changed since (style.prompt: "slow" -> "new"); --rerender buys it again'
    assert (planned["action"], planned["reason"]) == ("skip", changed)

    (done.folder / "m.yaml").write_text(JOBS.replace("slow", "newer"))
    assert done.run("run", "m.yaml", "--yes", "--rerender").code == 0
    assert len(done.provider.creates("m")) == 3
    assert (job_of(done)["attempt"], job_of(done)["state"]) == (3, "done")
