"""Nothing is bought without consent, and consent is for what was shown."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import re
import sys

import pytest

from tests.support.program import Program
from tests.test_crash import TWO_JOBS, lay_out

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a terminal of our own needs a POSIX pty")


@pytest.fixture
def batch(program: Program, media: Path, request: pytest.FixtureRequest) -> Path:
    program.env["BATCHRUNNER_RUN_YES"] = ""
    return lay_out(program, media, re.sub(r"\W+", "-", request.node.name), TWO_JOBS)


def on_a_terminal(program: Program, *arguments: str, answers: str | Callable[[bytes], bytes]) -> tuple[int, str]:
    """Run the program on a terminal of its own, type the answers, and give back exit code and screen.

    Answers that depend on the screen are given by a function that is asked until it says something.
    """
    import pty

    # All is made before the fork: what another thread holds in that moment, a lock, is never let go of in the child.
    command, environ = [sys.executable, "-m", "batchrunner", *arguments], program.environ()
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - the child becomes the program
        os.chdir(program.folder)
        os.execve(sys.executable, command, environ)
    if isinstance(answers, str):
        os.write(terminal, answers.encode())
    screen = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        screen += piece
        sys.stdout.write(piece.decode("utf-8", "replace"))  # for who finds that it stopped there
        if not isinstance(answers, str) and (typed := answers(screen)):
            os.write(terminal, typed)
            answers = ""
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), screen.decode("utf-8", "replace")


def test_without_a_terminal_it_needs_yes(program, batch):
    ended = program.run("run", batch.name)
    assert ended.code == 2
    assert "--yes" in ended.err
    assert "2 jobs for" in ended.err
    assert program.provider.creates(batch.stem) == []
    assert program.run("run", batch.name, "--yes").code == 0
    assert len(program.provider.creates(batch.stem)) == 2


def test_on_a_terminal_no_buys_nothing_and_yes_buys(program, batch):
    code, screen = on_a_terminal(program, "run", batch.name, answers="n\n")
    assert code == 130
    assert "go on?" in screen
    assert "credits ≤" in screen, "the whole plan is shown first"
    assert program.provider.creates(batch.stem) == []
    code, screen = on_a_terminal(program, "run", batch.name, answers="y\n")
    assert code == 0, screen
    assert len(program.provider.creates(batch.stem)) == 2


def test_yes_alone_never_buys_a_changed_job_again(program, batch):
    program.run("run", batch.name, "--yes")
    batch.write_text(batch.read_text().replace("art_style: Ink", "art_style: Comic"))
    assert program.run("run", batch.name, "--yes").code == 0
    assert len(program.provider.creates(batch.stem)) == 2
    assert program.run("run", batch.name, "--yes", "--only", "still").code == 0
    assert len(program.provider.creates(batch.stem)) == 2
    assert program.run("run", batch.name, "--yes", "--only", "clip").code == 0
    assert program.provider.creates_by_job(batch.stem) == {"clip": 2, "still": 1}


def test_a_changed_job_is_confirmed_for_that_purpose(program, batch):
    program.run("run", batch.name, "--yes")
    batch.write_text(batch.read_text().replace("art_style: Ink", "art_style: Comic"))
    code, screen = on_a_terminal(program, "run", batch.name, answers="n\n")
    assert code == 0, screen
    assert "1 finished job changed since: clip" in screen
    assert len(program.provider.creates(batch.stem)) == 2
    code, screen = on_a_terminal(program, "run", batch.name, answers="y\ny\n")
    assert code == 0, screen
    assert len(program.provider.creates(batch.stem)) == 3


def test_a_cap_of_the_run_holds(program, batch):
    ended = program.run("run", batch.name, "--yes", "--max-credits", "100")
    assert ended.code == 8
    assert "--max-credits is 100" in ended.err
    assert program.provider.creates_by_job(batch.stem) == {"clip": 1}
    ended = program.run("run", batch.name, "--yes", "--max-credits-per-job", "100")
    assert ended.code == 8
    assert program.run("run", batch.name, "--yes").code == 0


def test_a_sandbox_of_the_runs_own_asks_nothing(program, batch):
    assert program.run("run", batch.name, "--sandbox", "--quiet").code == 0
