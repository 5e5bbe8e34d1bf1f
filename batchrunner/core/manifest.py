"""What a manifest asks for. `reader` makes it from text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from batchrunner.core.budget import Budget
from batchrunner.core.folder import Folder
from batchrunner.core.inputs import Input
from batchrunner.core.kind import Kind
from batchrunner.core.notices import ALL, Sort
from batchrunner.core.problem import Place, Problem
from batchrunner.core.retry import USUAL, Policy
from batchrunner.core.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may go on at once; `in_flight` counts renders submitted and not finished."""

    in_flight: int = 20
    uploads: int = 4
    downloads: int = 4
    submits_per_minute: float | None = None
    per_kind: Mapping[str, int] = field(default_factory=dict)
    per_model: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhooks:
    """Where a run listens for the provider's notices; port 0 takes a free one."""

    port: int
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Another job that one waits for, by its id, and where that stands; `is_input` where it is made from its render."""

    job: str
    place: Place
    path: str
    is_input: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEntry:
    """One job as the manifest asks for it, defaults merged, everything checked that needs no file.

    `fields` holds the API's own fields under their own names; nested mappings may be shared between jobs.
    `places` tells where the asset paths and the seconds stand, by field name (`video_file_path`, `end_seconds`, …),
    `path` is where the job stands in its file (`jobs[3]`), which the jobs of one matrix have in common.
    With a `folder` it is one job for each file: `id` is a template, as are the ids of `links`, and the main asset is
    not among the `inputs`. `links` are the jobs that it waits for.
    """

    id: str
    kind: Kind
    fields: Mapping[str, Any]
    inputs: tuple[Input, ...]
    place: Place
    places: Mapping[str, Place]
    tags: tuple[str, ...] = ()
    priority: int = 0
    output: str | None = None
    hold: int | None = None
    path: str = ""
    folder: Folder | None = None
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest without errors; `warnings` are for showing, `catalog` is the catalogue file it names."""

    name: str
    source: str
    version: int
    output: str
    limits: Limits
    jobs: tuple[JobEntry, ...]
    warnings: tuple[Problem, ...]
    catalog: str | None = None
    budget: Budget = field(default_factory=Budget)
    retry: Policy = USUAL
    webhooks: Webhooks | None = None
    window: Window = field(default_factory=Window)
    notify: tuple[Sort, ...] = ALL
    on_job_done: tuple[str, ...] = ()
