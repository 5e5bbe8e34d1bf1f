"""What fails is tried again as the manifest says, and what was lost is judged: the program, and real trouble."""

from __future__ import annotations

import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import time
from typing import Any

import pytest

from batchrunner.core import events
from batchrunner.core.job import State
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import Settings
from batchrunner.store import open_to_read
from tests.support.program import Program, Provider, misbehave, wait_for

STILL = "{kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p, input: a.png"


@pytest.fixture
def own(tmp_path, media):
    """The program in a folder with media, and a provider of its own that can be told to misbehave."""
    with launch.start(Settings(data_dir=tmp_path / "sandbox", scale=0.1, no_render=True)) as running:
        for file in media.iterdir():
            shutil.copy(file, tmp_path)
        yield Program(folder=tmp_path, provider=Provider(base_url=running.base_url))


def write(program: Program, name: str, *jobs: str, head: str = "") -> Path:
    lines = ["version: 1", *([head] if head else []), "jobs:", *(f"  - {STILL}, id: {job}}}" for job in jobs)]
    manifest = program.folder / f"{name}.yaml"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def log_of(manifest: Path, job_id: str) -> list[events.Event]:
    with open_to_read(manifest.with_name(f"{manifest.stem}.state.db")) as view:
        assert view is not None
        return [event for _, _, event in view.events(job_id)]


def by_id(status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {job["id"]: job for job in status["jobs"]}


# --- renders that start over ---


def failing(job: str, code: str, **more: Any) -> dict[str, Any]:
    count = more.pop("count", 1)
    error = {"code": code, "message": "no", "delay": 0, **more}
    return {"step": "render", "job": f"*/{job} *", "count": count, "render_error": error}


def test_failed_renders_start_over_when_their_refund_is_seen(own):
    misbehave(
        own,
        failing("now", "nsfw"),
        failing("late", "nsfw", refund="late", refund_after=4),
        failing("never", "nsfw", refund="never"),
        failing("twice", "unknown_error", count=2),
        failing("both", "unknown_error"),
        failing("both", "nsfw"),
        failing("face", "no_source_face"),
    )
    manifest = write(own, "night", "now", "late", "never", "twice", "both", "face")
    ended = own.run("run", manifest.name)
    assert ended.code == 4, ended.err
    assert own.provider.creates_by_job("night") == {"now": 2, "late": 2, "never": 1, "twice": 2, "both": 3, "face": 1}
    jobs = by_id(own.status(manifest))
    states = {job_id: job["state"] for job_id, job in jobs.items()}
    assert states == {"now": "done", "late": "done", "both": "done"} | dict.fromkeys(
        ("never", "twice", "face"), "failed"
    )
    assert {job["attempt"] for job in jobs.values()} == {1}
    assert "late: nsfw: no; it starts over when its refund is seen" in ended.err
    assert "now: nsfw: no; refunded, it starts over" in ended.err
    told = [type(event) for event in log_of(manifest, "late")]
    assert told.index(events.RefundAwaited) < told.index(events.RenderFailed)
    assert told.count(events.SubmitStarted) == 2
    ledger = own.here("ledger", manifest.name, "--json").json()
    assert ledger["totals"]["net"] == sum(each["charged"] for each in own.provider.creates("night"))
    assert ledger["totals"]["still_reserved"] == 0
    told = own.status(manifest)["totals"]["credits"]
    assert (told["held"], told["refunded"]) == (ledger["totals"]["charged"], -ledger["totals"]["refunded"])
    report = own.run("report", manifest.name, "-o", "-", "--format", "json").json()
    assert report["totals"]["credits"] == told
    assert ledger["drift"]["unexplained"] == 0
    assert [due["job"] for due in ledger["refunds_due"]] == ["never"]
    given_back = {line["project_id"] for line in ledger["lines"] if line["move"] == "refunded"}
    assert given_back == {each["id"] for each in own.provider.creates("night") if not each["charged"]}


def test_a_render_does_not_start_over_where_the_manifest_says_so(own):
    misbehave(own, failing("one", "nsfw"))
    manifest = write(own, "strict", "one", head="retry: {render: {nsfw: 0}}")
    assert own.run("run", manifest.name).code == 4
    assert own.provider.creates_by_job("strict") == {"one": 1}


# --- waiting says so ---

MOMENT = r"(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d"


def test_what_waits_says_when_which_try_it_is_and_why(own):
    misbehave(own, {"step": "project", "status": 503, "retry_after": 600})
    manifest = write(own, "waits", "one", head="retry: {poll: {attempts: 5}}")
    process = own.start("run", manifest.name)
    assert process.stderr is not None
    line = next(line for line in process.stderr if "next try" in line)
    assert re.search(rf"one: next try {MOMENT}, 2 of 5, .*HTTP 503", line), line
    (job,) = own.status(manifest)["jobs"]
    assert (job["tries"], job["of"], job["state"]) == (1, 5, "rendering")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", job["next_try_at"])
    assert re.search(rf"rendering .*next try {MOMENT}, 2 of 5, .*HTTP 503", own.here("status", manifest.name).out)
    process.kill()
    process.communicate()
    asked = sum(count for route, count in own.provider.requests().items() if route.startswith("GET /v1/video-projects"))
    assert asked == 1, "an answer that asks for patience is not asked again before"


def test_a_wait_that_is_longer_than_the_step_may_fail_is_left_and_still_waited_for(own):
    misbehave(own, {"step": "project", "status": 503, "retry_after": 600, "count": 1})
    manifest = write(own, "short", "one", head="retry: {poll: {for: 5m}}")
    ended = own.run("run", manifest.name)
    assert ended.code == 5, ended.err
    assert re.search(rf"left to the next run after 1 failure, not before {MOMENT}: .*HTTP 503", ended.err)
    (job,) = own.status(manifest)["jobs"]
    assert job["next_try_at"] is not None


def test_a_day_to_wait_ends_every_run_at_once_and_says_until_when(own):
    misbehave(own, {"step": "create", "job": "*/one *", "status": 429, "retry_after": 86400})
    manifest = write(own, "patient", "one", "two")
    for _ in range(2):
        began = time.monotonic()
        ended = own.run("run", manifest.name)
        assert (ended.code, time.monotonic() - began < 60) == (3, True), ended.err
        (day,) = re.findall(r"next: .* not before (\S+) \S+: the provider asked for patience", ended.err)
        assert abs(time.time() + 86400 - time.mktime(time.strptime(day, "%Y-%m-%d"))) < 2 * 86400
        misbehave(own)
    assert own.provider.creates("patient") == [], "nor is the other bought before its time"
    shown = own.here("status", manifest.name)
    assert re.search(r"not before \d{4}-\d\d-\d\d ", shown.out)
    assert re.search(r"submit: the provider asked for a slower pace; it goes on at \d{4}-\d\d-\d\d ", shown.out)
    assert own.status(manifest)["pauses"]["submit"].startswith("the provider asked for a slower pace")


# --- lost submissions ---


def killed_in_create(program: Program, manifest: Path, *, accepted: bool) -> None:
    """A run that was killed while the provider had its last job's paid request, before or after accepting it."""
    before = len(program.provider.creates(manifest.stem))
    # Held back before it is accepted, it is not accepted for as long as this test takes.
    misbehave(program, {"step": "create", "hang_after" if accepted else "hang": 300})
    process = program.start("run", manifest.name)
    if accepted:
        wait_for(lambda: len(program.provider.creates(manifest.stem)) > before)
    else:
        wait_for(lambda: "submitting" in program.status(manifest)["totals"]["by_state"])
    process.kill()
    process.communicate()
    misbehave(program)


@pytest.fixture
def night(own: Program) -> Path:
    """A manifest of two jobs, of which the first is done, so that the balance was seen to follow charges."""
    manifest = write(own, "night", "first")
    assert own.run("run", manifest.name).code == 0
    return write(own, "night", "first", "second")


def test_reconcile_proves_that_nothing_was_charged(own, night):
    killed_in_create(own, night, accepted=False)
    ended = own.run("reconcile", night.name, "--json")
    assert ended.code == 0, ended.err
    (found,) = ended.json()["jobs"]
    assert (found["id"], found["finding"], found["is_paid"]) == ("second", "not charged", False)
    assert found["next"] == [f"batchrunner run {night.name}"]
    assert by_id(own.status(night))["second"]["state"] == "uploaded"
    assert own.provider.creates_by_job("night") == {"first": 1}, "it buys nothing"
    again = own.run("reconcile", night.name)
    assert (again.code, again.out) == (0, "")
    assert "no submission is in question" in again.err


def test_reconcile_finds_what_was_paid_and_says_how_to_go_on(own, night):
    killed_in_create(own, night, accepted=True)
    ended = own.run("reconcile", night.name)
    assert ended.code == 9, ended.err
    first, second = sorted(own.provider.creates("night"), key=lambda each: "second" in each["name"])
    (line,) = ended.out.splitlines()
    adopt = f"batchrunner adopt {night.name} second PROJECT_ID"
    resolve = f"batchrunner resolve {night.name} second --not-created --force"
    assert line.startswith("second: uncertain, sent ")
    assert f"as {second['name']!r}: paid, but its project id is not known" in line
    assert line.endswith(f"; next: {adopt}  or  {resolve}")
    assert "https://magichour.ai/my-library" in ended.err
    assert own.run("reconcile", night.name).out == ended.out, "a person decides, and it is told again"
    shown = own.here("status", night.name).out
    for words in (adopt, resolve, "https://magichour.ai/my-library", second["name"], "sent 20"):
        assert words in shown, words
    told = by_id(own.status(night))["second"]["uncertain"]
    assert (told["sent_as"], told["adopt"], told["resolve"]) == (second["name"], adopt, resolve)
    assert by_id(own.status(night))["first"]["uncertain"] is None
    refused = own.run("adopt", night.name, "second", first["id"])
    assert (refused.code, f"{first['id']} is the project of 'first', attempt 1, already" in refused.err) == (2, True)
    refused = own.run("resolve", night.name, "second", "--not-created")
    assert (refused.code, "--force" in refused.err) == (2, True)
    assert by_id(own.status(night))["second"]["state"] == "uncertain"
    assert own.run("adopt", night.name, "second", second["id"]).code == 0
    assert own.run("run", night.name).code == 0
    assert own.provider.creates_by_job("night") == {"first": 1, "second": 1}


def test_a_person_may_insist_that_nothing_was_created(own, night):
    killed_in_create(own, night, accepted=True)
    assert own.run("reconcile", night.name).code == 9
    assert typed(own, "first\n", "resolve", night.name, "second", "--not-created") == 2
    assert by_id(own.status(night))["second"]["state"] == "uncertain"
    assert typed(own, "second\n", "resolve", night.name, "second", "--not-created") == 0
    assert by_id(own.status(night))["second"]["state"] == "uploaded"


def test_force_needs_no_terminal(own, night):
    killed_in_create(own, night, accepted=True)
    assert own.run("reconcile", night.name).code == 9
    assert own.run("resolve", night.name, "second", "--not-created", "--force").code == 0
    assert by_id(own.status(night))["second"]["state"] == "uploaded"


def typed(program: Program, answer: str, *arguments: str) -> int:
    """The exit code of a command whose input is a terminal, on which a person types."""
    ours, theirs = os.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "batchrunner", *arguments],
            cwd=program.folder,
            env=program.environ(),
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        os.write(ours, answer.encode())
        process.communicate(timeout=60)
        return process.returncode
    finally:
        os.close(ours)
        os.close(theirs)


def test_reconcile_leaves_open_what_only_another_charge_can_tell(own):
    manifest = write(own, "fresh", "one", "two")
    killed_in_create(own, manifest, accepted=False)
    ended = own.run("reconcile", manifest.name)
    assert ended.code == 3, ended.err
    assert ended.out.startswith("one: open, sent ")
    assert f"next: batchrunner run {manifest.name}" in ended.out
    assert by_id(own.status(manifest))["one"]["state"] == "submitting"


def test_reconcile_records_refunds_that_came_late(own):
    misbehave(own, failing("one", "no_source_face", refund="late", refund_after=8))
    manifest = write(own, "refunds", "one")
    assert own.run("run", manifest.name).code == 4
    assert [due["job"] for due in own.here("ledger", manifest.name, "--refunds-due", "--json").json()] == ["one"]
    wait_for(lambda: not any(each["charged"] for each in own.provider.creates("refunds")))
    ended = own.run("reconcile", manifest.name)
    assert ended.code == 0, ended.err
    assert re.fullmatch(r"one: attempt 1, project \w+, is charged 0 credits now\n", ended.out)
    assert own.here("ledger", manifest.name, "--refunds-due", "--json").json() == []


def test_advice_names_the_state_file_that_was_given(own, night):
    killed_in_create(own, night, accepted=True)
    for path in own.folder.glob("night.state.db*"):
        path.rename(own.folder / path.name.replace("night.state.db", "kept aside.db"))
    ended = own.run("reconcile", night.name, "--state", "kept aside.db")
    assert ended.code == 9, ended.err
    assert f"batchrunner adopt {night.name} second PROJECT_ID --state 'kept aside.db'" in ended.out
    assert State.UNCERTAIN in own.here("status", night.name, "--state", "kept aside.db").out
