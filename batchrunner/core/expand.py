"""From a manifest and the facts about its files to the jobs that will be rendered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from hashlib import sha256
import json
import posixpath
from typing import Any

from batchrunner.core import findings, naming, outputs, yamltext
from batchrunner.core.entries import Needed
from batchrunner.core.findings import Findings
from batchrunner.core.inputs import Input, Inspected, Media, Source
from batchrunner.core.kind import Kind
from batchrunner.core.manifest import JobEntry, Manifest
from batchrunner.core.problem import Place, Problem
from batchrunner.core.shape import END

__all__ = [
    "FileFact",
    "FileState",
    "Input",
    "Media",
    "ResolvedJob",
    "Source",
    "expand",
    "local_paths",
    "request_hash",
    "with_ends",
]


class FileState(StrEnum):
    """What stands at a path."""

    FILE = "file"
    MISSING = "missing"
    FOLDER = "folder"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFact:
    """What the shell saw at a path; `siblings` are the names in that folder, for naming the nearest one."""

    kind: FileState
    size: int = 0
    modified_ns: int = 0
    siblings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedJob:
    """One render, complete but for the submission's name and the uploaded paths of LOCAL inputs.

    `request` is the wire body; `output` is relative to the manifest's folder, with forward slashes. `places` tells
    where asset paths and seconds stand, by field name, and `path` where the job does (`jobs[3]`). With
    `end_seconds: end`, `request` says `end` and `seconds` is 0 until `with_ends` has put the clip's own end there.
    """

    id: str
    kind: Kind
    request: Mapping[str, Any]
    inputs: tuple[Input, ...]
    output: str
    seconds: float
    place: Place
    places: Mapping[str, Place] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    priority: int = 0
    hold: int | None = None
    path: str = ""

    @property
    def ends_with_clip(self) -> bool:
        """Whether it still says `end_seconds: end`."""
        return bool(self.request["end_seconds"] == END)


def local_paths(manifest: Manifest, needed: Iterable[Needed] = ()) -> frozenset[str]:
    """Return the local files that the jobs need, as written; the shell looks at them before `expand`."""
    local = (given.value for entry in manifest.jobs for given in entry.inputs if given.source is Source.LOCAL)
    return frozenset(local).union(each.value for each in needed)


def expand(
    manifest: Manifest,
    *,
    files: Mapping[str, FileFact],
    needed: Iterable[Needed] = (),
    found: Findings | None = None,
) -> tuple[ResolvedJob, ...]:
    """Resolve every job; raises ManifestError with every problem of its files and outputs.

    `files` has a fact for each of `local_paths`. With `found` and `needed`, what was found before and the files of jobs
    that are not among the manifest's, everything is told in one go.
    """
    found = found or Findings()
    for entry in manifest.jobs:
        for problem in _file_problems(entry, files):
            found.add(problem)
    for each in needed:
        if (told := _file_problem(each, files[each.value])) is not None:
            found.add(told)
    jobs = tuple(
        _resolved(entry, index=index, template=manifest.output) for index, entry in enumerate(manifest.jobs, start=1)
    )
    for problem in _output_problems(jobs):
        found.add(problem)
    found.raise_errors()
    return jobs


def with_ends(jobs: Sequence[ResolvedJob], found: Mapping[str, Inspected]) -> tuple[ResolvedJob, ...]:
    """Return the jobs with the clip's own end in place of `end_seconds: end`, which the provider does not know.

    `found` has every local file of the jobs, by its path as written. The end is rounded down to milliseconds, and so
    never beyond the clip.
    """
    return tuple(_with_end(job, found) if job.ends_with_clip else job for job in jobs)


def _with_end(job: ResolvedJob, found: Mapping[str, Inspected]) -> ResolvedJob:
    clip = next(found[given.value] for given in job.inputs if given.media == "video" and given.value in found)
    length = Decimal(str(clip.facts.seconds or 0))
    end = float(length.quantize(Decimal("0.001"), rounding=ROUND_FLOOR))
    return replace(job, request={**job.request, "end_seconds": end}, seconds=end - job.request.get("start_seconds", 0))


def request_hash(request: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the request as canonical JSON: equal requests, equal hash, whatever the key order."""
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return sha256(canonical.encode()).hexdigest()


def _resolved(entry: JobEntry, *, index: int, template: str) -> ResolvedJob:
    end = entry.fields["end_seconds"]
    return ResolvedJob(
        id=entry.id,
        kind=entry.kind,
        request=entry.fields,
        inputs=entry.inputs,
        output=_output(entry, index=index, template=template),
        seconds=0 if end == END else end - entry.fields.get("start_seconds", 0),
        place=entry.place,
        places=entry.places,
        tags=entry.tags,
        priority=entry.priority,
        hold=entry.hold,
        path=entry.path,
    )


def _output(entry: JobEntry, *, index: int, template: str) -> str:
    model = entry.fields.get("model")
    values = naming.values_of(kind=entry.kind, index=index, model=model, given=entry.inputs)
    return outputs.render(entry.output or template, {"id": entry.id, **values})


# --- files ---------------------------------------------------------------------------------------------------------


def _file_problems(entry: JobEntry, files: Mapping[str, FileFact]) -> Iterator[Problem]:
    for given in entry.inputs:
        if given.source is Source.LOCAL:
            asked = Needed(given.value, entry.places[given.field], f"{entry.path}.assets.{given.field}")
            if problem := _file_problem(asked, files[given.value]):
                yield problem


def _file_problem(asked: Needed, fact: FileFact) -> Problem | None:
    told = _told(asked.value, fact)
    if told is None:
        return None
    code, message, hint = told
    return Problem(place=asked.place, code=code, message=message, path=asked.path, hint=hint)


def _told(path: str, fact: FileFact) -> tuple[str, str, str | None] | None:
    """Return code, message and hint for a path that cannot be uploaded."""
    shown = yamltext.quoted(path, limit=200)
    match fact.kind:
        case FileState.MISSING:
            return "missing-file", f"there is no file {shown}", _nearest_file(path, fact.siblings)
        case FileState.FOLDER:
            return "not-a-file", f"{shown} is a folder, not a file", None
        case FileState.UNREADABLE:
            return "unreadable-file", f"{shown} cannot be read", "look at its permissions"
        case FileState.FILE:
            return ("empty-file", f"{shown} is empty", None) if fact.size == 0 else None


def _nearest_file(path: str, siblings: tuple[str, ...]) -> str | None:
    folder, name = posixpath.split(path)
    near = findings.nearest(name, siblings)
    return f"did you mean {posixpath.join(folder, near)}?" if near else None


# --- outputs -------------------------------------------------------------------------------------------------------


def _output_problems(jobs: tuple[ResolvedJob, ...]) -> Iterator[Problem]:
    """Yield every output that would overwrite another, an input, or a folder that another needs."""
    inputs_by_key = {
        _path_key(given.value): given.value for job in jobs for given in job.inputs if given.source is Source.LOCAL
    }
    owners: dict[str, int] = {}
    folders: dict[str, int] = {}
    for index, job in enumerate(jobs):
        key = outputs.collision_key(job.output)
        first = owners.setdefault(key, index)
        if first != index:
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
        hint="use {id} or {index} in the output",
    )


def _named(job: ResolvedJob, *, beside: ResolvedJob) -> str:
    place, here = job.place, beside.place
    where = f"in line {place.line}" if place.source == here.source else f"at {place.source}:{place.line}"
    return f"{yamltext.quoted(job.id)} {where}"


def _path_key(path: str) -> str:
    return outputs.collision_key(posixpath.normpath(path.replace("\\", "/")))


def _parents(key: str) -> Iterator[str]:
    end = key.rfind("/")
    while end > 0:
        yield key[:end]
        end = key.rfind("/", 0, end)
