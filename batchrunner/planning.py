"""What a run would do about a batch: its inputs looked into, and the plan. Sends and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batchrunner import collector, inspect, storage, store
from batchrunner.batch import Batch
from batchrunner.core import chain, expand, folder as folders, footage, plan as plans, priced, pricing, remarks, retry
from batchrunner.core.expand import ResolvedJob
from batchrunner.core.findings import Findings
from batchrunner.core.inputs import Inspected
from batchrunner.core.job import Job
from batchrunner.core.plan import Plan, Wishes
from batchrunner.core.problem import Problem
from batchrunner.core.selection import Facts, facts_of, refuse_unmatched
from batchrunner.core.spec import Spec
from batchrunner.errors import ManifestError, UsageError


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
    told = Findings()
    try:
        contents = inspect.look(batch.root, wanted, remembered, on_progress=on_progress, unready=unready, refused=told)
        ready = tuple(expand.ready(batch.jobs, unready))
        # With a file that cannot be used, nothing is made of this; what is wrong with the others is told all the same.
        whole, waiting = chain.complete(footage.usable(ready, contents) if told.has_errors else ready)
        jobs = expand.with_ends(whole, contents)
        take = () if told.has_errors else expand.with_ends(_complete(take, unready, waiting), contents, beside=jobs)
        checked = footage.check((*jobs, *take), contents, batch.catalog, tier=tier, beside=jobs, told=told)
    except ManifestError as error:
        raise ManifestError([batch.mask(problem) for problem in error.problems]) from None
    left = (*footage.about_unready(batch.jobs, unready), *chain.about_left(waiting))
    warnings = tuple(map(batch.mask, (*left, *checked)))
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
        about_outputs: what is worth saying of where the renders go.
    """

    plan: Plan
    looked: Looked
    attempts: tuple[Job, ...]
    wishes: Wishes
    tier: str | None
    history_folder: Path | None
    about_outputs: tuple[Problem, ...] = ()

    @property
    def files(self) -> tuple[Inspected, ...]:
        """The inputs that had to be read."""
        return self.looked.fresh

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is worth saying although nothing is wrong."""
        return (*self.looked.warnings, *self.about_outputs)

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
        earlier = view.earlier() if view else []
    own = [*earlier, *known.values()]
    history = priced.history_of([*own, *elsewhere(batch, history_folder)], batch.catalog, tier=tier)
    seen = look(batch, remembered=trusted(remembered, known.values()), tier=tier, on_progress=on_progress)
    made = plan(batch, seen, known, wishes, tier=tier, history=history, earlier=earlier)
    wanted = (entry.spec.output for entry in made.submitted if entry.spec is not None and entry.will_buy)
    taken = storage.taken(batch.root, wanted)
    return Preview(
        plan=made,
        looked=seen,
        attempts=tuple(own),
        wishes=wishes,
        tier=tier,
        history_folder=history_folder,
        about_outputs=tuple(map(batch.mask, remarks.about_taken(made, seen.jobs, taken))),
    )


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
    specs = priced.Specs(seen.contents, batch.catalog, tier=tier, history=history)

    def spec_of(job: ResolvedJob) -> Spec:
        before = known.get(job.id)
        return specs.of(job, asked=asked, before=before.spec if before is not None else None)

    for job in chain.ordered(seen.jobs):
        asked[job.id] = spec_of(job)

    def wanted(job: ResolvedJob) -> Spec:
        if batch.redo is not None and seen.redo is not None and seen.redo.id == job.id:
            return replace(spec_of(seen.redo), asked=asked[job.id].fingerprint, edits=batch.redo.edits)
        return specs.standing(asked[job.id], known.get(job.id))

    return plans.make_plan(
        ((job.id, wanted(job)) for job in seen.jobs),
        known,
        wishes,
        absences=_absences(batch, seen, known),
        earlier=earlier,
    )


def _absences(batch: Batch, seen: Looked, known: Mapping[str, Job]) -> dict[str, str]:
    """Why known jobs are no longer asked for, where it is their folder that no longer does."""
    asked = {job.id for job in seen.jobs}
    gone = (job for job in known.values() if job.id not in asked)
    inputs = {job.id: [each.path for each in job.spec.inputs if each.path] for job in gone}
    first = {job_id: paths[0] for job_id, paths in inputs.items() if paths}
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
