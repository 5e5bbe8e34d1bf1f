"""What a look into the local inputs tells about the jobs, before anything is sent.

A range beyond a clip's end, a file above the plan's limit: the provider would find out after the upload, or after
the charge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass

from batchrunner.core import expand, folder, possible, yamltext
from batchrunner.core.catalog import Catalog
from batchrunner.core.expand import ResolvedJob
from batchrunner.core.facts import Facts, Media
from batchrunner.core.findings import Findings
from batchrunner.core.inputs import Input, Inspected, Source
from batchrunner.core.kind import DEFAULT, Kind
from batchrunner.core.manifest import first_of_each
from batchrunner.core.problem import Place, Problem, Severity

SHORTEST_S = 0.1
"""The least `end_seconds` that the provider takes (OpenAPI 2026-09)."""

_ASPECT_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A local file to be looked into, and where the manifest names it first.

    `listed` is its size and time in the listing of a folder: one that is no longer so can wait for the next run. It
    is None where the manifest names the file itself.
    """

    name: str
    media: Media
    place: Place
    path: str
    listed: tuple[int, int] | None = None


def wanted(jobs: Sequence[ResolvedJob]) -> tuple[Wanted, ...]:
    """Return every local file of the jobs once, in the order of the jobs."""
    files: dict[str, Wanted] = {}
    for job in first_of_each(jobs):
        for given in _local(job):
            listed = _listed(job, given)
            known = files.get(given.value)
            if known is None or (known.listed is not None and listed is None):
                files[given.value] = Wanted(
                    name=given.value,
                    media=given.media,
                    place=job.places.get(given.field, job.place),
                    path=f"{job.path}.assets.{given.field}" if listed is None else f"{job.path}.input.glob",
                    listed=listed,
                )
    return tuple(files.values())


def _listed(job: ResolvedJob, given: Input) -> tuple[int, int] | None:
    if job.file is None or given.value != job.file.path:
        return None
    return job.file.size, job.file.modified_ns


def usable(jobs: Sequence[ResolvedJob], found: Mapping[str, Inspected]) -> Sequence[ResolvedJob]:
    """Return the jobs whose local files were all found to be what they have to be."""
    return [job for job in jobs if all(given.value in found for given in _local(job))]


def about_unready(jobs: Sequence[ResolvedJob], unready: AbstractSet[str]) -> Iterator[Problem]:
    """Yield a warning for each folder with files that are left for the next run."""
    paths: dict[Place, list[str]] = {}
    for job in jobs:
        if job.file is not None and job.file.path in unready:
            paths.setdefault(job.places[job.inputs[0].field], []).append(job.file.path)
    for place, left in paths.items():
        said = folder.left_for_later(sorted(set(left)))
        yield Problem(place=place, code="changing-file", message=said, severity=Severity.WARNING)


def check(
    jobs: Sequence[ResolvedJob],
    found: Mapping[str, Inspected],
    catalog: Catalog,
    *,
    tier: str | None,
    beside: Sequence[ResolvedJob] = (),
    told: Findings | None = None,
) -> tuple[Problem, ...]:
    """Return warnings; raises ManifestError with everything that cannot be rendered as it is asked for.

    `found` has every local file of the jobs, and the jobs have been through `expand.with_ends`. Without a tier only
    what no plan takes is refused. `beside` has jobs that these may be made from. What was `told` before is raised, too.
    """
    told = told or Findings()
    sources = {job.id: job for job in (*beside, *jobs)} if any(job.source for job in jobs) else {}
    for job in first_of_each(jobs):
        prefix = job.path
        for given in _local(job):
            seen = found[given.value]
            for problem in _size_problems(job, given, seen, catalog, tier=tier, prefix=prefix):
                told.add(problem)
            if job.kind is Kind.VIDEO_TO_VIDEO:
                problems = _range_problems(job, seen.facts)
            else:
                problems = _aspect_warnings(job, given, seen.facts, catalog, prefix=prefix)
            for problem in problems:
                told.add(problem)
        if job.source is not None:
            for problem in _chained_range_problems(job, sources[job.source]):
                told.add(problem)
        for problem in _choice_warnings(job, catalog, tier=tier):
            told.add(problem)
    told.raise_errors()
    return told.warnings()


def _local(job: ResolvedJob) -> Iterator[Input]:
    return (given for given in job.inputs if given.source is Source.LOCAL)


def _range_problems(job: ResolvedJob, facts: Facts) -> Iterator[Problem]:
    if facts.seconds is not None:
        # An end that is written to the hundredth may lie a part of a picture behind the last one.
        slack = 0.5 / facts.fps if facts.fps else 0.0
        yield from _beyond(job, facts.seconds, slack=slack, what="the clip")


def _chained_range_problems(job: ResolvedJob, source: ResolvedJob) -> Iterator[Problem]:
    """Yield what is wrong with the range of a job that is made from another's render, by what that one asks for."""
    what = f"the render of {yamltext.quoted(source.id)}"
    yield from _beyond(job, float(expand.render_length(source)), slack=0.0, what=what)


def _beyond(job: ResolvedJob, length: float, *, slack: float, what: str) -> Iterator[Problem]:
    """Yield what is wrong between the range that is asked for and a length; it may be passed by so many seconds."""
    prefix = job.path
    start, end = job.request.get("start_seconds", 0), job.request["end_seconds"]
    if start >= length:
        said = f"start_seconds is {start:g}, but {what} is only {length:.3f} seconds long"
        yield _problem(job, "start_seconds", "beyond-clip", said, prefix=prefix)
    elif end > length + slack:
        said = f"end_seconds is {end:g}, but {what} is only {length:.3f} seconds long"
        hint = "write end_seconds: end for the clip's own end"
        yield _problem(job, "end_seconds", "beyond-clip", said, prefix=prefix, hint=hint)
    elif end < SHORTEST_S or end <= start:
        # Only the clip's own end gets here: what is written as a number was checked before.
        said = f"{what} is only {length:.3f} seconds long, too short to be rendered from {start:g} seconds on"
        yield _problem(job, "end_seconds", "beyond-clip", said, prefix=prefix)


def _size_problems(
    job: ResolvedJob, given: Input, seen: Inspected, catalog: Catalog, *, tier: str | None, prefix: str
) -> Iterator[Problem]:
    limits = catalog.max_upload_bytes_by_tier
    limit = limits.get(tier or "") or max(limits.values())
    if seen.size <= limit:
        return
    whose = f"the plan {tier} takes" if tier in limits else "any plan takes"
    shown = yamltext.quoted(given.value, limit=200)
    enough = [each for each in catalog.tiers if seen.size <= limits.get(each, 0)]
    yield _problem(
        job,
        given.field,
        "too-large",
        f"{shown} has {seen.size:,} bytes, more than the {_size(limit)} that {whose}",
        prefix=f"{prefix}.assets",
        hint=f"{' or '.join(enough)} would take it" if enough else None,
    )


def _choice_warnings(job: ResolvedJob, catalog: Catalog, *, tier: str | None) -> Iterator[Problem]:
    """Yield a warning where the model that the account's plan chooses cannot do what the job asks for.

    No error, as where a job names that model: which one a plan chooses, the provider's documents tell differently.
    """
    if tier is None or job.kind is Kind.VIDEO_TO_VIDEO:
        return
    for fault in possible.faults_of_choice(job.request, catalog, tier=tier):
        said = f"{fault.message}; the provider chooses it for the plan {tier}, and is likely to refuse the job"
        hint = f"{fault.hint}; or name a model" if fault.hint else "name a model"
        place = job.places.get(fault.path[-1], job.place)
        path = ".".join((job.path, *fault.path))
        yield Problem(place=place, code="not-possible", message=said, path=path, hint=hint, severity=Severity.WARNING)


def _aspect_warnings(
    job: ResolvedJob, given: Input, facts: Facts, catalog: Catalog, *, prefix: str
) -> Iterator[Problem]:
    """Yield a warning where the model was said to render other shapes only, by a source that is out of date."""
    model = catalog.models.get(job.request.get("model", DEFAULT))
    if model is None or not model.aspect_ratios or not facts.height:
        return
    shape = facts.width / facts.height
    for ratio in model.aspect_ratios:
        width, height = map(int, ratio.split(":"))
        if abs(shape / (width / height) - 1) <= _ASPECT_TOLERANCE:
            return
    possible = " or ".join(model.aspect_ratios)
    yield _problem(
        job,
        given.field,
        "aspect-ratio",
        f"{model.name} was documented to render {possible} only; this still has {facts.width} x {facts.height} pixels",
        prefix=f"{prefix}.assets",
        severity=Severity.WARNING,
    )


def _problem(
    job: ResolvedJob,
    name: str,
    code: str,
    message: str,
    *,
    prefix: str,
    hint: str | None = None,
    severity: Severity = Severity.ERROR,
) -> Problem:
    place = job.places.get(name, job.place)
    return Problem(place=place, code=code, message=message, path=f"{prefix}.{name}", hint=hint, severity=severity)


def _size(count: int) -> str:
    """Return bytes as the provider counts them, in decimal units."""
    giga, mega = 1_000_000_000, 1_000_000
    return f"{count / giga:.4g} GB" if count >= giga else f"{count / mega:.4g} MB"
