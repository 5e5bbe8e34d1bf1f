"""A forked process is what a started one is, since the suite takes one for the other."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import sys
import time

import pytest

from tests.support import forked
from tests.support.program import Program, ended

pytestmark = pytest.mark.skipif(not forked.can_run(os.environ), reason="this system forks no processes")

WRONG = "version: 1\njobs:\n  - {id: hero, kind: image-to-video, input: é.png, end_seconds: 2}\n"


@pytest.mark.parametrize(
    "words", ["--version", "validate night.yaml", "plan none.yaml", "ledger --no-such-flag", "account --json"]
)
def test_exit_code_and_words_are_those_of_a_start(program: Program, words: str) -> None:
    (program.folder / "night.yaml").write_text(WRONG)
    forked_ended, started = program.run(*words.split()), program.start(*words.split())
    out, err = started.communicate(timeout=100)
    assert (forked_ended.code, forked_ended.out, forked_ended.err) == (started.returncode, out, err)


def test_it_is_a_process_of_its_own_in_the_folder_and_environment_it_was_given(tmp_path: Path) -> None:
    env = dict(os.environ) | {"TZ": "Asia/Kathmandu", "OF_THIS_TEST": "yes"}
    code, out, err = forked.run(__name__, ["a", "b c"], folder=tmp_path, env=env, timeout_s=100)
    pid, *rest = out.splitlines()
    assert (code, err) == (3, "to the person\n")
    assert int(pid) != os.getpid()
    assert rest == [str(tmp_path), "yes", "20700", "['a', 'b c']", ""]


def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        forked.run(__name__, ["forever"], folder=tmp_path, env=dict(os.environ), timeout_s=0.1)


def test_what_python_reads_as_it_starts_is_left_to_a_start(program: Program) -> None:
    program.env["PYTHONUTF8"] = "0"
    assert not forked.can_run(program.environ())
    assert ended("platform", "--terse", folder=program.folder, env=program.environ()).code == 0


def main() -> None:
    """What the processes of these tests do."""
    if sys.argv[1:] == ["forever"]:
        signal.pause()
    seen = (os.getpid(), Path.cwd(), os.environ["OF_THIS_TEST"], -time.timezone, sys.argv[1:], sys.stdin.read())
    sys.stdout.write("".join(f"{each}\n" for each in seen))
    sys.stderr.write("to the person\n")
    sys.exit(3)
