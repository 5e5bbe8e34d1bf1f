"""The README is the front door: every command, manifest and table in it is tried here."""

from __future__ import annotations

from pathlib import Path
import re
import shlex

import pytest

from batchrunner.cli.app import COMMANDS
from batchrunner.core import schedule
from batchrunner.core.retry import USUAL
from batchrunner.errors import Exit
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import Settings
from tests.core.case_text import parse
from tests.support.media import write_clip, write_still
from tests.support.program import Program, Provider, misbehave

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

MISTAKES = """\
version: 1
jobs:
  - id: two
    kind: video-to-video
    input: clips/intro.mp4
    end_seconds: "2"
    style: {art_style: Inc}
"""

LAST_NIGHT = """\
version: 1
name: last-night
retry: {render: {nsfw: 0}}
output: last-night/{id}.mp4
jobs:
  - {id: hero, kind: image-to-video, input: stills/hero.png, end_seconds: 5, model: kling-3.0, resolution: 720p}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def without_times(text: str) -> str:
    """What a command says, but for when that is, and by whose render times: here a sandbox plays the provider."""
    text = text.replace("the moment that a sandbox takes", "the provider's medians")
    return re.sub(r"(\d{4}-\d\d-\d\d )?\b\d\d:\d\d\b", "TIME", text.strip())


@pytest.fixture
def program(tmp_path):
    """The README's reader, with an account of 12,000 credits."""
    with launch.start(Settings(data_dir=tmp_path / "sandbox", scale=0.1, credits=12_000)) as running:
        (tmp_path / "work").mkdir()
        yield Program(folder=tmp_path / "work", provider=Provider(base_url=running.base_url))


@pytest.fixture
def folder(program):
    """What the README's reader has: clips and stills, and the manifests it shows."""
    (program.folder / "clips").mkdir()
    (program.folder / "stills").mkdir()
    write_clip(program.folder / "clips" / "intro.mp4", fps=24, seconds=3.0, hue=0.2)
    write_still(program.folder / "stills" / "hero.png", hue=0.7)
    night, budgeted, _ = blocks("yaml")
    (program.folder / "night.yaml").write_text(night)
    (program.folder / "tomorrow.yaml").write_text(night)
    (program.folder / "budgeted.yaml").write_text(budgeted)
    (program.folder / "mistakes.yaml").write_text(MISTAKES)
    (program.folder / "last-night.yaml").write_text(LAST_NIGHT)
    failing = {"step": "render", "job": "last-night/*", "count": 1, "render_error": {"code": "nsfw", "message": "no"}}
    misbehave(program, failing)
    assert program.run("run", "last-night.yaml").code == Exit.JOBS_FAILED
    return program.folder


def test_every_command_shown_prints_what_is_shown(program, folder):
    for session in blocks("console"):
        for step in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
            command, _, expected = step.partition("\n")
            words = shlex.split(command)
            assert words[0] == "batchrunner"
            ended = program.run(*words[1:])
            said = ended.err if "mistakes" in command else ended.out
            assert ended.code == (2 if "mistakes" in command else 0), ended.err
            if expected:
                assert without_times(said) == without_times(expected), command
    assert (folder / "renders" / "hero.mp4").stat().st_size > 0
    assert (folder / "last-night" / "hero.mp4").stat().st_size > 0
    assert program.run("run", "budgeted.yaml").code == 0


def test_the_two_commands_are_one_line_each_and_ci_runs_the_same():
    (demo, tests) = [block.strip() for block in blocks("sh")]
    assert "\n" not in demo + tests
    assert demo.endswith("batchrunner demo")
    ci = (ROOT / ".ci" / "run").read_text()
    assert tests in ci
    assert demo in ci


def test_the_usual_retries_are_those_shown():
    assert parse(blocks("yaml")[2]).retry == USUAL


def test_every_command_has_help_and_a_line_in_the_table(program):
    listed = re.findall(r"^\| `batchrunner ([a-z]+)", README, flags=re.MULTILINE)
    assert listed == list(COMMANDS)
    for name in COMMANDS:
        ended = program.here(name, "--help")
        assert ended.code == 0
        assert "Usage: batchrunner" in ended.out


def test_the_exit_codes_are_those_of_the_program():
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README, flags=re.MULTILINE)}
    assert listed == {int(code) for code in Exit}
    assert schedule.exit_code({}) is Exit.OK


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_table_lists_every_example_manifest():
    listed = re.findall(r"^\| \[`([\w-]+\.yaml)`\]\(manifests/", README, flags=re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "manifests").iterdir())
