"""docs/json.md against what commands print: each field is told, and each that is told is there."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import re
import subprocess
import sys
from typing import Any
import urllib.request

import pytest

from batchrunner.cli.app import main
from tests.support import nights
from tests.support.media import write_still

PAGE = Path(__file__).parents[1] / "docs" / "json.md"
MANIFEST = """\
version: 1
window: {start: "22:00", stop: "05:00"}
jobs:
  - {id: new, kind: image-to-video, input: a.png, end_seconds: 5, model: kling-3.0, resolution: 720p}
  - {id: vague, kind: image-to-video, input: a.png, end_seconds: 5, model: wan-3.0}
"""


def told(*sections: str) -> set[str]:
    """The fields that the tables of these sections tell, each by its whole path."""
    fields: set[str] = set()
    for section in sections:
        text = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        column = 0
        for line in text.splitlines():
            cells = line.strip("|").split(" | ") if line.startswith("|") else []
            names = [cell.strip() for cell in cells]
            if "field" in names:
                column = names.index("field")
            elif cells and not cells[0].startswith("--"):
                fields |= set(_whole(re.findall(r"`([^`]+)`", cells[column])))
    return fields


def _whole(fields: list[str]) -> Iterator[str]:
    """The fields of a cell: one that begins with a dot goes on from where the first lies."""
    folder = fields[0].rpartition(".")[0] if fields else ""
    return (folder + field if field.startswith(".") else field for field in fields)


def printed(value: Any, path: str = "") -> Iterator[str]:
    """The path of every value that is no container."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from printed(each, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for each in value:
            yield from printed(each, f"{path}[]")
    else:
        yield path


def fits(path: str, field: str) -> bool:
    """Whether what stands at a path is what a field tells: a word in capitals is any key, null may be a container."""
    pattern = re.sub(r"\b[A-Z]{2,}\b", r"[^\[]+", re.escape(field))
    return re.fullmatch(pattern, path) is not None or field.startswith((f"{path}.", f"{path}["))


def lacks(value: Any, field: str) -> bool:
    """Whether a value has no such field; of what is null or empty nobody can tell."""
    if not field or not value:
        return False
    if isinstance(value, str | int | float):
        return True
    if isinstance(value, list):
        return any(lacks(each, field.removeprefix("[]").removeprefix(".")) for each in value)
    key, mark, rest = re.fullmatch(r"([^.\[]+)(\[\])?\.?(.*)", field).groups()  # type: ignore[union-attr]
    if key.isupper():
        return False
    return key not in value or lacks(value[key], (mark or "") + rest)


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a batch of which all sorts of things are on record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAGIC_HOUR_API_KEY", raising=False)
    write_still(tmp_path / "a.png", hue=0.5)
    (tmp_path / "night.yaml").write_text(MANIFEST)
    lives = [nights.done("good"), nights.done("dark", suspect="it is black"), nights.failed("b"), nights.uncertain("c")]
    nights.write_state(tmp_path / "night.yaml", lives)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "sections"),
    [
        (["status", "night.yaml"], ["`status`, `run`, `retry`, `redo`, `download`, `demo`"]),
        (["plan", "night.yaml"], ["`plan`"]),
        (["validate", "night.yaml"], ["`validate`"]),
        (["validate", "broken.yaml"], ["`validate`"]),
        (["ledger", "night.yaml"], ["`ledger`"]),
    ],
)
def test_the_page_tells_what_is_printed(night, capsys, words, sections):
    (night / "broken.yaml").write_text("version: 1\njobs: [{id: a, kind: image-to-vidoe}]\n")
    main([*words, "--json"])
    made = json.loads(capsys.readouterr().out)
    fields = told(*sections)
    assert len(fields) > 5
    if words[0] == "plan":
        fields = {field for field in fields if field != "problems[]"}
        assert made.pop("problems") == []
    for job in made["jobs"] if words[0] == "status" else ():
        assert {key for each in job.pop("earlier") for key in each} <= job.keys()
    missing = {path for path in printed(made) if not any(fits(path, field) for field in fields)}
    assert not missing, "printed, and not told"
    gone = {field for field in fields if lacks(made, field) and not field.startswith("jobs[].earlier")}
    assert not gone, "told, and not printed"


def test_what_doctor_prints_is_told(night, capsys):
    main(["doctor", "night.yaml", "--json"])
    made = json.loads(capsys.readouterr().out)
    fields = {
        field
        for field in told("`doctor`, `account`, `notify`, `sandbox`")
        if field.startswith(("exit", "fixed", "find"))
    }
    assert {path for path in printed(made) if not any(fits(path, field) for field in fields)} == set()
    assert {field for field in fields if lacks(made, field)} == set()


def test_where_a_sandbox_is_is_told(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "batchrunner", "sandbox", "--json", "--no-render"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        made = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        there = f"{made['base_url']}/v1/account"
        request = urllib.request.Request(there, headers={"Authorization": f"Bearer {made['api_key']}"})
        assert urllib.request.urlopen(request, timeout=30).status == 200
        assert made.keys() <= told("`doctor`, `account`, `notify`, `sandbox`")
    finally:
        process.terminate()
        process.communicate()
