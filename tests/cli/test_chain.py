"""Jobs that are made from other jobs' renders, over the real program and a provider that really renders."""

from __future__ import annotations

import json
import signal
from urllib.parse import parse_qs, urlsplit
import urllib.request

import pytest

from tests.support.program import Program, check_books, misbehave
from tests.test_crash import crash_at

CHAIN = """\
version: 1
defaults: {video-to-video: {end_seconds: end, style: {art_style: Ink, version: v2}}}
jobs:
  - {id: third, kind: video-to-video, input: {job: second}, style: {art_style: Comic}}
  - {id: second, kind: video-to-video, input: {job: first}}
  - {id: first, kind: image-to-video, input: a.png, end_seconds: 3, model: kling-3.0, resolution: 720p}
"""

NO_ADDRESS = {
    "step": "create",
    "input": "https://magichour.ai/my-library*",
    "status": 422,
    "message": "Unable to create the video",
}


def broken(job: str, **more: object) -> dict[str, object]:
    return {
        "step": "render",
        "job": f"*/{job} *",
        "render_error": {"code": "invalid_video_file", "message": "no"},
    } | more


@pytest.fixture
def chained(own: Program) -> Program:
    (own.folder / "m.yaml").write_text(CHAIN)
    return own


def inputs(program: Program) -> dict[str, str]:
    """What each accepted job was made from, as the request named it."""
    named = {}
    for each in program.provider.creates("m"):
        job = each["name"].removeprefix("m/").partition(" [")[0]
        assets = each["body"]["assets"]
        named[job] = assets.get("video_file_path") or assets["image_file_path"]
    return named


def projects(program: Program) -> dict[str, str]:
    return {job["id"]: job["project_id"] for job in program.status(program.folder / "m.yaml")["jobs"]}


def uploads(program: Program) -> int:
    return sum(count for path, count in program.provider.requests().items() if path.startswith("PUT "))


def clips_asked_for(program: Program) -> int:
    """Submissions of video-to-video, those refused included."""
    return program.provider.requests()["POST /v1/video-to-video"]


def planned(program: Program, *more: str) -> dict[str, tuple[str, str]]:
    plan = program.here("plan", "m.yaml", "--json", *more)
    assert plan.code == 0, plan.err
    return {job["id"]: (job["action"], job["reason"]) for job in plan.json()["jobs"]}


def source_of(address: str) -> str:
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "magichour.ai", "/my-library")
    (project_id,) = parse_qs(parts.query)["videoId"]
    return project_id


def test_each_is_made_from_the_render_before_it_which_is_never_sent(chained):
    plan = chained.here("plan", "m.yaml", "--json").json()
    assert plan["totals"]["to_render"] == 3
    assert plan["totals"]["credits"]["hold"] == 144 + 90 + 90, "the whole chain is priced before anything is bought"
    assert [job["reason"] for job in plan["jobs"]] == ["new, after second", "new, after first", "new"]

    ended = chained.run("run", "m.yaml")
    assert ended.code == 0, ended.err
    assert "second: takes the render of first, by its address" in ended.err
    check_books(chained, chained.folder / "m.yaml", jobs=3)
    made_from, made = inputs(chained), projects(chained)
    assert source_of(made_from["second"]) == made["first"]
    assert source_of(made_from["third"]) == made["second"]
    assert uploads(chained) == 1, "the still, and nothing else"
    assert {action for action, _ in planned(chained).values()} == {"skip"}


@pytest.mark.parametrize("own", [[NO_ADDRESS]], indirect=True)
def test_what_the_provider_does_not_take_by_its_address_it_gets_as_a_file(chained):
    ended = chained.run("run", "m.yaml")
    assert ended.code == 0, ended.err
    check_books(chained, chained.folder / "m.yaml", jobs=3)
    made_from = inputs(chained)
    assert made_from["second"].startswith("api-assets/")
    assert made_from["third"].startswith("api-assets/")
    assert uploads(chained) == 3
    assert clips_asked_for(chained) == 3, "after the first refusal the others go straight to a file"
    assert planned(chained)["third"] == ("skip", "done")


@pytest.mark.parametrize("own", [[NO_ADDRESS]], indirect=True)
@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_that_must_be_sent_and_is_gone_is_fetched_again_first(chained, is_replaced):
    assert chained.run("run", "m.yaml", "--only", "first").code == 0
    file = chained.folder / "renders" / "first.mp4"
    size = file.stat().st_size
    file.unlink()
    if is_replaced:
        file.write_bytes(bytes(size))
    ended = chained.run("run", "m.yaml", "--only", "second")
    assert ended.code == 3, ended.err
    assert "next: batchrunner download m.yaml\nthen: batchrunner run m.yaml --only second" in ended.err
    jobs = {job["id"]: job for job in chained.status(chained.folder / "m.yaml")["jobs"]}
    reason = jobs["second"]["reason"]
    assert reason.endswith("`batchrunner download` fetches first again")
    if is_replaced:
        assert "renders/first.mp4 is no longer what first was rendered as; move it away" in reason
        file.unlink()
    fetched = chained.run("download", "m.yaml")
    assert (file.stat().st_size, fetched.err.splitlines()[-1].split("    ")[0]) == (
        size,
        "next: batchrunner run m.yaml",
    )
    ended = chained.run("run", "m.yaml", "--only", "second")
    assert ended.code == 0, ended.err


@pytest.mark.parametrize(
    "own", [[{"step": "create", "job": "m/second *", "status": 422, "message": "Unable to create"}]], indirect=True
)
def test_a_refusal_for_another_reason_is_not_tried_for_ever(chained):
    ended = chained.run("run", "m.yaml")
    assert ended.code == 4, ended.err
    jobs = {job["id"]: job for job in chained.status(chained.folder / "m.yaml")["jobs"]}
    assert (jobs["first"]["state"], jobs["second"]["state"], jobs["third"]["state"]) == ("done", "failed", "ready")
    assert clips_asked_for(chained) == 2, "by address, as a file, and no more"
    assert sum(each["charged"] for each in chained.provider.creates("m")) == 144


@pytest.mark.parametrize("own", [[broken("first")]], indirect=True)
def test_nothing_is_bought_behind_a_job_that_failed_and_it_is_said_why(chained):
    ended = chained.run("run", "m.yaml")
    assert ended.code == 4, ended.err
    assert "not bought: second waits for first, which failed: invalid_video_file" in ended.err
    assert "not bought: third waits for second, which is not bought yet" in ended.err
    assert "next: batchrunner retry m.yaml" in ended.err
    jobs = {job["id"]: job for job in chained.status(chained.folder / "m.yaml")["jobs"]}
    assert jobs["second"]["waits_for"] == ["first"]
    assert jobs["second"]["reason"] == "waits for first, which failed: invalid_video_file"
    assert chained.provider.creates_by_job("m") == {"first": 1}

    again = chained.run("run", "m.yaml")
    assert again.code == 4, again.err
    assert (
        "second is not bought: waits for first, which failed: invalid_video_file; `retry` tries it again" in again.err
    )
    assert planned(chained)["third"] == ("skip", "waits for second, which waits, too")

    misbehave(chained)
    retried = chained.run("retry", "m.yaml", "--yes")
    assert retried.code == 0, retried.err
    assert "waiting for these: 1 job; `run` goes on with what waits" in retried.err
    assert planned(chained)["second"] == ("resume", "not submitted yet")
    assert chained.run("run", "m.yaml").code == 0
    check_states(chained, {"first": 2, "second": 1, "third": 1})


def check_states(program: Program, attempts: dict[str, int]) -> None:
    """Every job is done at this attempt, and the provider accepted each of those that were submitted once."""
    jobs = program.status(program.folder / "m.yaml")["jobs"]
    assert {job["id"]: (job["state"], job["attempt"]) for job in jobs} == {
        job: ("done", attempt) for job, attempt in attempts.items()
    }


def test_another_take_of_the_first_marks_what_was_made_from_it_and_buys_nothing_of_it(chained):
    assert chained.run("run", "m.yaml").code == 0
    ended = chained.run("redo", "m.yaml", "first", "--yes")
    assert ended.code == 0, ended.err
    assert "changed, since their inputs are rendered again: third, second; --rerender buys them, too" in ended.err
    assert chained.provider.creates_by_job("m") == {"first": 2, "second": 1, "third": 1}

    plan = planned(chained)
    assert plan["first"] == ("skip", "done")
    was = "done, but changed since (its input, job first, was rendered again); --rerender buys it again"
    assert plan["second"] == ("skip", was)
    out = "done, but changed since (its input, job second, is out of date); --rerender buys it again"
    assert plan["third"] == ("skip", out)
    assert chained.run("run", "m.yaml").code == 0
    assert len(chained.provider.creates("m")) == 4

    both = planned(chained, "--rerender")
    assert both["third"] == ("rerender", "changed: its input, job second, is rendered again")
    assert chained.run("run", "m.yaml", "--rerender").code == 0
    check_states(chained, {"first": 2, "second": 2, "third": 2})
    assert source_of(inputs(chained)["second"]) == projects(chained)["first"]
    assert {reason for _, reason in planned(chained).values()} == {"done"}


def test_a_changed_first_job_changes_the_chain_and_is_priced_with_it(chained):
    assert chained.run("run", "m.yaml").code == 0
    (chained.folder / "m.yaml").write_text(CHAIN.replace("end_seconds: 3", "end_seconds: 4"))
    plan = planned(chained)
    assert plan["first"][1].startswith("done, but changed since (end_seconds: 3 -> 4)")
    assert "its input, job first, changed" in plan["second"][1]
    assert "its input, job second, changed" in plan["third"][1]
    alone = planned(chained, "--only", "second")["second"]
    assert alone[0] == "skip"
    assert alone[1].endswith("waits for first, which changed and is not rendered again; --rerender buys both")
    bill = chained.here("plan", "m.yaml", "--rerender", "--json").json()["totals"]
    assert bill["to_render"] == 3
    assert bill["credits"]["hold"] == 192 + 120 + 120


def test_a_job_whose_source_is_not_selected_waits_and_that_is_no_success(chained):
    ended = chained.run("run", "m.yaml", "--only", "second")
    assert ended.code == 3, ended.err
    assert "second is not bought: waits for first, which is not selected" in ended.err
    assert chained.provider.creates("m") == []
    assert chained.run("run", "m.yaml", "--only", "first").code == 0
    assert chained.run("run", "m.yaml", "--only", "second").code == 0, "it is there now, though it is not selected"
    assert chained.provider.creates_by_job("m") == {"first": 1, "second": 1}


def test_a_canary_at_the_end_of_a_chain_brings_the_chain_with_it(chained):
    ended = chained.run("run", "m.yaml", "--canary")
    assert ended.code == 0, ended.err
    check_books(chained, chained.folder / "m.yaml", jobs=3)


def test_a_needed_job_is_on_disk_before_the_other_is_bought(own):
    (own.folder / "m.yaml").write_text(
        "version: 1\ndefaults: {image-to-video: {end_seconds: 3, model: kling-3.0, resolution: 720p}}\njobs:\n"
        "  - {id: late, kind: image-to-video, input: a.png, needs: early}\n"
        "  - {id: early, kind: image-to-video, input: a.png}\n"
    )
    ended = own.run("run", "m.yaml", "--events", "events.jsonl")
    assert ended.code == 0, ended.err
    lines = [json.loads(line) for line in (own.folder / "events.jsonl").read_text().splitlines()]
    told = [(line.get("job"), line["event"]) for line in lines]
    assert told.index(("early", "downloaded")) < told.index(("late", "uploaded"))


@pytest.mark.parametrize("own", [[{"step": "render", "slow_queue": 1.0}]], indirect=True)
@pytest.mark.parametrize("marker", ["accepted", "rendered"])
def test_a_chain_goes_on_where_a_killed_run_left_it(chained, marker):
    running = chained.start("run", "m.yaml")
    assert running.stderr is not None
    for line in running.stderr:
        if f"second: {marker}" in line:
            break
    running.send_signal(signal.SIGKILL)
    running.communicate()
    goes_on_to_its_end(chained)


def goes_on_to_its_end(chained: Program) -> None:
    assert chained.run("run", "m.yaml").code == 0
    check_books(chained, chained.folder / "m.yaml", jobs=3)
    assert {reason for _, reason in planned(chained).values()} == {"done"}


def test_a_chain_goes_on_where_a_run_was_killed_before_its_request_left(chained):
    manifest = chained.folder / "m.yaml"
    assert crash_at(chained, manifest, "before POST /v1/video-to-video").code == -signal.SIGKILL
    (second,) = [job for job in chained.status(manifest)["jobs"] if job["id"] == "second"]
    assert second["state"] == "submitting"
    goes_on_to_its_end(chained)


def test_a_render_that_was_deleted_at_the_provider_is_sent_from_disk(chained):
    assert chained.run("run", "m.yaml", "--only", "first").code == 0
    project = projects(chained)["first"]
    request = urllib.request.Request(
        f"{chained.provider.base_url}/v1/video-projects/{project}",
        method="DELETE",
        headers={"Authorization": f"Bearer {chained.environ()['MAGIC_HOUR_API_KEY']}"},
    )
    urllib.request.urlopen(request, timeout=30).close()
    ended = chained.run("run", "m.yaml")
    assert ended.code == 0, ended.err
    assert inputs(chained)["second"].startswith("api-assets/")
