"""Whether what a job waits for is there, as far as it is known; the same for the engine, the status and the advice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from batchrunner.core import chain
from batchrunner.core.job import Job, State
from batchrunner.core.selection import BROKEN, OPEN, code_of

_RENDERED = frozenset({State.RENDERED, State.DONE})


def missing(job: Job, jobs: Mapping[str, Job], *, by_file: bool = False) -> Iterator[str]:
    """Yield the ids of what a job still waits for.

    What it is made from must be rendered: the provider has it then, and no time is lost until it is on disk. With
    `by_file` it must be on disk, since it is uploaded from there. What it needs must be done: who asks for an order
    wants the first clip there, whole and checked, before more is bought.
    """
    source = job.spec.source
    if source is not None:
        enough = frozenset({State.DONE}) if by_file else _RENDERED
        if not _is_in(enough, jobs.get(source)):
            yield source
    yield from (each for each in job.spec.needs if not _is_in({State.DONE}, jobs.get(each)))


def _is_in(states: frozenset[State] | set[State], job: Job | None) -> bool:
    return job is not None and job.state in states


def words(job: Job, jobs: Mapping[str, Job]) -> str | None:
    """What a job waits for, and how that is getting on; None where it waits for no other."""
    if job.state not in OPEN or not job.spec.waits_for:
        return None
    ids = list(missing(job, jobs))
    if not ids:
        return None
    first = next((each for each in ids if is_stuck(jobs.get(each))), ids[0])
    more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
    return f"waits for {first}, {how_it_is(jobs.get(first))}{more}"


def stuck(jobs: Mapping[str, Job]) -> list[Job]:
    """The jobs that wait, directly or not, for one that will not come by itself."""
    lost: dict[str, Job] = {}
    for job_id in chain.order_of({job.id: job.spec.waits_for for job in jobs.values()}):
        job = jobs[job_id]
        if job.state in OPEN and any(each in lost or is_stuck(jobs.get(each)) for each in missing(job, jobs)):
            lost[job_id] = job
    return list(lost.values())


def is_stuck(job: Job | None) -> bool:
    """Whether a job that others wait for will not come by itself."""
    return job is not None and (job.state in BROKEN or job.state is State.UNCERTAIN)


def how_it_is(job: Job | None) -> str:
    """How a job that is waited for is getting on."""
    if job is None:
        return "which was never begun"
    if job.state in BROKEN:
        return f"which {job.state}: {code_of(job)}" if job.state is State.FAILED else "which was canceled"
    if job.state in OPEN:
        return "which is not bought yet"
    return f"which is {job.state}"
