"""Jobs of a manifest that have errors: what is known of them all the same, so that all problems are told at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from batchrunner.core import yamltext
from batchrunner.core.checks import Draft
from batchrunner.core.inputs import Input, Source
from batchrunner.core.manifest import Link
from batchrunner.core.problem import Place
from batchrunner.core.yamltext import Node


class Needed(NamedTuple):
    """A local file that a job with errors asks for: it is looked at all the same, so that all is told at once."""

    value: str
    place: Place
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A job with errors of its own, as far as others that wait for it, or for which it waits, must know of it."""

    id: str
    path: str
    place: Place
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What is known of the jobs that have errors.

    Attributes:
        files: the local files that they ask for.
        jobs: those whose id is known.
        has_nameless: whether there are others, which may be the ones that a job waits for.
    """

    files: tuple[Needed, ...] = ()
    jobs: tuple[Named, ...] = ()
    has_nameless: bool = False


NONE_LEFT_OUT = LeftOut()


@dataclass(slots=True)
class Noted:
    """The same, taken down while jobs are read."""

    files: list[Needed] = field(default_factory=list)
    jobs: list[Named] = field(default_factory=list)
    has_nameless: bool = False

    def note(self, job_id: str | None, node: Node, path: str, links: tuple[Link, ...] = ()) -> None:
        """Take down a job; None where its id is not known."""
        if job_id is None:
            self.has_nameless = True
        else:
            self.jobs.append(Named(id=job_id, path=path, place=yamltext.place_of(node), links=links))

    def note_files(self, draft: Draft, given: Iterable[Input]) -> None:
        """Take down the local files that a job asks for."""
        for each in given:
            if each.source is Source.LOCAL:
                path = f"{draft.prefix}.assets.{each.field}"
                self.files.append(Needed(each.value, draft.place("assets", each.field), path))

    def so_far(self, *, is_torn: bool) -> LeftOut:
        """Return what is known of those read so far; of a torn manifest, there may be more."""
        return LeftOut(files=tuple(self.files), jobs=tuple(self.jobs), has_nameless=self.has_nameless or is_torn)
