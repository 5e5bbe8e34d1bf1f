"""What a manifest asks for; nothing here sends or writes anything.

    read → look at files → expand → (planning.look → planning.plan → session.begin → run)

Each step takes what the one before gave. With `planning`, `access` and `session` this is the composition: the only
place where core, adapters and engine meet. `run` is the whole list, the other commands its beginnings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
import os
from pathlib import Path
from typing import Any, Final

from batchrunner import collector, listing, places, statefile, storage, store
from batchrunner.core import config, edits, expand, findings, folder as folders, outputs, reader
from batchrunner.core.catalog import Catalog
from batchrunner.core.expand import ResolvedJob
from batchrunner.core.folder import Listing
from batchrunner.core.job import Job
from batchrunner.core.manifest import Limits, Manifest
from batchrunner.core.problem import Problem
from batchrunner.errors import ManifestError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Redo:
    """Another take of a job: what it is to be, with an output of its own, and what a person set for it alone."""

    job: ResolvedJob
    edits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A manifest that is fit to be planned.

    Attributes:
        path: the manifest's file.
        root: its folder; inputs and outputs are relative to it.
        state: where its state file is, or will be.
        catalog: models, limits and prices, with the person's own corrections.
        jobs: what it asks for, resolved as far as that goes without looking into the inputs.
        mask: takes values from the environment out of a problem.
        listing: what lay in its folders.
        warnings: what is worth saying although nothing is wrong.
        allows_unlisted: whether what the catalogue does not know is let through.
        redo: another take of one of the jobs, to be made beside it.
    """

    path: Path
    root: Path
    state: Path
    manifest: Manifest
    catalog: Catalog
    jobs: tuple[ResolvedJob, ...]
    mask: Callable[[Problem], Problem] = findings.as_it_is
    listing: Listing = folders.NOTHING
    warnings: tuple[Problem, ...] = ()
    allows_unlisted: bool = False
    redo: Redo | None = None


@collector.paused()
def read(
    path: Path,
    *,
    state: Path | None = None,
    allow_unlisted: bool = False,
    variables: Mapping[str, str] | None = None,
) -> Batch:
    """Read a manifest and look at the files it names; nothing is sent and nothing is written.

    `variables` are words for the manifest's `${NAME}`, over those of its `vars` and of the environment.

    Raises:
        UsageError: the file cannot be read.
        ManifestError: it is wrong; every problem is in it, those of the files it names, too.
    """
    text = places.text_of(path)
    around = places.around(variables or {}, os.environ)
    catalog = places.load_catalog(path, text, os.environ, around=around)
    reading = reader.read(
        text, source=str(path), name=path.stem, catalog=catalog, allow_unlisted=allow_unlisted, around=around
    )
    root = path.resolve().parent
    names, asked = sorted(expand.local_paths(reading.manifest, reading.left)), expand.folders_of(reading.manifest)
    storage.require([*names, *(one.base for each in asked for one in each.patterns()), *_outputs(reading.manifest)])
    facts = storage.facts_of(root, names)
    listed = listing.look(root, asked)
    jobs = expand.expand(
        reading.manifest, files=facts, listing=listed, left=reading.left, found=reading.found, root=root.as_posix()
    )
    return Batch(
        path=path,
        root=root,
        state=state or store.path_for(path),
        manifest=reading.manifest,
        catalog=catalog,
        jobs=jobs,
        mask=reading.found.mask,
        listing=listed,
        warnings=reading.found.warnings(),
        allows_unlisted=allow_unlisted,
    )


def _outputs(manifest: Manifest) -> Iterator[str]:
    """Where results go, as it is written."""
    return (entry.output or manifest.output for entry in manifest.jobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expanded:
    """A manifest without errors, to be shown with everything filled in."""

    warnings: tuple[Problem, ...]
    _name: str
    _open: Callable[[], reader.Opened]

    def head(self) -> dict[str, Any]:
        """What it says beside its jobs."""
        return config.head(self._open(), name=self._name)

    def as_yaml(self, *, origin: bool = False) -> Iterator[str]:
        """The lines of a manifest that asks for the same; with `origin`, each value says where it came from."""
        return config.as_yaml(self._open(), name=self._name, origin=origin)

    def as_values(self, *, origin: bool = False) -> dict[str, Any]:
        """The same as plain values."""
        return config.as_values(self._open(), name=self._name, origin=origin)


@collector.paused()
def expanded(path: Path, *, variables: Mapping[str, str] | None = None, allow_unlisted: bool = False) -> Expanded:
    """A manifest with its included files, variables, defaults and matrices filled in; no input is looked at.

    Raises:
        UsageError: the file cannot be read.
        ManifestError: it is wrong; every problem is in it.
    """
    text = places.text_of(path)
    around = places.around(variables or {}, os.environ)
    given: dict[str, Any] = {
        "source": str(path),
        "catalog": places.load_catalog(path, text, os.environ, around=around),
        "allow_unlisted": allow_unlisted,
        "around": around,
    }
    manifest = reader.parse(text, name=path.stem, **given)
    return Expanded(warnings=manifest.warnings, _name=path.stem, _open=lambda: reader.opened(text, **given))


_NEVER_RUN: Final = "no run of this manifest was ever begun from here; --state names a state file that is elsewhere"


@collector.paused()
def read_for_collecting(path: Path, *, state: Path | None = None, to: str = "fetch") -> Batch:
    """As much of a manifest as is needed to collect what was paid for; it may be wrong, or miss its inputs.

    Its jobs are not read: what was bought is on record. `to` is what the person wants to do with it.

    Raises:
        UsageError: there is no state file, so nothing was ever bought.
    """
    where = state or store.path_for(path)
    if not where.exists():
        statefile.check_bytes(where)
        raise UsageError(f"there is no state file {where}, so there is nothing to {to}", hint=_NEVER_RUN)
    catalog = places.load_catalog(None, None, os.environ)
    try:
        manifest = reader.read_head(
            places.text_of(path),
            source=str(path),
            name=path.stem,
            catalog=catalog,
            around=places.around({}, os.environ),
        )
    except UsageError:
        manifest = Manifest(
            name=path.stem, source=str(path), version=1, output="", limits=Limits(), jobs=(), warnings=()
        )
    return Batch(path=path, root=path.resolve().parent, state=where, manifest=manifest, catalog=catalog, jobs=())


def redone(batch: Batch, job: Job, sets: Sequence[str], *, names: Iterable[str]) -> Batch:
    """The batch with another take of a job to be made, beside what was made of it; the manifest stays as it is.

    Args:
        batch: whose manifest has the job.
        job: as it is on record.
        sets: fields that are other than in the manifest, as `path=value`.
        names: outputs that are in use, beside those of the manifest.

    Raises:
        ManifestError: every problem of the fields, each with its place.
        UsageError: there is no such job or field.
    """
    asked = next((each for each in batch.jobs if each.id == job.id), None)
    if asked is None:
        hint = "bring it back into the manifest, and only then another take of it can be made"
        raise UsageError(f"{job.id} is no longer in {batch.path}", hint=hint)
    set_ = [edits.read(text, asked) for text in sets]
    manifest = edits.manifest_of(asked, set_, batch.catalog, allow_unlisted=batch.allows_unlisted)
    facts = storage.facts_of(batch.root, sorted(expand.local_paths(manifest)))
    try:
        (take,) = expand.expand(manifest, files=facts, beside=batch.jobs, root=batch.root.as_posix())
    except ManifestError as error:
        raise edits.placed(error, asked, set_) from None
    taken = {outputs.collision_key(name) for name in (*names, *(each.output for each in batch.jobs))}
    take = replace(
        take,
        output=outputs.of_attempt(asked.output, job.attempt + 1, taken),
        ask=replace(take.ask, place=asked.place, path=asked.path, places=edits.places_of(asked, set_)),
    )
    return replace(batch, redo=Redo(job=take, edits=tuple(sets)))
