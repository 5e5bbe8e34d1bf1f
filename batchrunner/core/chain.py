"""Jobs that wait for other jobs: in which order they can be done, and what stands in the way of any order.

A job waits for the one whose render it is made from, and for those that it needs. Both are links; what a chain may be,
and how far along it is, is told from them alone. Every pass is linear in jobs and links, and none is recursive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from batchrunner.core import findings, yamltext
from batchrunner.core.manifest import Link
from batchrunner.core.problem import Place, Problem, Severity

MOST_COMPARED = 5000
"""Ids among which the nearest to an unknown one is looked for; comparing more takes longer than it helps."""

MOST_NAMED = 8
"""Jobs of a circle that are named; the rest is counted."""

MOST_HINTS = 20
"""Unknown ids for which the nearest is looked for."""


class Linked(Protocol):
    """What is asked of a job here."""

    @property
    def id(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def place(self) -> Place: ...

    @property
    def links(self) -> tuple[Link, ...]: ...


J = TypeVar("J", bound=Linked)


def ordered(jobs: Sequence[J]) -> Sequence[J]:
    """Return the jobs so that each comes after all that it waits for, else as they stand.

    Links to jobs that are not among them count for nothing. Jobs that wait for each other come last.
    """
    if not any(job.links for job in jobs):
        return jobs
    order = order_of({job.id: [link.job for link in job.links] for job in jobs})
    by_id = {job.id: job for job in jobs}
    return [by_id[job_id] for job_id in order]


def complete(jobs: Sequence[J]) -> tuple[Sequence[J], tuple[J, ...]]:
    """Return the jobs that can be done with all that they wait for, and those of which something is not there."""
    ids = {job.id for job in jobs}
    lost: dict[str, J] = {}
    for job in ordered(jobs):
        if any(link.job not in ids or link.job in lost for link in job.links):
            lost[job.id] = job
    return [job for job in jobs if job.id not in lost] if lost else jobs, tuple(lost.values())


def order_of(links: Mapping[str, Sequence[str]]) -> list[str]:
    """Return ids so that each comes after those that it is mapped to; those on a circle, and behind one, come last."""
    order, stuck = _sorted(links)
    return [*order, *stuck]


def _sorted(links: Mapping[str, Sequence[str]]) -> tuple[list[str], dict[str, int]]:
    """Return the ids in order, and those that have none: each of these waits for another of these."""
    open_, followers = _counted(links)
    free = deque(job_id for job_id, count in open_.items() if not count)
    order: list[str] = []
    while free:
        job_id = free.popleft()
        order.append(job_id)
        for follower in followers.get(job_id, ()):
            open_[follower] -= 1
            if not open_[follower]:
                free.append(follower)
    return order, {job_id: count for job_id, count in open_.items() if count}


def _counted(links: Mapping[str, Sequence[str]]) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Return for each id how many others it waits for, and which wait for it."""
    open_ = dict.fromkeys(links, 0)
    followers: dict[str, list[str]] = {}
    for job_id, others in links.items():
        for other in others:
            if other in links:
                open_[job_id] += 1
                followers.setdefault(other, []).append(job_id)
    return open_, followers


def circles(links: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Yield circles, each as ids of which every one waits for the next and the last for the first.

    Of circles that have jobs in common at least one is told, and one of every part that is apart from the others.
    """
    _, stuck = _sorted(links)
    seen: set[str] = set()
    for start in stuck:
        walked: dict[str, int] = {}
        here = start
        while here not in seen:
            seen.add(here)
            walked[here] = len(walked)
            here = next(other for other in links[here] if other in stuck)
        if here in walked:
            yield tuple(walked)[walked[here] :]


# --- what is wrong ---------------------------------------------------------------------------------------------------


def problems(jobs: Sequence[Linked], beside: Collection[str], *, knows_all: bool) -> Iterator[Problem]:
    """Yield every link that leads nowhere, and every circle.

    `beside` are ids of other jobs that may be named. Unless it `knows_all` of the jobs, one that is not there may only
    be left out for errors of its own, and is not told.
    """
    if not any(job.links for job in jobs):
        return
    ids = {job.id: job for job in jobs}
    if knows_all:
        yield from _unknown(jobs, ids, beside)
    for circle in circles({job.id: [link.job for link in job.links] for job in jobs}):
        yield _circle_problem([ids[job_id] for job_id in circle])


def about_left(jobs: Sequence[Linked]) -> Iterator[Problem]:
    """Yield a warning for jobs that are left for the next run, because what they wait for is."""
    if jobs:
        ids = ", ".join(job.id for job in jobs[:MOST_NAMED]) + (" and more" if len(jobs) > MOST_NAMED else "")
        said = f"left for the next run, since what they wait for is not complete yet: {ids}"
        yield Problem(place=jobs[0].place, code="changing-file", message=said, severity=Severity.WARNING)


def _unknown(jobs: Iterable[Linked], ids: Mapping[str, Linked], beside: Collection[str]) -> Iterator[Problem]:
    among = tuple(ids)[:MOST_COMPARED]
    hints = 0
    for job in jobs:
        for link in job.links:
            if link.job in ids or link.job in beside:
                continue
            hints += 1
            others = tuple(each for each in among if each != job.id) if hints <= MOST_HINTS else ()
            yield Problem(
                place=link.place,
                code="unknown-job",
                message=f"there is no job {yamltext.quoted(link.job)}",
                path=link.path,
                hint=findings.did_you_mean(link.job, others) if others else None,
            )


def _circle_problem(circle: Sequence[Linked]) -> Problem:
    """The problem of a circle, at the link of the job of it that stands first in the manifest."""
    at = min(range(len(circle)), key=lambda each: (circle[each].place.source, circle[each].place.line, each))
    first, *others = turned = [*circle[at:], *circle[:at]]
    link = next(link for link in first.links if link.job == turned[1 % len(turned)].id)
    if not others:
        said = f"the job {yamltext.quoted(first.id)} waits for itself"
    else:
        named = [yamltext.quoted(job.id) for job in turned[:MOST_NAMED]]
        rest = len(turned) - len(named)
        more = [f"… {rest:,} more"] if rest else []
        said = f"these jobs wait for each other: {' -> '.join([*named, *more, named[0]])}"
    hint = "take one of these links away; a job can only wait for one that does not wait for it"
    return Problem(place=link.place, code="circle", message=said, path=link.path, hint=hint)
