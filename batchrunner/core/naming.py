"""What the placeholders in ids and outputs stand for.

`{stem}`, `{name}` and `{ext}` are of the first input's file: `intro`, `intro.mp4`, `mp4`. `{parent}` is the name of
the folder it lies in, `{relpath}` its path without the extension, below the folder that all patterns of a `glob` have
in common. `{index}` counts the jobs from 1, or the files of a folder; `{kind}` is the job's kind, `{model}` its model.
`{date}` is the day on which a folder's file was last changed, in UTC, so that it is the same everywhere. Beside them
every key of the job's matrix can be used, and every field of the job with a single value, by its path:
`{style.art_style}`. `{id}` is for outputs only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
import re
import unicodedata

from batchrunner.core import address as addresses, inputs, outputs, shape, templates
from batchrunner.core.checks import Draft
from batchrunner.core.folder import Found
from batchrunner.core.inputs import Input, Source
from batchrunner.core.kind import Kind
from batchrunner.core.templates import Flaw
from batchrunner.core.yamltext import Node, ScalarNode

OF_JOB = ("date", "ext", "index", "kind", "model", "name", "parent", "relpath", "stem")
OF_OUTPUT = ("id", *OF_JOB)
OF_FILE = ("date", "ext", "name", "parent", "relpath", "stem")
_OF_FOLDER = frozenset({*OF_FILE, "index"})

# Control characters, line and paragraph separators, and marks that reverse the direction of a terminal's text.
UNSHOWABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
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
        where = addresses.key_of(given[0].value) if given[0].source is Source.LOCAL else values["name"]
        values |= _of_path(where, depth=0)
    return values


def values_of_file(found: Found, *, depth: int, kind: Kind, index: int, model: str | None) -> dict[str, str]:
    """Return the values of OF_JOB for one file of a folder; `parent` is left out where it has none.

    `depth` is how many folders of its path are no part of `{relpath}`.
    """
    day = datetime.fromtimestamp(found.modified_ns // 1_000_000_000, tz=UTC)
    return {
        **values_of_path(found.path, depth=depth),
        "date": f"{day:%Y-%m-%d}",
        "index": str(index),
        "kind": kind.value,
        "model": model or "default",
    }


def values_of_path(path: str, *, depth: int = 0) -> dict[str, str]:
    """Return the values that tell files apart by their paths."""
    name = path.rpartition("/")[2]
    stem, _, extension = name.rpartition(".")
    return {"name": name, "stem": stem or name, "ext": extension.lower(), **_of_path(path, depth=depth)}


def _of_path(path: str, *, depth: int) -> dict[str, str]:
    """Return `{relpath}` and, where there is one, `{parent}`; so many folders are left out of the first."""
    *folders, name = path.replace("\\", "/").split("/")
    depth = max(depth, 2) if addresses.is_object(path) else depth  # never the scheme
    below = [each for each in folders[depth:] if each not in {"", ".", ".."}]
    values = {"relpath": "/".join((*below, name.rpartition(".")[0] or name))}
    if folders and folders[-1] not in {"", ".", ".."}:
        values["parent"] = folders[-1]
    return values


def id_of(template: str, draft: Draft, given: Sequence[Input], *, index: int) -> str:
    """Return the id that a template makes; raises NoName. What it brings makes no folders."""
    if "{" not in template and "}" not in template:
        return template
    if flaw := templates.flaw_of(template, what="bad-id"):
        raise NoName(flaw)
    return templates.fill(template, lambda name: _in_id(name, draft, given, index=index))


def id_but_for_own_keys(template: str, draft: Draft, given: Sequence[Input]) -> str:
    """Return a template of an id in which only keys of the matrix' own are open, and the index.

    `draft` is one of the jobs that differ in these alone, and has an id by this template.
    """
    variant = draft.variant

    def value_of(name: str) -> str | None:
        is_open = name == "index" or (variant is not None and variant.is_own(name))
        return None if is_open else _in_id(name, draft, given, index=0)

    return templates.fill_some(template, value_of)


def _in_id(name: str, draft: Draft, given: Sequence[Input], *, index: int) -> str:
    """Return the value of a placeholder of an id; raises NoName."""
    value = _of_job(draft, name)
    if value is None and name in OF_JOB:
        value = values_of(kind=draft.kind, index=index, model=draft.get("model"), given=given).get(name)
    if value is None:
        raise NoName(_lacking(name, draft, OF_JOB))
    return outputs.in_one_part(value)


def is_of_folder(draft: Draft) -> bool:
    """Tell whether a job stands for one of each file."""
    given = draft.values.get("input")
    if not isinstance(given, dict):
        return False
    return "glob" in given or not ("job" in given or draft.is_broken("input", "job"))


def id_for_files(template: str, draft: Draft, *, must_differ: bool = True) -> str:
    """Return a template in which only what differs from file to file is open; raises NoName."""
    if flaw := templates.flaw_of(template, what="bad-id"):
        raise NoName(flaw)

    def value_of(name: str) -> str | None:
        value = _of_job(draft, name)
        if value is None and name in {"kind", "model"}:
            value = draft.kind.value if name == "kind" else draft.get("model") or "default"
        if value is None and name not in _OF_FOLDER:
            raise NoName(templates.unknown(name, _possible(draft, OF_JOB)))
        return None if value is None else outputs.in_one_part(value)

    filled = templates.fill_some(template, value_of)
    if must_differ and _OF_FOLDER.isdisjoint(templates.names_in(filled)):
        said = "the id of a folder's jobs must differ from file to file"
        raise NoName(Flaw("bad-id", said, 'write id: "{stem}", or id: "{relpath}"'))
    return filled


def id_of_file(template: str, values: Mapping[str, str]) -> str:
    """Return the id of one file's job; raises NoName. What cannot stand in an id is replaced, and a long one cut."""

    def value_of(name: str) -> str:
        return _fit(values[name]) if name in values else _no_parent(values)

    job_id = "/".join(_fit_part(part) for part in templates.fill(template, value_of).split("/"))
    if len(job_id) <= shape.MAX_ID_LENGTH:
        return job_id
    tail = f"~{sha256(job_id.encode()).hexdigest()[:10]}"
    return job_id[: shape.MAX_ID_LENGTH - len(tail)] + tail


def _no_parent(values: Mapping[str, str]) -> str:
    said = f"{values['name']} lies in the manifest's own folder, so it has no {{parent}}"
    raise NoName(Flaw("no-parent", said, "write {relpath}"))


def _fit(value: str) -> str:
    return UNSHOWABLE.sub("_", unicodedata.normalize("NFC", value)).replace("\\", "_")


def _fit_part(part: str) -> str:
    name = part.strip()
    return "_" if name in {"", ".", ".."} else name


def output_of_file(template: str, job_id: str, values: Mapping[str, str]) -> str:
    """Return the output of one file's job; raises NoName."""
    if "parent" not in values and "parent" in templates.names_in(template):
        _no_parent(values)
    return outputs.render(template, {"id": job_id, **values})


def output_of(template: str, draft: Draft, given: Sequence[Input], *, is_folder: bool) -> str:
    """Return a template with the matrix' and the job's own values in it, and OF_OUTPUT still open; raises NoName."""
    of_file, beyond = _asked_of(template)
    if of_file and not is_folder:
        has = values_of(kind=draft.kind, index=0, model=None, given=given)
        for name in sorted(of_file.difference(has)):
            raise NoName(_lacking(name, draft, OF_OUTPUT))
    if not beyond:
        return template

    def value_of(name: str) -> str | None:
        if name not in beyond:
            return None
        value = _of_job(draft, name)
        if value is None:
            raise NoName(templates.unknown(name, _possible(draft, OF_OUTPUT)))
        return outputs.in_one_part(value)

    return templates.fill_some(template, value_of)


@lru_cache(maxsize=1024)
def _asked_of(template: str) -> tuple[frozenset[str], frozenset[str]]:
    """What a template asks of a file, and what of neither OF_OUTPUT; the jobs of a manifest share most templates."""
    asked = frozenset(templates.names_in(template))
    return asked.intersection(OF_FILE), asked.difference(OF_OUTPUT)


def _lacking(name: str, draft: Draft, names: tuple[str, ...]) -> Flaw:
    """Return the flaw of a placeholder that has no value."""
    match name:
        case "date":
            return Flaw("unknown-placeholder", "{date} is of the files of a folder", "write input: {glob: …}")
        case "parent" if draft.get("assets"):
            said = "{parent} has no value: the input lies in no folder but the manifest's own"
            return Flaw("unknown-placeholder", said, "write {relpath}")
        case _ if name in OF_FILE and draft.get("input", "job"):
            said = f"{{{name}}} has no value: the input is the render of another job"
            return Flaw("unknown-placeholder", said, "write {id}")
        case _ if name in OF_FILE:
            return Flaw(NO_FILE, f"{{{name}}} has no value: the job has no input that can be used")
        case _:
            return templates.unknown(name, _possible(draft, names))


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
    text = _text(draft.get(*name.split("."))) if name not in OF_OUTPUT else None
    return None if text is not None and name == "input.job" and "{" in text else text


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
