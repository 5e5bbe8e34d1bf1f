"""From a manifest and the facts about its files to the jobs that will be rendered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from hashlib import sha256
import json
import posixpath
from typing import Any, Final

from batchrunner.core import (
    address as addresses,
    chain,
    collisions,
    findings,
    folder as folders,
    naming,
    outputs,
    templates,
    yamltext,
)
from batchrunner.core.facts import Media
from batchrunner.core.findings import Findings
from batchrunner.core.folder import Choice, Folder, Found, Listing
from batchrunner.core.inputs import Input, Inspected, Source, for_each_file
from batchrunner.core.leftout import NONE_LEFT_OUT, LeftOut, Needed
from batchrunner.core.manifest import Ask, Asking, JobEntry, Link, Manifest, first_of_each
from batchrunner.core.once import Once
from batchrunner.core.problem import Problem, Severity
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
    SPECIAL = "special"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFact:
    """What the shell saw at a path; `siblings` are the names in that folder, for naming the nearest one.

    `why` says what is wrong with what cannot be read, where its permissions are not meant.
    """

    kind: FileState
    size: int = 0
    modified_ns: int = 0
    siblings: tuple[str, ...] = ()
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedJob(Asking):
    """One render, complete but for the submission's name and the uploaded paths of LOCAL inputs.

    `request` is the wire body; `output` is relative to the manifest's folder, with forward slashes. `file` is
    that of a folder, as it was listed. With `end_seconds: end`, `request` says `end` and `seconds` is 0 until
    `with_ends` has put the clip's own end there. `links` are the jobs that it waits for; of one that it is made from,
    `request` has `{"job": ID}` in place of the asset.
    """

    id: str
    ask: Ask
    output: str
    file: Found | None = None
    links: tuple[Link, ...] = ()

    @property
    def request(self) -> Mapping[str, Any]:
        return self.ask.fields

    @property
    def seconds(self) -> float:
        """The length that is asked for."""
        return 0 if self.ends_with_clip else self.request["end_seconds"] - self.request.get("start_seconds", 0)

    @property
    def source(self) -> str | None:
        """The id of the job whose render it is made from, if it is made from one."""
        for link in self.links:
            if link.is_input:
                return link.job
        return None

    @property
    def ends_with_clip(self) -> bool:
        """Whether it still says `end_seconds: end`."""
        return bool(self.request["end_seconds"] == END)


def local_paths(manifest: Manifest, left: LeftOut = NONE_LEFT_OUT) -> frozenset[str]:
    """Return the local files that the jobs need, as written; the shell looks at them before `expand`."""
    entries = first_of_each(manifest.jobs)
    local = (given.value for entry in entries for given in entry.inputs if given.source is Source.LOCAL)
    return frozenset(local).union(each.value for each in left.files)


def expand(
    manifest: Manifest,
    *,
    files: Mapping[str, FileFact],
    listing: Listing = folders.NOTHING,
    left: LeftOut = NONE_LEFT_OUT,
    found: Findings | None = None,
    beside: Iterable[ResolvedJob] = (),
    root: str = "",
) -> tuple[ResolvedJob, ...]:
    """Resolve every job; raises ManifestError with every problem of its files, outputs and links.

    `files` has a fact for each of `local_paths`, `listing` every file that `folders_of` ask for. With `found` and
    `left`, what was found before and what is known of the jobs that are not among the manifest's, everything is told
    in one go; warnings are in `found`, too. `beside` are jobs of elsewhere that these may be linked to.
    `root` is the manifest's folder, absolute and with slashes, by which two spellings of one file are told.
    """
    found = found or Findings()
    for entry in first_of_each(manifest.jobs):
        for problem in _file_problems(entry, files):
            found.add(_with_way(problem, manifest))
    for each in left.files:
        if (told := _file_problem(each, files[each.value])) is not None:
            found.add(_with_way(told, manifest))
    before = found.errors_told
    jobs = tuple(_jobs(manifest, _choices(manifest, listing, found, root), found))
    knows_all = found.errors_told == before and not left.has_nameless
    for problem in collisions.of_outputs(jobs, root=root):
        found.add(problem)
    if folders_of(manifest):
        for problem in collisions.of_ids(jobs):
            found.add(problem)
    for problem in chain.problems((*jobs, *left.jobs), {each.id for each in beside}, knows_all=knows_all):
        found.add(problem)
    found.raise_errors()
    return jobs


def folders_of(manifest: Manifest) -> tuple[Folder, ...]:
    """Return what the jobs ask of folders, each once."""
    entries = first_of_each(manifest.jobs)
    return tuple(dict.fromkeys(entry.folder for entry in entries if entry.folder is not None))


def ready(jobs: Iterable[ResolvedJob], unready: AbstractSet[str]) -> Iterator[ResolvedJob]:
    """Yield the jobs whose file is not among those of folders that are not complete yet."""
    return (job for job in jobs if job.file is None or job.file.path not in unready)


def with_ends(
    jobs: Sequence[ResolvedJob], found: Mapping[str, Inspected], *, beside: Iterable[ResolvedJob] = ()
) -> tuple[ResolvedJob, ...]:
    """Return the jobs with the clip's own end in place of `end_seconds: end`, which the provider does not know.

    `found` has every local file of the jobs, by its path as written. The end is rounded down to milliseconds, and so
    never beyond the clip. Of another job's render, its end is what that job asks for, whether it is rendered or not:
    what is asked for, and with it the price, must not move when it is. `beside` has jobs whose end is known.
    """
    if not _any_end_with_clip(jobs):
        return tuple(jobs)
    known: Once[Ask, Ask] = Once()

    def ended(ask: Ask) -> Ask:
        return known.of(ask, lambda: _ended(ask, _length_of_clip(ask, found)))

    of_files = [replace(job, ask=ended(job.ask)) if _ends_with_file(job) else job for job in jobs]
    if not _any_end_with_clip(of_files):
        return tuple(of_files)
    settled = {job.id: job for job in beside}
    for job in chain.ordered(of_files):
        if job.ends_with_clip and job.source is not None:
            settled[job.id] = replace(job, ask=_ended(job.ask, render_length(settled[job.source])))
        else:
            settled[job.id] = job
    return tuple(settled[job.id] for job in jobs)


def render_length(job: ResolvedJob) -> Decimal:
    """Return the seconds of the render that a job asks for; it says no `end_seconds: end` any more."""
    end, start = (Decimal(str(job.request.get(key, 0))) for key in ("end_seconds", "start_seconds"))
    return end - start


def _any_end_with_clip(jobs: Sequence[ResolvedJob]) -> bool:
    return any(job.ends_with_clip for job in first_of_each(jobs))


def _ends_with_file(job: ResolvedJob) -> bool:
    return job.ends_with_clip and job.source is None


def _length_of_clip(ask: Ask, found: Mapping[str, Inspected]) -> Decimal:
    clip = next(found[given.value] for given in ask.inputs if given.media == "video" and given.value in found)
    return Decimal(str(clip.facts.seconds or 0))


def _ended(ask: Ask, length: Decimal) -> Ask:
    end = float(length.quantize(Decimal("0.001"), rounding=ROUND_FLOOR))
    return replace(ask, fields={**ask.fields, "end_seconds": end})


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
"""One for all: `json.dumps` makes a new one at every call."""


def request_hash(request: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the request as canonical JSON: equal requests, equal hash, whatever the key order."""
    return sha256(_CANONICAL.encode(request).encode()).hexdigest()


def _jobs(manifest: Manifest, choices: Mapping[Folder, Sequence[Found]], found: Findings) -> Iterator[ResolvedJob]:
    """Yield the jobs in the manifest's order, those of a folder where its entry stands."""
    for index, entry in enumerate(manifest.jobs, start=1):
        if entry.folder is None:
            output = _output(entry, index=index, template=manifest.output)
            yield ResolvedJob(id=entry.id, ask=entry.ask, output=output, links=entry.links)
            continue
        try:
            yield from _of_folder(entry, entry.folder, choices[entry.folder], template=manifest.output)
        except naming.NoName as error:
            flaw = error.flaw
            found.add(Problem(place=entry.place, code=flaw.code, message=flaw.message, path=entry.path, hint=flaw.hint))


_NAMED_BY_ID: Final = frozenset({"id"})


def _output(entry: JobEntry, *, index: int, template: str) -> str:
    written, values = entry.output or template, {"id": entry.id}
    if not _NAMED_BY_ID.issuperset(templates.names_in(written)):
        model = entry.fields.get("model")
        values |= naming.values_of(kind=entry.kind, index=index, model=model, given=entry.inputs)
    return outputs.render(written, values)


# --- folders -------------------------------------------------------------------------------------------------------


def _choices(manifest: Manifest, listing: Listing, found: Findings, root: str) -> dict[Folder, Sequence[Found]]:
    """Return the files of each folder; tells what is left out, and of folders with nothing left.

    What lies where this manifest's renders go is no input, or each night would render the renders of the last one.
    """
    chosen = {each: folders.choose(each, listing) for each in folders_of(manifest)}
    own = _own_outputs(manifest, chosen, root)
    files: dict[Folder, Sequence[Found]] = {}
    for folder, choice in chosen.items():
        kept, rendered = _apart(choice.files, own, root)
        notes = [*choice.notes]
        if rendered:
            said = f"{folders.counted(rendered, 'file')} left out, since this manifest's renders lie there"
            notes.append(folders.Note("own-output", said, "exclude them, or name another folder in the glob"))
        if not kept and not any(note.severity is Severity.ERROR for note in notes):
            notes.append(folders.nothing_left(folder))
        for problem in folders.problems(folder, notes):
            found.add(_with_way(problem, manifest))
        files[folder] = kept[: folder.limit]
    return files


def _apart(files: Sequence[Found], own: AbstractSet[str], root: str) -> tuple[Sequence[Found], list[str]]:
    """Return the files that are none of this manifest's renders, and the paths of those that are."""
    if not own:
        return files, []
    kept: list[Found] = []
    rendered: list[str] = []
    for each in files:
        if collisions.path_key(each.path, root=root) in own:
            rendered.append(each.path)
        else:
            kept.append(each)
    return kept, rendered


def _own_outputs(manifest: Manifest, chosen: Mapping[Folder, Choice], root: str) -> frozenset[str]:
    """Return the files among those chosen that lie in a folder for renders, or are just where a render would go."""
    templates = {entry.output or manifest.output for entry in manifest.jobs}
    places = {addresses.within(outputs.fixed_folder(template), root) for template in templates}
    own: set[str] = set()
    for folder, choice in chosen.items():
        bases = [addresses.within(pattern.base, root) for pattern in folder.patterns()]
        # Whoever names the folder itself means what lies in it.
        apart = tuple(f"{each}/" for each in places if each and not any(_is_in(base, each) for base in bases))
        own.update(
            collisions.path_key(each.path, root=root)
            for each in choice.files
            if addresses.within(each.path, root).startswith(apart)
        )
    beside = tuple(f"{each}/" if each else "" for each in places)
    if any(addresses.within(each.path, root).startswith(beside) for choice in chosen.values() for each in choice.files):
        own.update(_made(manifest, chosen, root))
    return frozenset(own)


def _made(manifest: Manifest, chosen: Mapping[Folder, Choice], root: str) -> Iterator[str]:
    """Yield where the renders of the files would go, but for those that would lie where their own clip does."""
    for entry in manifest.jobs:
        if entry.folder is not None:
            with suppress(naming.NoName):
                for job in _of_folder(entry, entry.folder, chosen[entry.folder].files, template=manifest.output):
                    key = collisions.output_key(job.output, root=root)
                    if job.file is not None and key != collisions.path_key(job.file.path, root=root):
                        yield key


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _of_folder(entry: JobEntry, folder: Folder, files: Sequence[Found], *, template: str) -> Iterator[ResolvedJob]:
    """Yield one job for each file; all that does not differ is shared. Raises NoName."""
    model = entry.fields.get("model")
    places = {**entry.places, folder.field: folder.place}
    written, depth = entry.output or template, folder.depth
    for index, file in enumerate(files, start=1):
        values = naming.values_of_file(file, depth=depth, kind=entry.kind, index=index, model=model)
        job_id = naming.id_of_file(entry.id, values)
        main = Input(
            field=folder.field, source=Source.LOCAL, value=file.path, media=folder.media, extension=values["ext"]
        )
        assets = {**entry.fields["assets"], folder.field: file.path}
        yield ResolvedJob(
            id=job_id,
            ask=replace(
                entry.ask,
                fields={**entry.fields, "assets": assets},
                inputs=(main, *entry.inputs),
                places=places,
                folder=None,
            ),
            output=naming.output_of_file(written, job_id, values),
            file=file,
            links=tuple(replace(link, job=naming.id_of_file(link.job, values)) for link in entry.links),
        )


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
            return "missing-file", f"there is no file {shown}", _instead(path, fact.siblings)
        case FileState.FOLDER:
            return "not-a-file", f"{shown} is a folder, not a file", for_each_file(f"{path.rstrip('/')}/*")
        case FileState.SPECIAL:
            return "not-a-file", f"{shown} is no regular file", "such as a pipe or a device; name a file"
        case FileState.UNREADABLE:
            if fact.why is not None:
                return "unreadable-file", f"{shown} cannot be read: {fact.why}", None
            return "unreadable-file", f"{shown} cannot be read", "look at its permissions"
        case FileState.FILE:
            return ("empty-file", f"{shown} is empty", None) if fact.size == 0 else None


def _with_way(problem: Problem, manifest: Manifest) -> Problem:
    """Return the problem, and of what is missing for an included file in another folder, from where its paths lead."""
    source = problem.place.source
    if problem.hint is not None or problem.code not in _MISSING or source.startswith("--"):
        return problem
    if posixpath.dirname(source) == posixpath.dirname(manifest.source.replace("\\", "/")):
        return problem
    return replace(problem, hint="paths lead from the manifest's folder, in an included file, too")


_MISSING: Final = frozenset({"missing-file", "missing-folder"})


def _instead(path: str, siblings: tuple[str, ...]) -> str | None:
    """What was probably meant by a path at which nothing is."""
    if "*" in path or "?" in path:
        return for_each_file(path)
    if path.startswith("~"):
        return "write the whole path: ~ is not filled in"
    with_slashes = path.replace("\\", "/")
    if with_slashes != path:
        return f"write / between folders on every system: {with_slashes}"
    return _nearest_file(path, siblings)


def _nearest_file(path: str, siblings: tuple[str, ...]) -> str | None:
    folder, name = posixpath.split(path)
    near = findings.nearest(name, siblings)
    return f"did you mean {posixpath.join(folder, near)}?" if near else None
