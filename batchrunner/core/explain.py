"""From what pydantic refuses to problems that point at the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from batchrunner.core import findings, scalars, yamltext
from batchrunner.core.problem import Problem

Step: TypeAlias = str | int

FORM = "\0"
"""Begins the tag of one of several forms that a value may have; such a tag is no step of a path."""

_WANTED: Mapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
}

_OUT_OF_RANGE: Mapping[str, tuple[str, str | None]] = {
    "greater_than_equal": ("{value} is too small", "at least {ge:g}"),
    "less_than_equal": ("{value} is too large", "at most {le:g}"),
    "finite_number": ("{value} is not a number that can be used", None),
    "string_too_short": ("this must not be empty", None),
    "string_too_long": ("this is too long", "at most {max_length} characters"),
    "too_short": ("this must not be empty", None),
    "too_long": ("this list is too long", "at most {max_length} items"),
}

# The values that may stand at a path, where they are listed.
Listed: TypeAlias = Mapping[tuple[Step, ...], tuple[str, ...]]
NOTHING_LISTED: Listed = {}


class Refusal(NamedTuple):
    """One refused value: its path below the validated node, and what to tell."""

    path: tuple[Step, ...]
    problem: Problem


def explain(
    error: ValidationError,
    *,
    node: yamltext.Node,
    model: type[BaseModel],
    prefix: str,
    listed: Listed = NOTHING_LISTED,
) -> Iterator[Refusal]:
    """Yield every refusal with its place; `node` is what was validated, `prefix` its path in the file."""
    for details in error.errors(include_url=False):
        path = details["loc"] = tuple(step for step in details["loc"] if not str(step).startswith(FORM))
        problem = _problem(details, node=node, model=model, prefix=prefix, among=listed.get(path, ()))
        yield Refusal(path=path, problem=problem)


def joined(prefix: str, path: tuple[Step, ...]) -> str:
    """Return a path as people write it: jobs[3].style.art_style."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return prefix + steps if prefix else steps.removeprefix(".")


def _problem(
    details: ErrorDetails,
    *,
    node: yamltext.Node,
    model: type[BaseModel],
    prefix: str,
    among: tuple[str, ...],
) -> Problem:
    path = details["loc"]
    found = yamltext.locate(node, path)
    value = found.node if isinstance(found, yamltext.Entry) else found
    if details["type"] == "extra_forbidden":
        key = str(path[-1])
        code, message = "unknown-key", f"there is no key {yamltext.quoted(key)} here"
        hint: str | None = _key_hint(key, value, keys_at(model, path[:-1]))
    elif details["type"] == "missing":
        code, message, hint = "missing", f"{path[-1]} is missing", None
    else:
        code, message, hint = _value_problem(details, value, among)
        found = value
    return Problem(place=yamltext.place_of(found), code=code, message=message, path=joined(prefix, path), hint=hint)


def _key_hint(key: str, value: yamltext.Node, keys: tuple[str, ...]) -> str:
    has_value = not isinstance(value, yamltext.ScalarNode) or value.text != ""
    if has_value or findings.nearest(key, keys):
        return findings.did_you_mean(key, keys)
    return "inside {…} a comma ends a text; put the whole text in quotes"


def _value_problem(details: ErrorDetails, value: yamltext.Node, among: tuple[str, ...]) -> tuple[str, str, str | None]:
    """Return code, message and hint for a value of the wrong type or size."""
    kind, limits = details["type"], details.get("ctx", {})
    if kind in _WANTED:
        message = f"{_WANTED[kind]} is expected, not {_described(value)}"
        near = findings.nearest(value.text, among) if isinstance(value, yamltext.ScalarNode) else None
        return "wrong-type", message, f"did you mean {near}?" if near else _type_hint(kind, value)
    if kind in _OUT_OF_RANGE:
        message, hint = _OUT_OF_RANGE[kind]
        return "out-of-range", message.format(value=shown_value(value)), hint and hint.format(**limits)
    if kind == "literal_error":
        return "unlisted", f"{shown_value(value)} is not possible here", f"possible: {limits['expected']}"
    return "bad-value", details["msg"], None


def shown_value(value: yamltext.Node) -> str:
    """Return a value as a message shows it."""
    if not isinstance(value, yamltext.ScalarNode):
        return _described(value)
    return yamltext.quoted(value.value) if isinstance(value.value, str) else value.text or "null"


def _described(value: yamltext.Node) -> str:
    if isinstance(value, yamltext.MapNode):
        return "a mapping"
    if not isinstance(value, yamltext.ScalarNode):
        return "a list"
    match value.value:
        case None:
            return "nothing"
        case bool():
            return value.text
        case str() as text:
            return f"the text {yamltext.quoted(text)}"
        case _:
            return f"the number {value.text}"


def _type_hint(kind: str, value: yamltext.Node) -> str | None:
    """Return what to write instead, where the text itself shows what was meant."""
    if not isinstance(value, yamltext.ScalarNode):
        return None
    if kind == "string_type" and value.value is not None:
        return f'write it in quotes: "{value.text}"'
    if not isinstance(value.value, str):
        return None
    meant = scalars.core_value(value.value.strip())
    if kind == "bool_type":
        word = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.value.casefold())
        word = word or (str(meant).casefold() if isinstance(meant, bool) else None)
        return f"write {word}" if word else None
    if kind in {"int_type", "float_type"} and isinstance(meant, int | float) and not isinstance(meant, bool):
        return f"write it without quotes: {value.value.strip()}"
    return None


def keys_at(model: type[BaseModel], path: tuple[Step, ...]) -> tuple[str, ...]:
    """Return the keys that are valid where the path leads."""
    here: list[Any] = [model]
    for step in path:
        here = [form for each in here for form in _forms(_inside(each, step))]
    fields = [field for each in here if _is_model(each) for field in each.model_fields.items()]
    return tuple(field.alias or name for name, field in fields)


def _inside(shape: Any, step: Step) -> Any:
    """Return what stands at a key or an index of a shape; None where that is not known."""
    if _is_model(shape):
        fields = {field.alias or name: field for name, field in shape.model_fields.items()}
        return fields[step].annotation if step in fields else None
    return get_args(shape)[-1] if get_origin(shape) in (dict, list) else None


def _forms(annotation: Any) -> tuple[Any, ...]:
    """Return the shapes that an annotation allows."""
    if get_origin(annotation) is Annotated:
        return _forms(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(form for each in get_args(annotation) for form in _forms(each))
    return (annotation,)


def _is_model(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)
