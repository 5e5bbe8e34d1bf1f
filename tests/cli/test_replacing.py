"""A mistyped name costs nothing: what a command writes never takes the place of something else."""

from __future__ import annotations

from pathlib import Path
import shutil

import pytest

from batchrunner import store
from batchrunner.cli.report import FORMATS
from tests.support.program import Program, misbehave

MANIFEST = """\
version: 1
output: out/{id}.mp4
jobs:
  - {id: clip, kind: video-to-video, input: a.mp4, end_seconds: 0.5, style: {art_style: Ink}}
"""
ERROR = [{"step": "render", "render_error": {"code": "no_source_face", "message": "no face"}}]


def a_failed_batch(program: Program) -> Path:
    manifest = program.folder / "night.yaml"
    manifest.write_text(MANIFEST)
    misbehave(program, *ERROR)
    assert program.run("run", manifest.name).code == 4
    return manifest


COMMANDS = {
    "plan": ("plan", "night.yaml", "-o"),
    "schema": ("schema", "-o"),
    "schema --events": ("schema", "--events", "-o"),
    "init": ("init", ".", "--force", "-o"),
    "retry": ("retry", "night.yaml", "--force", "--write"),
    **{f"report {form}": ("report", "night.yaml", "--format", form, "-o") for form in FORMATS},
}
REPLACES_MANIFESTS = {"init", "retry"}


@pytest.mark.parametrize("own", [[]], indirect=True)
def test_no_state_file_clip_or_manifest_is_replaced(own):
    manifest = a_failed_batch(own)
    other = Path(shutil.copy(store.path_for(manifest), own.folder / "other.state.db"))
    manifests = [manifest, Path(shutil.copy(manifest, own.folder / "monday.yaml"))]
    binary = [other, store.path_for(manifest), own.folder / "a.mp4", own.folder / "a.png"]
    for name, command in COMMANDS.items():
        targets = binary if name in REPLACES_MANIFESTS else [*binary, *manifests]
        for target in targets:
            before = target.read_bytes()
            ended = own.here(*command, target.name)
            assert (ended.code, target.read_bytes() == before) == (2, True), (name, target, ended.err)
            told = ("is there already, and is no ", "is part of the batch")
            assert any(f"{target.name} {words}" in ended.err for words in told), (name, ended.err)
    assert own.here("status", manifest.name).code == 0


@pytest.mark.parametrize("own", [[]], indirect=True)
def test_what_a_command_wrote_before_is_replaced(own):
    a_failed_batch(own)
    for number, (name, command) in enumerate(COMMANDS.items()):
        for _ in range(2):
            ended = own.here(*command, f"written-{number}.txt")
            assert ended.code == 0, (name, ended.err)
