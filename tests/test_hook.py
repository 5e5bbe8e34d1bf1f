"""The command that is run for each job that is done."""

from __future__ import annotations

import os
from pathlib import Path
import sys
import threading

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


def test_the_end_of_a_run_does_not_wait_for_ever(tmp_path: Path) -> None:
    told: list[str] = []
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    slow = hook(tmp_path, f"open({str(gate)!r}).read()", told)
    slow.done("j1", "{}\n")
    slow.close(wait_s=0.2)
    assert told == ["warning: on_job_done has not run for every job yet, and nothing waits for it any longer"]
    with gate.open("w"):
        pass
    for thread in threading.enumerate():
        if thread.name == "hook":
            thread.join()


def test_failures_are_told_one_by_one_and_then_counted(tmp_path: Path) -> None:
    told: list[str] = []
    bad = hook(tmp_path, "raise SystemExit(7)", told)
    for number in range(5):
        bad.done(f"j{number}", "{}\n")
    bad.close()
    assert len([line for line in told if "ended with 7" in line]) == 3
    assert told[-1] == "warning: on_job_done failed for 5 jobs in all"
