"""What a manifest asks for, and what a run would do about it; nothing here sends or writes anything.

    read → look at files → expand → plan → (session.begin → run)

Each step takes what the one before gave. With `access` and `session` this is the composition: the only place where
core, adapters and engine meet. `run` is the whole list, the other commands its beginnings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
import os
from pathlib import Path
from typing import Any, Final

from batchrunner import collector, inspect, listing, places, statefile, storage, store
from batchrunner.core import (
    chain,
    config,
    edits,
    expand,
    findings,
    folder as folders,
    footage,
    outputs,
    plan as planning,
    priced,
    pricing,
    reader,
    retry,
)
from batchrunner.core.catalog import Catalog
from batchrunner.core.expand import ResolvedJob
from batchrunner.core.folder import Listing
from batchrunner.core.inputs import Inspected
from batchrunner.core.job import Job
from batchrunner.core.manifest import Limits, Manifest
from batchrunner.core.plan import Plan, Wishes
from batchrunner.core.problem import Problem
from batchrunner.core.selection import Facts, facts_of, refuse_unmatched
from batchrunner.core.spec import Spec
from batchrunner.errors import ManifestError, UsageError

# --- reading ---------------------------------------------------------------------------------------------------------


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

    `to` is what the person wants to do with it.

    Raises:
        UsageError: there is no state file, so nothing was ever bought.
    """
    where = state or store.path_for(path)
    if not where.exists():
        statefile.check_bytes(where)
        raise UsageError(f"there is no state file {where}, so there is nothing to {to}", hint=_NEVER_RUN)
    catalog = places.load_catalog(None, None, os.environ)
    try:
        reading = reader.read(
            places.text_of(path),
            source=str(path),
            name=path.stem,
            catalog=catalog,
            allow_unlisted=True,
            around=places.around({}, os.environ),
        )
        manifest = replace(reading.manifest, jobs=()) if reading.found.has_errors else reading.manifest
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
        place=asked.place,
        path=asked.path,
        places=edits.places_of(asked, set_),
    )
    return replace(batch, redo=Redo(job=take, edits=tuple(sets)))


# --- planning --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """The jobs after a look into their inputs: ends and prices are known now.

    Attributes:
        jobs: complete; nothing is left open.
        redo: the other take, if one is to be made; complete, too.
        contents: what is in every local input, by its path as written.
        fresh: those that had to be read, because they are new or changed.
        warnings: what is worth saying although nothing is wrong.
        unready: files of folders that are not complete yet; there is no job of them this time.
    """

    jobs: tuple[ResolvedJob, ...]
    contents: Mapping[str, Inspected]
    fresh: tuple[Inspected, ...]
    warnings: tuple[Problem, ...]
    unready: frozenset[str] = frozenset()
    redo: ResolvedJob | None = None


def look(
    batch: Batch,
    *,
    remembered: Mapping[str, Inspected],
    tier: str | None = None,
    on_progress: inspect.Progress | None = None,
) -> Looked:
    """Look into every local input that is not remembered as it is, and check the jobs against what is there.

    Raises:
        ManifestError: inputs that cannot be used as asked for, all of them.
    """
    unready: set[str] = set()
    take: tuple[ResolvedJob, ...] = (batch.redo.job,) if batch.redo is not None else ()
    wanted = footage.wanted((*batch.jobs, *take))
    try:
        contents = inspect.look(batch.root, wanted, remembered, on_progress=on_progress, unready=unready)
        whole, waiting = chain.complete(tuple(expand.ready(batch.jobs, unready)))
        jobs = expand.with_ends(whole, contents)
        take = expand.with_ends(_complete(take, unready, waiting), contents, beside=jobs)
        checked = footage.check((*jobs, *take), contents, batch.catalog, tier=tier, beside=jobs)
        told = (*footage.about_unready(batch.jobs, unready), *chain.about_left(waiting), *checked)
    except ManifestError as error:
        raise ManifestError([batch.mask(problem) for problem in error.problems]) from None
    warnings = tuple(map(batch.mask, told))
    fresh = tuple(each for name, each in contents.items() if remembered.get(name) != each)
    return Looked(
        jobs=jobs,
        contents=contents,
        fresh=fresh,
        warnings=warnings,
        unready=frozenset(unready),
        redo=next(iter(take), None),
    )


def _complete(
    take: tuple[ResolvedJob, ...], unready: set[str], waiting: Sequence[ResolvedJob]
) -> tuple[ResolvedJob, ...]:
    """The take that is to be made; its file must be there as a whole, since nothing else is asked for.

    `waiting` are jobs that wait for one whose file is not.

    Raises:
        UsageError: it is still being written.
    """
    for given in (given for job in take for given in job.inputs if given.value in unready):
        raise UsageError(f"{given.value} is still being written", hint="wait until it is there, and run it again")
    for job in (job for job in take if any(job.id == each.id for each in waiting)):
        raise UsageError(f"a file behind {job.id} is still being written", hint="wait until it is there, and try again")
    return take


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a run would do now, and what that was made from.

    Attributes:
        plan: the plan.
        looked: what was seen of the inputs.
        attempts: every attempt on record.
        wishes: what to buy beyond new and unfinished jobs.
        tier: the account's plan, for prices; None where it is not known.
        history_folder: where prices were learned from, too.
    """

    plan: Plan
    looked: Looked
    attempts: tuple[Job, ...]
    wishes: Wishes
    tier: str | None
    history_folder: Path | None

    @property
    def files(self) -> tuple[Inspected, ...]:
        """The inputs that had to be read."""
        return self.looked.fresh

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is worth saying although nothing is wrong."""
        return self.looked.warnings

    def still_holds(
        self, seen: Looked, attempts: Sequence[Job], wishes: Wishes, *, tier: str | None, history_folder: Path | None
    ) -> bool:
        """Whether all that the plan was made from is as it was, so that it need not be made again.

        Other batches of a history may have moved meanwhile: with one, that is not known.
        """
        looked = self.looked
        return (
            history_folder is None
            and self.history_folder is None
            and (wishes, tier) == (self.wishes, self.tier)
            and (seen.contents, seen.unready) == (looked.contents, looked.unready)
            and tuple(attempts) == self.attempts
        )


@collector.paused()
def preview(
    batch: Batch,
    *,
    wishes: Wishes,
    tier: str | None = None,
    history_folder: Path | None = None,
    on_progress: inspect.Progress | None = None,
) -> Preview:
    """What a run would do now. Reads the state file and the inputs; changes nothing.

    Estimates learn from what this batch, and the other state files of `history_folder`, were charged.

    Raises:
        ManifestError: inputs that cannot be used as asked for, all of them.
        UsageError: a word of the selection fits no job.
    """
    with store.open_to_read(batch.state) as view:
        known = {job.id: job for job in view.jobs()} if view else {}
        refuse_unmatched(wishes.selection, listed(batch, known))
        remembered = view.files() if view else {}
        own = view.all_attempts() if view else []
    history = priced.history_of([*own, *elsewhere(batch, history_folder)], batch.catalog, tier=tier)
    seen = look(batch, remembered=trusted(remembered, known.values()), tier=tier, on_progress=on_progress)
    made = plan(batch, seen, known, wishes, tier=tier, history=history, earlier=own)
    return Preview(plan=made, looked=seen, attempts=tuple(own), wishes=wishes, tier=tier, history_folder=history_folder)


def listed(batch: Batch, known: Mapping[str, Job]) -> Iterator[Facts]:
    """The jobs that may be selected: those of the manifest with what it says of them now, then those on record."""
    for job in batch.jobs:
        recorded = facts_of(known[job.id]) if job.id in known else Facts(id=job.id, kind=job.kind)
        yield replace(recorded, kind=job.kind, tags=job.tags, priority=job.priority)
    asked = {job.id for job in batch.jobs}
    yield from (facts_of(job) for job in known.values() if job.id not in asked)


def plan(
    batch: Batch,
    seen: Looked,
    known: Mapping[str, Job],
    wishes: Wishes,
    *,
    tier: str | None,
    history: pricing.History,
    earlier: Sequence[Job] = (),
) -> Plan:
    """The plan for inputs that were looked into, with prices learned from `history`; `earlier` has attempts before."""
    asked: dict[str, Spec] = {}

    def spec_of(job: ResolvedJob) -> Spec:
        return priced.spec_of(job, seen.contents, batch.catalog, tier=tier, history=history, asked=asked)

    for job in chain.ordered(seen.jobs):
        asked[job.id] = spec_of(job)

    def wanted(job: ResolvedJob) -> Spec:
        if batch.redo is not None and seen.redo is not None and seen.redo.id == job.id:
            return replace(spec_of(seen.redo), asked=asked[job.id].fingerprint, edits=batch.redo.edits)
        return priced.standing(asked[job.id], known.get(job.id), batch.catalog, tier=tier, history=history)

    return planning.make_plan(
        ((job.id, wanted(job)) for job in seen.jobs),
        known,
        wishes,
        absences=_absences(batch, seen, known),
        earlier=earlier,
    )


def _absences(batch: Batch, seen: Looked, known: Mapping[str, Job]) -> dict[str, str]:
    """Why known jobs are no longer asked for, where it is their folder that no longer does."""
    asked = {job.id for job in seen.jobs}
    inputs = {job.id: [each.path for each in job.spec.inputs if each.path] for job in known.values()}
    first = {job_id: paths[0] for job_id, paths in inputs.items() if paths and job_id not in asked}
    wanted = expand.folders_of(batch.manifest)
    reasons = folders.absences(wanted, batch.listing, set(first.values()), seen.unready)
    return {job_id: reasons[path] for job_id, path in first.items() if path in reasons}


def elsewhere(batch: Batch, folder: Path | None) -> Iterator[Job]:
    """Every attempt in the state files of a folder, this batch's own left out."""
    for path in sorted(folder.glob("*.state.db")) if folder is not None else ():
        if path.resolve() != batch.state.resolve():
            with store.open_to_read(path) as view:
                yield from view.all_attempts() if view else ()


def trusted(remembered: Mapping[str, Inspected], jobs: Iterable[Job]) -> dict[str, Inspected]:
    """What is remembered of files, but for those that were found to be different although they look the same."""
    doubted = {
        each.path
        for job in jobs
        if job.trouble is not None and job.trouble.code == retry.INPUT_CHANGED
        for each in job.spec.inputs
    }
    return {name: found for name, found in remembered.items() if name not in doubted}
