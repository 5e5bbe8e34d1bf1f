"""Fields that a person sets for one take of a job, checked as the manifest is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
import json
from typing import Any, Final

from batchrunner.core import checks, emit, findings, reader, shape
from batchrunner.core.catalog import Catalog
from batchrunner.core.expand import ResolvedJob
from batchrunner.core.manifest import Manifest
from batchrunner.core.problem import Place, Problem
from batchrunner.core.scalars import core_value
from batchrunner.errors import ManifestError, UsageError

_NOT_SET: Final = frozenset({"id", "kind", "needs", "output", "tags", "priority"})
"""Keys of a job that a take has in common with the job, or that are made for it."""

_PREFIX: Final = "jobs[0]."


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One field that is set, `style.prompt=slow`; a value of None takes the field away."""

    text: str
    path: tuple[str, ...]
    value: Any

    @property
    def place(self) -> Place:
        """Where a problem of its value stands: on the command line."""
        return Place(source=f"--set {self.text}", line=1, column=len(self.text.partition("=")[0]) + 2)


def read(text: str, job: ResolvedJob) -> Edit:
    """What `path=value` sets; a value is read as YAML reads a word, and as text where it stands in double quotes.

    Raises:
        UsageError: it is not written so, or names what cannot be set.
    """
    written, sign, value = text.partition("=")
    path = tuple(written.split("."))
    if not sign or not all(path):
        raise UsageError(f"--set {text}: this is not FIELD=VALUE", hint="such as --set style.prompt='slow push in'")
    known = tuple(key for key in shape.JOBS[job.kind].model_fields if key not in _NOT_SET)
    if path[0] in _NOT_SET:
        raise UsageError(f"--set {text}: {path[0]} is the job's own and the same for every take of it")
    if path[0] not in known:
        raise UsageError(f"--set {text}: {job.kind} has no field {path[0]}", hint=findings.did_you_mean(path[0], known))
    if path[0] == "input" and len(path) > 1:
        raise UsageError(f"--set {text}: which job it is made from is the same for every take of it")
    if path == ("input",):
        path = ("assets", checks.MAIN_ASSET[job.kind])
    return Edit(text=text, path=path, value=_value(value))


def _value(text: str) -> Any:
    if text.startswith('"'):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return core_value(text)


def manifest_of(job: ResolvedJob, edits: Sequence[Edit], catalog: Catalog, *, allow_unlisted: bool) -> Manifest:
    """A manifest of nothing but the job with its fields set, checked as every manifest is.

    Raises:
        ManifestError: every problem of it, each with the field that was set as its place.
    """
    values = emit.values_of(job, path=str)
    main = ("assets", checks.MAIN_ASSET[job.kind])
    for edit in edits:
        if edit.path == main:
            values.pop("input", None)  # the take is made from a file, not from another job's render
        values = _with(values, edit.path, edit)
    text = emit.text_of({"version": reader.VERSION, "budget": {"unpriced": "allow"}}, [values])
    try:
        return reader.parse(text, source=job.place.source, name="redo", catalog=catalog, allow_unlisted=allow_unlisted)
    except ManifestError as error:
        raise placed(error, job, edits) from None


def _with(values: Mapping[str, Any], path: tuple[str, ...], edit: Edit) -> dict[str, Any]:
    """The values with one of them set; those around it are not touched, since jobs may share them."""
    key, rest = path[0], path[1:]
    if not rest:
        return {**values, key: edit.value} if edit.value is not None else {k: v for k, v in values.items() if k != key}
    below = values.get(key, {})
    if not isinstance(below, Mapping):
        raise UsageError(f"--set {edit.text}: {key} has no fields of its own")
    return {**values, key: _with(below, rest, edit)}


def placed(error: ManifestError, job: ResolvedJob, edits: Sequence[Edit]) -> ManifestError:
    """The same problems, each at the field that was set, or else where the job stands."""
    return ManifestError([_placed(problem, job, edits) for problem in error.problems])


def _placed(problem: Problem, job: ResolvedJob, edits: Sequence[Edit]) -> Problem:
    path = tuple(problem.path.removeprefix(_PREFIX).split("."))
    near = (edit for edit in edits if edit.path[: len(path)] == path or path[: len(edit.path)] == edit.path)
    edit = next(near, edits[0] if len(edits) == 1 else None)
    return replace(problem, place=edit.place if edit is not None else job.place)


def places_of(job: ResolvedJob, edits: Sequence[Edit]) -> dict[str, Place]:
    """Where each field of a take stands that is looked at again with the file: on the command line, or in the job."""
    return {**job.places, **{edit.path[-1]: edit.place for edit in edits}}
