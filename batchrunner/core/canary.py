"""Canaries: one job of every group is rendered and checked first, and tells whether the rest is bought.

A group is what has a style of its own: the kind, the model, and the style without its free text, since a prompt of
every job's own would make every job a canary. The engine holds the others back and asks here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
import json
from typing import Final, NamedTuple

from batchrunner.core import budget
from batchrunner.core.job import BOUGHT, Job, State
from batchrunner.core.selection import BROKEN, OPEN, code_of

_FREE_TEXT: Final = frozenset({"prompt"})
"""What a style says in the person's own words."""


class Mode(StrEnum):
    """What follows when every canary is good."""

    GO = "go"
    STOP = "stop"


class Group(NamedTuple):
    """What a canary is good for."""

    kind: str
    model: str | None
    style: str


def group_of(job: Job) -> Group:
    """The group of a job."""
    style = job.spec.body().get("style") or {}
    kept = {name: value for name, value in style.items() if name not in _FREE_TEXT}
    return Group(str(job.kind), job.spec.model, json.dumps(kept, sort_keys=True))


def doubt_of(job: Job) -> str | None:
    """What is wrong with a job as far as it is known, in words; None when nothing is."""
    if job.state in BROKEN:
        return f"{job.id} {job.state}: {job.trouble.message if job.trouble else code_of(job)}"
    if job.state is State.UNCERTAIN:
        return f"{job.id} is uncertain: it cannot be told whether it was charged"
    if job.suspect is not None:
        return f"{job.id} is suspect: {job.suspect}"
    if budget.is_far_off(job):
        return budget.far_off_words(job)
    return None


@dataclass(slots=True, kw_only=True)
class Canaries:
    """The canaries of a run, and how far they are. Mutable: the engine counts as it goes.

    Attributes:
        ids: which jobs they are.
        mode: what follows when all are good.
        pending: those that are not over yet.
        doubts: what is wrong with the others, by id.
    """

    ids: frozenset[str]
    mode: Mode
    pending: set[str] = field(default_factory=set)
    doubts: dict[str, str] = field(default_factory=dict)

    def saw(self, job: Job) -> None:
        """Take in a job as it is now."""
        if job.id not in self.ids:
            return
        doubt = doubt_of(job)
        if doubt is not None:
            self.doubts[job.id] = doubt
        if doubt is not None or job.state is State.DONE:
            self.pending.discard(job.id)

    def holds_back(self, job: Job) -> bool:
        """Whether a job is not bought before the canaries are good."""
        return job.id not in self.ids and not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether all are good and the rest may be bought."""
        return not self.pending and self.stops is None

    @property
    def stops(self) -> str | None:
        """Why no more is bought, in words; None while that is open, or when the rest may be."""
        if self.doubts:
            return "; ".join(self.doubts.values())
        if self.mode is Mode.STOP and self.ids and not self.pending:
            return (
                f"{'the canary is' if len(self.ids) == 1 else f'{len(self.ids):,} canaries are'} there to be looked at"
            )
        return None

    @property
    def words(self) -> str:
        """Why others wait."""
        return f"{len(self.pending):,} of {len(self.ids):,} canaries are not finished (--canary)"


def choose(jobs: Iterable[Job], mode: Mode) -> Canaries:
    """One job of every group that is to be bought, and of which none is good yet.

    One that is bought already, and the cheapest of the others, the first of these; with each, what it waits for, which
    must be there before it can be tried. `jobs` in their order of preference.
    """
    jobs = tuple(jobs)
    first: dict[Group, Job] = {}
    known: set[Group] = set()
    for job in jobs:
        if job.state in OPEN or (job.state in BOUGHT and job.state is not State.UNCERTAIN):
            group = group_of(job)
            best = first.get(group)
            if best is None or _rank(job) < _rank(best):
                first[group] = job
        elif job.state is State.DONE and doubt_of(job) is None:
            known.add(group_of(job))
    ids = _with_awaited({job.id for group, job in first.items() if group not in known}, jobs)
    return Canaries(ids=ids, mode=mode, pending=set(ids))


def _with_awaited(ids: set[str], jobs: tuple[Job, ...]) -> frozenset[str]:
    """The ids, and those of all that these jobs wait for and that is not over yet."""
    by_id = {job.id: job for job in jobs if not job.is_final}
    found, open_ = set(ids), list(ids)
    while open_:
        for other in by_id[open_.pop()].spec.waits_for:
            if other in by_id and other not in found:
                found.add(other)
                open_.append(other)
    return frozenset(found)


def _rank(job: Job) -> tuple[bool, int]:
    return job.state in OPEN, job.spec.hold or 0
