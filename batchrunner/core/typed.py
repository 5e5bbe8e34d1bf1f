"""A node's values, their type checked, and what is refused before its type is looked at. Part of the reader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from batchrunner.core import checks, explain, yamltext
from batchrunner.core.findings import Findings
from batchrunner.core.problem import Problem
from batchrunner.core.variables import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The usable values of a node; what was refused is left out and named in `broken`."""

    node: yamltext.Node
    prefix: str
    values: dict[str, Any]
    broken: frozenset[checks.Path] = frozenset()


def checked(
    node: yamltext.Node,
    model: type[BaseModel],
    *,
    prefix: str,
    refused: list[Refused],
    found: Findings,
    listed: explain.Listed = explain.NOTHING_LISTED,
) -> Checked:
    """Hold a node against the schema; what does not fit is reported in `found` and left out."""
    values = yamltext.plain(node)
    broken = {each.path for each in refused}
    for each in refused:
        if each.problem is not None:
            found.add(each.problem)
    try:
        model.model_validate(values)
    except ValidationError as error:
        for refusal in explain.explain(error, node=node, model=model, prefix=prefix, listed=listed):
            if not any(refusal.path[:end] in broken for end in range(1, len(refusal.path) + 1)):
                found.add(refusal.problem)
                broken.add(refusal.path)
    if not isinstance(values, dict):
        return Checked(node=node, prefix=prefix, values={}, broken=frozenset({()}))
    for path in broken:
        _remove(values, path)
    return Checked(node=node, prefix=prefix, values=values, broken=frozenset(_keys_only(path) for path in broken))


def _remove(values: Any, path: tuple[str | int, ...]) -> None:
    """Take out what stands at the path; an item of a list takes its list with it."""
    keys = _keys_only(path)
    for key in keys[:-1]:
        values = values.get(key) if isinstance(values, dict) else None
    if keys and isinstance(values, dict):
        values.pop(keys[-1], None)


def _keys_only(path: tuple[str | int, ...]) -> checks.Path:
    keys: list[str] = []
    for step in path:
        if isinstance(step, int):
            break
        keys.append(step)
    return tuple(keys)


def refused_in_job(node: yamltext.Node, prefix: str) -> list[Refused]:
    """Return what a job, or the defaults for jobs, may not have although it is no slip."""
    if not isinstance(node, yamltext.MapNode):
        return []
    refused = []
    if "name" in node.entries:
        problem = problem_at(
            node.entries["name"],
            "reserved-key",
            "batchrunner names each submission itself so that a lost one can be found",
            path=explain.joined(prefix, ("name",)),
            hint="remove name; the job is known by its id",
        )
        refused.append(Refused(("name",), problem))
    return refused


def value_of(node: yamltext.Node, key: str) -> yamltext.Node | None:
    """Return what stands at a key; None where the node has no such key, or no keys."""
    entry = node.entries.get(key) if isinstance(node, yamltext.MapNode) else None
    return entry.node if entry is not None else None


def problem_at(
    node: yamltext.Node | yamltext.Entry, code: str, message: str, *, path: str = "", hint: str | None = None
) -> Problem:
    """Return a problem that stands where the node does."""
    return Problem(place=yamltext.place_of(node), code=code, message=message, path=path, hint=hint)
