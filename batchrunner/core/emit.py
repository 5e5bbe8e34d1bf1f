"""Resolved jobs as a manifest, every one written out, so that it reads back as it was resolved."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from batchrunner.core import checks, links, templates, yamlout
from batchrunner.core.expand import ResolvedJob
from batchrunner.core.inputs import Input, Source
from batchrunner.errors import UsageError


def values_of(job: ResolvedJob, *, path: Callable[[str], str]) -> dict[str, Any]:
    """A job as a manifest says it, but for its output; `path` tells how a local input is written there."""
    local = {given.field: path(given.value) for given in job.inputs if given.source is Source.LOCAL}
    own = {"tags": list(job.tags), "priority": job.priority, "hold": job.hold}
    return {
        "id": job.id,
        "kind": str(job.kind),
        **{key: value for key, value in own.items() if value},
        **links.as_written(job.links),
        **(fields := links.without_input(job.request)),
        "assets": {**fields["assets"], **local},
    }


def apart(job: ResolvedJob, chosen: Container[str], files: Mapping[str, str]) -> ResolvedJob:
    """A job without links to others than those chosen: made from the file of the render that it is made from.

    Raises:
        UsageError: `files` does not have that render.
    """
    links = tuple(link for link in job.links if link.job in chosen)
    source = job.source
    if len(links) == len(job.links) or source is None or source in chosen:
        return replace(job, links=links)
    if source not in files:
        raise UsageError(f"{job.id} is made from the render of {source}, which is not on disk", hint="select both")
    field, media = checks.main_asset(job.kind)
    made = Input(field=field, source=Source.LOCAL, value=files[source], media=media, extension="mp4")
    return replace(job, links=links, ask=replace(job.ask, inputs=(made, *job.inputs)))


def text_of(head: Mapping[str, Any], jobs: Iterable[Mapping[str, Any]]) -> str:
    """The manifest of these values, in which nothing stands for anything else."""
    return "\n".join(_lines(head, jobs)) + "\n"


def _lines(head: Mapping[str, Any], jobs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield from yamlout.lines(yamlout.written(head), _no_comment)
    yield "jobs:"
    for job in jobs:
        values = yamlout.written({**job, "id": templates.escaped(job["id"])})
        yield from yamlout.lines(values, _no_comment, indent="    ", first="  - ")


def _no_comment(_: tuple[str, ...]) -> None:
    """Say nothing beside a value."""
