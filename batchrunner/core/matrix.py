"""`matrix`: one job written, many asked for.

    matrix:                              every combination, the last key varying fastest
      style.art_style: [Ink, Comic]      the path of a field, with the values it takes
      take: [1, 2]                       a key of one's own, for {take} in id and output
      exclude: [{take: 2, style.art_style: Comic}]

    matrix:                              a list of groups: what stands in one varies together
      - {model: kling-3.0, end_seconds: [5, 10]}
      - {model: veo3.1, end_seconds: 8}

Combinations are made one at a time, so that their number costs time, not memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from math import prod
import re
from typing import Any, NamedTuple

from batchrunner.core import findings, templates, yamltext
from batchrunner.core.problem import Problem
from batchrunner.core.yamltext import Entry, ListNode, MapNode, Node, ScalarNode

MAX_VARIANTS = 1_000_000
EXCLUDE = "exclude"
OWN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

# What makes a job this job is written with placeholders, not varied.
NEVER_VARIED = frozenset({"id", "kind", "matrix", "needs"})

Path = tuple[str, ...]
Tell = Callable[..., None]


class Axis(NamedTuple):
    """One key of a matrix: the path of the field it varies, empty for a key of one's own, and its values."""

    key: str
    path: Path
    entry: Entry
    values: tuple[Node, ...]
    plain: tuple[Any, ...]


class Axes(NamedTuple):
    """The axes of one group, and what is found out of them once for all combinations."""

    number: int
    """Of the group, among all."""
    axes: tuple[Axis, ...]
    at: Mapping[str, int]
    """Where the axis of a key stands among them."""
    of_fields: tuple[int, ...]
    """Where those stand that vary a field; the others are keys of one's own, for names."""
    deciding: dict[Path, int | None]
    """Where the axis that decides what stands at a path does."""

    @classmethod
    def of(cls, number: int, axes: tuple[Axis, ...]) -> Axes:
        at = {axis.key: place for place, axis in enumerate(axes)}
        return cls(number, axes, at, tuple(place for place, axis in enumerate(axes) if axis.path), {})

    def deciding_at(self, path: Path) -> int | None:
        """Return where the axis stands that decides what stands at a path; None where it is left alone."""
        if path not in self.deciding:
            deciding = (at for at, axis in enumerate(self.axes) if axis.path and path[: len(axis.path)] == axis.path)
            self.deciding[path] = max(deciding, default=None)
        return self.deciding[path]


class Variant(NamedTuple):
    """One combination: which value of each axis, by its number."""

    group: Axes
    numbers: tuple[int, ...]

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.group.axes

    @property
    def asked(self) -> tuple[int, ...]:
        """Return what tells combinations apart that differ by more than keys of one's own: group and fields' values."""
        return (self.group.number, *[self.numbers[at] for at in self.group.of_fields])

    def chosen(self) -> Iterator[tuple[Axis, Node]]:
        for axis, number in zip(self.axes, self.numbers, strict=True):
            yield axis, axis.values[number]

    def is_own(self, key: str) -> bool:
        """Return whether this is a key of one's own, which varies no field."""
        at = self.group.at.get(key)
        return at is not None and not self.axes[at].path

    def text_of(self, key: str) -> str | None:
        """Return the value of a key as a template shows it; None where it has no such key, or no single value."""
        at = self.group.at.get(key)
        if at is None:
            return None
        node = self.axes[at].values[self.numbers[at]]
        return node.text if isinstance(node, ScalarNode) else None

    def value_at(self, path: Path) -> Node | None:
        """Return the node that this combination puts at a path; None where it leaves it alone."""
        at = self.group.deciding_at(path)
        if at is None:
            return None
        axis = self.axes[at]
        return yamltext.exact(axis.values[self.numbers[at]], path[len(axis.path) :])

    def shown(self) -> str:
        """Return the combination in a line, such as `model=kling-3.0, end_seconds=5`."""
        return ", ".join(f"{axis.key}={_shown(node)}" for axis, node in self.chosen())


class Matrix(NamedTuple):
    """The groups of a matrix, and the combinations that it leaves out, as the values that each excluded key has."""

    groups: tuple[tuple[Axis, ...], ...]
    excluded: tuple[Mapping[str, tuple[Any, ...]], ...] = ()

    @property
    def axes(self) -> Iterator[Axis]:
        for group in self.groups:
            yield from group

    def variants(self) -> Iterator[Variant]:
        """Yield the combinations in the order in which they are written."""
        for number, axes in enumerate(self.groups):
            excluded = [
                [(at, frozenset(_numbers(axis, rule[axis.key]))) for at, axis in enumerate(axes) if axis.key in rule]
                for rule in self.excluded
            ]
            group = Axes.of(number, axes)
            for numbers in product(*(range(len(axis.values)) for axis in axes)):
                if not any(all(numbers[at] in among for at, among in rule) for rule in excluded):
                    yield Variant(group, numbers)

    def singles(self) -> Iterator[Variant]:
        """Yield combinations in which each value comes at least once: as many as there are values, not combinations."""
        for number, axes in enumerate(self.groups):
            group = Axes.of(number, axes)
            first = (0,) * len(axes)
            yield Variant(group, first)
            for where, axis in enumerate(axes):
                for other in range(1, len(axis.values)):
                    yield Variant(group, (*first[:where], other, *first[where + 1 :]))

    def has_own_keys(self) -> bool:
        """Return whether combinations may differ by their names alone."""
        return any(not axis.path for axis in self.axes)

    def combinations(self) -> int:
        """Return the number of combinations, those left out counted, too."""
        return sum(prod(len(axis.values) for axis in group) for group in self.groups)

    def varying(self) -> tuple[str, ...]:
        """Return the keys whose value is not the same everywhere."""
        keys = dict.fromkeys(axis.key for axis in self.axes)
        values = {key: [value for axis in self.axes if axis.key == key for value in axis.plain] for key in keys}
        return tuple(key for key in keys if any(value != values[key][0] for value in values[key]))


def _numbers(axis: Axis, wanted: tuple[Any, ...]) -> Iterator[int]:
    return (number for number, value in enumerate(axis.plain) if any(_same(value, each) for each in wanted))


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _shown(node: Node) -> str:
    return yamltext.quoted(node.text, limit=30)[1:-1] if isinstance(node, ScalarNode) else "…"


# --- reading ---------------------------------------------------------------------------------------------------------


def read(node: Node, *, prefix: str, fields: tuple[str, ...], report: Callable[[Problem], None]) -> Matrix | None:
    """Return the matrix that a node says; None for one that is wrong, which is reported.

    `fields` are the keys of a job, `prefix` is the path of the matrix.
    """
    wrong: list[Problem] = []

    def tell(at: Node | Entry, code: str, message: str, hint: str | None = None) -> None:
        wrong.append(Problem(place=yamltext.place_of(at), code=code, message=message, path=prefix, hint=hint))

    matrix = _groups(node, fields, tell) if isinstance(node, ListNode) else _product(node, fields, tell)
    if not wrong and matrix.combinations() > MAX_VARIANTS:
        tell(node, "too-many", f"this makes more than {MAX_VARIANTS:,} jobs", None)
    elif not wrong and next(matrix.variants(), None) is None:
        tell(node, "empty", "this leaves not one job", None)
    for problem in wrong:
        report(problem)
    return None if wrong else matrix


def _product(node: Node, fields: tuple[str, ...], tell: Tell) -> Matrix:
    if not isinstance(node, MapNode):
        tell(node, "wrong-type", "matrix is a mapping of fields to lists, or a list of such mappings", None)
        return Matrix(())
    axes = []
    for key, entry in node.entries.items():
        if key == EXCLUDE:
            continue
        if isinstance(entry.node, ListNode) and entry.node.items:
            axes.append(_axis(key, entry, entry.node.items, fields, tell))
        else:
            said = f"the values of {yamltext.quoted(key)} must be a list with at least one value"
            tell(entry.node, "wrong-type", said, _as_list(entry.node))
    excluded = node.entries.get(EXCLUDE)
    rules = _exclusions(excluded.node, tuple(axes), tell) if excluded is not None else ()
    return Matrix((tuple(axes),), rules)


def _as_list(node: Node) -> str | None:
    return f"write [{node.text}]" if isinstance(node, ScalarNode) and node.text else None


def _groups(node: ListNode, fields: tuple[str, ...], tell: Tell) -> Matrix:
    groups = []
    for item in node.items:
        if not isinstance(item, MapNode) or not item.entries:
            tell(item, "wrong-type", "a group of a matrix is a mapping of fields to values", None)
            continue
        axes = []
        for key, entry in item.entries.items():
            values = entry.node.items if isinstance(entry.node, ListNode) else (entry.node,)
            if key == EXCLUDE or not values:
                tell(entry, "wrong-type", "a group says what is rendered; leave out what is not", None)
            else:
                axes.append(_axis(key, entry, values, fields, tell))
        groups.append(tuple(axes))
    return Matrix(tuple(groups))


def _axis(key: str, entry: Entry, values: tuple[Node, ...], fields: tuple[str, ...], tell: Tell) -> Axis:
    steps = tuple(key.split("."))
    path = steps if steps[0] in fields and steps[0] not in NEVER_VARIED else ()
    if steps[0] in NEVER_VARIED:
        tell(entry, "not-possible", f"{steps[0]} cannot be varied", "write another job" if key == "kind" else None)
    elif "" in steps:
        tell(entry, "bad-value", f"{yamltext.quoted(key)} is no path of a field", "such as style.art_style")
    elif not path and OWN_KEY.fullmatch(key) is None:
        hint = findings.did_you_mean(steps[0], fields)
        tell(entry, "unknown-key", f"there is no field {yamltext.quoted(key)} in a job", hint)
    elif not path and key in templates.RESERVED:
        said = f"{{{key}}} is a placeholder with a meaning of its own"
        tell(entry, "not-possible", said, f"call the key otherwise, such as {key}_")
    elif not path and not all(isinstance(value, ScalarNode) for value in values):
        hint = findings.did_you_mean(key, fields)
        tell(entry, "wrong-type", f"{key} is no field of a job, so its values are single ones", hint)
    return Axis(key, path, entry, values, tuple(yamltext.plain(value) for value in values))


def _exclusions(node: Node, axes: tuple[Axis, ...], tell: Tell) -> tuple[Mapping[str, tuple[Any, ...]], ...]:
    """Return the rules of `exclude`; one that fits nothing is a slip."""
    rules = []
    by_key = {axis.key: axis for axis in axes}
    for item in node.items if isinstance(node, ListNode) else (node,):
        if not isinstance(item, MapNode) or not item.entries:
            tell(item, "wrong-type", "exclude is a list of mappings, each of keys of this matrix to values", None)
            continue
        rule = {}
        for key, entry in item.entries.items():
            if key not in by_key:
                hint = findings.did_you_mean(key, tuple(by_key))
                tell(entry, "unknown-key", f"this matrix has no {yamltext.quoted(key)}", hint)
                continue
            values = entry.node.items if isinstance(entry.node, ListNode) else (entry.node,)
            for value in values:
                if next(_numbers(by_key[key], (yamltext.plain(value),)), None) is None:
                    texts = tuple(each.text for each in by_key[key].values if isinstance(each, ScalarNode))
                    near = findings.did_you_mean(_shown(value), texts) if texts else None
                    tell(value, "unlisted", f"{yamltext.quoted(_shown(value))} is no value of {key} here", near)
            rule[key] = tuple(yamltext.plain(value) for value in values)
        rules.append(rule)
    return tuple(rules)


# --- making jobs -----------------------------------------------------------------------------------------------------


def plain(values: Mapping[str, Any], variant: Variant) -> dict[str, Any]:
    """Return the job's values with the variant's in them: the values of what `overlaid` gives."""
    made = dict(values)
    for axis, number in zip(variant.axes, variant.numbers, strict=True):
        if not axis.path:
            continue
        block = made
        for key in axis.path[:-1]:
            below = block.get(key)
            inner = dict(below) if isinstance(below, dict) else {}
            block[key] = inner
            block = inner
        block[axis.path[-1]] = axis.plain[number]
    return made


def overlaid(node: MapNode, variant: Variant) -> MapNode:
    """Return the job's node with the variant's values in it, each with the place where the matrix has it."""
    entries = {key: entry for key, entry in node.entries.items() if key != "matrix"}
    job = node._replace(entries=entries)
    for axis, value in variant.chosen():
        if axis.path:
            job = _with(job, axis.path, axis.entry._replace(node=value))
    return job


def _with(node: MapNode, path: Path, entry: Entry) -> MapNode:
    """Return a copy of the node with an entry at the path; what stands in the way gives way."""
    key, rest = path[0], path[1:]
    if rest:
        below = node.entries.get(key)
        inner = below.node if below is not None and isinstance(below.node, MapNode) else None
        holder = inner or MapNode({}, entry.source, entry.line, entry.column)
        entry = (below or entry)._replace(node=_with(holder, rest, entry))
    return node._replace(entries={**node.entries, key: entry})
