"""When a batch will be done: its queue played through with the render times that are known, some dozens of times.

What is played: jobs in their order, each submitted when there is room for it (in flight, of its kind, of its model),
one submission after the other at the pace that is allowed, and not before what it waits for. A render takes as long as
one of this account's own of that sort did; of a sort that it has no renders of, as long as the provider says, whose
published medians say nothing of how far renders differ: `SPREAD` is our assumption for that. Uploads go on beside
renders, and are taken to be in time; what fails and starts over is not foreseen.

Randomness is handed in. The cost is bounded: what is too large to be played often is played twice, and how far it may
be off is computed instead of seen, since of many renders the luck evens out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
import heapq
import math
from statistics import fmean, median, pvariance
from typing import Protocol

from batchrunner.core.budget import group
from batchrunner.core.job import IN_FLIGHT, Job, State
from batchrunner.core.looks import FEW, HINTS, group_of, group_of_job, past_of
from batchrunner.core.retry import Instant
from batchrunner.core.spec import Spec
from batchrunner.core.window import ALWAYS, Hours

SPREAD = 2.0
"""Of renders of which too little is known, one in ten is taken to last longer than so many times the median."""

_DEVIATIONS = 1.2816
"""Nine tenths of a normal distribution lie below so many standard deviations."""

_SIGMA = math.log(SPREAD) / _DEVIATIONS
"""Of the log-normal distribution that has this ratio."""

LATE = 0.9
"""The share of cases in which it is done by the later of the two times."""

SUBMIT_S = 1.0
"""Seconds that a submission takes, where this account has none: only one is under way at a time."""

LANDING_S = 10.0
LANDING_LATE_S = 60.0
"""Seconds from the end of a render until it is on disk, usually and in nine of ten cases, where this account has none.
It is seen some seconds late, and looks at a slow one are a minute apart."""

NO_HINT_S = 1.0
"""Where nothing is said of a kind: a sandbox on this machine is done in a moment."""

STEPS = 60_000
"""Jobs played in all, which bounds the time it takes to about a second."""

MOST_RUNS = 50
LEAST_RUNS = 2
FEW_RUNS = 20
"""How often a queue is played; with fewer times than the last, the spread is computed."""


class Chance(Protocol):
    """Where randomness comes from: `random.Random` has both."""

    def random(self) -> float:
        """A number from 0 up to, and without, 1."""

    def gauss(self, mu: float, sigma: float) -> float:
        """A normally distributed number."""


# --- what is known of render times -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """What is known of how long things take.

    Attributes:
        past: seconds that renders were out, by sort (`looks.group_of_job`).
        submit_s: seconds of a submission, the half of them.
        landing_s: seconds from when a render was seen finished until it is on disk, the half of them.
        landing_late_s: the same in nine of ten cases.
        hints: seconds that half of all renders are said to take, by kind.
    """

    past: Mapping[str, Sequence[float]] = field(default_factory=dict)
    submit_s: float = SUBMIT_S
    landing_s: float = LANDING_S
    landing_late_s: float = LANDING_LATE_S
    hints: Mapping[str, float] = field(default_factory=lambda: HINTS)


def learned(attempts: Iterable[Job]) -> Times:
    """What past attempts tell, those of this account and provider."""
    attempts = list(attempts)
    submits = [
        job.accepted_at - job.submitted_at
        for job in attempts
        if job.accepted_at is not None and job.submitted_at is not None and job.accepted_at >= job.submitted_at
    ]
    landings = sorted(
        job.ended_at - job.rendered_at
        for job in attempts
        if job.state is State.DONE
        and job.ended_at is not None
        and job.rendered_at is not None
        and job.ended_at >= job.rendered_at
    )
    return Times(
        past={name: sorted(durations) for name, durations in past_of(attempts).items()},
        submit_s=median(submits) if submits else SUBMIT_S,
        landing_s=median(landings) if landings else LANDING_S,
        landing_late_s=_at(landings, LATE) if len(landings) >= FEW else LANDING_LATE_S,
    )


def late_s(durations: Sequence[float], *, hint_s: float) -> float:
    """How long a render takes in nine of ten cases.

    `durations` are of its sort, sorted; where there are none, `hint_s` counts, which half of them are said to take.
    """
    if len(durations) >= FEW:
        return _at(durations, LATE)
    if durations:
        return max(durations[-1], SPREAD * median(durations))
    return SPREAD * hint_s


def _at(ordered: Sequence[float], share: float) -> float:
    """The value below which a share of sorted values lies; the next higher one, so never too little."""
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)))]


# --- what is to be done ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A job that is not done.

    Attributes:
        sort: of its render (`looks.group_of_job`).
        model: what `limits.per_model` counts it by.
        age_s: for how long its render is out; None for one that is not submitted.
        waits_for: ids of jobs that come before it.
        is_rendered: only its file is to be fetched.
    """

    id: str
    kind: str
    sort: str
    model: str
    age_s: float | None = None
    waits_for: tuple[str, ...] = ()
    is_rendered: bool = False


def pending_of(job: Job, *, now: Instant) -> Pending | None:
    """A job on record, as far as it is not done; None for one that is over, or waits for a person."""
    if job.is_final or job.state is State.UNCERTAIN:
        return None
    since = job.accepted_at if job.accepted_at is not None else job.submitted_at
    return Pending(
        id=job.id,
        kind=str(job.kind),
        sort=group_of_job(job),
        model=str(group(job.spec)),
        age_s=max(0.0, now - (since or now)) if job.state in IN_FLIGHT else None,
        waits_for=job.spec.waits_for,
        is_rendered=job.state is State.RENDERED,
    )


def pending_as(job_id: str, spec: Spec) -> Pending:
    """A job that is to be bought."""
    model = str(group(spec))
    sort = group_of(spec.kind, model, seconds=spec.seconds)
    return Pending(id=job_id, kind=str(spec.kind), sort=sort, model=model, waits_for=spec.waits_for)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """How much goes on at once: renders in flight, in all and of some kinds and models, and submissions a minute."""

    in_flight: int
    per_kind: Mapping[str, int] = field(default_factory=dict)
    per_model: Mapping[str, int] = field(default_factory=dict)
    per_minute: float | None = None


# --- the forecast ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """When it will be done.

    Attributes:
        median_at: as likely earlier as later.
        late_at: in nine of ten cases earlier.
        left: jobs that the window leaves, in the middle of all cases.
        own: renders of this account that it was learned from.
        published: jobs of which only the provider's published median is known.
        assumed: jobs of which nothing is known, as on a sandbox, where they are done in a moment.
    """

    median_at: Instant
    late_at: Instant
    left: int
    own: int
    published: int
    assumed: int = 0

    @property
    def basis(self) -> str:
        """What it rests on, in words."""
        others = {"the provider's medians": self.published, "the moment that a sandbox takes": self.assumed}
        told = {what: count for what, count in others.items() if count}
        if self.own:
            own = f"this account's own {_plural(self.own, 'render')}"
            return ", and ".join([own, *(f"{what} for {_plural(count, 'job')}" for what, count in told.items())])
        return " and ".join(told) or "nothing is left to render"


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def of(
    jobs: Sequence[Pending], *, times: Times, lanes: Lanes, now: Instant, chance: Chance, hours: Hours = ALWAYS
) -> Forecast | None:
    """When these jobs, in the order in which they are bought, will be done; None where there is nothing to do."""
    if not jobs:
        return None
    queue = _Queue(jobs, times=times, lanes=lanes, now=now, chance=chance, hours=hours)
    runs = max(LEAST_RUNS, min(MOST_RUNS, STEPS // len(jobs)))
    played = [_Play(queue).to_its_end() for _ in range(runs)]
    ends = sorted(each.end for each in played)
    middle = median(ends)
    late = _at(ends, LATE) if runs >= FEW_RUNS else middle + queue.off_by_s(middle)
    sorts = {job.sort for job in jobs if not job.is_rendered}
    unknown = [job for job in jobs if not job.is_rendered and not times.past.get(job.sort)]
    return Forecast(
        median_at=middle,
        late_at=max(middle, late),
        left=round(median(each.left for each in played)),
        own=sum(len(times.past.get(sort, ())) for sort in sorts),
        published=sum(job.kind in times.hints for job in unknown),
        assumed=sum(job.kind not in times.hints for job in unknown),
    )


class _Queue:
    """A queue that can be played many times."""

    def __init__(
        self, jobs: Sequence[Pending], *, times: Times, lanes: Lanes, now: Instant, chance: Chance, hours: Hours
    ) -> None:
        self.jobs = jobs
        self.lanes = lanes
        self.hours = hours
        self.most = {**lanes.per_kind, **lanes.per_model}
        self.now = now
        self.begins_at = max(now, hours.opens_at or now)
        self.landing_s = times.landing_s
        self.gap_s = max(times.submit_s, 60.0 / lanes.per_minute if lanes.per_minute else 0.0)
        kinds = {job.sort: job.kind for job in jobs}
        self.sorts = {
            name: _Sort(times.past.get(name, ()), times.hints.get(kind, NO_HINT_S), chance)
            for name, kind in kinds.items()
        }
        self.takes_s = {name: sort.late_s + times.landing_late_s for name, sort in self.sorts.items()}
        index = {job.id: n for n, job in enumerate(jobs)}
        self.followers: dict[int, list[int]] = {}
        self.waits = [0] * len(jobs)
        for n, job in enumerate(jobs):
            for other in job.waits_for:
                if other in index:
                    self.followers.setdefault(index[other], []).append(n)
                    self.waits[n] += 1

    def rooms(self, job: Pending) -> Sequence[str]:
        """What has a limit of its own, and this job takes part of it."""
        return [room for room in (job.kind, job.model) if room in self.most] if self.most else ()

    def off_by_s(self, end: Instant) -> float:
        """How much later than usual it ends in one of ten cases, by how far its single renders are apart."""
        counts = Counter(job.sort for job in self.jobs)
        work_s = sum(count * self.sorts[name].mean_s for name, count in counts.items())
        variance = sum(count * self.sorts[name].variance for name, count in counts.items())
        at_once = max(1.0, work_s / max(1.0, end - self.begins_at))
        return _DEVIATIONS * math.sqrt(variance) / at_once


class _Sort:
    """How long renders of one sort take."""

    def __init__(self, known: Sequence[float], hint_s: float, chance: Chance) -> None:
        self.known = known if len(known) >= FEW else ()
        self.usual_s = median(known) if known else hint_s
        self.late_s = late_s(known, hint_s=hint_s)
        self.mean_s = fmean(known) if self.known else self.usual_s * math.exp(_SIGMA**2 / 2)
        self.variance = pvariance(known) if self.known else self.mean_s**2 * math.expm1(_SIGMA**2)
        self._chance = chance

    def lasts_s(self, age_s: float) -> float:
        """How much longer a render of this age goes on, by chance."""
        if self.known:
            first = bisect_right(self.known, age_s) if age_s else 0
            if first < len(self.known):
                return self.known[first + int(self._chance.random() * (len(self.known) - first))] - age_s
        elif (lasts_s := self.usual_s * math.exp(self._chance.gauss(0.0, _SIGMA))) > age_s:
            return lasts_s - age_s
        return age_s * self._chance.random()  # older than expected: nothing says when it ends, or that it soon does


class _Play:
    """One time that a queue is played."""

    def __init__(self, queue: _Queue) -> None:
        self.end = queue.now
        self._queue = queue
        self._waits = queue.waits.copy()
        self._time = queue.begins_at
        self._submits_at = queue.begins_at
        self._out: list[tuple[Instant, int]] = []
        self._busy: Counter[str] = Counter()
        self._parked: dict[str, deque[int]] = {}
        self._ready = [n for n, waits in enumerate(queue.waits) if not waits and _is_new(queue.jobs[n])]
        self.left = sum(map(_is_new, queue.jobs))
        for n, job in enumerate(queue.jobs):
            self._take_in(n, job)

    def to_its_end(self) -> _Play:
        """Play it."""
        most = self._queue.lanes.in_flight
        while self._ready or self._out:
            at = max(self._time, self._submits_at)
            if self._ready and len(self._out) < most and not (self._out and self._out[0][0] <= at):
                self._submit(heapq.heappop(self._ready), at)
            elif self._out:
                self._finish(*heapq.heappop(self._out))
            else:
                break
        return self

    def _take_in(self, n: int, job: Pending) -> None:
        """Take in what is under way."""
        if job.is_rendered:
            self.end = max(self.end, self._queue.now + self._queue.landing_s)
            self._release(n)
        elif job.age_s is not None:
            self._start(n, job, self._queue.now + self._queue.sorts[job.sort].lasts_s(job.age_s))

    def _submit(self, n: int, at: Instant) -> None:
        queue = self._queue
        job = queue.jobs[n]
        if queue.hours.is_over(at):
            self._ready.clear()
        elif not queue.hours.lands(at, queue.takes_s[job.sort]):
            pass  # it is left; another, of a sort that takes less, may still be in time
        elif (full := self._full(job)) is not None:
            self._parked.setdefault(full, deque()).append(n)
        else:
            self.left -= 1
            self._time = at
            self._submits_at = at + queue.gap_s
            self._start(n, job, self._submits_at + queue.sorts[job.sort].lasts_s(0.0))

    def _full(self, job: Pending) -> str | None:
        """What has no room for one more: its kind, or its model."""
        rooms = self._queue.rooms(job)
        return next((room for room in rooms if self._busy[room] >= self._queue.most[room]), None)

    def _start(self, n: int, job: Pending, until: Instant) -> None:
        heapq.heappush(self._out, (until, n))
        for room in self._queue.rooms(job):
            self._busy[room] += 1

    def _finish(self, at: Instant, n: int) -> None:
        job = self._queue.jobs[n]
        self._time = max(self._time, at)
        self.end = max(self.end, at + self._queue.landing_s)
        for room in self._queue.rooms(job):
            self._busy[room] -= 1
            if self._parked.get(room):
                heapq.heappush(self._ready, self._parked[room].popleft())
        self._release(n)

    def _release(self, n: int) -> None:
        """Let those go that waited for this one alone."""
        for follower in self._queue.followers.get(n, ()):
            self._waits[follower] -= 1
            if not self._waits[follower] and _is_new(self._queue.jobs[follower]):
                heapq.heappush(self._ready, follower)


def _is_new(job: Pending) -> bool:
    return job.age_s is None and not job.is_rendered
