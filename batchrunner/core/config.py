"""A manifest expanded: one file, no variables, no defaults, no matrix, and for each value where it came from.

What is printed is a manifest itself, and asks for the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchrunner.core import links, plain, templates, yamlout, yamltext
from batchrunner.core.bodies import Read
from batchrunner.core.problem import Place
from batchrunner.core.reader import DEFAULT_OUTPUT, VERSION, Opened

BUILT_IN = "batchrunner"
"""Where a value is from that nobody wrote."""

_HEAD = ("name", "output", "catalog", "limits", "budget", "window", "retry", "webhooks", "notify", "on_job_done")

Path = tuple[str, ...]


def as_yaml(opened: Opened, *, name: str, origin: bool) -> Iterator[str]:
    """Yield the lines of the expanded manifest; `name` is used where it has none of its own.

    The manifest must be one without errors. With `origin` every value says where it is from.
    """
    said = head(opened, name=name)
    yield from yamlout.lines(yamlout.written(said), lambda path: _head_origin(opened, path) if origin else None)
    yield "jobs:"
    for read in opened.reads():
        values = yamlout.written(job_values(read))

        def comment(path: Path, read: Read = read) -> str | None:
            return origin_of(read, path) if origin else None

        yield from yamlout.lines(values, comment, indent="    ", first="  - ")


def as_values(opened: Opened, *, name: str, origin: bool) -> dict[str, Any]:
    """Return the expanded manifest as plain values: filled in, not to be read as a manifest again."""
    said = head(opened, name=name)
    shape: dict[str, Any] = dict(said)
    if origin:
        shape["origin"] = {".".join(path): _head_origin(opened, path) for path in _leaves(said)}
    shape["jobs"] = []
    for read in opened.reads():
        values = {**job_values(read), "id": read.entry.id}
        if origin:
            values["origin"] = {".".join(path): origin_of(read, path) for path in _leaves(job_values(read))}
        shape["jobs"].append(values)
    return shape


def head(opened: Opened, *, name: str) -> dict[str, Any]:
    """Return what a manifest says beside its jobs; `name` is used where it has none of its own."""
    said = {"name": name, "output": DEFAULT_OUTPUT, **opened.head}
    return {"version": VERSION, **{key: said[key] for key in _HEAD if said.get(key) not in (None, {})}}


def job_values(read: Read) -> dict[str, Any]:
    """Return a job as a manifest says it: all of it, and nothing that stands elsewhere."""
    entry = read.entry
    # The id of a folder's jobs is a template still.
    job_id = templates.escaped(entry.id) if entry.folder is None else entry.id
    values: dict[str, Any] = {"id": job_id, "kind": entry.kind.value}
    if entry.folder is not None:
        values["input"] = read.draft.values["input"]
    values |= links.as_written(entry.links, is_open=entry.folder is not None)
    if entry.tags:
        values["tags"] = list(entry.tags)
    if entry.priority:
        values["priority"] = entry.priority
    if entry.hold is not None:
        values["hold"] = entry.hold
    if entry.output is not None:
        values["output"] = entry.output
    return {**values, **links.without_input(entry.fields)}


def _leaves(values: Mapping[str, Any], at: Path = ()) -> Iterator[Path]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*at, key))
        else:
            yield (*at, key)


# --- where a value is from -------------------------------------------------------------------------------------------


def origin_of(read: Read, path: Path) -> str:
    """Return where a value of a job is from, such as `night.yaml:12` or `defaults image-to-video, shared.yaml:3`."""
    draft = read.draft
    wanted = draft.moved.get(path, path)
    varied = draft.variant.value_at(wanted) if draft.variant is not None else None
    if varied is not None:
        return _shown(yamltext.place_of(varied), "matrix, ")
    own = yamltext.exact(draft.node, wanted)
    if own is not None:
        return _shown(yamltext.place_of(own))
    for layer in read.body.layers:
        below = yamltext.exact(layer.given.node, wanted)
        if below is not None:
            return _shown(yamltext.place_of(below), f"defaults {layer.label}, ")
    return BUILT_IN


def _head_origin(opened: Opened, path: Path) -> str:
    node = yamltext.exact(opened.head_node, path)
    return BUILT_IN if node is None else _shown(yamltext.place_of(node))


def _shown(place: Place, before: str = "") -> str:
    via = f", {place.via}" if place.via else ""
    return plain.cell(f"{before}{place.source}:{place.line}{via}")
