"""The log and the events of a run: what is in them, what is not, and who may read them."""

from __future__ import annotations

import json
import os
from pathlib import Path
import shutil
import stat
import subprocess
import sys
from typing import Any

import pytest

from batchrunner import logfile, private, store
from batchrunner.cli import app, recorder
from batchrunner.core.redact import Redactor
from batchrunner.errors import UsageError
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import API_KEY, Settings
from tests.support.program import Program, Provider

BATCH = """\
version: 1
output: out/{id}.mp4
jobs:
  - {id: clip, kind: video-to-video, input: a.mp4, end_seconds: 0.5, style: {art_style: Ink}}
  - {id: still, kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p, input: a.png}
"""

HOSTILE = "\x1b]0;owned\x07\x9b2Jsee\u202etxt.exe\r\nerror: forged https://s.example/x?X-Amz-Signature=abc123"


def lay_out(program: Program, media: Path, name: str) -> Path:
    for file in media.iterdir():
        shutil.copy(file, program.folder)
    manifest = program.folder / f"{name}.yaml"
    manifest.write_text(BATCH)
    return manifest


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_on_standard_output_are_alone_there_and_tell_the_whole_run(program, media):
    manifest = lay_out(program, media, "alone")
    ended = program.run("run", manifest.name, "--events", "-")
    assert ended.code == 0, ended.err
    events = [json.loads(line) for line in ended.out.splitlines()]
    with store.open_to_read(store.path_for(manifest)) as view:
        assert view is not None
        assert [each["job"] for each in events] == [job_id for job_id, _, _ in view.events()]
    clip = [each for each in events if each["job"] == "clip"]
    names = [each["event"] for each in clip if each["event"] != "looked"]
    assert names == ["opened", "uploaded", "submit-started", "accepted", "rendered", "downloaded"]
    assert (clip[-1]["state"], clip[-1]["outputs"][0]["path"]) == ("done", "out/clip.mp4")
    assert {each["version"] for each in events} == {1}
    assert len({each["run"] for each in events}) == 1
    assert program.run("run", manifest.name, "--events", "-", "--json").code == 2


def test_every_documented_field_of_an_event_is_there_and_no_other(program, media):
    manifest = lay_out(program, media, "fields")
    assert program.run("run", manifest.name, "--events", "e.jsonl").code == 0
    documented = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
    for each in lines_of(program.folder / "e.jsonl"):
        for name in each:
            assert f"| `{name}` |" in documented
        assert f"`{each['event']}`" in documented
    assert stat.S_IMODE((program.folder / "e.jsonl").stat().st_mode) == 0o600


def test_a_reader_of_events_that_leaves_costs_no_render(program, media):
    manifest = lay_out(program, media, "leaver")
    with program.start("run", manifest.name, "--events", "-") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(timeout=100) == 0, err
    assert "written no more" in err


def test_a_reader_of_events_that_stands_still_costs_no_render(program, media):
    manifest = lay_out(program, media, "still")
    (program.folder / "pipe").unlink(missing_ok=True)
    os.mkfifo(program.folder / "pipe")  # nobody ever opens it to read
    for option in ("--events", "--log"):
        ended = program.run("run", manifest.name, option, "pipe")
        assert (ended.code, "pipe is written no more" in ended.err) == (0, True), ended.err
    assert program.status(manifest)["jobs"][0]["state"] == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full here")
def test_standard_output_that_cannot_be_written_is_told_as_that(program, media):
    manifest = lay_out(program, media, "full")
    assert program.run("run", manifest.name).code == 0
    commands = (
        ["status", manifest.name],
        ["status", manifest.name, "--json"],
        ["plan", manifest.name],
        ["log", manifest.name, "clip"],
        ["ledger", manifest.name],
        ["report", manifest.name, "-o", "-"],
        ["models"],
        ["--help"],
    )
    for command in commands:
        with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
            ended = subprocess.run(
                [sys.executable, "-m", "batchrunner", *command],
                cwd=program.folder,
                env=program.environ(),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        last = ended.stderr.splitlines()[-1:]
        assert (ended.returncode, last) == (2, ["error: cannot write to standard output: No space left on device"])


def test_a_reader_that_stays_too_late_is_given_up_after_some_seconds_and_told_once():
    reading, writing = os.pipe()
    told: list[str] = []
    now = [0.0]
    lines = logfile.Handed(
        lambda: logfile.Lines(None, writing, turns_over=False, tell=told.append),
        None,
        tell=told.append,
        now=lambda: now[0],
    )
    large = "x" * 500_000
    for _ in range(20):
        lines.write([large])
    assert told == []
    now[0] += logfile.LONGEST_LATE_S
    assert os.read(reading, 50_000), "it takes some, and too little"
    lines.write([large])
    lines.write([large])
    assert [each.partition(";")[0] for each in told] == [
        "warning: standard output is written no more: its reader does not keep up"
    ]
    os.close(reading)
    lines.close()


def test_a_slow_reader_gets_every_line_in_order():
    reading, writing = os.pipe()
    told: list[str] = []
    lines = logfile.to_standard_output(writing, tell=told.append)
    wanted = [f"{number} {'x' * 1000}" for number in range(500)]  # more than a pipe holds
    for line in wanted:
        lines.write([line])
    with os.fdopen(reading) as file:
        assert [file.readline().rstrip() for _ in wanted] == wanted
        lines.close()
        assert file.read() == ""
    assert told == []


def test_a_device_keeps_its_rights(tmp_path):
    device = tmp_path / "pipe"
    os.mkfifo(device, 0o644)
    device.chmod(0o644)
    lines = logfile.opened(device, turns_over=False, tell=print)
    with device.open() as file:
        lines.write(["one"])
        assert file.readline() == "one\n"
    lines.close()
    assert stat.S_IMODE(device.stat().st_mode) == 0o644


def test_the_log_tells_runs_requests_and_events_and_no_secret(program, media):
    manifest = lay_out(program, media, "logged")
    assert program.run("run", manifest.name).code == 0
    log = program.folder / "logged.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    text = log.read_text()
    assert API_KEY not in text
    assert "Signature" not in text
    assert "?" not in text
    lines = lines_of(log)
    assert [each["event"] for each in lines if each["event"] in {"began", "ended"}] == ["began", "ended"]
    assert lines[-1]["exit_code"] == 0
    requests = [each for each in lines if each["event"] == "request"]
    assert {"GET", "POST", "PUT"} == {each["method"] for each in requests}
    assert all(each["status"] == 200 and each["ms"] >= 0 for each in requests)
    assert {each["job"] for each in lines if each["event"] == "job"} == {"clip", "still"}
    assert program.run("run", manifest.name, "--no-log").code == 0
    assert log.read_text() == text
    assert program.run("run", manifest.name, "--log", "other.log").code == 0
    assert (program.folder / "other.log").exists()


def test_a_file_that_is_no_log_is_never_written_to(program, media):
    manifest = lay_out(program, media, "mistaken")
    for option in ("--log", "--events"):
        ended = program.run("run", manifest.name, option, manifest.name)
        assert (ended.code, "something other than JSON Lines" in ended.err) == (2, True)
    assert manifest.read_text() == BATCH


def test_hostile_words_of_a_provider_steer_neither_terminal_nor_log(tmp_path, media):
    rules = [
        {"job": "*clip*", "render_error": {"code": "nsfw", "message": HOSTILE}},
        {"step": "create", "job": "*still*", "status": 422, "code": "\x1b[31mred", "message": HOSTILE},
    ]
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps(rules))
    folder = tmp_path / "batch"
    folder.mkdir()
    with launch.start(Settings(data_dir=tmp_path / "data", scale=0.1, faults=faults)) as running:
        program = Program(folder=folder, provider=Provider(base_url=running.base_url))
        manifest = lay_out(program, media, "hostile")
        shown = program.run("run", manifest.name, "--events", "e.jsonl")
        status = program.run("status", manifest.name)
        as_json = program.run("status", manifest.name, "--json")
        ledger = program.run("ledger", manifest.name, "--refunds-due")
    assert shown.code == 4, shown.err
    assert "owned" in shown.err
    assert "owned" in (folder / "hostile.log").read_text()
    texts = [shown.err, shown.out, status.out, as_json.out, ledger.out, (folder / "e.jsonl").read_text()]
    for text in [*texts, (folder / "hostile.log").read_text()]:
        assert not set(text) & set("\x1b\x07\x9b\r\u202e")
        assert "abc123" not in text
        assert not any(line.startswith("error: forged") for line in text.splitlines())


def test_an_unexpected_exception_ends_in_the_log_without_the_key(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MAGIC_HOUR_API_KEY", "mhk_very_secret_key")
    log = tmp_path / "night.log"

    def break_down() -> None:
        with recorder.recording(tmp_path / "night.state.db", tmp_path / "night.yaml"):
            raise ZeroDivisionError("while using mhk_very_secret_key\nBearer mhk_other")

    with pytest.raises(ZeroDivisionError) as caught:
        break_down()
    assert app._report_bug(caught.value) == 1
    assert str(log) in capsys.readouterr().err
    text = log.read_text()
    assert "break_down" in text
    assert "mhk_" not in text
    recorder._current.clear()


def test_a_log_turns_over_and_three_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(logfile, "LARGEST", 2000)
    path = tmp_path / "a.log"
    told: list[str] = []
    log = logfile.Log(logfile.opened(path, turns_over=True, tell=told.append), Redactor())
    for number in range(100):
        log.say("info", "x", number=number, text="y" * 100)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [each.name for each in files] == ["a.log", "a.log.1", "a.log.2"]
    assert all(each.stat().st_size < 2300 and private.is_private(each) for each in files)
    assert lines_of(path)[-1]["number"] == 99 or lines_of(tmp_path / "a.log.1")[-1]["number"] == 99
    assert not told


def test_a_disk_that_takes_no_more_ends_the_log_and_not_the_run():
    told: list[str] = []
    full = logfile.Lines(Path("/dev/full"), os.open("/dev/full", os.O_WRONLY), turns_over=True, tell=told.append)
    log = logfile.Log(full, Redactor())
    log.say("info", "x")
    log.say("info", "x")
    assert len(told) == 1
    assert "the run goes on" in told[0]


def test_many_events_are_one_write(tmp_path):
    reading, writing = os.pipe()
    lines = logfile.Lines(None, writing, turns_over=False, tell=print)
    logfile.Log(lines, Redactor()).add("info", "job", [{"number": number} for number in range(50)])
    first = os.read(reading, 1 << 16)
    lines.close()
    os.close(reading)
    assert first.count(b"\n") == 50


@pytest.mark.parametrize("mode", ["w", "a"])
def test_output_that_a_shell_leads_to_where_the_log_would_be_stays_whole(program, media, mode):
    """`nohup batchrunner run night.yaml > night.log 2>&1 &`, as it is typed for a night."""
    manifest = lay_out(program, media, "night")
    log = program.folder / "night.log"
    command = [sys.executable, "-m", "batchrunner", "run", manifest.name]
    with log.open(mode) as output:
        given = {"cwd": program.folder, "env": program.environ(), "stdout": output, "stderr": subprocess.STDOUT}
        assert subprocess.run(command, **given, check=False).returncode == 0
    lines = log.read_text().splitlines()
    assert not [line for line in lines if "{" in line]
    assert "night.log is where this command's own output goes (--log FILE keeps one elsewhere)" in lines[0]
    assert any("clip: done: " in line for line in lines)


def test_a_log_that_was_named_and_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="cannot write"):
        logfile.opened(tmp_path / "gone" / "a.log", turns_over=True, tell=print)


def test_names_from_a_folder_are_shown_without_steering_the_terminal(program, media):
    folder = program.folder / "clips"
    folder.mkdir()
    shutil.copy(media / "a.png", folder / "x\x1b[2J\u202e.png")
    manifest = program.folder / "names.yaml"
    manifest.write_text(
        "version: 1\njobs:\n  - {id: b, kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p,"
        ' input: "clips/x\\e[2J\\u202e.jpg"}\n'
    )
    for command in ("plan", "validate", "run"):
        ended = program.run(command, manifest.name)
        assert ended.code == 2
        assert not set(ended.out + ended.err) & set("\x1b\u202e"), ended.err
        assert "202e" in ended.err
