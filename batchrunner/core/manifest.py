"""What a manifest asks for. `reader` makes it from text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

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
class Ask:
    """What is asked for under a job's name. Jobs of a matrix that differ only by keys of its own share one.

    `fields` holds the API's own fields under their own names; nested mappings may be shared, too. `places` tells where
    the asset paths and the seconds stand, by field name (`video_file_path`, `end_seconds`, …), `path` is where the job
    does in its file (`jobs[3]`), which the jobs of one matrix have in common. With a `folder` it is asked for once for
    each of its files, and the main asset is not among the `inputs`.
    """

    kind: Kind
    fields: Mapping[str, Any]
    inputs: tuple[Input, ...]
    place: Place
    places: Mapping[str, Place]
    tags: tuple[str, ...] = ()
    priority: int = 0
    hold: int | None = None
    path: str = ""
    folder: Folder | None = None


class Asking:
    """What a job has of its `ask`, told as its own."""

    __slots__ = ()
    ask: Ask

    @property
    def kind(self) -> Kind:
        return self.ask.kind

    @property
    def inputs(self) -> tuple[Input, ...]:
        return self.ask.inputs

    @property
    def place(self) -> Place:
        return self.ask.place

    @property
    def places(self) -> Mapping[str, Place]:
        return self.ask.places

    @property
    def tags(self) -> tuple[str, ...]:
        return self.ask.tags

    @property
    def priority(self) -> int:
        return self.ask.priority

    @property
    def hold(self) -> int | None:
        return self.ask.hold

    @property
    def path(self) -> str:
        return self.ask.path


A = TypeVar("A", bound=Asking)


def first_of_each(jobs: Sequence[A]) -> Iterable[A]:
    """Return the first job of each ask, in order: what is found of it, but for its names, holds for the others."""
    firsts: dict[int, A] = {}
    for job in jobs:
        firsts.setdefault(id(job.ask), job)
    return firsts.values()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEntry(Asking):
    """One job as the manifest asks for it, defaults merged, everything checked that needs no file.

    With a folder it is one job for each file: `id` is a template, as are the ids of `links`. `links` are the jobs that
    it waits for.
    """

    id: str
    ask: Ask
    output: str | None = None
    links: tuple[Link, ...] = ()

    @property
    def fields(self) -> Mapping[str, Any]:
        return self.ask.fields

    @property
    def folder(self) -> Folder | None:
        return self.ask.folder


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
