"""What failed is shown by reason with its price, and tried again when that is agreed to; or written into a manifest."""

from __future__ import annotations

import json

import pytest

from tests.cli.test_advice import advised
from tests.cli.test_consent import on_a_terminal

JOBS = """\
version: 1
name: fails
output: out/{id}.mp4
limits: {in_flight: 3}
budget: {credits: 5000}
retry: {render: {nsfw: 0, unknown_error: 0}}
defaults:
  image-to-video: {model: kling-3.0, resolution: 720p}
jobs:
  - {id: one, kind: image-to-video, input: a.png, end_seconds: 3, tags: [night]}
  - {id: two, kind: image-to-video, input: b.png, end_seconds: 5, style: {prompt: "slow: {a} #b $"}}
  - {id: clip, kind: video-to-video, input: a.mp4, end_seconds: end, style: {art_style: Ink}}
  - {id: good, kind: image-to-video, input: a.png, end_seconds: 3, priority: -3}
"""
RULES = [
    {"step": "render", "job": "fails/one*", "count": 1, "render_error": {"code": "nsfw", "message": "no"}},
    {"step": "render", "job": "fails/two*", "count": 1, "render_error": {"code": "unknown_error", "message": "oh"}},
    {"step": "render", "job": "fails/clip*", "count": 1, "cancel": True},
]


@pytest.fixture
def failed(own):
    own.env["BATCHRUNNER_RUN_YES"] = ""
    (own.folder / "fails.yaml").write_text(JOBS)
    ended = own.run("run", "fails.yaml", "--yes")
    assert ended.code == 4, ended.err
    assert advised(ended) == ["retry", "fails.yaml"]
    return own


@pytest.mark.parametrize("own", [RULES], indirect=True)
def test_what_failed_is_shown_by_reason_and_tried_again(failed):
    refused = failed.here("retry", "fails.yaml")
    assert (refused.code, "--yes agrees" in refused.err) == (2, True), refused.err
    assert "3 failed or canceled jobs to try again:" in refused.err
    assert "  nsfw: 1 job, 144 credits at the most: one" in refused.err
    assert "  unknown_error: 1 job, 240 credits at the most: two" in refused.err
    assert "  canceled: 1 job, 30 credits at the most: clip" in refused.err
    code, screen = on_a_terminal(failed, "retry", "fails.yaml", answers="n\n")
    assert (code, "to buy: 3 jobs" in screen) == (130, True), screen
    assert len(failed.provider.creates("fails")) == 4

    for flags, words in (
        (("--state", "done"), "only failed and canceled jobs are tried again"),
        (("--code", "nfsw"), "did you mean nsfw?"),
        (("--all-failed", "--code", "nsfw"), "--all-failed is every one"),
        (("--force",), "--force is for --write"),
    ):
        ended = failed.here("retry", "fails.yaml", "--yes", *flags)
        assert (ended.code, words in ended.err) == (2, True), ended.err

    ended = failed.run("retry", "fails.yaml", "--yes", "--code", "nsfw")
    assert ended.code == 0, ended.err
    assert "not among them: 1 unknown_error, 1 canceled" in ended.err
    assert failed.provider.creates_by_job("fails") == {"one": 2, "two": 1, "clip": 1, "good": 1}
    assert failed.run("retry", "fails.yaml", "--yes", "--state", "canceled").code == 0
    ended = failed.run("retry", "fails.yaml", "--yes", "--all-failed", "--json")
    assert (ended.code, [job["id"] for job in ended.json()["jobs"]]) == (0, ["two"]), ended.err
    assert failed.provider.creates_by_job("fails") == {"one": 2, "two": 2, "clip": 2, "good": 1}
    (one,) = [job for job in failed.status(failed.folder / "fails.yaml")["jobs"] if job["id"] == "one"]
    assert [(each["attempt"], each["error"]["code"]) for each in one["earlier"]] == [(1, "nsfw")]
    ended = failed.here("retry", "fails.yaml")
    assert (ended.code, "nothing to try again" in ended.err) == (0, True)


@pytest.mark.parametrize("own", [RULES], indirect=True)
def test_a_manifest_of_what_failed_plans_and_runs_without_an_edit(failed):
    (failed.folder / "sub dir").mkdir()
    again = "sub dir/again.yaml"
    (failed.folder / "own.yaml").write_text(
        "version: 1\nmodels: {kling-3.0: {rates: {credits_per_second: {720p: 48}}}}\n"
    )
    (failed.folder / "fails.yaml").write_text(JOBS.replace("output:", "catalog: own.yaml\noutput:"))
    ended = failed.here("retry", "fails.yaml", "--exclude", "two", "--write", again)
    assert (ended.code, ended.out) == (0, f"{again}: 2 jobs\n"), ended.err
    assert advised(ended) == ["plan", again]
    assert len(failed.provider.creates("fails")) == 4, "nothing is bought"
    planned = failed.here("plan", again, "--json").json()
    assert [(job["id"], job["action"], job["credits"]["hold"]) for job in planned["jobs"]] == [
        ("one", "render", 144),
        ("clip", "render", 30),
    ]
    assert failed.run("run", again, "--yes").code == 0
    renders = sorted(
        str(path.relative_to(failed.folder)) for path in failed.folder.rglob("*.mp4") if "sandbox" not in str(path)
    )
    assert renders == [
        "a.mp4",
        "b.mp4",
        "out/good.mp4",
        "sub dir/renders/again/clip.mp4",
        "sub dir/renders/again/one.mp4",
    ]
    (one,) = [job for job in failed.here("status", again, "--json").json()["jobs"] if job["id"] == "one"]
    assert one["tags"] == ["night"]

    text = (failed.folder / again).read_text()
    assert {"limits: ", "budget: ", "retry: ", "catalog: "} <= {
        line.partition(" ")[0] + " " for line in text.splitlines()
    }
    for file, flags, words in (
        (again, (), "is there already"),
        ("fails.yaml", ("--force",), "that is the manifest itself"),
        ("nowhere/x.yaml", (), "cannot write"),
    ):
        ended = failed.here("retry", "fails.yaml", "--write", file, *flags)
        assert (ended.code, words in ended.err) == (2, True), ended.err
    assert (failed.folder / again).read_text() == text
    assert failed.here("retry", "fails.yaml", "--write", again, "--force").code == 0
    assert 'output: "renders/again-2/{id}.mp4"' in (failed.folder / again).read_text(), (
        "never into a folder that is there"
    )
    (failed.folder / again).unlink()
    ended = failed.here("retry", "fails.yaml", "--write", again)
    assert (ended.code, "again.state.db would belong to it" in ended.err) == (2, True), ended.err


def test_the_reasons_are_shown_on_a_sandbox_of_the_runs_own_too(own):
    (own.folder / "fails.yaml").write_text(JOBS)
    (own.folder / "rules.json").write_text(json.dumps(RULES))
    ended = own.run("retry", "fails.yaml", "--sandbox")
    assert (ended.code, "nothing to try again" in ended.err) == (0, True), ended.err
