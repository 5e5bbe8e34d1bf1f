"""The forms of the language in the schema for editors: variables, a matrix, defaults for all jobs and by tag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from batchrunner.core import matrix

Schema: TypeAlias = dict[str, Any]

# A text with a variable may stand for anything; what it comes to is the reader's to know.
VARIABLE = r"\$\{"
_APART = ("include", "vars", "env", "defaults", "jobs")


def with_variables(root: Schema) -> Schema:
    """Return the schema of a manifest in which each value may be a text with a variable, but those read apart."""
    widened: Schema = {**_inside(root), "properties": {}}
    for key, schema in root["properties"].items():
        widened["properties"][key] = _inside(schema) if key in _APART else _widened(schema)
    jobs = root["properties"]["jobs"]
    widened["properties"]["jobs"] = {**jobs, "items": _inside(jobs["items"])}
    return widened


def _widened(schema: Any) -> Any:
    """Return a schema that takes a text with a variable as well."""
    if not isinstance(schema, dict):
        return schema
    inner = _inside(schema)
    if "enum" in inner or "const" in inner:
        own = {key: inner.pop(key) for key in ("type", "enum", "const", "anyOf") if key in inner}
        return {**inner, "anyOf": [own, {"type": "string", "pattern": VARIABLE}]}
    if "anyOf" in inner:
        return {**inner, "anyOf": [*inner["anyOf"], {"type": "string", "pattern": VARIABLE}]}
    types = inner.get("type")
    listed = [types] if isinstance(types, str) else list(types or ())
    if listed and "string" not in listed:
        return {**inner, "type": [*listed, "string"], "pattern": VARIABLE}
    if "pattern" in inner:
        return {**inner, "pattern": f"(?:{inner['pattern']})|{VARIABLE}"}
    return inner


def _inside(schema: Any) -> Any:
    """Return a schema whose values may be texts with variables; what stands behind `if` only looks, and stays."""
    if not isinstance(schema, dict):
        return schema
    inner = dict(schema)
    if "properties" in inner:
        inner["properties"] = {key: _widened(each) for key, each in inner["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in inner:
            inner[key] = _widened(inner[key])
    for key in ("then", "else"):
        if key in inner:
            inner[key] = _inside(inner[key])
    for key in ("allOf", "anyOf"):
        if key in inner:
            inner[key] = [_inside(each) for each in inner[key]]
    if "dependencies" in inner:
        inner["dependencies"] = {key: _inside(each) for key, each in inner["dependencies"].items()}
    return inner


def a_matrix(job: Schema) -> Schema:
    """Return the shape of the `matrix` of a job: fields with lists of values, or a list of groups."""
    rule = {"type": "object", "minProperties": 1}
    lists = {path: {"type": "array", "minItems": 1, "items": field} for path, field in _paths(job).items()}
    product: Schema = {
        "type": "object",
        "properties": {**lists, matrix.EXCLUDE: {"anyOf": [{"type": "array", "items": rule}, rule]}},
        "additionalProperties": {"type": "array", "minItems": 1},
    }
    either = {path: {"anyOf": [field, lists[path]]} for path, field in _paths(job).items()}
    groups = {"type": "array", "minItems": 1, "items": {**rule, "properties": either}}
    return {"anyOf": [product, groups]}


def _paths(block: Schema, prefix: str = "") -> dict[str, Schema]:
    """Return the fields that a matrix may vary, by path; descriptions stay where the fields themselves stand."""
    paths: dict[str, Schema] = {}
    for key, schema in block["properties"].items():
        if prefix or key not in matrix.NEVER_VARIED:
            paths[prefix + key] = {key: each for key, each in schema.items() if key != "description"}
        if "properties" in schema:
            paths.update(_paths(schema, f"{prefix}{key}."))
    return paths


def where_nothing_varies(rules: list[Schema]) -> Schema:
    """Return rules over several fields of a job, for jobs without a matrix, which may replace any of them."""
    return {"if": {"not": {"required": ["matrix"]}}, "then": {"allOf": rules}}


def unless_included(root: Schema) -> Schema:
    """Return the schema of a manifest whose jobs may all be in the files that it includes."""
    needed = {"required": ["jobs"], "properties": {"jobs": {"minItems": root["properties"]["jobs"].pop("minItems")}}}
    required = [key for key in root["required"] if key != "jobs"]
    return {**root, "required": required, "if": {"not": {"required": ["include"]}}, "then": needed}


def of_any_kind(blocks: Mapping[str, Schema]) -> Schema:
    """Return what a block of `defaults` may hold that is for every kind: each key that any kind has."""
    return _of_any(list(blocks.values()))


def _of_any(blocks: list[Schema]) -> Schema:
    keys: dict[str, list[Schema]] = {}
    for block in blocks:
        for key, schema in block["properties"].items():
            keys.setdefault(key, []).append(schema)
    return {
        "type": "object",
        "properties": {key: _either(of) for key, of in keys.items()},
        "additionalProperties": False,
    }


def _either(schemas: list[Schema]) -> Schema:
    first = schemas[0]
    if all(schema == first for schema in schemas):
        return first
    if all("properties" in schema for schema in schemas):
        both = _of_any(schemas)
    else:
        both = {"anyOf": [{key: each for key, each in schema.items() if key != "description"} for schema in schemas]}
    return {**both, "description": first["description"]} if "description" in first else both


def by_tag(blocks: Mapping[str, Schema]) -> Schema:
    """Return the shape of `defaults.tags`."""
    every = of_any_kind(blocks)
    keys = {**{key: each for key, each in every["properties"].items() if key != "tags"}, **_without_tags(blocks)}
    return {
        "type": "object",
        "description": "What jobs with a tag get, by tag.",
        "additionalProperties": {**every, "properties": keys},
    }


def _without_tags(blocks: Mapping[str, Schema]) -> dict[str, Schema]:
    return {
        kind: {**block, "properties": {key: each for key, each in block["properties"].items() if key != "tags"}}
        for kind, block in blocks.items()
    }
