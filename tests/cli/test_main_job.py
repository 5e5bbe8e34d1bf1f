"""The program as people and scripts use it: in its own process, against a real sandbox."""

from __future__ import annotations

from contextlib import closing
import json
import os
from pathlib import Path
import re
import shutil
import signal
import sqlite3
import stat
import subprocess

import pytest

from batchrunner import store
from batchrunner.core import job as machine
from batchrunner.core.job import State
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import API_KEY, Settings
from tests.support import nights
from tests.support.program import Program, Provider, check_books, wait_for

BATCH = """\
version: 1
output: out/{id}.mp4
jobs:
  - {id: clip, kind: video-to-video, input: a.mp4, end_seconds: 0.5, style: {art_style: Ink}}
  - {id: still, kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p,
     assets: {image_file_path: a.png, end_image_file_path: b.png}}
"""


@pytest.fixture
def batch(program: Program, media: Path, request: pytest.FixtureRequest) -> Path:
    """A manifest of two jobs, one of each kind, with a name that only this test uses."""
    for file in media.iterdir():
        shutil.copy(file, program.folder)
    name = re.sub(r"\W+", "-", request.node.name)[:60]
    manifest = program.folder / f"{name}.yaml"
    manifest.write_text(BATCH)
    return manifest


@pytest.fixture
def slow(tmp_path_factory, media):
    """A program whose provider takes its time: what is sent stays in flight until it is asked for."""
    folder = tmp_path_factory.mktemp("slow")
    with launch.start(Settings(data_dir=folder / "data", scale=0.1, latency_s=3.0)) as running:
        program = Program(folder=folder, provider=Provider(base_url=running.base_url))
        for file in media.iterdir():
            shutil.copy(file, folder)
        (folder / "slow.yaml").write_text(BATCH.replace("output:", "limits: {in_flight: 1}\noutput:"))
        yield program


def states_in(path: Path) -> set[State]:
    """The states of the jobs on record; read as `status` reads them, while the run goes on."""
    with store.open_to_read(path) as view:
        return {job.state for job in view.jobs()} if view else set()


def test_a_run_brings_every_file_and_a_second_one_sends_no_create(program, batch):
    first = program.run("run", batch.name)
    assert first.code == 0, first.err
    check_books(program, batch, jobs=2)
    again = program.run("run", batch.name)
    assert again.code == 0
    assert len(program.provider.creates(batch.stem)) == 2


def test_the_submission_is_named_so_that_a_person_can_find_it(program, batch):
    program.run("run", batch.name)
    names = [each["name"] for each in program.provider.creates(batch.stem)]
    assert all(re.fullmatch(rf"{re.escape(batch.stem)}/(clip|still) \[1-[0-9a-f]{{10}}\]", name) for name in names)
    assert len(set(names)) == 2


def test_both_images_of_a_job_are_uploaded(program, batch):
    program.run("run", batch.name)
    (still,) = [each for each in program.provider.creates(batch.stem) if each["kind"] == "image-to-video"]
    assets = still["body"]["assets"]
    assert assets["image_file_path"] != assets["end_image_file_path"]
    assert all(path.startswith("api-assets/") for path in assets.values())


def test_a_deleted_output_comes_back_at_no_cost(program, batch):
    program.run("run", batch.name)
    (batch.parent / "out" / "clip.mp4").unlink()
    (batch.parent / "out" / "still.mp4").write_bytes(b"cut short")
    (batch.parent / "out" / "still.mp4").unlink()
    before = program.provider.ledger()["credits"]
    ended = program.run("download", batch.name)
    assert ended.code == 0, ended.err
    check_books(program, batch, jobs=2)
    assert program.provider.ledger()["credits"] == before


def test_a_file_of_somebody_else_is_never_overwritten(program, batch):
    precious = batch.parent / "out" / "clip.mp4"
    precious.parent.mkdir()
    precious.write_bytes(b"precious")
    ended = program.run("run", batch.name)
    assert ended.code == 0
    assert precious.read_bytes() == b"precious"
    paths = {job["id"]: job["outputs"][0]["path"] for job in program.status(batch)["jobs"]}
    assert paths == {"clip": "out/clip.2.mp4", "still": "out/still.mp4"}


def test_status_is_the_published_shape(program, batch):
    program.run("run", batch.name)
    status = program.status(batch)
    now = {"is_running", "paused", "waits", "stalls"}
    assert set(status) == {"manifest", "state_file", "jobs", "totals", "pauses", "forecast", *now}
    assert status["forecast"] is None, "no run goes on"
    assert {name: status[name] for name in now} == {"is_running": False, "paused": False, "waits": [], "stalls": []}
    assert set(status["totals"]) == {"jobs", "by_state", "credits"}
    assert set(status["totals"]["credits"]) == {"estimated", "held", "charged", "refunded"}
    for job in status["jobs"]:
        wanted = {"id", "kind", "state", "attempt", "project_id", "credits", "outputs", "error", "suspect", "reason"}
        wanted |= {"next_try_at", "tries", "of", "uncertain", "tags", "set", "earlier", "waits_for"}
        assert set(job) == wanted
        assert set(job["credits"]) == {"estimated", "held", "charged"}
        assert set(job["outputs"][0]) == {"path", "bytes", "sha256"}
    run = program.run("run", batch.name, "--json")
    assert run.json()["jobs"] == status["jobs"]


def test_plan_is_the_published_shape(program, batch):
    ended = program.run("plan", batch.name, "--json")
    assert ended.code == 0
    plan = ended.json()
    assert set(plan) == {"manifest", "jobs", "totals", "account", "disks", "problems", "forecast", "window"}
    assert [job["action"] for job in plan["jobs"]] == ["render", "render"]
    for job in plan["jobs"]:
        assert set(job) >= {"id", "kind", "action", "reason", "credits", "warnings"}
        assert set(job["credits"]) == {"low", "expected", "hold"}
    assert set(plan["totals"]) == {"jobs", "to_render", "credits", "in_question", "unpriced", "usd"}
    assert not (batch.parent / f"{batch.stem}.state.db").exists(), "a plan writes nothing"


def test_a_changed_prompt_is_shown_and_bought_only_when_asked_for(program, batch):
    program.run("run", batch.name)
    batch.write_text(batch.read_text().replace("art_style: Ink", "art_style: Comic"))
    plan = program.run("plan", batch.name, "--json").json()
    (clip,) = [job for job in plan["jobs"] if job["id"] == "clip"]
    assert clip["action"] == "skip"
    assert 'style.art_style: "Ink" -> "Comic"' in clip["reason"]
    left = program.run("run", batch.name)
    assert left.code == 0
    again = f"batchrunner run {batch.name} --rerender    renders it again"
    assert f"1 finished job changed since, and left: clip; {again}" in left.err
    assert len(program.provider.creates(batch.stem)) == 2
    assert "changed since" not in program.run("run", batch.name, "--only", "still").err
    rendered = program.run("run", batch.name, "--rerender")
    assert (rendered.code, "changed since" in rendered.err) == (0, False)
    assert len(program.provider.creates(batch.stem)) == 3
    assert (batch.parent / "out" / "clip.mp4").exists(), "the old render was paid for and stays"
    (clip,) = [job for job in program.status(batch)["jobs"] if job["id"] == "clip"]
    assert (clip["attempt"], clip["outputs"][0]["path"]) == (2, "out/clip.2.mp4")


def test_a_changed_clip_is_named(program, batch, media):
    program.run("run", batch.name)
    shutil.copy(media / "b.mp4", batch.parent / "a.mp4")
    plan = program.run("plan", batch.name, "--json").json()
    assert "content of a.mp4" in plan["jobs"][0]["reason"]


def test_a_moved_clip_is_not_a_change(program, batch):
    program.run("run", batch.name)
    (batch.parent / "a.mp4").rename(batch.parent / "renamed.mp4")
    batch.write_text(batch.read_text().replace("a.mp4", "renamed.mp4"))
    plan = program.run("plan", batch.name, "--json").json()
    assert [(job["action"], job["reason"]) for job in plan["jobs"]] == [("skip", "done")] * 2


def test_a_clip_that_cannot_be_decoded_is_refused_before_anything_is_sent(program, batch):
    (batch.parent / "a.mp4").write_bytes(b"this is no clip")
    ended = program.run("run", batch.name)
    assert ended.code == 2
    assert re.search(rf"{re.escape(batch.name)}:4:\d+: .*a\.mp4", ended.err), ended.err
    assert program.provider.creates(batch.stem) == []


def test_a_range_beyond_the_clip_is_refused_before_it_is_paid_for(program, batch):
    batch.write_text(batch.read_text().replace("end_seconds: 0.5", "end_seconds: 7"))
    ended = program.run("validate", batch.name)
    assert ended.code == 2
    assert "1 s" in ended.err or "1.0" in ended.err


def test_the_clips_own_end_can_be_asked_for(program, batch):
    batch.write_text(batch.read_text().replace("end_seconds: 0.5", "end_seconds: end"))
    assert program.run("run", batch.name).code == 0
    (clip,) = [each for each in program.provider.creates(batch.stem) if each["kind"] == "video-to-video"]
    assert clip["body"]["end_seconds"] == 1.0


def test_a_job_that_failed_is_told_with_its_reason_and_retried_when_asked(tmp_path, media):
    fails_once = [
        {
            "step": "render",
            "job": "fails/clip*",
            "count": 1,
            "render_error": {"code": "no_source_face", "message": "no"},
        }
    ]
    (tmp_path / "faults.json").write_text(json.dumps(fails_once))
    settings = Settings(data_dir=tmp_path / "data", scale=0.1, faults=tmp_path / "faults.json")
    with launch.start(settings) as running:
        program = Program(folder=tmp_path, provider=Provider(base_url=running.base_url))
        for file in media.iterdir():
            shutil.copy(file, tmp_path)
        manifest = tmp_path / "fails.yaml"
        manifest.write_text(BATCH)
        ended = program.run("run", manifest.name)
        assert ended.code == 4
        (clip,) = [job for job in program.status(manifest)["jobs"] if job["id"] == "clip"]
        assert (clip["state"], clip["error"]["code"], clip["credits"]["charged"]) == ("failed", "no_source_face", 0)
        assert "next: batchrunner retry fails.yaml" in ended.err
        assert program.run("run", manifest.name).code == 4
        assert len(program.provider.creates("fails")) == 2
        assert program.run("run", manifest.name, "--retry-failed").code == 0
        assert program.provider.creates_by_job("fails") == {"clip": 2, "still": 1}
        ledger = program.run("ledger", manifest.name, "--json").json()
        assert ledger["totals"]["net"] == sum(each["charged"] for each in program.provider.creates("fails"))
        assert ledger["totals"]["refunded"] == -15
        assert ledger["drift"]["unexplained"] == 0


# --- keys, accounts, addresses ---


def test_a_refused_key_stops_before_a_single_upload(program, batch):
    before = program.provider.requests()
    program.env["MAGIC_HOUR_API_KEY"] = "mhk_wrong_key_of_somebody"
    ended = program.run("run", batch.name)
    assert ended.code == 6
    after = program.provider.requests()
    assert {route for route in after if after[route] != before.get(route)} == {"GET /v1/account"}
    assert "error: the key is refused: HTTP 401" in ended.err
    assert "hint: make a key at " in ended.err
    assert "mhk_wrong_key_of_somebody" not in ended.err + ended.out


def test_no_way_to_the_provider_says_which_host_and_what_to_look_at(program, batch):
    program.env["MAGIC_HOUR_BASE_URL"] = "http://127.0.0.1:1"
    ended = program.run("run", batch.name)
    assert ended.code == 5
    assert "error: cannot connect to /v1/account: 127.0.0.1:1: Connection refused\n" in ended.err
    assert "hint: check the network, " in ended.err


def test_a_plan_says_that_a_rehearsals_state_file_is_of_no_use_for_the_real_thing(program, batch):
    state = store.path_for(batch)
    with store.open_for_run(state, run_id="rehearsal", now=nights.START) as file:
        file.note_fact("account", "somebody")
        file.end_run(at=nights.START, exit_code=0)
    ended = program.here("plan", batch.name)
    assert ended.code == 0
    told = f"{state} records renders of the account 'somebody', and this run would use "
    assert f"warning: a run would not begin: {told}" in ended.err
    assert "hint: use the key they were made with, or move it (with its -wal and -shm" in ended.err
    refused = program.run("run", batch.name)
    assert (refused.code, told in refused.err) == (2, True)


def test_the_key_is_in_no_file_and_in_no_output(program, batch):
    ended = program.run("run", batch.name, "--json")
    assert ended.code == 0
    assert API_KEY not in ended.out + ended.err
    for path in batch.parent.rglob("*"):
        if path.is_file():
            assert API_KEY.encode() not in path.read_bytes(), path


def test_no_signed_address_is_in_the_state_file(program, batch):
    program.run("run", batch.name)
    assert b"signature" not in (batch.parent / f"{batch.stem}.state.db").read_bytes()


@pytest.mark.skipif(not hasattr(__import__("os"), "getuid"), reason="file modes are POSIX")
def test_the_state_file_is_for_its_owner_only(program, batch):
    program.run("run", batch.name)
    for name in (f"{batch.stem}.state.db", f"{batch.stem}.state.db.lock"):
        assert stat.S_IMODE((batch.parent / name).stat().st_mode) == 0o600


def test_no_key_is_an_error_that_says_what_to_do(program, batch):
    program.env["MAGIC_HOUR_API_KEY"] = ""
    ended = program.run("run", batch.name)
    assert ended.code == 2
    assert "MAGIC_HOUR_API_KEY" in ended.err


def test_the_second_name_of_the_key_works(program, batch):
    program.env |= {"MAGIC_HOUR_API_KEY": "", "MAGIC_HOUR_API_TOKEN": API_KEY}
    ended = program.run("account", "--json")
    assert (ended.code, ended.json()["tier"]) == (0, "creator")


def test_a_provider_that_is_not_there_is_told_as_such(program, batch):
    program.env["MAGIC_HOUR_BASE_URL"] = "http://127.0.0.1:9"
    for command in (["account"], ["run", batch.name]):
        ended = program.run(*command)
        assert ended.code == 5, ended.err
        assert "cannot connect" in ended.err
    assert not (batch.parent / f"{batch.stem}.state.db").exists()


def test_an_account_that_cannot_pay_collects_what_was_bought(tmp_path, media):
    with launch.start(Settings(data_dir=tmp_path / "data", scale=0.1, credits=150)) as running:
        program = Program(folder=tmp_path, provider=Provider(base_url=running.base_url))
        for file in media.iterdir():
            shutil.copy(file, tmp_path)
        manifest = tmp_path / "poor.yaml"
        manifest.write_text(
            BATCH.replace("output:", "limits: {in_flight: 1}\noutput:")
            + "  - {id: extra, kind: image-to-video, input: a.png, end_seconds: 3, model: kling-3.0}\n"
        )
        ended = program.run("run", manifest.name)
        assert ended.code == 7, ended.err
        status = program.status(manifest)
        assert status["totals"]["by_state"] == {"done": 1, "uploaded": 1, "ready": 1}
        assert "top up" in ended.err


def test_renders_of_the_sandbox_never_pass_for_paid_ones(program, batch):
    assert program.run("run", batch.name).code == 0
    with closing(sqlite3.connect(batch.parent / f"{batch.stem}.state.db")) as db, db:
        db.execute("UPDATE fact SET value = 'api.magichour.ai' WHERE name = 'provider'")
    db.close()
    ended = program.run("run", batch.name)
    assert ended.code == 2
    assert "api.magichour.ai" in ended.err


# --- two at once, interrupted, killed ---


def test_two_runs_on_one_manifest_are_one_too_many(slow):
    first = slow.start("run", "slow.yaml")
    wait_for(lambda: slow.provider.creates("slow"))
    first.send_signal(signal.SIGSTOP)  # however busy the machine is, it goes on while the second begins
    second = slow.run("run", "slow.yaml")
    assert second.code == 11
    assert f"pid {first.pid}" in second.err
    status = slow.run("status", "slow.yaml", "--json")
    assert status.code == 0, "a reader is welcome while a run goes on"
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert slow.provider.creates_by_job("slow") == {"clip": 1, "still": 1}


def test_two_runs_on_sandboxes_of_their_own_are_one_too_many_as_well(slow):
    data = slow.folder / "slow.sandbox"
    with launch.start(Settings(data_dir=data, scale=0.1)):
        ended = slow.run("run", "slow.yaml", "--sandbox")
    assert (ended.code, "already used by another sandbox" in ended.err) == (11, True)


def test_the_first_interrupt_stops_buying_and_collects(slow):
    process = slow.start("run", "slow.yaml")
    wait_for(lambda: slow.provider.creates("slow"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "1 job already bought will be collected" in err
    assert "goes on where it was" in err
    assert len(slow.provider.creates("slow")) == 1
    states = slow.status(slow.folder / "slow.yaml")["totals"]["by_state"]
    assert states == {"done": 1, "uploaded": 1}
    assert slow.run("run", "slow.yaml").code == 0
    check_books(slow, slow.folder / "slow.yaml", jobs=2)


def test_the_second_interrupt_leaves_at_once_and_loses_nothing(slow):
    process = slow.start("run", "slow.yaml")
    wait_for(lambda: State.RENDERING in states_in(slow.folder / "slow.state.db"))
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    next(line for line in process.stderr if line.startswith("stopping"))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert State.RENDERING in states_in(slow.folder / "slow.state.db"), "it did not wait for the render"
    assert slow.run("run", "slow.yaml").code == 0
    check_books(slow, slow.folder / "slow.yaml", jobs=2)


def test_a_killed_demo_goes_on_and_then_says_that_all_is_done(tmp_path):
    program = Program(folder=tmp_path, provider=Provider(base_url="http://127.0.0.1:9"))
    process = program.start("demo", "show")
    wait_for((tmp_path / "show" / "demo.state.db").exists)
    process.kill()
    process.communicate()
    ended = program.run("demo", "show")
    assert ended.code == 0, ended.err
    assert ended.out.count("  done  ") == 6
    program.env["PATH"] = os.defpath  # as in an environment that is not activated
    again = program.run("demo", "show")
    assert again.code == 0
    assert "all done" in again.err
    assert "then (`batchrunner` is " in again.err
    assert "accepted" not in again.err
    assert {job["state"] for job in program.run("demo", "show", "--json").json()["jobs"]} == {"done"}
    program.env["MAGIC_HOUR_API_KEY"] = ""
    keyless = program.here("download", "show/demo.yaml")
    assert (keyless.code, "hint: --sandbox goes on with it there\n" in keyless.err) == (2, True)
    (tmp_path / "show" / "renders" / "orbit-neon.mp4").unlink()
    assert program.run("download", "show/demo.yaml", "--sandbox").code == 0
    assert (tmp_path / "show" / "renders" / "orbit-neon.mp4").exists()


def test_the_log_of_a_real_run_replays_to_its_snapshot(program, batch):
    program.run("run", batch.name)
    with store.open_to_read(batch.parent / f"{batch.stem}.state.db") as view:
        assert view is not None
        jobs = list(view.jobs())
        assert len(jobs) == 2
        for job in jobs:
            assert machine.replay(event for _, _, event in view.events(job.id)) == job


def test_output_to_a_closed_pipe_is_no_error(program, batch):
    with program.start("plan", batch.name) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read().strip() in {"", f"next: batchrunner run {batch.name}"}
    assert process.returncode == 0


def test_a_bug_leaves_one_line_and_a_file(program, batch, tmp_path):
    program.env["TMPDIR"] = str(tmp_path)
    script = (
        "import sys; from batchrunner.cli import app; from batchrunner import batch\n"
        "batch.read = lambda *a, **k: 1 / 0\n"
        "sys.exit(app.main(['validate', 'x.yaml']))"
    )
    ended = subprocess.run(
        [__import__("sys").executable, "-c", script], capture_output=True, text=True, env=program.environ(), check=False
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    (log,) = tmp_path.glob("batchrunner-*.log")
    assert "ZeroDivisionError" in log.read_text()


def test_json_goes_to_stdout_and_everything_else_to_stderr(program, batch):
    ended = program.run("run", batch.name, "--json")
    json.loads(ended.out)
    assert "accepted as project" in ended.err
