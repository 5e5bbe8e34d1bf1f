"""Jobs that cannot stand beside each other: of one id, or whose outputs would overwrite something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
import posixpath
from typing import TYPE_CHECKING

from batchrunner.core import address as addresses, naming, outputs, yamltext
from batchrunner.core.inputs import Source
from batchrunner.core.problem import Problem

if TYPE_CHECKING:
    from batchrunner.core.expand import ResolvedJob

_SEPARATING = ("{parent}-{stem}", "{relpath}", "{relpath}.{ext}")


def of_ids(jobs: Sequence[ResolvedJob]) -> Iterator[Problem]:
    """Yield every id that two jobs would have, at least one of which is of a folder."""
    owners: dict[str, ResolvedJob] = {}
    for job in jobs:
        first = owners.setdefault(outputs.collision_key(job.id), job)
        if first is job:
            continue
        yield Problem(
            place=job.place,
            code="duplicate-id",
            message=f"the id {yamltext.quoted(job.id, limit=200)} is asked for {_by(first)} and {_by(job)}",
            path=f"{job.path}.id",
            hint=_separating(first, job),
        )


def _by(job: ResolvedJob) -> str:
    if job.file is None:
        return f"in line {job.place.line}"
    return f"by {yamltext.quoted(job.file.path, limit=200)}"


def _separating(first: ResolvedJob, second: ResolvedJob) -> str | None:
    """Return the shortest id under which two files are two jobs."""
    if first.file is None or second.file is None or first.path != second.path:
        return "ids must differ by more than upper and lower case; write another id"
    one, other = naming.values_of_path(first.file.path), naming.values_of_path(second.file.path)
    if first.file.path == second.file.path:
        return "write the keys of the matrix into the id"
    for template in _SEPARATING:
        with suppress(naming.NoName):
            ids = [naming.id_of_file(template, values) for values in (one, other)]
            if len(set(map(outputs.collision_key, ids))) > 1:
                return f'write id: "{template}"'
    return "their names differ by upper and lower case, or by the form of a letter; rename one of them"


def of_outputs(jobs: tuple[ResolvedJob, ...], *, root: str = "") -> Iterator[Problem]:
    """Yield every output that would overwrite another, an input, or a folder that another needs.

    Jobs of the same id have the same output as well; of those the id is told. `root` is the manifest's folder; without
    it, a relative path and an absolute one count as two.
    """
    written = dict.fromkeys(given.value for job in jobs for given in job.inputs if given.source is Source.LOCAL)
    inputs_by_key = {path_key(each, root=root): each for each in written}
    owners: dict[str, int] = {}
    folders: dict[str, int] = {}
    for index, job in enumerate(jobs):
        key = output_key(job.output, root=root)
        first = owners.setdefault(key, index)
        if first != index and outputs.collision_key(jobs[first].id) != outputs.collision_key(job.id):
            yield _collision(jobs, index, f"is also the output of the job {_named(jobs[first], beside=job)}")
        if key in inputs_by_key:
            yield _collision(jobs, index, f"is the input {yamltext.quoted(inputs_by_key[key])}")
        for folder in _parents(key):
            folders.setdefault(folder, index)
    for key in owners.keys() & folders.keys():
        owner = jobs[owners[key]]
        said = f"is a folder that the output of the job {_named(jobs[folders[key]], beside=owner)} needs"
        yield _collision(jobs, owners[key], said)


def _collision(jobs: Sequence[ResolvedJob], index: int, said: str) -> Problem:
    job = jobs[index]
    return Problem(
        place=job.place,
        code="output-collision",
        message=f"the output {yamltext.quoted(job.output, limit=200)} of the job {yamltext.quoted(job.id)} {said}",
        path=f"{job.path}.output",
        hint="use {id} or {index} in the output" if job.file is None else "use {id} or {relpath} in the output",
    )


def _named(job: ResolvedJob, *, beside: ResolvedJob) -> str:
    place, here = job.place, beside.place
    where = f"in line {place.line}" if place.source == here.source else f"at {place.source}:{place.line}"
    return f"{yamltext.quoted(job.id)} {where}"


def path_key(path: str, *, root: str = "") -> str:
    """What two paths share that a file system may take for one; links are not followed. `root` as in `of_outputs`."""
    head, rest = addresses.split(addresses.plain(path))
    plain = posixpath.normpath(rest.replace("\\", "/"))
    if head:
        return outputs.collision_key(head + plain)
    if root and plain.startswith(".."):
        plain = posixpath.normpath(posixpath.join(root, plain))
    return addresses.within(outputs.collision_key(plain), outputs.collision_key(root) if plain[0] == "/" else "")


def output_key(output: str, *, root: str = "") -> str:
    """The same of an output, which has no parts to be resolved."""
    return path_key(output, root=root) if output.startswith(addresses.FILE) else outputs.collision_key(output)


def _parents(key: str) -> Iterator[str]:
    end = key.rfind("/")
    while end > 0:
        yield key[:end]
        end = key.rfind("/", 0, end)
