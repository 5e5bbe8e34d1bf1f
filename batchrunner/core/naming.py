"""What the placeholders in ids and outputs stand for.

`{stem}`, `{name}` and `{ext}` are of the first input's file: `intro`, `intro.mp4`, `mp4`. `{index}` counts the jobs
from 1, `{kind}` is the job's kind, `{model}` its model. Beside them every key of the job's matrix can be used, and
every field of the job with a single value, by its path: `{style.art_style}`. `{id}` is for outputs only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from batchrunner.core import inputs, outputs, templates
from batchrunner.core.checks import Draft
from batchrunner.core.inputs import Input
from batchrunner.core.kind import Kind
from batchrunner.core.templates import Flaw
from batchrunner.core.yamltext import Node, ScalarNode

OF_JOB = ("ext", "index", "kind", "model", "name", "stem")
OF_OUTPUT = ("id", *OF_JOB)
_OF_FILE = ("ext", "name", "stem")
NO_FILE = "no-value"


class NoName(ValueError):
    """A template asks for what there is not."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.message)
        self.flaw = flaw


def names_of(template: str | Node) -> tuple[str, ...]:
    """Return the placeholders of a template, or of what stands at a node."""
    if isinstance(template, str):
        return templates.names_in(template) if "{" in template else ()
    return names_of(template.text) if isinstance(template, ScalarNode) else ()


def values_of(*, kind: Kind, index: int, model: str | None, given: Sequence[Input]) -> dict[str, str]:
    """Return the values of OF_JOB; those of the file are left out where there is none."""
    values = {"index": str(index), "kind": kind.value, "model": model or "default"}
    if given:
        values["stem"] = inputs.stem_of(given[0])
        values["name"] = inputs.name_of(given[0])
        values["ext"] = given[0].extension
    return values


def id_of(template: str, draft: Draft, given: Sequence[Input], *, index: int) -> str:
    """Return the id that a template makes; raises NoName. What it brings makes no folders."""
    if "{" not in template and "}" not in template:
        return template
    if flaw := templates.flaw_of(template, what="bad-id"):
        raise NoName(flaw)

    def value_of(name: str) -> str:
        value = _of_job(draft, name)
        if value is None and name in OF_JOB:
            value = values_of(kind=draft.kind, index=index, model=draft.get("model"), given=given).get(name)
        if value is None and name in _OF_FILE:
            raise NoName(Flaw(NO_FILE, f"{{{name}}} has no value: the job has no input that can be used"))
        if value is None:
            raise NoName(templates.unknown(name, _possible(draft, OF_JOB)))
        return outputs.in_one_part(value)

    return templates.fill(template, value_of)


def output_of(template: str, draft: Draft) -> str:
    """Return a template with the matrix' and the job's own values in it, and OF_OUTPUT still open; raises NoName."""
    asked = _beyond_output(template)
    if not asked:
        return template

    def value_of(name: str) -> str | None:
        if name not in asked:
            return None
        value = _of_job(draft, name)
        if value is None and name not in OF_OUTPUT:
            raise NoName(templates.unknown(name, _possible(draft, OF_OUTPUT)))
        return None if value is None else outputs.in_one_part(value)

    return templates.fill_some(template, value_of)


@lru_cache(maxsize=1024)
def _beyond_output(template: str) -> frozenset[str]:
    return frozenset(templates.names_in(template)).difference(OF_OUTPUT)


def unknown_in(template: str, known: frozenset[str]) -> Flaw | None:
    """Return the flaw of a placeholder that no job can have, as in an output that no job may use."""
    for name in templates.names_in(template):
        if name not in OF_OUTPUT and name not in known and "." not in name:
            return templates.unknown(name, OF_OUTPUT)
    return None


def hint_for(template: str, varying: Sequence[str]) -> str:
    """Return what to write so that the jobs of a matrix differ by their ids."""
    missing = [key for key in varying if key not in names_of(template)]
    more = "".join(f"-{{{key}}}" for key in missing or ["index"])
    return f'write id: "{template}{more}"'


def _of_job(draft: Draft, name: str) -> str | None:
    """Return the value of a key of the matrix, or of a field of the job; None where it has no single one."""
    if draft.variant is not None and (text := draft.variant.text_of(name)) is not None:
        return text
    return _text(draft.get(*name.split("."))) if name not in OF_OUTPUT else None


def _text(value: object) -> str | None:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case _:
            return None


def _possible(draft: Draft, names: tuple[str, ...]) -> tuple[str, ...]:
    keys = [axis.key for axis in draft.variant.axes] if draft.variant is not None else []
    return tuple(dict.fromkeys([*names, *keys, *_paths(draft.values)]))


def _paths(values: Mapping[str, object], prefix: str = "") -> list[str]:
    paths = []
    for key, value in values.items():
        if isinstance(value, dict):
            paths += _paths(value, f"{prefix}{key}.")
        elif prefix and _text(value) is not None:
            paths.append(prefix + key)
    return paths
