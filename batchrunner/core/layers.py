"""`defaults`: what jobs need not say themselves.

    defaults:
      all: {priority: 1}                          every job
      video-to-video: {fps_resolution: HALF}      every job of a kind
      tags:
        night:
          end_seconds: 5                          every job with the tag
          image-to-video: {model: kling-3.0}      every such job of a kind

The closest wins: the job, then tag and kind, tag, kind, all; of two tags, the one that stands later under `tags`.
Mappings are merged, everything else is replaced whole. What stands under `all` or a tag goes to the jobs whose kind
has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchrunner.core import checks, explain, findings, shape, yamltext
from batchrunner.core.findings import Findings
from batchrunner.core.kind import Kind
from batchrunner.core.typed import Checked, checked, problem_at, refused_in_job, value_of
from batchrunner.core.variables import Variables
from batchrunner.core.yamltext import MapNode, Node, ScalarNode

KINDS = tuple(Kind)
ALL = "all"
# Keys that are refused with a word of their own.
_TOLD_ELSEWHERE = frozenset({"name", "needs"})
TAGS = "tags"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one block of `defaults` gives the jobs of one kind; `tag` is None where it is for them all."""

    label: str
    kind: Kind
    tag: str | None
    given: Checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a job gets: the merged values, the layers from the closest to the farthest."""

    node: Node | None
    values: Mapping[str, Any]
    broken: frozenset[checks.Path]
    layers: tuple[Layer, ...]


NOTHING = Given(node=None, values={}, broken=frozenset(), layers=())


@dataclass(slots=True, kw_only=True)
class Defaults:
    """The layers, the farthest first, and what they come to for the jobs of one kind and with the same tags."""

    layers: tuple[Layer, ...] = ()
    _merged: dict[tuple[Kind, tuple[str, ...]], Given] = field(default_factory=dict)
    _tags: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self._tags = frozenset(layer.tag for layer in self.layers if layer.tag is not None)

    def for_job(self, kind: Kind, own_tags: Any) -> Given:
        """Return what a job of a kind gets; `own_tags` is what it says of its tags itself, None for nothing."""
        if not self.layers:
            return NOTHING
        tags = own_tags
        if tags is None and self._tags:
            tags = self._for(kind, ()).values.get("tags")
        matching = tuple(sorted(self._tags.intersection(tags))) if isinstance(tags, list) else ()
        return self._for(kind, matching)

    def _for(self, kind: Kind, tags: tuple[str, ...]) -> Given:
        found = self._merged.get((kind, tags))
        if found is None:
            layers = [each for each in self.layers if each.kind is kind and (each.tag is None or each.tag in tags)]
            found = self._merged[kind, tags] = _given(layers)
        return found


def _given(layers: Sequence[Layer]) -> Given:
    if not layers:
        return NOTHING
    node, values = layers[0].given.node, layers[0].given.values
    for layer in layers[1:]:
        node = yamltext.merged(node, layer.given.node)
        values = merged_values(values, layer.given.values)
    broken = frozenset(path for layer in layers for path in layer.given.broken)
    return Given(node=node, values=values, broken=broken, layers=tuple(reversed(layers)))


def merged_values(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values above over those below; blocks of both are merged, a block of one is shared."""
    merged = {**below, **above}
    for key, value in above.items():
        under = below.get(key)
        if isinstance(value, dict) and isinstance(under, dict):
            merged[key] = merged_values(under, value)
    return merged


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    listed: Mapping[Kind | None, explain.Listed]
    variables: Variables
    found: Findings

    def layers(self, node: Node) -> Iterator[Layer]:
        """Yield the layers in the order of their closeness, the farthest first."""
        if not isinstance(node, MapNode):
            return
        possible = (ALL, *KINDS, TAGS)
        for key, entry in node.entries.items():
            if key not in possible:
                hint = findings.did_you_mean(key, possible)
                said = f"there is no kind {yamltext.quoted(key)}"
                self.found.add(problem_at(entry, "unknown-key", said, hint=hint))
        yield from self._for_every_kind(value_of(node, ALL), f"defaults.{ALL}", ALL, None)
        yield from self._for_kinds(node, "defaults", "", None)
        tags = value_of(node, TAGS)
        if tags is not None and not isinstance(tags, MapNode):
            said = "a mapping of tags to what their jobs get is expected"
            self.found.add(problem_at(tags, "wrong-type", said, path=f"defaults.{TAGS}"))
        elif isinstance(tags, MapNode):
            blocks = [(tag, entry.node, f"defaults.{TAGS}.{tag}") for tag, entry in tags.entries.items()]
            for tag, block, prefix in blocks:
                self._refuse_tags(block, prefix)
                yield from self._for_every_kind(block, prefix, f"tag {tag}", tag)
            for tag, block, prefix in blocks:
                yield from self._for_kinds(block, prefix, f"tag {tag} ", tag)

    def _refuse_tags(self, block: Node, prefix: str) -> None:
        for each in (block, *(value_of(block, kind) for kind in KINDS)):
            if (tags := value_of(each, "tags") if each is not None else None) is not None:
                said = "a tag cannot give a job other tags"
                self.found.add(
                    problem_at(tags, "not-possible", said, path=f"{prefix}.tags", hint="write them in the job")
                )

    def _for_kinds(self, node: Node, prefix: str, label: str, tag: str | None) -> Iterator[Layer]:
        for kind in KINDS:
            block = value_of(node, kind)
            if block is not None:
                given = self._checked(block, kind, f"{prefix}.{kind}")
                yield Layer(label=f"{label}{kind}", kind=kind, tag=tag, given=given)

    def _for_every_kind(self, node: Node | None, prefix: str, label: str, tag: str | None) -> Iterator[Layer]:
        if node is None:
            return
        if isinstance(node, MapNode):
            node = node._replace(entries={key: entry for key, entry in node.entries.items() if key not in KINDS})
            node = self._without_unknown(node, prefix)
        for kind in KINDS:
            given = self._checked(_fitting(node, kind), kind, prefix)
            yield Layer(label=label, kind=kind, tag=tag, given=given)

    def _without_unknown(self, node: MapNode, prefix: str) -> MapNode:
        """Return the block without the keys that no kind has, and tell of them with those that any kind has."""
        possible = tuple(dict.fromkeys(key for model in shape.DEFAULTS.values() for key in explain.keys_at(model, ())))
        for key, entry in node.entries.items():
            if key not in possible and key not in _TOLD_ELSEWHERE:
                said = f"there is no key {yamltext.quoted(key)} here"
                hint = findings.did_you_mean(key, possible)
                self.found.add(problem_at(entry, "unknown-key", said, path=f"{prefix}.{key}", hint=hint))
        known = {key: each for key, each in node.entries.items() if key in possible or key in _TOLD_ELSEWHERE}
        return node._replace(entries=known)

    def _checked(self, node: Node, kind: Kind, prefix: str) -> Checked:
        node, unknown = self.variables.fill(node, prefix)
        return checked(
            node,
            shape.DEFAULTS[kind],
            prefix=prefix,
            refused=[*refused_in_job(node, prefix), *unknown],
            found=self.found,
            listed=self.listed[kind],
        )


def _fitting(node: Node, kind: Kind) -> Node:
    """Return the part of a block for every kind that is for jobs of this kind; what no kind has stays, to be told."""
    if not isinstance(node, MapNode):
        return node
    entries = {}
    for key, entry in node.entries.items():
        if not explain.keys_at(shape.DEFAULTS[kind], ()).count(key) and _is_known(key):
            continue
        if key == "end_seconds" and kind is Kind.IMAGE_TO_VIDEO and _says_end(entry.node):
            continue
        inner = entry.node
        if isinstance(inner, MapNode):
            here = explain.keys_at(shape.DEFAULTS[kind], (key,))
            kept = {k: each for k, each in inner.entries.items() if k in here or not _is_known(key, k)}
            if inner.entries and not kept:
                continue
            entry = entry._replace(node=inner._replace(entries=kept))  # noqa: PLW2901 - the part of it that fits
        entries[key] = entry
    return node._replace(entries=entries)


def _is_known(*path: str) -> bool:
    """Tell whether any kind has this key there."""
    return any(path[-1] in explain.keys_at(model, path[:-1]) for model in shape.DEFAULTS.values())


def _says_end(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value == shape.END


def read(
    node: Node | None,
    *,
    listed: Mapping[Kind | None, explain.Listed],
    variables: Variables,
    found: Findings,
) -> Defaults:
    """Return the defaults that a node says, checked by type; what is wrong is reported in `found`."""
    if node is None:
        return Defaults()
    return Defaults(layers=tuple(_Reader(listed=listed, variables=variables, found=found).layers(node)))
