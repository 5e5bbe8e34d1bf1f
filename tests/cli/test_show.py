"""Lines for a person, on terminals of any width."""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
import pty
import subprocess
import sys

import pytest

from batchrunner import clock, inwords
from batchrunner.cli import show
from batchrunner.core import events, job as machine, plain
from tests.core.test_job import opened

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
    lines = on_a_screen(code, COLUMNS="40")
    assert max(map(len, lines)) <= 40
    assert " ".join(line.strip() for line in lines) == SENTENCE


@pytest.mark.parametrize(
    ("age_s", "told"),
    [
        (3000, "project p1"),
        (7265, "project p1, slow: draft after 2 h 01 min; the provider's support finds it by this id"),
    ],
)
def test_a_render_that_takes_very_long_is_shown_as_slow(age_s, told):
    now = clock.now()
    log = [
        opened(),
        events.Uploaded(at=now - age_s, assets=()),
        events.SubmitStarted(at=now - age_s, name="n"),
        events.Accepted(at=now - age_s, project_id="p1", credits=9),
        events.Looked(at=now, status="draft", credits=9),
    ]
    assert inwords.note(machine.replay(log), {}) == told


def on_a_screen(code: str, **environ: str) -> list[str]:
    """The lines that Python code writes to a terminal, without spaces at their ends."""
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", code], env=os.environ | environ, stdout=theirs, check=True)
    os.close(theirs)
    written = b""
    with os.fdopen(ours, "rb", buffering=0) as screen, suppress(OSError):  # Linux's word for its end
        while more := screen.read(4096):
            written += more
    return [line.rstrip() for line in written.decode().splitlines()]


REASONS = f"""
from batchrunner.cli import show
show.table(("job", "reason"), [("a", "{SENTENCE}"), ("b", "x" * 300), ("c", "")])
"""


def test_the_last_column_says_why_on_as_many_lines_as_it_needs() -> None:
    heading, *lines = on_a_screen(REASONS, COLUMNS="40", TERM="xterm")
    assert heading == "\x1b[1mjob  reason\x1b[0m"
    assert max(map(len, lines)) <= 40
    assert lines[:2] == ["a    12 jobs: 4 done, 8 ready; 1,440", "     credits charged, and 2 charges not"]
    assert [line[:6] for line in lines if not line.startswith(" ")] == ["a    1", "b    x", "c"]
    assert len(lines) == 3 + show.MOST_LINES + 1
    assert lines[-2].endswith("…")


def test_a_dumb_terminal_gets_letters_alone() -> None:
    assert on_a_screen(REASONS, COLUMNS="40", TERM="dumb")[0] == "job  reason"


STATES = """
from batchrunner.cli import colours, show
show.table(("job", "state"), [("a", "done"), ("b", "ready")], tinted=1, tints=[colours.GOOD, None])
show.words("uncertain: a")
"""


@pytest.mark.parametrize(
    ("environ", "lines"),
    [
        ({"TERM": "xterm"}, ["a    \x1b[32mdone\x1b[0m", "b    ready", "\x1b[33muncertain: a\x1b[0m"]),
        ({"TERM": "xterm", "NO_COLOR": "1"}, ["a    done", "b    ready", "uncertain: a"]),
        ({"TERM": "dumb"}, ["a    done", "b    ready", "uncertain: a"]),
    ],
)
def test_a_state_has_a_colour_unless_none_is_wanted(environ, lines):
    assert on_a_screen(STATES, **{"COLUMNS": "40", "NO_COLOR": "", **environ})[1:] == lines


def test_a_release_is_no_command_to_be_copied():
    assert len(show.wrapped("Python 3.11 on a machine with a long name, batchrunner 0.1.0", 40).split("\n")) == 2


WIDE = """
from batchrunner.cli import show
wide = ("日本語の映像🎬" * 3, "done", "renders/" + "日本語の映像" * 9)
rows = [wide, ("e\\u0301tude", "done", "a " * 30), ("b", "done", "b")]
show.table(("job", "state", "file"), rows)
"""


def test_wide_letters_and_marks_take_the_columns_that_they_take_on_a_screen() -> None:
    _, *lines = on_a_screen(WIDE, COLUMNS="60", TERM="dumb")
    assert max(map(plain.width, lines)) <= 60
    starts = {plain.width(line[: line.index("done")]) for line in lines if "done" in line}
    assert len(starts) == 1
    assert "".join(lines).replace(" ", "").count("日本語の映像") >= 9
    assert "\ue000" not in "".join(lines)
