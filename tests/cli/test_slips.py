"""What a person types who has not read the documentation, and what it is answered with."""

from __future__ import annotations

import json
from pathlib import Path
import shutil

import click
import pytest

from batchrunner.cli.app import COMMANDS, main, program
from tests.support import nights


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to type commands in, with a manifest and another folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night.yaml").write_text("version: 1\njobs: []\n")
    nights.write_state(tmp_path / "night.yaml", [nights.done("a")])
    (tmp_path / "clips").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["statsu", "night.yaml"], "there is no command 'statsu' (did you mean status?)"),
        (["night.yaml"], "(a command comes first, such as: batchrunner run night.yaml)"),
        (["clips"], "(a command comes first, such as: batchrunner init clips)"),
        (["xyzzy"], "there is no command 'xyzzy' (`batchrunner --help` shows all)"),
        (["run", "nihgt.yaml"], "hint: did you mean night.yaml?"),
        (["validate", "elsewhere.yml"], "hint: `batchrunner init FOLDER` writes one"),
        (["status", "nigth.yaml"], "hint: did you mean night.yaml?"),
        (["run", "clips"], "'clips' is a folder, not a manifest (`batchrunner init clips` writes one"),
        (["doctor", "."], "'.' is a folder, not a manifest (did you mean night.yaml?)"),
        (["sandbox", "--port", "65536"], "65536 is not in the range 0<=x<=65535"),
        (["sandbox", "--latency", "-1"], "-1.0 is not in the range x>=0"),
        (["download", "night.yaml", "--log", "a", "--no-log"], "--log and --no-log contradict each other"),
    ],
)
def test_a_slip_is_told_with_what_was_meant(folder, capsys, words, said):
    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["night.yaml", "shared.yaml"])
def test_what_is_no_utf8_is_told_with_its_place_and_nothing_is_said_of_what_could_not_be_read(folder, capsys, name):
    (folder / "night.yaml").write_text("version: 1\ninclude: shared.yaml\njobs: []\n")
    (folder / "shared.yaml").write_text("vars: {}\n")
    (folder / name).write_bytes("version: 1\n# ä\nvars: {street: Stra".encode() + b"\xdfe}\n")
    said = f"{name}:3:20: this is not UTF-8 text (save the file with the encoding UTF-8)\n"
    assert main(["validate", "night.yaml", "--var", "town=Rome"]) == 2
    assert capsys.readouterr().err == said
    assert main(["validate", "night.yaml", "--json"]) == 2
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert [problem[key] for key in ("file", "line", "column", "code")] == [name, 3, 20, "not-text"]


def test_a_variable_is_not_called_useless_where_the_manifest_breaks_off_before_it(folder, capsys):
    (folder / "night.yaml").write_text("version: 1\njobs:\n  - {id: a\n  - {id: ${town}}\n")
    assert main(["validate", "night.yaml", "--var", "town=Rome"]) == 2
    said = capsys.readouterr().err
    assert "not valid YAML" in said
    assert "--var" not in said


@pytest.mark.parametrize("columns", ["80", "200"])
def test_the_list_of_commands_has_a_whole_sentence_for_each(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS), "each on one line"
    assert all(line.endswith(".") and not line.endswith("...") and len(line) <= 80 for line in listed), listed


def test_every_flag_has_its_variable(folder, capsys, monkeypatch):
    context = click.Context(program, info_name="batchrunner", auto_envvar_prefix="BATCHRUNNER")
    for name in COMMANDS:
        command = program.get_command(context, name)
        assert command is not None
        for option in (each for each in command.params if isinstance(each, click.Option)):
            flag = max(option.opts, key=len).removeprefix("--").replace("-", "_")
            assert option.envvar == f"BATCHRUNNER_{name}_{flag}".upper()
    monkeypatch.setenv("BATCHRUNNER_VALIDATE_JSON", "1")
    assert main(["validate", "night.yaml"]) == 2
    assert json.loads(capsys.readouterr().out)["jobs"] == 0


def test_who_buys_nothing_is_not_told_what_naming_a_job_would_buy(capsys):
    for name, buys in (("plan", True), ("run", True), ("status", False), ("download", False), ("report", False)):
        assert main([name, "--help"]) == 0
        assert ("is bought again" in " ".join(capsys.readouterr().out.split())) is buys, name


MISNAMED = """\
version: 1
defaults: {image-to-video: {end_seconds: 5, model: kling-3.0}}
jobs:
  - {id: folder, kind: image-to-video, input: stills}
  - {id: pattern, kind: image-to-video, input: "stills/*.png"}
  - {id: home, kind: image-to-video, input: "~/a.png"}
  - {id: windows, kind: image-to-video, input: 'stills\\a.png'}
  - {id: named, kind: image-to-video, input: dir.png}
"""


def test_an_input_that_names_no_file_is_told_with_how_it_is_written(folder, capsys):
    (folder / "dir.png").mkdir()
    (folder / "misnamed.yaml").write_text(MISNAMED)
    assert main(["validate", "misnamed.yaml"]) == 2
    said = capsys.readouterr().err.splitlines()
    many = 'for a job of each file write input: {glob: "'
    hints = [
        f'{many}stills/*"}}',
        f'{many}stills/*.png"}}',
        "the whole path: ~ is not",
        "system: stills/a.png",
        f"{many}dir.png/*",
    ]
    assert len(said) == len(hints)
    for line, hint in zip(said, hints, strict=True):
        assert hint in line


def test_all_that_is_wrong_with_the_files_is_told_at_once(folder, media, capsys):
    shutil.copy(media / "a.mp4", "a.mp4")
    shutil.copy(media / "a.png", "a.png")
    Path("junk.mp4").write_bytes(b"junk" * 100)
    Path("night.yaml").write_text("""\
version: 1
defaults: {video-to-video: {style: {art_style: Ink}}}
jobs:
  - {id: junk, kind: video-to-video, input: junk.mp4, end_seconds: 1}
  - {id: chained, kind: video-to-video, input: {job: junk}, end_seconds: end}
  - {id: good, kind: video-to-video, input: a.mp4, end_seconds: end}
  - {id: long, kind: video-to-video, input: a.mp4, end_seconds: 9}
  - {id: behind, kind: video-to-video, input: {job: still}, end_seconds: 9}
  - {id: still, kind: image-to-video, input: a.png, end_seconds: 5}
""")
    assert main(["validate", "night.yaml"]) == 2
    told = [line.split(": ", 1) for line in capsys.readouterr().err.splitlines() if line.startswith("night.yaml:")]
    assert [(place, words.split(",")[0]) for place, words in told] == [
        ("night.yaml:4:45", "junk.mp4 cannot be played: Invalid data found when processing input"),
        ("night.yaml:7:65", "end_seconds is 9"),
        ("night.yaml:8:74", "end_seconds is 9"),
    ]
