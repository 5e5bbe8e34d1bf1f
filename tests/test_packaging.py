"""What is published: its extras, a container that is built of what is there, and nothing of others."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
import re
import subprocess
import tomllib

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
BUILD = PYPROJECT["tool"]["hatch"]["build"]["targets"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def copied() -> list[str]:
    """Return what the container's build takes from this folder."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, flags=re.MULTILINE)
    return [word for line in lines for word in line.split()[:-1]]


def test_the_container_takes_what_the_wheel_needs_and_no_more() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert ignored[0] == "*"
    assert set(copied()) == let_in
    assert all((ROOT / name).exists() for name in let_in)
    wanted = {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "hatch_build.py", "batchrunner"}
    assert let_in == wanted


def test_the_container_asks_for_extras_that_there_are() -> None:
    (asked,) = re.findall(r"\$wheel\[([a-z,]+)\]", DOCKERFILE)
    assert set(asked.split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_tests_have_every_extra() -> None:
    extras = set(PROJECT["optional-dependencies"]) - {"test", "dev"}
    (own,) = [each for each in PROJECT["optional-dependencies"]["test"] if each.startswith("batchrunner[")]
    assert set(own.removeprefix("batchrunner[").removesuffix("]").split(",")) == extras


def test_every_exception_from_the_linter_has_its_reason() -> None:
    lines = (
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("batchrunner", "tests", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"#\s*noqa", line) and not re.search(r"# noqa: [A-Z]+\d+(, [A-Z]+\d+)* - \S", line)
    )
    assert [line for line in lines if not line.startswith("tests/test_packaging.py")] == []


def test_every_dependency_says_from_which_release_on() -> None:
    everything = [
        *PROJECT["dependencies"],
        *(each for some in PROJECT["optional-dependencies"].values() for each in some),
    ]
    bare = [each for each in everything if ">=" not in each and not fnmatch(each, "batchrunner[[]*")]
    assert [each for each in bare if not each.startswith("types-")] == []


def test_nothing_is_kept_that_git_is_told_to_leave_out() -> None:
    """Such as packages of others, which are fetched, and pictures, which are made."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    assert _kept("--ignored", "--exclude-standard") == []


FOLDERS = {".ci", "batchrunner", "benchmarks", "docs", "manifests", "tests"}
FILES = {
    ".dockerignore",
    ".gitignore",
    "CHANGELOG.md",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "hatch_build.py",
    "pyproject.toml",
}


def test_nothing_lies_at_the_top_that_was_only_tried_out() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    assert {name.partition("/")[0] for name in _kept()} == FOLDERS | FILES


def test_the_source_archive_has_all_that_its_tests_ask_for() -> None:
    included = {name.removeprefix("/") for name in BUILD["sdist"]["include"]}
    by_itself = {".gitignore", "pyproject.toml"}  # hatchling puts them in whatever is listed
    assert included == (FOLDERS | FILES) - by_itself


def _kept(*which: str) -> list[str]:
    words = ["git", "-C", str(ROOT), "ls-files", "--cached", *which]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
