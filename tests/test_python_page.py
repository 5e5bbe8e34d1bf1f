"""The page about Python: every example on it is run, and type-checked; every command is in its table."""

from __future__ import annotations

import dataclasses
from importlib import import_module
import inspect
from pathlib import Path
import re
import shutil
import subprocess
import sys

import pytest

import batchrunner
from batchrunner.cli.app import COMMANDS
from tests.support.program import Program

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)

MANIFEST = """\
version: 1
name: page-{number}
vars: {{LOOK: Studio Ghibli}}
jobs:
  - {{id: intro, kind: video-to-video, input: a.mp4, end_seconds: end, style: {{art_style: "${{LOOK}}", version: v2}}}}
  - id: hero
    kind: image-to-video
    input: a.png
    end_seconds: 5
    model: kling-3.0
    resolution: 720p
    style: {{prompt: slow push in}}
"""
MISTAKES = """\
version: 1
jobs:
  - {id: two, kind: video-to-video, input: a.mp4, end_seconds: 2, style: {art_style: Inc}}
"""


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_runs(number, program, media):
    for each in ("a.mp4", "a.png"):
        shutil.copy(media / each, program.folder)
    (program.folder / "night.yaml").write_text(MANIFEST.format(number=number))
    (program.folder / "mistakes.yaml").write_text(MISTAKES)
    ended = run(program, EXAMPLES[number])
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


def run(program: Program, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text],
        cwd=program.folder,
        env=program.environ(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


def test_the_page_has_examples_of_both_kinds():
    assert len(EXAMPLES) >= 6
    assert sum("async def main" in each for each in EXAMPLES) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_examples_pass_a_strict_type_checker(tmp_path):
    pytest.importorskip("mypy", reason="the type checker is not needed to pass the tests")
    files = [tmp_path / f"example_{number}.py" for number in range(len(EXAMPLES))]
    for file, text in zip(files, EXAMPLES, strict=True):
        file.write_text(text)
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from batchrunner import load, nothing_of_this_name\n\nload(3)\n")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-pretty", *map(str, files), str(wrong)],
        cwd=ROOT,  # with what the type checker remembers of the package
        capture_output=True,
        text=True,
        check=False,
    )
    lines = checked.stdout.splitlines()
    assert [line for line in lines if "wrong.py" not in line and "error" in line and "Found" not in line] == []
    assert "nothing_of_this_name" in checked.stdout
    assert "Found 2 errors" in checked.stdout, checked.stdout + checked.stderr


def test_every_command_has_its_counterpart():
    rows = dict(re.findall(r"^\| `([a-z]+)` \| (.*) \|$", PAGE, flags=re.MULTILINE))
    assert list(rows) == list(COMMANDS)
    for command, counterpart in rows.items():
        names = re.findall(r"`([A-Za-z_]+)[.(]", counterpart)
        assert names or counterpart.startswith("none: "), command
        assert set(names) <= set(batchrunner.__all__), command


IN_PYTHON = {
    "code": ("codes",),
    "format": ("form",),
    "kind": ("kinds",),
    "latency": ("latency_s",),
    "no-notices": ("notices",),
    "no-pictures": ("pictures",),
    "no-upload-cache": ("upload_cache",),
    "on-no-credits": ("wait_for_credits",),
    "output": ("file", "path", "manifest"),
    "plan": ("saved",),
    "sandbox": ("sandbox", "access"),
    "scale": ("scale", "sandbox_scale"),
    "set": ("fields",),
    "tag": ("tags",),
    "var": ("variables",),
}
"""The parameters of flags that are called otherwise there."""

OF_THE_COMMAND_LINE = {
    "all-failed": "is what is meant without it",
    "check": "compare_charges()",
    "csv": "values are given, not text",
    "detailed-exitcode": "Plan.has_changes",
    "json": "values are given, not text",
    "models --kind": "values are given, not text",
    "no-log": "no log is kept unless one is named",
    "origin": "Expanded.as_values(origin=True)",
    "quiet": "nothing is printed",
    "refunds-due": "Ledger.refunds_due",
    "schema --output": "values are given, not text",
    "watch": "status() as often as one likes; a run of one's own is iterated over",
    "write": "write_retry()",
}
"""Flags that need no parameter, and why."""


def parameters(counterpart: str) -> set[str]:
    """What the functions that the table names take, and `load`, which most of them are given."""
    made = [batchrunner.load]
    for owner, name in re.findall(r"(?<![.\w])(?:([A-Z][a-z]+)\.)?([A-Za-z_]+)\(", counterpart):
        made.append(getattr(getattr(batchrunner, owner) if owner else batchrunner, name))
    names = {name for each in made for name in inspect.signature(each).parameters}
    if "options" in names:
        names |= set((batchrunner.RunOptions if "run(" in counterpart else batchrunner.CollectOptions).__annotations__)
    if "select" in names:
        names |= {field.name for field in dataclasses.fields(batchrunner.Selection)}
    return names


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "completion"])
def test_every_flag_has_its_counterpart(command):
    rows = dict(re.findall(r"^\| `([a-z]+)` \| (.*) \|$", PAGE, flags=re.MULTILINE))
    names = parameters(rows[command])
    flags = [
        option.removeprefix("--")
        for param in getattr(import_module(COMMANDS[command]), command).params
        for option in param.opts
        if option.startswith("--")
    ]
    lacking = [
        flag
        for flag in flags
        if not OF_THE_COMMAND_LINE.keys() & {flag, f"{command} --{flag}"}
        and not names.intersection(IN_PYTHON.get(flag, (flag.replace("-", "_"),)))
    ]
    assert lacking == []


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
