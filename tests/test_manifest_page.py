"""The page about the manifest: every manifest on it is read, every command on it prints what it shows."""

from __future__ import annotations

from pathlib import Path
import re
import shlex

import pytest

from batchrunner import batch, planning
from batchrunner.core import naming, shape
from tests.support.media import write_clip, write_still
from tests.support.program import Program, Provider

PAGE = (Path(__file__).parents[1] / "docs" / "manifest.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, flags=re.DOTALL))
GOOD = sorted(name for name, text in FILES.items() if text.startswith("version:") and name != "slips.yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the page's reader has: every file that the page shows, two clips and a still."""
    folder = tmp_path_factory.mktemp("page")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"# {name}\n{text}", encoding="utf-8")
    for each in ("clips", "stills"):
        (folder / each).mkdir()
    write_clip(folder / "clips" / "intro.mp4", fps=8, seconds=5.0, hue=0.2)
    write_clip(folder / "clips" / "outro.mp4", fps=8, seconds=5.0, hue=0.6)
    write_still(folder / "stills" / "hero.png", hue=0.7)
    return folder


def test_the_page_shows_manifests():
    assert len(GOOD) >= 5
    assert len(FILES) == PAGE.count("```yaml")


@pytest.mark.parametrize("name", GOOD)
def test_every_manifest_on_the_page_is_without_problems(folder, name):
    read = batch.read(folder / name)
    assert read.jobs
    assert planning.look(read, remembered={}).warnings + read.warnings == ()


def test_every_command_on_the_page_prints_what_is_shown(folder):
    program = Program(folder=folder, provider=Provider(base_url="http://127.0.0.1:9"))
    sessions = re.findall(r"```console\n\$ (.*?)\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(sessions) >= 3
    for command, expected in sessions:
        name, *words = shlex.split(command)
        assert name == "batchrunner"
        ended = program.run(*words)
        said = ended.err if "slips" in command else ended.out
        assert ended.code == (2 if "slips" in command else 0), ended.err
        assert said.strip() == expected.strip(), command


def test_every_placeholder_is_on_the_page():
    for name in naming.OF_OUTPUT:
        assert f"`{{{name}}}`" in PAGE


def test_every_key_that_is_shared_is_on_the_page():
    for name in shape.Included.model_fields:
        assert f"`{name}`" in PAGE
