"""When to look at each render: seldom, and yet soon after it is finished. Learned as it goes, from finished renders.

The provider tells no progress and no end in advance, so there is only looking (its advice is every 3-10 s; the
official SDK looks every 0.5 s). Renders of one group (kind, model, length) take alike, so what is known of some says
when to look at the others:

- **A known group**: the next look is when a good part of those still out can be finished, by the group's latest
  durations, and never sooner than after a share of the render's age. A render that outlasts all that is known is looked
  at after that share of its age, at most a minute apart, without end.
- **An unknown group**: its oldest renders are looked at closely *in turn*, as if they were one, and the more often the
  more of them profit. Whichever is finished first tells the time of all. Watching one of them to its end costs about as
  many looks, but may choose a slow one. The others wait, each with a bounded fallback of its own: a look whenever its
  age has doubled, and at least every minute.
- **An unknown group of a kind that takes a while**, which is every kind the provider tells of: nothing is to be seen in
  the first seconds, and a look after every 5 % of the age from 20 s on would make 22 by the end of a minute. So there
  are two looks up to `2 * FIRST_S`, then one after every 9 % of the age: half of that late in the middle, and twelve
  looks for 78 s. What is published of a kind is believed to this extent: between `SOON_S`, by when quick ones are done,
  and some time before what is published, the watch is less close.
- When the first of a group is finished, all that wait are told at once. While few durations are known, the fallback
  stays in force, so that one odd render misleads nobody for long.

Looks a render in the mean (at most), and how late it is seen in the median, of renders that nobody knows, which take
60 s and up to 30 % more or less, by simulation over 200 nights; in brackets those of a video-to-video that takes its
published 772 s, of which no schedule makes few looks without missing those of a minute:

    at once   image-to-video    video-to-video
    1         8.8 (12), 4.3 %   8.8 (12), 4.3 %   [28.6, 3.9 %]
    3         6.6 (12), 4.5 %   6.3 (12), 4.3 %   [15.6, 4.2 %]
    10        6.3 (12), 4.4 %   5.8 (11), 4.2 %   [11.6, 3.9 %]

No end is told either, only between which looks it was; `durations` says what is learned of that. A look that came much
later than planned (a closed lid, a cooldown, a busy night) teaches nothing. Renders of exactly 2 s, each look up to
50 ms late, are soon seen 2 % late with 1.2 looks.

How to use it:

    looks = Looks(past=stored)                        # seconds by group, of this account's past; may be empty
    group = group_of(kind, model, seconds=output_seconds)
    due = looks.accepted(job_id, group=group, at=job.accepted_at, now=now)
    due = looks.looked(job_id, now=now)               # not finished, whatever its status was called
    due = looks.finished(job_id, now=now)             # rendered; also learns
    due = looks.dropped(job_id, now=now)              # error, canceled, given up in this run: nothing to learn
    stored = looks.learned()

Each call returns the looks it sets, as pairs of job id and time; a later one replaces an earlier one (`due_at` tells
which holds, so that a heap can drop what is out of date), and a time that has passed means at once. A job may be looked
at before its time, and `looked` called then: a notice of the provider can do that. A look that brought no answer is
not told here; whoever repeats it sets its time. Of a job that is not out, `looked` and `finished` raise KeyError.

Cost: each event costs the logarithm of what is remembered of a group, which is bounded, and of a group that became
faster all of it; the first finished render of a group tells those that wait, once each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
import math
from operator import itemgetter

from batchrunner.core import budget
from batchrunner.core.durations import REMEMBERED, Durations
from batchrunner.core.job import Job
from batchrunner.core.kind import Kind
from batchrunner.core.retry import Instant

FEW = 8
"""With fewer durations than this, the bounded fallback stays in force."""

SHARE = 0.05
"""Of a render's age, between two looks in a known group: half of that late in the middle, and somewhat more as it is
not looked at while it is hardly likely to be finished."""

BEYOND_SHARE = 0.075
"""The same of a render older than all that is known: nothing says when it ends, or that it soon does."""

WATCH_SHARE = 0.10
CLOSE_SHARE = 0.09
"""The same between two looks at an unknown group, of one render, where nothing is said of its kind and where something
is; of more renders it is divided by the square root of their number, as more of them profit."""

FIRST_S = 17.0
"""The age at the first look, and half of that at the second, where something is said of the kind. A render that is done
sooner is seen so many seconds late at the most."""

SOON_S = 100.0
HINTED_FROM = 0.6
HINTED_SHARE = 0.25
"""An age in seconds, a share of what is said of such renders, and the share of the age between two looks as long as the
oldest is between both: too old for the quick ones, too young for what is said."""

PEER = 0.75
QUICK_PEER = 0.95
"""Watching goes in turn among the renders of at least this share of the oldest one's age: younger ones tell less. The
second while the group may be a quick one."""

SHORTEST_S = 0.5
LONGEST_S = 60.0
"""Bounds of the time between two looks, and so of how late a slow render is seen."""

SHORTEST_OF_ALL_S = 0.1
QUICK_BEYOND_SHARE = 0.25
"""Of renders known to be short, `SHORTEST_S` is `SHARE` of their usual duration, beyond all that is known this share;
never less than the first."""

ENOUGH = 50
"""With fewer durations than this, and these more than `SHARE` apart, `SHORTEST_S` holds for short ones too: the first
few say little of when the others are finished, who would be looked at more than twice each."""

QUICK_S = 3.0
SHORTEST_WATCH_S = 0.15
"""Up to this age of its oldest, an unknown group of which nothing is said may be a quick one: `SHORTEST_S` is divided
by the square root of the number of those that wait, down to the second."""

FALLBACK_S = 4.0
"""The age of a waiting render at its first look, if nobody tells its time before; then at twice the age, and so on.
Where something is said of its kind, `2 * FIRST_S`."""

HINTED_FALLBACK_SHARE = 0.05
"""The same, of what is said of such renders, where that is more."""

TOO_LATE_S = 5.0
"""A look that came later than planned by more than this, and by more than `SHARE` of the age, is not learned from."""

HINTS: Mapping[str, float] = {"video-to-video": 772.0, "image-to-video": 74.0}
"""Seconds that half of all renders took, waiting included, by kind (provider documentation, processing times, 30 days
to 2026-07-20). They only make the watch of an unknown group less close where it is far from them. A sandbox, which is
done in a moment, has none."""

Due = list[tuple[str, Instant]]
"""Looks that are set: job id and time."""


@lru_cache(maxsize=1024)
def group_of(kind: str, model: str, *, seconds: float) -> str:
    """The name of the renders that take alike: of one kind and model, their output within one power of two seconds."""
    return f"{kind}/{model}/{math.ceil(math.log2(max(1.0, seconds)))}"


def group_of_job(job: Job) -> str:
    """The same for a job."""
    spec = job.spec
    return group_of_parts(job.kind, spec.model, "" if spec.model is not None else spec.request, spec.seconds)


@lru_cache(maxsize=1024)
def group_of_parts(kind: str, model: str | None, request: str, seconds: float) -> str:
    """The same by the parts that matter; the request, which may be "" otherwise, where there is no model."""
    return group_of(kind, str(budget.group_of(Kind(kind), model, request)), seconds=seconds)


def past_of(attempts: Iterable[Job]) -> dict[str, list[float]]:
    """Seconds that attempts were out until they were seen finished, by group, oldest first."""
    return latest(times_of(attempts))


Times = tuple[str, Instant, Instant]
"""The group of a render, when it was accepted, and when it was seen finished."""


def times_of(attempts: Iterable[Job]) -> Iterator[Times]:
    """Yield the times of the attempts that were seen finished soon enough to learn from."""
    for job in attempts:
        if job.rendered_at is not None and job.accepted_at is not None and not job.is_seen_late:
            yield group_of_job(job), job.accepted_at, job.rendered_at


def latest(renders: Iterable[Times]) -> dict[str, list[float]]:
    """The same as `past_of`, by the times alone."""
    past: dict[str, list[float]] = {}
    for name, accepted_at, rendered_at in sorted(renders, key=itemgetter(2)):
        past.setdefault(name, []).append(max(0.0, rendered_at - accepted_at))
    return {name: durations[-REMEMBERED:] for name, durations in past.items()}


@dataclass(slots=True, kw_only=True)
class _Render:
    """One render that is out. `at`: when it was accepted; `seen_at`: when it was last seen unfinished."""

    group: str
    at: Instant
    due_at: Instant
    seen_at: Instant

    def age(self, now: Instant) -> float:
        return max(0.0, now - self.at)


@dataclass(slots=True)
class _Row:
    """Job ids in the order they came; any can leave, and be asked for its next, at a cost that does not grow."""

    first: str | None = None
    last: str | None = None
    after: dict[str, str | None] = field(default_factory=dict)
    before: dict[str, str | None] = field(default_factory=dict)

    def add(self, job_id: str) -> None:
        self.before[job_id], self.after[job_id] = self.last, None
        if self.last is None:
            self.first = job_id
        else:
            self.after[self.last] = job_id
        self.last = job_id

    def remove(self, job_id: str) -> None:
        before, after = self.before.pop(job_id), self.after.pop(job_id)
        if before is None:
            self.first = after
        else:
            self.after[before] = after
        if after is None:
            self.last = before
        else:
            self.before[after] = before

    def __iter__(self) -> Iterator[str]:
        job_id = self.first
        while job_id is not None:
            yield job_id
            job_id = self.after[job_id]


@dataclass(slots=True, kw_only=True)
class _Group:
    """What is known of a group.

    Attributes:
        hint_s: what is said of such renders; None where nothing is.
        known: how long the finished ones took.
        waiting: renders that are out while nothing is known.
        turn: the one of them that is watched now.
        oldest_s: the greatest age at which one was seen unfinished while nothing was known.
    """

    hint_s: float | None = None
    known: Durations = field(default_factory=Durations)
    waiting: _Row = field(default_factory=_Row)
    turn: str | None = None
    oldest_s: float = 0.0

    @property
    def is_known(self) -> bool:
        return bool(self.known.latest)

    def first_age(self) -> float:
        """The age at which to look first at a render, by what is known."""
        return self.next_age(0.0) * self.known.first_share()

    def next_age(self, age_s: float) -> float:
        """The age at which to look next at a render of age `age_s`, by what is known."""
        likely_s = self.known.likely_s(beyond_s=age_s)
        share, shortest = (BEYOND_SHARE, QUICK_BEYOND_SHARE) if likely_s is None else (SHARE, SHARE)
        shortest_s = SHORTEST_S
        if len(self.known.latest) >= ENOUGH or self.known.are_alike(within=SHARE):
            shortest_s = max(SHORTEST_OF_ALL_S, min(SHORTEST_S, shortest * self.known.usual_s))
        next_s = age_s + min(LONGEST_S, max(shortest_s, share * age_s))
        if likely_s is not None:
            # Only the first look may be far off: what is slow, is seen a minute late at most.
            next_s = max(next_s, likely_s if age_s <= 0 else min(likely_s, age_s + LONGEST_S))
        return min(next_s, age_s + self.fallback_s(age_s)) if len(self.known.latest) < FEW else next_s

    def fallback_s(self, age_s: float) -> float:
        """How long a render of this age waits for its next look if nobody tells it better."""
        hint_s = self.hint_s if self.hint_s is not None and age_s < self.hint_s else 0.0
        longest_s = max(LONGEST_S, HINTED_SHARE * hint_s)
        first_s = FALLBACK_S if self.hint_s is None else max(2 * FIRST_S, HINTED_FALLBACK_SHARE * hint_s)
        return min(longest_s, max(first_s, age_s))

    def watch_s(self, oldest_s: float) -> float:
        """How long the group as a whole waits for its next look, while nothing is known."""
        if self.hint_s is not None and oldest_s < 2 * FIRST_S:
            return max(SHORTEST_S, (FIRST_S if oldest_s < FIRST_S else 2 * FIRST_S) - oldest_s)
        shortest_s = SHORTEST_S
        if self.may_be_quick(oldest_s):
            shortest_s = max(SHORTEST_WATCH_S, SHORTEST_S / math.sqrt(len(self.waiting.after)))
        return min(LONGEST_S, max(shortest_s, self._watch_share(oldest_s) * oldest_s))

    def may_be_quick(self, oldest_s: float) -> bool:
        """Whether an unknown group may be one of seconds."""
        return self.hint_s is None and oldest_s < QUICK_S

    def _watch_share(self, oldest_s: float) -> float:
        if self.hint_s is not None and SOON_S <= oldest_s < HINTED_FROM * self.hint_s:
            return HINTED_SHARE
        return (WATCH_SHARE if self.hint_s is None else CLOSE_SHARE) / math.sqrt(len(self.waiting.after))


class Looks:
    """When to look at which render. Mutable: it counts as it goes, so that no event costs a rescan."""

    def __init__(
        self, *, past: Mapping[str, Sequence[float]] | None = None, hints: Mapping[str, float] = HINTS
    ) -> None:
        """Begin with durations in seconds by group, the oldest first, and with what is said of each kind."""
        self._hints = hints
        self._groups: dict[str, _Group] = {}
        self._renders: dict[str, _Render] = {}
        for name, durations in (past or {}).items():
            for duration_s in durations[-REMEMBERED:]:
                if math.isfinite(duration_s) and duration_s >= 0:
                    self._group(name).known.learn(duration_s)

    def due_at(self, job_id: str) -> Instant | None:
        """When a render is to be looked at; None for one that is not out."""
        render = self._renders.get(job_id)
        return None if render is None else render.due_at

    def durations(self, name: str) -> Sequence[float]:
        """What is known of a group, in seconds, sorted; empty where nothing is."""
        group = self._groups.get(name)
        return () if group is None else group.known.ordered

    def learned(self) -> dict[str, list[float]]:
        """Durations in seconds by group, the oldest first: what to begin with the next time."""
        return {name: list(group.known.latest) for name, group in self._groups.items() if group.is_known}

    # --- what happened ---

    def accepted(self, job_id: str, *, group: str, at: Instant, now: Instant) -> Due:
        """A render is out since `at`, which may be long ago; a job that was out already begins anew."""
        moved = self.dropped(job_id, now=now)
        render = _Render(group=group, at=min(at, now), due_at=now, seen_at=min(at, now))
        self._renders[job_id] = render
        known = self._group(group)
        if known.is_known:
            return [*moved, self._set(job_id, render, render.at + known.first_age())]
        known.waiting.add(job_id)
        due = [*moved, self._set(job_id, render, render.at + known.fallback_s(0.0))]
        return due if known.turn is not None else due + self._watch(known, now, turn=job_id)

    def is_late(self, job_id: str, *, now: Instant) -> bool:
        """Whether a look at a render comes too late now to tell how long it took, should it be finished."""
        render = self._renders.get(job_id)
        return render is not None and _is_late(render, now)

    def looked(self, job_id: str, *, now: Instant) -> Due:
        """A render was seen unfinished."""
        render = self._renders[job_id]
        group = self._groups[render.group]
        # A clock that was set back is told by a look that comes before the last one: the age is kept.
        render.at += min(0.0, now - render.seen_at)
        is_first = render.seen_at <= render.at
        render.seen_at = now
        age_s = render.age(now)
        if group.is_known:
            if is_first:
                group.known.first_was_early(age_s)
            return [self._plan(job_id, render, group, age_s=age_s)]
        group.oldest_s = max(group.oldest_s, age_s)
        due = [self._set(job_id, render, now + group.fallback_s(age_s))]
        if group.turn != job_id:
            return due
        return due + self._watch(group, now, turn=group.waiting.after[job_id])

    def finished(self, job_id: str, *, now: Instant, rendered_at: Instant | None = None) -> Due:
        """A render was seen finished; `rendered_at` is when it was, if somebody said."""
        render = self._renders.pop(job_id)
        group = self._groups[render.group]
        was_known = group.is_known
        if rendered_at is not None:
            group.known.learn(max(0.0, rendered_at - render.at))
        else:
            _learn(render, group, now)
        if group.is_known and not was_known:
            group.waiting.remove(job_id)
            return self._tell(group, now)
        return self._leave(job_id, group, now)

    def dropped(self, job_id: str, *, now: Instant) -> Due:
        """A render is not looked at any more: it failed, was canceled, or is left to another run."""
        render = self._renders.pop(job_id, None)
        return [] if render is None else self._leave(job_id, self._groups[render.group], now)

    # --- a known group ---

    def _plan(self, job_id: str, render: _Render, group: _Group, *, age_s: float) -> tuple[str, Instant]:
        return self._set(job_id, render, render.at + group.next_age(age_s))

    def _tell(self, group: _Group, now: Instant) -> Due:
        """Tell those that wait what the first one found out; each look can only come earlier."""
        due = []
        for job_id in group.waiting:
            render = self._renders[job_id]
            # Counted from when it was last seen, not from now: its time may have come meanwhile.
            at = max(now, render.at + group.next_age(render.age(render.seen_at)))
            if at < render.due_at:
                due.append(self._set(job_id, render, at))
        group.waiting, group.turn = _Row(), None
        return due

    # --- an unknown group ---

    def _watch(self, group: _Group, now: Instant, *, turn: str | None) -> Due:
        """Give the turn to `turn`, or to the oldest where that is too young or nobody, and bring its look forward."""
        oldest = group.waiting.first
        if oldest is None:
            group.turn = None
            return []
        oldest_s = self._renders[oldest].age(now)
        peer = QUICK_PEER if group.may_be_quick(oldest_s) else PEER
        if turn is None or self._renders[turn].age(now) < peer * oldest_s:
            turn = oldest
        group.turn = turn
        render = self._renders[turn]
        return [self._set(turn, render, min(render.due_at, now + group.watch_s(oldest_s)))]

    def _leave(self, job_id: str, group: _Group, now: Instant) -> Due:
        """Take a render off an unknown group; the turn goes on."""
        if job_id not in group.waiting.after:
            return []
        after = group.waiting.after[job_id]
        group.waiting.remove(job_id)
        return self._watch(group, now, turn=after) if group.turn == job_id else []

    # --- both ---

    def _set(self, job_id: str, render: _Render, at: Instant) -> tuple[str, Instant]:
        render.due_at = at
        return job_id, at

    def _group(self, name: str) -> _Group:
        if name not in self._groups:
            self._groups[name] = _Group(hint_s=self._hints.get(name.partition("/")[0]))
        return self._groups[name]


def _is_late(render: _Render, now: Instant) -> bool:
    return now < render.seen_at or now - render.due_at > max(TOO_LATE_S, SHARE * render.age(now))


def _learn(render: _Render, group: _Group, now: Instant) -> None:
    """Learn of a render that was seen finished at `now`, if that says closely enough how long it took."""
    age_s = render.age(now)
    if _is_late(render, now):
        return
    if group.is_known and now < render.due_at:
        group.known.learn(age_s)  # somebody told of it, and it has only just ended
        return
    least_s = render.seen_at - render.at
    if not group.is_known:  # what was seen of the others in turn says how long at least
        least_s = max(least_s, group.oldest_s)
        if group.may_be_quick(age_s):
            least_s = age_s  # all the others follow it: a moment later costs them less than a look that is too early
    elif least_s <= 0:
        group.known.first_was_enough(age_s)
    group.known.learn_between(min(least_s, age_s), age_s)
