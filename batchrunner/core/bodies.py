"""A job of a manifest, put together of what was read: what it asks for, and its names. Part of the reader."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from batchrunner.core import checks, layers, naming, shape, yamltext
from batchrunner.core.folder import Folder
from batchrunner.core.inputs import Input
from batchrunner.core.kind import Kind
from batchrunner.core.layers import Given
from batchrunner.core.manifest import Ask, JobEntry, Link
from batchrunner.core.matrix import Variant
from batchrunner.core.problem import Place
from batchrunner.core.typed import Checked


class Body(NamedTuple):
    """What is right about a job but for its names, with the defaults beneath it, the closest first.

    Jobs of a matrix that differ by keys of its own alone have it in common.
    """

    ask: Ask
    draft: checks.Draft
    given: list[Input]
    layers: tuple[layers.Layer, ...]


class Names(NamedTuple):
    """What a job is called, goes to and waits for; an id of None cannot be used."""

    id: str | None
    output: str | None
    links: tuple[Link, ...]


class Read(NamedTuple):
    """A job that was read, the draft that it came from, and what others may have in common with it."""

    entry: JobEntry
    draft: checks.Draft
    body: Body


def draft_of(kind: Kind, own: Checked, given: Given, variant: Variant | None) -> checks.Draft:
    """Return the job's values over its defaults, with `input` at its place in the request."""
    values = layers.merged_values(given.values, own.values)
    broken = own.broken | given.broken if given.broken else own.broken
    moved: dict[checks.Path, checks.Path] = {}
    main = ("assets", checks.MAIN_ASSET[kind])
    if "input" in values:
        values["assets"] = {**values.get("assets", {}), main[1]: values["input"]}
        moved[main] = ("input",)
    if ("input",) in broken:
        broken |= {main}
    return checks.Draft(
        kind=kind,
        values=values,
        node=own.node,
        defaults=given.node,
        prefix=own.prefix,
        broken=broken,
        moved=moved,
        variant=variant,
    )


def ask_of(draft: checks.Draft, given: list[Input], folder: Folder | None) -> Ask:
    values = draft.values
    return Ask(
        kind=draft.kind,
        fields=_request_fields(draft),
        inputs=tuple(given),
        place=yamltext.place_of(draft.node),
        places=_places(draft, given),
        tags=tuple(values.get("tags", ())),
        priority=values.get("priority", 0),
        hold=values.get("hold"),
        path=draft.prefix,
        folder=folder,
    )


def shared(body: Body) -> Body:
    """Return a body for the other jobs that have it, whose ids are filled in as far as they are alike."""
    draft, template = body.draft, body.draft.values["id"]
    if naming.is_of_folder(draft) or "{" not in template:
        return body
    open_id = naming.id_but_for_own_keys(template, draft, body.given)
    return body._replace(draft=replace(draft, values={**draft.values, "id": open_id}))


def entry_of(body: Body, names: Names, job_id: str) -> JobEntry:
    source = next((link for link in names.links if link.is_input), None)
    ask = body.ask if source is None else _fed(body.ask, source)
    return JobEntry(id=job_id, ask=ask, output=names.output, links=names.links)


def _fed(ask: Ask, source: Link) -> Ask:
    """Return what is asked for with the job whose render it is made from in place of its main asset."""
    main = checks.MAIN_ASSET[ask.kind]
    assets = {**ask.fields["assets"], main: {"job": source.job}}
    return replace(ask, fields={**ask.fields, "assets": assets}, places={**ask.places, main: source.place})


def _places(draft: checks.Draft, given: list[Input]) -> dict[str, Place]:
    seconds = ("start_seconds", "end_seconds") if draft.kind is Kind.VIDEO_TO_VIDEO else ()
    return {each.field: draft.place("assets", each.field) for each in given} | {
        name: draft.place(name) for name in seconds
    }


def _request_fields(draft: checks.Draft) -> dict[str, Any]:
    """Return the provider's fields, with those that it requires and that follow from the others."""
    fields = {key: value for key, value in draft.values.items() if key not in shape.OWN_KEYS}
    if draft.kind is Kind.VIDEO_TO_VIDEO:
        fields.setdefault("start_seconds", 0)
        assets = fields["assets"]
        if "video_source" not in assets:
            source = "youtube" if "youtube_url" in assets else "file"
            fields["assets"] = {"video_source": source, **assets}
    if isinstance(draft.values.get("input"), dict):
        # Which file it is, differs from job to job.
        main = checks.MAIN_ASSET[draft.kind]
        fields["assets"] = {key: value for key, value in fields["assets"].items() if key != main}
    return fields
