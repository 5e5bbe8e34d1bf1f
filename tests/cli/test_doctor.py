"""`doctor`, and what the commands say to two runners and to a state file that cannot be used."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
import shutil
import sqlite3
import stat
import time

import pytest

from batchrunner import snapshots, statefile, store
from batchrunner.core import job as machine, outputs, record
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.sandbox.settings import API_KEY
from tests.support.program import Program

ONE_JOB = """\
version: 1
output: out/{id}.mp4
jobs:
  - {id: still, kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p, input: a.png}
"""


@pytest.fixture
def manifest(program: Program, media: Path, request: pytest.FixtureRequest) -> Path:
    shutil.copy(media / "a.png", program.folder)
    path = program.folder / f"{abs(hash(request.node.name))}.yaml"
    path.write_text(ONE_JOB)
    return path


@pytest.fixture
def done(program: Program, manifest: Path) -> Path:
    """A manifest whose only job is done."""
    ended = program.run("run", manifest.name)
    assert ended.code == 0, ended.err
    return manifest


def found(program: Program, *arguments: str) -> tuple[int, dict[str, str], dict[str, dict[str, str]]]:
    """Exit code, the worst grade by subject, and the findings."""
    ended = program.run("doctor", *arguments, "--json")
    assert "Traceback" not in ended.err
    findings = ended.json()["findings"]
    assert ended.json()["exit_code"] == ended.code
    worst: dict[str, str] = {}
    for each in findings:
        if each["grade"] != "ok":
            worst[each["subject"]] = each["grade"]
    return ended.code, worst, {each["subject"]: each for each in findings}


def test_a_set_up_in_good_order_has_no_problem_and_shows_no_key(program, done):
    ended = program.run("doctor", done.name)
    assert ended.code == 0, ended.out
    assert "problem" not in ended.out
    assert API_KEY not in ended.out + ended.err
    _, _, findings = found(program, done.name)
    assert "accepted" in findings["key"]["text"]
    assert "answers in" in findings["provider"]["text"]
    assert "agrees with the provider" in findings["clock"]["text"]
    assert {"python", "packages", "sqlite", "catalogue", "account", "disk", "file-system", "manifest"} <= set(findings)


def test_notice_addresses_are_counted_and_not_told(program, manifest):
    program.env["BATCHRUNNER_NOTIFY"] = "json://opensesame.example rubbish://opensesame"
    code, worst, findings = found(program)
    assert (code, worst) == (2, {"notices": "problem"})
    assert findings["notices"]["text"].startswith("2 notice addresses, of which 1 cannot be understood")
    assert "opensesame" not in str(findings)


def test_key_and_provider_come_to_their_exit_codes(program, manifest):
    assert found(program)[0] == 0
    program.env["MAGIC_HOUR_API_KEY"] = "mhk_wrong"
    assert found(program)[:2] == (6, {"key": "problem"})
    program.env["MAGIC_HOUR_API_KEY"] = ""
    assert found(program)[:2] == (2, {"key": "problem"})
    program.env |= {"MAGIC_HOUR_API_KEY": "x", "MAGIC_HOUR_BASE_URL": "http://127.0.0.1:9"}
    assert found(program)[:2] == (5, {"provider": "problem"})


@pytest.mark.parametrize("user", ["me:sesame", ":sesame", "sesame", ""])
def test_an_address_of_the_provider_with_a_password_is_refused_and_never_told(program, manifest, user):
    program.env["MAGIC_HOUR_BASE_URL"] = f"http://{user}@127.0.0.1:9"
    code, worst, findings = found(program)
    assert (code, worst) == (2, {"key": "problem"})
    assert "MAGIC_HOUR_BASE_URL" in findings["key"]["text"]
    assert "sesame" not in str(findings)


def test_a_proxy_is_told_without_its_password_and_a_sandbox_needs_none(program, manifest):
    program.env["HTTPS_PROXY"] = "http://me:sesame@127.0.0.1:9"
    assert "proxy" not in found(program)[2], "what has no TLS goes directly"
    program.env["ALL_PROXY"] = program.env["https_proxy"] = "socks5://127.0.0.1:9"
    assert found(program)[0] == 0, "nor is it asked what sort it is"
    del program.env["https_proxy"]
    program.env["MAGIC_HOUR_BASE_URL"] = "https://api.example.com"
    code, worst, findings = found(program)
    assert (code, worst) == (5, {"provider": "problem"})
    assert findings["proxy"]["text"] == "connections with TLS go through http://127.0.0.1:9 (HTTPS_PROXY)"
    assert "127.0.0.1:9" in findings["provider"]["text"]
    assert "sesame" not in str(findings)
    program.env["HTTPS_PROXY"] = "socks5://me:sesame@127.0.0.1:9"
    code, worst, findings = found(program)
    assert (code, worst) == (2, {"key": "problem"})
    assert "socks5://, which is not supported" in findings["key"]["text"]


def test_a_wrong_manifest_is_a_problem_with_its_place(program, manifest):
    manifest.write_text(ONE_JOB.replace("a.png", "b-missing.png"))
    code, _, findings = found(program, manifest.name)
    assert code == 2
    assert f"{manifest.name}:4" in findings["manifest"]["text"]


def test_what_is_safe_is_mended(program, done):
    state = store.path_for(done)
    log = done.with_suffix(".log")
    state.chmod(0o644)
    log.chmod(0o666)
    with store.open_to_read(state) as view:
        assert view is not None
        (job,) = view.jobs()
    assert job.project_id is not None
    mine = done.parent / "out" / f".still.mp4.{outputs.mark_of(job.id, job.project_id)}.part"
    strange = done.parent / "out" / ".other.mp4.0123456789ab.part"
    mine.touch()
    strange.touch()
    db = sqlite3.connect(state)
    db.execute("UPDATE job SET charged = 1")
    db.commit()
    db.close()
    code, worst, _ = found(program, done.name)
    assert (code, worst) == (12, {"state": "problem", "modes": "warning", "partials": "warning"})
    ended = program.run("doctor", done.name, "--fix")
    assert ended.code == 0, ended.out
    assert stat.S_IMODE(state.stat().st_mode) == stat.S_IMODE(log.stat().st_mode) == 0o600
    assert (mine.exists(), strange.exists()) == (False, True)
    assert len(list(done.parent.glob("*.before-fix-*"))) == 1
    assert program.run("run", done.name).code == 0
    assert len(program.provider.creates(done.stem)) == 1


@pytest.mark.parametrize(
    "content", [b"", b"SQLite format 3\x00", bytes(range(256)) * 16], ids=["empty", "cut", "noise"]
)
def test_every_command_refuses_a_state_file_that_cannot_be_used_and_says_what_helps(program, done, content):
    state = store.path_for(done)
    state.write_bytes(content)
    for arguments in (
        ("run", done.name),
        ("status", done.name),
        ("plan", done.name),
        ("ledger", done.name),
        ("download", done.name),
        ("adopt", done.name, "still", "x"),
        ("resolve", done.name, "still", "--give-up"),
        ("doctor", done.name, "--fix"),
    ):
        ended = program.run(*arguments)
        assert ended.code == 12, (arguments, ended.out, ended.err)
        assert "Traceback" not in ended.err
        assert "hint: " in ended.err or "-> " in ended.out
    assert state.read_bytes() == content
    assert len(program.provider.creates(done.stem)) == 1


def test_two_runners_never_meet(program, done):
    with store.open_for_run(store.path_for(done), run_id="first", now=1.0):
        for arguments in (("run", done.name), ("download", done.name), ("resolve", done.name, "still", "--give-up")):
            ended = program.run(*arguments)
            assert (ended.code, "in use" in ended.err, "hint: " in ended.err) == (11, True, True), ended.err
        assert found(program, done.name)[0] == 0
        code, _, findings = found(program, done.name, "--fix")
        assert (code, "nothing was touched" in findings["fix"]["text"]) == (11, True)
        assert program.run("status", done.name).code == 0
        assert program.run("plan", done.name).code == 0
    assert found(program, done.name, "--fix")[0] == 0


THREE_JOBS = ONE_JOB + "".join(
    f"  - {{id: {name}, kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p, input: a.png}}\n"
    for name in ("two", "three")
)


def killed_without_its_log(program: Program, manifest: Path, *, keeps: str) -> None:
    """A run that is killed after two submissions, and whose log is then lost, with a main file from before them.

    Purchases are copied into the main file at once; a disk that lies about what is written, or an older copy of the
    file, is without them all the same.
    """
    with program.start("run", manifest.name) as run:
        deadline = time.monotonic() + 60
        while len(program.provider.creates(manifest.stem)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        run.kill()
    assert len(program.provider.creates(manifest.stem)) >= 2
    state = store.path_for(manifest)
    if keeps == "jobs":  # as if SQLite had copied the first pages back
        with store.open_to_read(state) as view:
            assert view is not None
            first = [each for each in view.events() if type(each[2]).__name__ in {"Opened", "Uploaded"}]
        forget(state)
        replay(state, first)
    else:
        forget(state)


def forget(state: Path) -> None:
    """Take the log away, and out of the main file what a run has put there."""
    statefile.log_of(state).unlink()
    statefile.index_of(state).unlink(missing_ok=True)
    with closing(sqlite3.connect(state)) as db, db:
        triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        for table in ("event", "job", "baseline"):
            db.execute(f"DELETE FROM {table}")
        for _, text in triggers:
            db.execute(text)


def replay(state: Path, log: list[tuple[str, int, Event]]) -> None:
    """Put events into a file that says of itself that a run was cut short."""
    jobs: dict[str, Job] = {}
    rows = []
    for job_id, _, event in log:
        jobs[job_id] = machine.advance(jobs.get(job_id), event)
        body = (job_id, 1, type(event).__name__, 1, event.at, "r", record.event_to_text(event))
        rows.append(body)
    with closing(sqlite3.connect(state)) as db, db:
        db.executemany("INSERT INTO event (job, attempt, type, version, at, run, body) VALUES (?,?,?,?,?,?,?)", rows)
        last = snapshots.last_events(db)
        for job in jobs.values():
            db.execute(snapshots.PUT, snapshots.row(job, is_current=True, last_event=last[job.id, 1]))


@pytest.mark.parametrize("keeps", ["nothing", "jobs"])
def test_what_a_lost_log_may_have_bought_is_never_bought_again_by_itself(program, manifest, keeps):
    manifest.write_text(THREE_JOBS)
    killed_without_its_log(program, manifest, keeps=keeps)
    bought = program.provider.creates_by_job(manifest.stem)
    for command in ("status", "plan", "ledger", "retry", "reconcile", "download", "run"):
        ended = program.run(command, manifest.name)
        assert (ended.code, ended.out) == (12, ""), command
        assert "to buy" not in ended.err
        assert "--accept-lost-log" in ended.err
    code, _, findings = found(program, manifest.name, "--fix")
    assert code == 12
    assert "--accept-lost-log" in findings["state"]["advice"]
    assert program.run("run", manifest.name).code == 12
    ended = program.run("doctor", manifest.name, "--accept-lost-log")
    assert ended.code == 0, ended.out
    assert "waits for a person" in ended.out
    for _ in range(2):
        ended = program.run("run", manifest.name)
        assert ended.code == 9, ended.err
        assert program.provider.creates_by_job(manifest.stem) == bought
    assert {job["state"] for job in program.status(manifest)["jobs"]} == {"uncertain"}
    # A person finds the two that were bought, and knows that the third was not.
    for create in program.provider.creates(manifest.stem):
        job = create["name"].removeprefix(f"{manifest.stem}/").partition(" [")[0]
        ended = program.run("adopt", manifest.name, job, create["id"])
        assert ended.code == 0, ended.err
    for job in {"still", "two", "three"} - set(bought):
        assert program.run("resolve", manifest.name, job, "--not-created").code == 0
    ended = program.run("run", manifest.name)
    assert ended.code == 0, ended.err
    assert set(program.provider.creates_by_job(manifest.stem).values()) == {1}
    assert len(list((manifest.parent / "out").glob("*.mp4"))) == 3
