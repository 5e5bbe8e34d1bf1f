"""The Tab key: what is offered where, from what, and that nothing breaks or slows the line that is being typed."""

from __future__ import annotations

import os
from pathlib import Path
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from batchrunner import store
from batchrunner.cli import completion
from batchrunner.core import events, job as machine
from batchrunner.core.events import Event
from batchrunner.core.job import Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.spec import Spec

MANIFEST = """\
version: 1
jobs:
  - {id: waves, kind: image-to-video, end_seconds: 5, input: a.png}
  - {id: wind over hills, kind: image-to-video, end_seconds: 5, input: a.png}
  - {id: "{stem}", kind: image-to-video, end_seconds: 5, input: a.png}
"""


def write_state(path: Path, **states: State) -> None:
    """A state file with a job of each name, known to be in doubt or only opened."""
    spec = Spec(
        kind=Kind.IMAGE_TO_VIDEO,
        request="{}",
        inputs=(),
        output="a.mp4",
        seconds=5,
        fingerprint="f",
        hold=1,
        expected=1,
    )
    entries: list[tuple[Event, Job]] = []
    for name, state in states.items():
        log: list[Event] = [events.Opened(at=1, id=name, attempt=1, spec=spec)]
        if state is State.UNCERTAIN:
            log += [
                events.Uploaded(at=2, assets=()),
                events.SubmitStarted(at=3, name=name),
                events.Unknowable(at=4, evidence="none"),
            ]
        job: Job | None = None
        for event in log:
            job = machine.advance(job, event)
            entries.append((event, job))
    with store.open_for_run(path, run_id="r", now=0) as opened:
        opened.append_now(entries)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "night.yaml").write_text(MANIFEST)
    return tmp_path


def offered(folder: Path, line: str, *, shell: str = "bash") -> list[str]:
    """What Tab offers at the end of a line; nothing else may be printed."""
    words = shlex.split(line) + [""] * line.endswith(" ")
    ended = subprocess.run(
        [sys.executable, "-m", "batchrunner"],
        cwd=folder,
        env=os.environ
        | {
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1) if shell != "fish" else words[-1],
            completion.VARIABLE: f"{shell}_complete",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return [each.removeprefix("plain,") for each in ended.stdout.split("\n") if each]


def test_commands_options_and_their_values(folder: Path) -> None:
    assert offered(folder, "batchrunner sch") == ["schema"]
    assert offered(folder, "batchrunner models --kind ") == ["video-to-video", "image-to-video"]
    assert offered(folder, "batchrunner run night.yaml --cutoff ") == ["soft", "hard"]
    assert "--only" in offered(folder, "batchrunner plan night.yaml --o")


def test_a_manifest_is_completed_as_a_file(folder: Path) -> None:
    for command in ("validate", "plan", "run", "status", "adopt"):
        assert offered(folder, f"batchrunner {command} ") == ["file,"]


def test_ids_come_from_the_manifest_before_anything_is_on_record(folder: Path) -> None:
    assert offered(folder, "batchrunner run night.yaml --only ") == ["waves", "'wind over hills'"]
    assert offered(folder, "batchrunner run night.yaml --only wa") == ["waves"]


def test_ids_on_record_come_first_and_each_once(folder: Path) -> None:
    write_state(folder / "night.state.db", older=State.READY, waves=State.UNCERTAIN)
    assert offered(folder, "batchrunner plan night.yaml --only ") == ["older", "waves", "'wind over hills'"]
    write_state(folder / "other.db", elsewhere=State.READY)
    assert offered(folder, "batchrunner run night.yaml --state other.db --only e") == ["elsewhere"]
    assert offered(folder, "batchrunner run night.yaml --state failed --state other.db --exclude e") == ["elsewhere"]
    assert offered(folder, "batchrunner redo night.yaml w") == ["waves", "'wind over hills'"]


def test_states_are_offered_to_select_by(folder: Path) -> None:
    assert offered(folder, "batchrunner status night.yaml --state re") == ["ready", "rendering", "rendered"]


@pytest.mark.parametrize("command", ["adopt", "resolve"])
def test_a_persons_word_is_asked_for_uncertain_jobs_only(folder: Path, command: str) -> None:
    assert offered(folder, f"batchrunner {command} night.yaml ") == []
    write_state(folder / "night.state.db", older=State.READY, waves=State.UNCERTAIN)
    assert offered(folder, f"batchrunner {command} night.yaml ") == ["waves"]
    assert str(State.UNCERTAIN) == completion.UNCERTAIN


def test_shells_that_quote_by_themselves_get_the_plain_id(folder: Path) -> None:
    lines = offered(folder, "batchrunner run night.yaml --only win", shell="zsh")
    assert lines == ["plain", "wind over hills", "_"]
    assert offered(folder, "batchrunner run night.yaml --only wa", shell="fish") == ["waves"]


@pytest.mark.parametrize("text", [b"", b"SQLite format 3\x00", b"no database at all, but long enough to look like one"])
def test_a_damaged_state_file_is_no_reason_to_disturb(folder: Path, text: bytes) -> None:
    (folder / "night.state.db").write_bytes(text)
    assert offered(folder, "batchrunner run night.yaml --only ") == []
    assert offered(folder, "batchrunner adopt night.yaml ") == []


@pytest.mark.parametrize("text", [b"\xff\xfe", b"jobs: [", b"- a", b"jobs: [a, {id: 5}, {id: [x]}]"])
def test_neither_is_a_manifest_that_cannot_be_read(folder: Path, text: bytes) -> None:
    (folder / "night.yaml").write_bytes(text)
    assert offered(folder, "batchrunner run night.yaml --only ") == []
    assert offered(folder, "batchrunner run nowhere.yaml --only ") == []
    assert offered(folder, "batchrunner run . --only ") == []


@pytest.mark.parametrize(
    ("line", "expected"), [("batchrunner ", "validate"), ("batchrunner run night.yaml --only ", "waves")]
)
def test_nothing_heavy_is_imported_while_the_shell_waits(folder: Path, line: str, expected: str) -> None:
    write_state(folder / "night.state.db", waves=State.READY)
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "batchrunner"],
        cwd=folder,
        env=os.environ
        | {
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split())),
            completion.VARIABLE: "bash_complete",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(re.findall(r"\| +([\w.]+)$", ended.stderr, flags=re.MULTILINE))
    assert f"plain,{expected}\n" in ended.stdout
    assert "click" in imported
    assert not imported & {"pydantic", "aiohttp", "httpx", "av", "PIL", "rich", "batchrunner.store"}


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_script_is_one_that_its_shell_reads(folder: Path, shell: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "batchrunner", "completion", shell], capture_output=True, text=True, check=True
    )
    assert f"{completion.VARIABLE}={shell}_complete" in ended.stdout
    if shutil.which(shell):
        (folder / "script").write_text(ended.stdout)
        assert subprocess.run([shell, "-n", "script"], cwd=folder, check=False).returncode == 0


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_with_it(folder: Path) -> None:
    program = folder / "batchrunner"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m batchrunner "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(batchrunner completion bash)"
        complete -p batchrunner
        COMP_WORDS=(batchrunner run night.yaml --only wi) COMP_CWORD=4
        _batchrunner_completion batchrunner wi --only
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    ended = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines() == [
        "complete -o nosort -F _batchrunner_completion batchrunner",
        "'wind over hills'",
    ]
