"""Case files: a manifest, then sections that each begin with a marker line, and what comes of it.

=== files     facts about files, one in a line: path: missing | folder | empty | unreadable, then names beside it;
              every file that is not named is there
=== options   words for parse, such as allow_unlisted
=== expected  the problems, or the warnings and the jobs that come out
"""

from dataclasses import dataclass
import json
from pathlib import Path
import re

from batchrunner.core import catalog, expand, manifest, reader
from batchrunner.core.problem import Problem
from batchrunner.errors import ManifestError

CASES = Path(__file__).parent / "cases"
CATALOG_TEXT = Path(catalog.__file__).parents[1].joinpath("data", "catalog.yaml").read_text(encoding="utf-8")
CATALOG = catalog.parse_catalog(CATALOG_TEXT, source="catalog.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    manifest: str
    files: str = ""
    options: str = ""
    expected: str = ""


def read_case(path: Path) -> Case:
    text, *sections = re.split(r"^=== (\w+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return Case(manifest=text, **dict(zip(sections[::2], sections[1::2], strict=True)))


def parse(text: str, *, allow_unlisted: bool = False) -> manifest.Manifest:
    return reader.parse(text, source="m.yaml", name="m", catalog=CATALOG, allow_unlisted=allow_unlisted)


def facts(read: manifest.Manifest, told: str = "") -> dict[str, expand.FileFact]:
    """Return a fact for every local file: as told, else a file with something in it."""
    files = {path: expand.FileFact(kind=expand.FileState.FILE, size=1000) for path in expand.local_paths(read)}
    for line in told.splitlines():
        path, _, rest = line.partition(": ")
        state, *siblings = rest.split(", ")
        kind = expand.FileState.FILE if state == "empty" else expand.FileState(state)
        files[path] = expand.FileFact(kind=kind, siblings=tuple(siblings))
    return files


def outcome(case: Case) -> str:
    """Return what the case leads to, as text."""
    try:
        read = parse(case.manifest, allow_unlisted="allow_unlisted" in case.options)
        jobs = expand.expand(read, files=facts(read, case.files))
    except ManifestError as error:
        return "".join(f"{_told(problem)}\n" for problem in error.problems)
    limits = read.limits
    head = f"{read.name}: {limits.in_flight} in flight, {limits.uploads} up, {limits.downloads} down\n"
    warnings = "".join(f"{_told(problem)}\n" for problem in read.warnings)
    return head + warnings + "".join(_job_text(job) for job in jobs)


def _told(problem: Problem) -> str:
    at = f"{problem.place.line}:{problem.place.column}: {problem.severity} {problem.code}"
    hint = f"\n    {problem.hint}" if problem.hint else ""
    return f"{at} {problem.path}\n    {problem.message}{hint}"


def _job_text(job: expand.ResolvedJob) -> str:
    lines = [
        f"{job.id} [{job.kind}] -> {job.output}",
        f"    {json.dumps(job.request, sort_keys=True)}",
        f"    {job.seconds:g} s, priority {job.priority}, tags {', '.join(job.tags) or 'none'}",
    ]
    lines += [f"    {given.field}: {given.source} {given.media} .{given.extension}" for given in job.inputs]
    return "\n".join(lines) + "\n"
