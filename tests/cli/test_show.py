"""Lines for a person, on terminals of any width."""

from __future__ import annotations

import os
from pathlib import Path
import pty
import subprocess
import sys

import pytest

from batchrunner.cli import show

SENTENCE = "12 jobs: 4 done, 8 ready; 1,440 credits charged, and 2 charges not told by the provider"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        (
            SENTENCE,
            ["12 jobs: 4 done, 8 ready; 1,440 credits", "  charged, and 2 charges not told by the", "  provider"],
        ),
        ("next: " + "x" * 50, ["next:", "  " + "x" * 50]),
        (f"hint: batchrunner run {'y' * 40} --yes", [f"hint: batchrunner run {'y' * 40} --yes"]),
        (f"{SENTENCE[:20]}\nb", [SENTENCE[:20], "b"]),
    ],
)
def test_a_sentence_is_broken_at_words_and_a_command_is_not(text, lines):
    assert show.wrapped(text, 40).split("\n") == lines


def test_only_a_terminal_gets_lines_of_its_width(tmp_path: Path) -> None:
    code = f"from batchrunner.cli import show; show.words({SENTENCE!r})"
    environ = os.environ | {"COLUMNS": "40"}
    piped = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert piped.stdout == SENTENCE + "\n"
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", code], env=environ, stdout=theirs, check=True)
    os.close(theirs)
    with os.fdopen(ours, "rb") as screen:
        lines = screen.read(len(SENTENCE)).decode().splitlines()
    assert max(map(len, lines)) <= 40
