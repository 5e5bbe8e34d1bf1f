"""The manifest's language as people type it: variables on the command line, files beside the manifest, a terminal."""

from __future__ import annotations

from pathlib import Path
import re
import sys

import pytest

from batchrunner.cli import quote
from batchrunner.core.problem import Place
from tests.cli.test_consent import on_a_terminal
from tests.support.program import Program, Provider

NIGHT = """\
version: 1
include: ../shared/looks.yaml
env: [CITY]
jobs:
  - id: "{stem}-{end_seconds}"
    kind: image-to-video
    input: a.png
    style: {prompt: "${CITY} by night"}
    matrix: {end_seconds: "${ends}"}
"""
LOOKS = """\
vars: {ends: [5, 6]}
defaults: {image-to-video: {model: kling-3.0, resolution: 720p}}
"""


@pytest.fixture
def program(tmp_path: Path, media: Path) -> Program:
    """The program in a folder with a manifest that includes a file of another folder; it has no provider."""
    work, shared = tmp_path / "work", tmp_path / "shared"
    work.mkdir()
    shared.mkdir()
    (work / "night.yaml").write_text(NIGHT)
    (shared / "looks.yaml").write_text(LOOKS)
    (work / "a.png").write_bytes((media / "a.png").read_bytes())
    return Program(
        folder=work,
        provider=Provider(base_url="http://127.0.0.1:9"),
        env={"CITY": "Rome", "MAGIC_HOUR_API_KEY": "", "HOME": str(tmp_path)},
    )


def test_the_expanded_manifest_can_stand_in_for_the_first(program):
    ended = program.here("config", "night.yaml")
    assert ended.code == 0, ended.err
    (program.folder / "expanded.yaml").write_text(ended.out)
    again = program.here("config", "expanded.yaml")
    assert again.out == ended.out
    first, second = (program.here("plan", f"{name}.yaml", "--json").json() for name in ("night", "expanded"))
    assert [job["id"] for job in first["jobs"]] == ["a-5", "a-6"]
    assert first["jobs"] == second["jobs"]


def test_origins_name_file_and_line_of_included_files(program):
    shape = program.here("config", "night.yaml", "--origin", "--json").json()
    first = shape["jobs"][0]
    assert first["style"] == {"prompt": "Rome by night"}
    assert first["origin"]["model"] == "defaults image-to-video, ../shared/looks.yaml:2"
    assert first["origin"]["end_seconds"] == "matrix, ../shared/looks.yaml:1"
    assert first["origin"]["style.prompt"] == "night.yaml:8, ${CITY} is set by the environment"


def test_variables_on_the_command_line_count_everywhere(program):
    words = ("--var", "ends=[7]", "--var", "CITY=Paris", "--json")
    assert program.here("validate", "night.yaml", *words).json()["jobs"] == 1
    assert [job["id"] for job in program.here("plan", "night.yaml", *words).json()["jobs"]] == ["a-7"]
    assert program.here("config", "night.yaml", *words).json()["jobs"][0]["style"]["prompt"] == "Paris by night"
    said = program.here("plan", "night.yaml", "--var", "ends=[7]").err
    assert "next: batchrunner run night.yaml --var 'ends=[7]'" in said
    ended = program.run("run", "night.yaml", "--var", "end=[7]", "--sandbox")
    assert ended.code == 2
    assert "did you mean ends?" in ended.err
    ended = program.here("validate", "night.yaml", "--var", "ends")
    assert ended.code == 2
    assert "NAME=VALUE" in ended.err


def test_a_missing_variable_of_the_environment_is_told_with_its_place(program):
    program.env["CITY"] = ""
    (program.folder / "night.yaml").write_text(NIGHT.replace("${CITY}", "${CITY:?set CITY first}"))
    ended = program.here("validate", "night.yaml")
    assert ended.code == 2
    assert ended.err.startswith("night.yaml:8:21: set CITY first")


def test_what_is_found_in_a_file_does_not_tell_the_environment_either(program):
    program.env["CITY"] = "villa-diodati"
    (program.folder / "villa-diodati.png").write_bytes(b"no picture at all")
    (program.folder / "night.yaml").write_text(NIGHT.replace("a.png", "${CITY}.png"))
    ended = program.here("validate", "night.yaml")
    assert ended.code == 2
    assert "night.yaml:7:12: " in ended.err
    assert "${CITY}.png" in ended.err
    assert "villa-diodati" not in ended.err
    assert "villa-diodati.png" in program.here("config", "night.yaml").out


def test_an_included_file_that_cannot_be_read_is_a_problem_of_the_line_that_names_it(program):
    (program.folder.parent / "shared" / "looks.yaml").unlink()
    ended = program.here("validate", "night.yaml")
    assert ended.code == 2
    assert "night.yaml:2:10: cannot read the included file ../shared/looks.yaml" in ended.err


def test_plan_and_validate_tell_problems_to_programs(program):
    (program.folder / "night.yaml").write_text(NIGHT.replace("a.png", "b.png") + "    prioriti: 3\n")
    for command in ("validate", "plan"):
        ended = program.run(command, "night.yaml", "--json")
        assert ended.code == 2
        found = [(each["file"], each["line"], each["code"]) for each in ended.json()["problems"]]
        assert found == [("night.yaml", 7, "missing-file"), ("night.yaml", 10, "unknown-key")]


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of our own needs a POSIX pty")
def test_on_a_terminal_the_line_is_shown_with_a_caret(program):
    (program.folder / "night.yaml").write_text(NIGHT.replace("a.png", "b.png"))
    code, screen = on_a_terminal(program, "validate", "night.yaml", answers="")
    assert code == 2
    lines = re.split(r"\r?\n", screen)
    at = next(number for number, line in enumerate(lines) if line.startswith("night.yaml:7:12: "))
    assert lines[at + 1] == "        input: b.png"
    assert lines[at + 2] == "               ^"


@pytest.mark.parametrize(
    ("line", "column", "expected"),
    [
        ("a: b", 4, ["    a: b", "       ^"]),
        ("\ta: b", 2, ["    \\ta: b", "      ^"]),
        ("夜: b", 4, ["    夜: b", "        ^"]),
        ("e\u0301: b", 5, ["    e\u0301: b", "       ^"]),
        ("x" * 30 + "y" + "z" * 30, 31, ["    …" + "x" * 12 + "y" + "z" * 12, "    " + " " * 13 + "^"]),
        ("", 1, []),
    ],
)
def test_the_caret_stands_under_the_place(tmp_path, line, column, expected):
    file = tmp_path / "m.yaml"
    file.write_text(f"first\n{line}\n", encoding="utf-8")
    assert list(quote.lines(Place(source=str(file), line=2, column=column), columns=30)) == expected


def test_a_file_that_is_gone_is_not_quoted(tmp_path):
    assert list(quote.lines(Place(source=str(tmp_path / "m.yaml"), line=1, column=1), columns=80)) == []
    (tmp_path / "x.yaml").write_text("a\n")
    assert list(quote.lines(Place(source=str(tmp_path / "x.yaml"), line=9, column=1), columns=80)) == []
