"""The command that is run for each job that is done."""

from __future__ import annotations

import os
from pathlib import Path
import sys
import threading
import time

import pytest

from batchrunner.hook import Hook

WAITS = "import sys, time; sys.stdin.read(); time.sleep(600)"


def hook(folder: Path, code: str, told: list[str], *, longest_s: float = 60.0) -> Hook:
    return Hook([sys.executable, "-c", code], folder=folder, environ=os.environ, tell=told.append, longest_s=longest_s)


def test_one_that_never_ends_is_ended_with_what_it_started(tmp_path: Path) -> None:
    told: list[str] = []
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAITS!r}])"
    slow = hook(tmp_path, child, told, longest_s=0.5)
    slow.done("j1", "{}\n")
    slow.close()
    assert told == ["warning: on_job_done took longer than 0.5 s and was ended for j1; the run is not touched by it"]


BEGINS = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked for yet does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize("is_deaf", [False, True])
def test_one_that_hangs_does_not_outlive_the_run(tmp_path, monkeypatch, is_deaf):
    monkeypatch.setattr("batchrunner.hook.LEAST_S", 0.0)
    monkeypatch.setattr("batchrunner.hook.GRACE_S", 0.5)
    told: list[str] = []
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    child = f"{BEGINS if is_deaf else ''}import os; open({str(gate)!r}, 'w').write(str(os.getpid())); {WAITS}"
    slow = hook(tmp_path, f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])", told)
    slow.done("j1", "{}\n")
    pid = int(gate.read_text())  # the command's own child runs
    slow.done("j2", "{}\n")
    assert alive(pid)
    slow.close(wait_s=0.0)
    for _ in range(100):  # what was killed is gone when the kernel has come to it
        if not alive(pid):
            break
        time.sleep(0.02)
    assert not alive(pid)
    assert not [thread for thread in threading.enumerate() if thread.name == "hook"]
    (said,) = told
    assert said.startswith("warning: on_job_done has not run, or not to its end, for ")


def test_none_is_begun_shortly_before_the_end(tmp_path: Path) -> None:
    told: list[str] = []
    late = hook(tmp_path, "open('begun', 'w')", told)
    late.close(wait_s=0.0)
    late = hook(tmp_path, "open('begun', 'w')", told)
    late._ends_at = 0.0
    late.done("j1", "{}\n")
    late.close(wait_s=1.0)
    assert not (tmp_path / "begun").exists()
    assert told == ["warning: on_job_done has not run, or not to its end, for 1 of the jobs"]


def test_failures_are_told_one_by_one_and_then_counted(tmp_path: Path) -> None:
    told: list[str] = []
    bad = hook(tmp_path, "raise SystemExit(7)", told)
    for number in range(5):
        bad.done(f"j{number}", "{}\n")
    bad.close()
    assert len([line for line in told if "ended with 7" in line]) == 3
    assert told[-1] == "warning: on_job_done failed for 5 jobs in all"
