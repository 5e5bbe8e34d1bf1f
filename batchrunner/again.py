"""Jobs to be tried again: which they are, another take of one, and a manifest of only some. Part of the composition."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
import os
from pathlib import Path
import re

from batchrunner import batch as batches, places, planning, store
from batchrunner.batch import Batch
from batchrunner.core import address as addresses, emit, findings
from batchrunner.core.job import Job, State
from batchrunner.core.selection import BROKEN, OPEN, Selection, refuse_unmatched
from batchrunner.errors import UsageError


def broken(asked: Selection, codes: tuple[str, ...] = ()) -> Selection:
    """The jobs that came to nothing, as far as they are selected, and failed for one of these reasons if any is given.

    Raises:
        UsageError: other jobs are selected, too.
    """
    others = [state for state in asked.states if state not in BROKEN]
    if others:
        raise UsageError(f"--state {others[0]}: only failed and canceled jobs are tried again", hint="see `run`")
    return replace(asked, states=asked.states or tuple(map(str, BROKEN)), codes=codes or asked.codes)


def chosen(batch: Batch, selection: Selection, known: Mapping[str, Job]) -> frozenset[str]:
    """The jobs of a manifest that are selected; nothing can be tried again that it no longer names.

    Raises:
        UsageError: a word of the selection fits no job.
    """
    listed = list(planning.listed(batch, known))
    refuse_unmatched(selection, listed)
    return selection.choose(listed[: len(batch.jobs)])


# --- another take ----------------------------------------------------------------------------------------------------


def taken(batch: Batch, job_id: str) -> tuple[Job, list[str]]:
    """The job as it is on record, and every output that is.

    Raises:
        UsageError: there is no such job, or its last attempt is not over.
    """
    with store.open_to_read(batch.state) as view:
        attempts = view.all_attempts() if view else []
    known = max((each for each in attempts if each.id == job_id), key=lambda each: each.attempt, default=None)
    ids = tuple(dict.fromkeys((*(each.id for each in batch.jobs), *(each.id for each in attempts))))
    if job_id not in ids:
        raise UsageError(f"there is no job {job_id}", hint=findings.did_you_mean(job_id, ids))
    if known is None:
        raise UsageError(f"{job_id} was not rendered yet", hint="`batchrunner run` renders it")
    if known.state is State.UNCERTAIN:
        raise UsageError(f"{job_id} is uncertain", hint="decide about it first, with `adopt` or `resolve`")
    if not known.is_final and not _is_replaceable(known):
        raise UsageError(f"attempt {known.attempt} of {job_id} is not over ({known.state})", hint="run it to its end")
    return known, [*(each.spec.output for each in attempts), *(out.path for each in attempts for out in each.outputs)]


def _is_replaceable(job: Job) -> bool:
    """Whether it is another take that was never submitted, so that yet another may be made in place of it."""
    return job.attempt > 1 and job.state in OPEN and job.submits == 0


# --- a manifest of them ----------------------------------------------------------------------------------------------


def write(
    batch: Batch, chosen: Collection[str], file: Path, *, variables: Mapping[str, str], is_forced: bool = False
) -> int:
    """Write a manifest of the chosen jobs, which has nothing on disk in common with the old one but its inputs.

    Gives back how many jobs it has.

    Raises:
        UsageError: it would be written over something, or cannot be written.
    """
    _refuse_to_overwrite(file, batch, is_forced=is_forced)
    folder = file.resolve().parent

    def path(written: str) -> str:
        if addresses.is_object(written):
            return written
        return _relative(batch.root / written, folder)

    head = batches.expanded(batch.path, variables=variables, allow_unlisted=batch.allows_unlisted).head()
    if "catalog" in head:
        head["catalog"] = path(head["catalog"])
    head["output"] = f"{_free_folder(file)}/{{id}}.mp4"
    with store.open_to_read(batch.state) as view:
        known = view.jobs() if view else []
    files = {job.id: job.outputs[0].path for job in known if job.outputs}
    alone = (emit.apart(job, chosen, files) for job in batch.jobs if job.id in chosen)
    jobs = [emit.values_of(job, path=path) for job in alone]
    try:
        with file.open("w" if is_forced else "x", encoding="utf-8", newline="\n") as opened:
            opened.write(emit.text_of(head, jobs))
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror or error}") from error
    return len(jobs)


def _refuse_to_overwrite(file: Path, batch: Batch, *, is_forced: bool) -> None:
    if file.exists() and file.samefile(batch.path):
        raise UsageError(f"--write {file}: that is the manifest itself", hint="write to another file")
    if is_forced:
        places.refuse_to_replace(file, what="manifest")
        return
    state = store.path_for(file)
    for there, what in ((file, "is there already"), (state, "would belong to it, and is there already")):
        if os.path.lexists(there):
            raise UsageError(f"--write {file}: {there} {what}", hint="write to another file, or over it with --force")


def _relative(path: Path, folder: Path) -> str:
    """A path as a manifest in that folder writes it; whole where no relative one leads there."""
    try:
        written = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.as_posix()
    # Told apart from the provider's own paths, which begin with a folder's name.
    return written if written.startswith("..") else f"./{written}"


def _free_folder(file: Path) -> str:
    """A folder beside the file that is not there yet."""
    name = "renders/" + re.sub(r"[^\w-]", "_", file.stem)
    number, free = 1, name
    while os.path.lexists(file.resolve().parent / free):
        number += 1
        free = f"{name}-{number}"
    return free
