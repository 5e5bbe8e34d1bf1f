"""Case files: a manifest, then sections that each begin with a marker line, and what comes of it.

=== include NAME  the text of a file that the manifest may include
=== files     facts about files, one in a line: path: missing | folder | empty | unreadable, then names beside it;
              every file that is not named is there
=== listing   what lies in folders, one in a line: path, or path | what is known of it, with commas between: N bytes,
              a date (of its last change), growing, real PATH, missing (then names beside it), astray, unreadable
=== options   one in a line: allow_unlisted, or var NAME=VALUE, or environ NAME=VALUE; with config, or config origin,
              what comes of it is what `batchrunner config` prints
=== expected  the problems, or the warnings and the jobs that come out
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
import json
from pathlib import Path
import re

from batchrunner.core import catalog, config, expand, folder, manifest, reader
from batchrunner.core.folder import Folder, Found, Listing
from batchrunner.core.leftout import NONE_LEFT_OUT, LeftOut
from batchrunner.core.problem import Problem
from batchrunner.core.reader import Around
from batchrunner.errors import ManifestError, UsageError

CASES = Path(__file__).parent / "cases"
CATALOG_TEXT = Path(catalog.__file__).parents[1].joinpath("data", "catalog.yaml").read_text(encoding="utf-8")
CATALOG = catalog.parse_catalog(CATALOG_TEXT, source="catalog.yaml")
ZONES = ("America/New_York", "Europe/Berlin", "UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    manifest: str
    files: str = ""
    listing: str = ""
    options: str = ""
    expected: str = ""
    included: Mapping[str, str] = field(default_factory=dict)

    def around(self) -> Around:
        words = [line.split(maxsplit=1) for line in self.options.splitlines()]
        said = {
            sort: dict(rest[0].split("=", 1) for word, *rest in words if word == sort) for sort in ("var", "environ")
        }
        return Around(
            variables=said["var"], environ=said["environ"], fetch=fetching(self.included), zones=lambda: ZONES
        )


def fetching(texts: Mapping[str, str]) -> Callable[[str], str]:
    """Return what gives the text of an included file, out of these."""

    def fetch(name: str) -> str:
        if name not in texts:
            raise UsageError(f"cannot read {name}: No such file or directory")
        return texts[name]

    return fetch


def read_case(path: Path) -> Case:
    text, *sections = re.split(r"^=== (\w+)(?: (\S+))?\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    parts = list(zip(sections[::3], sections[1::3], sections[2::3], strict=True))
    included = {name: text for word, name, text in parts if word == "include"}
    return Case(manifest=text, included=included, **{word: text for word, _, text in parts if word != "include"})


def parse(text: str, *, allow_unlisted: bool = False, around: Around | None = None) -> manifest.Manifest:
    return reader.parse(text, source="m.yaml", name="m", catalog=CATALOG, allow_unlisted=allow_unlisted, around=around)


def facts(read: manifest.Manifest, told: str = "", left: LeftOut = NONE_LEFT_OUT) -> dict[str, expand.FileFact]:
    """Return a fact for every local file: as told, else a file with something in it."""
    files = {path: expand.FileFact(kind=expand.FileState.FILE, size=1000) for path in expand.local_paths(read, left)}
    for line in told.splitlines():
        path, _, rest = line.partition(": ")
        state, *siblings = rest.split(", ")
        kind = expand.FileState.FILE if state == "empty" else expand.FileState(state)
        files[path] = expand.FileFact(kind=kind, siblings=tuple(siblings))
    return files


NOW = datetime(2026, 11, 21, tzinfo=UTC)


def listing(told: str, wanted: Iterable[Folder] = ()) -> Listing:
    """Return what lies in folders; what is not told of a file is 1000 bytes, last changed on 2026-11-01."""
    files: list[Found] = []
    missing: dict[str, tuple[str, ...]] = {}
    unreadable: dict[str, str] = {}
    astray: list[str] = []
    for line in told.splitlines():
        path, _, rest = line.partition(" | ")
        words = rest.split(", ") if rest else []
        if words[:1] == ["missing"]:
            missing[path] = tuple(words[1:])
        elif words[:1] == ["astray"]:
            astray.append(path)
        elif words[:1] == ["unreadable"]:
            unreadable[path] = "Permission denied"
        else:
            files.append(_found(path, words))
    since = {each.newer_than: _moment(each.newer_than) for each in wanted if each.newer_than is not None}
    return Listing(files=tuple(files), missing=missing, unreadable=unreadable, astray=tuple(astray), since=since)


def _found(path: str, words: list[str]) -> Found:
    size, changed, real = 1000, "2026-11-01", None
    for word in words:
        if word.endswith(" bytes"):
            size = int(word.removesuffix(" bytes"))
        elif word.startswith("real "):
            real = word.removeprefix("real ")
        elif word != "growing":
            changed = word
    return Found(path=path, size=size, modified_ns=_moment(changed), real=real, is_growing="growing" in words)


def _moment(text: str) -> int:
    """Return the moment that a text stands for, where the clocks show UTC."""
    now_ns = int(NOW.timestamp()) * 1_000_000_000
    return folder.moment(
        text, now_ns=now_ns, local=lambda each: (each if each.tzinfo else each.replace(tzinfo=UTC)).timestamp()
    )


def outcome(case: Case) -> str:
    """Return what the case leads to, as text."""
    try:
        reading = reader.read(
            case.manifest,
            source="m.yaml",
            name="m",
            catalog=CATALOG,
            allow_unlisted="allow_unlisted" in case.options,
            around=case.around(),
        )
        read, left = reading.manifest, reading.left
        files = facts(read, case.files, left)
        lying = listing(case.listing, expand.folders_of(read))
        jobs = expand.expand(read, files=files, listing=lying, left=left, found=reading.found)
    except ManifestError as error:
        return "".join(f"{_told(problem)}\n" for problem in error.problems)
    if "config" in case.options:
        return _config_text(case)
    limits = read.limits
    head = f"{read.name}: {limits.in_flight} in flight, {limits.uploads} up, {limits.downloads} down\n"
    warnings = "".join(f"{_told(problem)}\n" for problem in reading.found.warnings())
    return head + warnings + "".join(_job_text(job) for job in jobs)


def _config_text(case: Case) -> str:
    opened = reader.opened(case.manifest, source="m.yaml", catalog=CATALOG, around=case.around())
    return "".join(f"{line}\n" for line in config.as_yaml(opened, name="m", origin="config origin" in case.options))


def _told(problem: Problem) -> str:
    file = "" if problem.place.source == "m.yaml" else f"{problem.place.source}:"
    at = f"{file}{problem.place.line}:{problem.place.column}: {problem.severity} {problem.code}"
    more = "".join(f"\n    {each}" for each in (problem.hint, problem.place.via) if each)
    return f"{at} {problem.path}\n    {problem.message}{more}"


def _job_text(job: expand.ResolvedJob) -> str:
    lines = [
        f"{job.id} [{job.kind}] -> {job.output}",
        f"    {json.dumps(job.request, sort_keys=True)}",
        f"    {job.seconds:g} s, priority {job.priority}, tags {', '.join(job.tags) or 'none'}",
    ]
    lines += [f"    {given.field}: {given.source} {given.media} .{given.extension}" for given in job.inputs]
    return "\n".join(lines) + "\n"
