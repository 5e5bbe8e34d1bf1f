"""The manifest's format for editors: a JSON Schema (draft-07, as the YAML language server reads it).

Everything in it is made from what the reader itself goes by: types, ranges and descriptions from shape.py, lists and
the models' limits from the catalogue, defaults from the dataclasses that hold what a manifest says. It is as strict as
the reader where JSON Schema can be, and never refuses what the reader takes. What depends on `defaults` (a value that
is missing), on files, or on other jobs is left to the reader.

How the format grows:

- A key that is added to a model of shape.py is in the schema, at the same place. Nothing is to be done here.
- A field whose validator takes more than its type names the rest in its `json_schema_input_type` (see `end_seconds`).
- A key that shape.py holds as `Any`, because something else checks it, gets its schema in `_root`, as `defaults` does.
- A text with a variable may stand for any value: jsonforms.py puts it beside every key's own schema once the root is
  built, except inside `if`.
- Rules over several fields (`_video_rules`, `_image_rules`) look at what a job says itself, so that they hold whatever
  the defaults are. Where something else can replace what a job says, as a matrix can, they are put behind an `if`
  without that key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import json
import re
from typing import Any, TypeAlias

from pydantic import BaseModel, TypeAdapter

from batchrunner.core import checks, eventlines, jsonforms, layers, outputs, reader, retry, shape
from batchrunner.core.budget import Budget
from batchrunner.core.catalog import Catalog, Model
from batchrunner.core.eventlines import JobEvent
from batchrunner.core.job import EVENTS, State
from batchrunner.core.kind import Kind
from batchrunner.core.manifest import Ask, Limits, Webhooks

Schema: TypeAlias = dict[str, Any]

DIALECT = "http://json-schema.org/draft-07/schema#"
_ANCHOR = "#/$defs/"


def json_schema(catalog: Catalog, *, allow_unlisted: bool = False) -> Schema:
    """Return the schema of a manifest; `allow_unlisted` takes what `parse` takes with it."""
    defaults = {kind: _block(shape.DEFAULTS[kind], kind, catalog, allow_unlisted=allow_unlisted) for kind in Kind}
    jobs = {kind: _job(kind, catalog, allow_unlisted=allow_unlisted) for kind in Kind}
    return {
        "$schema": DIALECT,
        "title": "batchrunner manifest",
        "description": f"Prices and models as of {catalog.as_of}.",
        **_root(catalog, defaults, jobs, allow_unlisted=allow_unlisted),
    }


def _root(
    catalog: Catalog, defaults: Mapping[Kind, Schema], jobs: Mapping[Kind, Schema], *, allow_unlisted: bool
) -> Schema:
    """Return the shape of the whole: what stands in `shape.Head`, with what is checked beside it filled in."""
    root = _from_model(shape.Head)
    keys = root["properties"]
    keys["version"] |= {"const": reader.VERSION}
    keys["output"] |= {"default": reader.DEFAULT_OUTPUT, "pattern": _OUTPUT}
    blocks = {str(kind): defaults[kind] for kind in Kind}
    every = jsonforms.of_any_kind(blocks) | {"description": "What all jobs get, as far as their kind has it."}
    keys["defaults"] |= {"properties": {layers.ALL: every, **blocks, layers.TAGS: jsonforms.by_tag(blocks)}}
    keys["defaults"]["additionalProperties"] = False
    keys["include"] |= {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    keys["jobs"] |= {"minItems": 1, "items": _any_job(jobs)}
    for key, holder in (("limits", Limits), ("budget", Budget), ("webhooks", Webhooks)):
        _tell_defaults(keys[key]["properties"], holder)
    for key in ("limits", "budget"):
        per_model = keys[key]["properties"]["per_model"]
        per_model["properties"] = dict.fromkeys(checks.capped_names(catalog), per_model["additionalProperties"])
    if not allow_unlisted:
        keys["budget"]["properties"]["per_model"]["additionalProperties"] = False
    _tell_usual_retries(keys["retry"]["properties"])
    return jsonforms.with_variables(jsonforms.unless_included(root))


def _tell_usual_retries(keys: Mapping[str, Schema]) -> None:
    """Put in how patient a step is by default, and the error codes that a render may start over for."""
    for step, usual in retry.PATIENCE.items():
        told = (usual.tries, usual.first_s, usual.longest_s, usual.total_s)
        for key, value in zip(("attempts", "first_wait", "longest_wait", "for"), told, strict=True):
            keys[step]["properties"][key]["default"] = value
    times = keys["render"]["additionalProperties"]
    keys["render"]["properties"] = {
        code: times | ({"maximum": 0} if retry.blames_the_input(code) else {}) | {"default": tries}
        for code, tries in {**dict.fromkeys(sorted(retry.KNOWN_CODES), 0), **retry.FREE_TRIES}.items()
    }


def _any_job(jobs: Mapping[Kind, Schema]) -> Schema:
    """Return the shape of a job, told by its kind; of one whose kind is not known only that can be said."""
    told: dict[str, Schema] = {
        name: {"description": shape.VideoJob.model_fields[name].description} for name in ("id", "kind")
    }
    told["kind"] |= {"enum": [str(kind) for kind in jobs]}
    return {
        "type": "object",
        "required": list(told),
        "properties": told,
        "allOf": [
            {"if": _has({"kind": {"const": str(kind)}}), "then": schema | {"description": f"A {kind} job."}}
            for kind, schema in jobs.items()
        ],
    }


def _job(kind: Kind, catalog: Catalog, *, allow_unlisted: bool) -> Schema:
    job = _block(shape.JOBS[kind], kind, catalog, allow_unlisted=allow_unlisted)
    rules = _video_rules(catalog) if kind is Kind.VIDEO_TO_VIDEO else _image_rules(catalog, allow_unlisted)
    job["properties"]["matrix"] |= jsonforms.a_matrix(job)
    return job | {"allOf": [jsonforms.where_nothing_varies([_said_once(kind), *rules])]}


def _block(model: type[BaseModel], kind: Kind, catalog: Catalog, *, allow_unlisted: bool) -> Schema:
    """Return what a job, or the defaults of its kind, may hold."""
    block = _from_model(model)
    for field in checks.LISTED[kind]:
        among = {"enum": list(getattr(catalog, field.among))}
        at = _at(block, field.path)
        if allow_unlisted and field.grows:
            at["anyOf"] = [among, {"type": at.pop("type")}]
        else:
            at |= among
    for path, instead in checks.DEPRECATED[kind]:
        # Not of the standard; editors show it as a warning and the others overlook it.
        _at(block, path)["deprecationMessage"] = f"{path[-1]} is deprecated: {instead}"
    block["properties"]["output"] |= {"pattern": _OUTPUT}
    _tell_defaults(block["properties"], Ask, only=("priority",))
    if kind is Kind.VIDEO_TO_VIDEO:
        block["properties"]["start_seconds"]["default"] = 0
    return block


# --- rules over several fields ---------------------------------------------------------------------------------------

_OUTPUT = f"{re.escape(outputs.EXTENSION)}$"


def _said_once(kind: Kind) -> Schema:
    """Return that `input` and the asset it stands for exclude each other."""
    main = [checks.MAIN_ASSET[kind], *(["youtube_url"] if kind is Kind.VIDEO_TO_VIDEO else [])]
    return {"dependencies": {"input": _may_have({"assets": _may_have(dict.fromkeys(main, False))})}}


def _video_rules(catalog: Catalog) -> Iterator[Schema]:
    clip: Schema = {"video_file_path": False}
    address: Schema = {"youtube_url": False}
    yield _may_have({"assets": {"dependencies": {"youtube_url": _may_have(clip)}}})
    for source, other in (("youtube", clip), ("file", address)):
        yield _may_have({"assets": {"if": _has({"video_source": {"const": source}}), "then": _may_have(other)}})
    for style, version in catalog.forced_versions.items():
        rule = {"if": _has({"art_style": {"const": style}}), "then": _may_have({"version": {"enum": [version]}})}
        yield _may_have({"style": rule})


def _image_rules(catalog: Catalog, allow_unlisted: bool) -> Iterator[Schema]:  # noqa: FBT001 - one caller
    seconds = {"minimum": catalog.image_seconds_min, "maximum": catalog.image_seconds_max}
    yield _may_have({"end_seconds": seconds})
    if allow_unlisted:
        return
    alike: dict[str, list[str]] = {}
    for name in catalog.models:
        for model in catalog.possible_models(name):
            alike.setdefault(json.dumps(_abilities(model)), []).append(name)
    for text, names in alike.items():
        yield {"if": _has({"model": {"enum": names}}), "then": json.loads(text)}


def _abilities(model: Model) -> Schema:
    """Return what the other fields may hold beside a model."""
    keys: Schema = {"end_seconds": _whole(model.durations), "resolution": {"enum": list(model.resolutions)}}
    if not model.audio_supported:
        keys["audio"] = {"const": False}
    if not model.end_image_resolutions:
        return _may_have(keys | {"assets": _may_have({"end_image_file_path": False})})
    limits: Schema = {"resolution": {"enum": list(model.end_image_resolutions)}}
    if model.end_image_max_seconds is not None:
        limits["end_seconds"] = {"maximum": model.end_image_max_seconds}
    with_end = _has({"assets": _has({"end_image_file_path": {}})})
    return _may_have(keys) | {"if": with_end, "then": _may_have(limits)}


def _whole(numbers: Iterable[int]) -> Schema:
    """Return the numbers as a range where they are one."""
    listed = sorted(numbers)
    if listed == list(range(listed[0], listed[-1] + 1)):
        return {"minimum": listed[0], "maximum": listed[-1], "multipleOf": 1}
    return {"enum": listed}


def _may_have(keys: Mapping[str, Any]) -> Schema:
    """Return what must hold of these keys where they are there."""
    return {"properties": dict(keys)}


def _has(keys: Mapping[str, Any]) -> Schema:
    """Return that these keys are there, and what must hold of them."""
    return {"required": list(keys), "properties": dict(keys)}


# --- events ---


def event_schema() -> Schema:
    """The shape of an event's line; whoever reads one takes properties and events that are not named here."""
    written = TypeAdapter(JobEvent).json_schema(mode="serialization")
    line = _plain(written, written.get("$defs", {}))
    line["required"] = list(line["properties"])
    line["properties"]["version"] = {"const": eventlines.VERSION}
    line["properties"]["event"]["examples"] = sorted(eventlines.name_of(kind) for kind in EVENTS)
    line["properties"]["state"]["enum"] = [str(state) for state in State]
    return {"$schema": DIALECT, "title": "An event of a run", **line, "description": "See docs/events.md."}


# --- from the models -------------------------------------------------------------------------------------------------


def _from_model(model: type[BaseModel]) -> Schema:
    """Return the model's schema without references: draft-07 overlooks a description beside one."""
    written = model.model_json_schema(by_alias=True)
    plain = _plain(written, written.get("$defs", {}))
    plain.pop("$defs", None)
    plain.pop("description", None)  # of the class, for whoever reads the code
    return plain


def _plain(written: Schema, shapes: Mapping[str, Schema]) -> Schema:
    """Return a copy with the shapes in place of references, and without titles and defaults that say nothing."""
    if "$ref" in written:
        shared = {key: value for key, value in shapes[written["$ref"].removeprefix(_ANCHOR)].items() if key != "title"}
        return _plain({**shared, **{key: value for key, value in written.items() if key != "$ref"}}, shapes)
    plain = {key: value for key, value in written.items() if key not in {"title", "$defs"}}
    if plain.get("default", ...) is shape.LEFT_OUT:
        plain.pop("default", None)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in plain:
            plain[key] = [_plain(each, shapes) for each in plain[key]]
    for key in ("items", "additionalProperties"):
        if isinstance(plain.get(key), dict):
            plain[key] = _plain(plain[key], shapes)
    if "properties" in plain:
        plain["properties"] = {key: _plain(each, shapes) for key, each in plain["properties"].items()}
    return plain


def _tell_defaults(keys: Mapping[str, Schema], holder: type, *, only: tuple[str, ...] | None = None) -> None:
    """Put in the defaults that a dataclass gives to fields of the same names."""
    for field in dataclasses.fields(holder):
        known = keys.get(field.name)
        if known is None or (only is not None and field.name not in only):
            continue
        if field.default not in (None, dataclasses.MISSING):
            known["default"] = _number_or_text(field.default)


def _number_or_text(value: Any) -> Any:
    return value if isinstance(value, int) else float(value) if hasattr(value, "as_tuple") else str(value)


def _at(block: Schema, path: Iterable[str]) -> Schema:
    """Return the schema of a field."""
    for step in path:
        block = block["properties"][step]
    return block
