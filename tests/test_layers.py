"""Who may import what of ours, where that is said by what is allowed: a new module is kept out without being named."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
import re

import pytest

PACKAGE = Path(__file__).parents[1] / "batchrunner"

ALLOWED: dict[str, set[str]] = {
    "core": {"errors"},
    "errors": set(),
    "report": {"core", "errors"},
    "sandbox": {"errors", "system"},
    "provider": {"core", "errors", "__version__"},
    "media": {"core", "errors"},
}
"""The parts that docs/architecture.md says it of, and what they import beside themselves."""


def imported(node: ast.AST) -> Iterator[str]:
    """The parts of ours that are imported somewhere in a module, but for what only mypy reads."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (each.name.split(".")[1] for each in node.names if each.name.startswith("batchrunner."))
    elif isinstance(node, ast.ImportFrom) and node.module == "batchrunner":
        yield from (each.name for each in node.names)
    elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("batchrunner."):
        yield str(node.module).split(".")[1]
    for each in ast.iter_child_nodes(node):
        yield from imported(each)


def modules(part: str) -> list[Path]:
    folder = PACKAGE / part
    found = list(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    assert found
    return found


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_no_more_than_it_may(part):
    found = {(path.name, name) for path in modules(part) for name in imported(ast.parse(path.read_text("utf-8")))}
    assert {(where, name) for where, name in found if name not in ALLOWED[part] | {part}} == set()


def test_one_module_knows_which_system_it_is_on():
    """What differs between systems stands in one place; a test of another system has only that to look at."""
    asks = re.compile(
        r"\bsys\.platform\b|\bos\.name\b|\bplatform\.system\(|\bhasattr\((?:os|signal|socket),|\bget(?:e?uid|pgid)\("
    )
    paths = [path for path in PACKAGE.rglob("*.py") if asks.search(path.read_text("utf-8"))]
    assert [str(path.relative_to(PACKAGE)) for path in paths] == ["system.py"]


def test_no_import_is_relative_to_its_place():
    """Else the test above could not read it."""
    nodes = (node for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    assert not [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level]


def test_the_map_of_the_modules_has_each_of_them_and_no_other():
    """Each of `api`, `cli` and `sandbox` is told as a whole."""
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text("utf-8")
    chart = page.split("```")[1]
    whole = {"api", "cli", "sandbox"}
    ours = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    told = [path for path in ours if path.parts[0] not in whole]
    assert [str(path) for path in told if not re.search(rf"\b{path.stem}\b", chart)] == []
    tests = (PACKAGE.parent / "tests").rglob("*.py")
    assert set(re.findall(r"(\w+)\.py\b", page)) - {path.stem for path in (*ours, *tests)} - {"__init__"} == set()
