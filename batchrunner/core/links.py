"""The jobs that a job waits for, as it names them: `input: {job: ID}` and `needs`. Part of the reader.

Their ids are templates as its own id is: the keys of its matrix and its fields can be used, and what differs from file
to file where it stands for a folder. Whether there are such jobs is known only when all are there (see chain.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from batchrunner.core import explain, naming, templates, yamltext
from batchrunner.core.checks import Draft
from batchrunner.core.inputs import Input
from batchrunner.core.manifest import Link
from batchrunner.core.problem import Place, Problem

INPUT = ("input", "job")


def read(draft: Draft, given: Sequence[Input], *, index: int, tell: Callable[[Problem], None]) -> tuple[Link, ...]:
    """Return what the job waits for, each once and its input first; tells of ids that cannot be made."""
    found: list[Link] = []
    is_folder = naming.is_of_folder(draft)
    seen: set[tuple[str, bool]] = set()
    for path, text in written(draft.values):
        place, shown = _place(draft, path), explain.joined(draft.prefix, path)
        try:
            job_id = _id(text, draft, given, index=index, is_folder=is_folder)
        except naming.NoName as error:
            flaw = error.flaw
            tell(Problem(place=place, code=flaw.code, message=flaw.message, path=shown, hint=flaw.hint))
            continue
        link = Link(job=job_id, place=place, path=shown, is_input=path == INPUT)
        if (job_id, link.is_input) in seen:
            said = f"{yamltext.quoted(job_id)} stands there twice"
            tell(Problem(place=place, code="duplicate-need", message=said, path=shown, hint="remove one"))
        seen.add((job_id, link.is_input))
        found.append(link)
    return tuple(found)


def written(values: Mapping[str, Any]) -> Iterator[tuple[tuple[explain.Step, ...], str]]:
    """Yield the ids as they are written in a job's values, each with where it stands."""
    if (job := source_in(values)) is not None:
        yield INPUT, job
    match values.get("needs"):
        case str() as needs:
            yield ("needs",), needs
        case list() as listed:
            yield from ((("needs", number), each) for number, each in enumerate(listed))


def source_in(values: Mapping[str, Any]) -> str | None:
    """Return the id of the job whose render is the input, as it is written; None where the input is something else."""
    given = values.get("input")
    return given.get("job") if isinstance(given, dict) else None


def _place(draft: Draft, path: tuple[explain.Step, ...]) -> Place:
    if path == INPUT:
        return draft.place(*INPUT)
    return yamltext.place_of(yamltext.locate(draft.node, path))


def _id(text: str, draft: Draft, given: Sequence[Input], *, index: int, is_folder: bool) -> str:
    if is_folder:
        return naming.id_for_files(text, draft, must_differ=False)
    return naming.id_of(text, draft, given, index=index)


def as_written(links: Sequence[Link], *, is_open: bool = False) -> dict[str, Any]:
    """Return links as a manifest says them; ids that are still templates stay as they are."""
    names = [(link, link.job if is_open else templates.escaped(link.job)) for link in links]
    fed_by = [name for link, name in names if link.is_input]
    needs = [name for link, name in names if not link.is_input]
    return {**({"input": {"job": fed_by[0]}} if fed_by else {}), **({"needs": needs} if needs else {})}


def without_input(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provider's fields without the asset that `input: {job: …}` stands for."""
    return {**fields, "assets": {key: value for key, value in fields["assets"].items() if isinstance(value, str)}}
