"""When to look at each render: seldom, and yet soon after it is finished. Learned as it goes, from finished renders.

The provider tells no progress and no end in advance, so there is only looking (its advice is every 3-10 s; the
official SDK looks every 0.5 s). Renders of one group (kind, model, length) take alike, so what is known of some says
when to look at the others:

- **A known group**: the next look is when a good part of those still out can be finished, by the group's latest
  durations, and never sooner than after a share of the render's age. A render that outlasts all that is known is looked
  at after that share of its age, at most a minute apart, without end.
- **An unknown group**: its oldest renders are looked at closely *in turn*, as if they were one. Whichever is
  finished first tells the time of all. Watching one of them to its end costs about as many looks, but may choose a slow
  one: of ten first renders of a minute the median is then 6.8 % late, and in turn 5.0 %. The others wait, each with a
  bounded fallback of its own: a look whenever its age has doubled, and at least every minute.
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
    1         8.7 (12), 4.0 %   8.7 (12), 4.0 %   [28.5, 4.1 %]
    3         6.6 (12), 4.3 %   6.2 (12), 4.4 %   [15.5, 4.3 %]
    10        6.2 (12), 4.2 %   5.6 (11), 4.0 %   [11.6, 3.9 %]

No end is told either, so a duration is learned as the middle between the last look that saw the render unfinished and
the one that saw it finished. One that came much later than planned (a closed lid, a cooldown, a busy night) tells too
little, and is not learned from. First looks that come too late see everything finished, which halves what is known: a
group that became faster is followed within some renders.

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

Cost: each event costs the logarithm of what is remembered of a group, which is bounded; the first finished render of a
group tells those that wait, once each.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
import math

from batchrunner.core.budget import group
from batchrunner.core.job import Job
from batchrunner.core.retry import Instant

REMEMBERED = 64
"""Durations kept of each group, the latest."""

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
"""Watching goes in turn among the renders of at least this share of the oldest one's age: younger ones tell less."""

SHORTEST_S = 0.5
LONGEST_S = 60.0
"""Bounds of the time between two looks, and so of how late a slow render is seen."""

FALLBACK_S = 4.0
"""The age of a waiting render at its first look, if nobody tells its time before; then at twice the age, and so on.
Where something is said of its kind, `2 * FIRST_S`."""

HINTED_FALLBACK_SHARE = 0.05
"""The same, of what is said of such renders, where that is more."""

LEAST_CHANCE = 0.05
MOST_CHANCE = 0.5
WORTH_S = 1.0
"""A look is planned when the chance that the render is finished by then reaches `WORTH_S` over the usual duration,
within these bounds: of short renders a second more matters little and a look is dear, of long ones the reverse."""

TOO_LATE_S = 5.0
"""A look that came later than planned by more than this, and by more than `SHARE` of the age, is not learned from."""

HINTS: Mapping[str, float] = {"video-to-video": 772.0, "image-to-video": 74.0}
"""Seconds that half of all renders took, waiting included, by kind (provider documentation, processing times, 30 days
to 2026-07-20). They only make the watch of an unknown group less close where it is far from them. A sandbox, which is
done in a moment, has none."""

Due = list[tuple[str, Instant]]
"""Looks that are set: job id and time."""


def group_of(kind: str, model: str, *, seconds: float) -> str:
    """The name of the renders that take alike: of one kind and model, their output within one power of two seconds."""
    return f"{kind}/{model}/{math.ceil(math.log2(max(1.0, seconds)))}"


def group_of_job(job: Job) -> str:
    """The same for a job."""
    return group_of(job.kind, str(group(job.spec)), seconds=job.spec.seconds)


def past_of(attempts: Iterable[Job]) -> dict[str, list[float]]:
    """Seconds that attempts were out until they were seen finished, by group, oldest first."""
    past: dict[str, list[float]] = {}
    finished = [job for job in attempts if job.rendered_at is not None and job.accepted_at is not None]
    for job in sorted(finished, key=lambda each: each.rendered_at or 0.0):
        assert job.rendered_at is not None
        assert job.accepted_at is not None
        past.setdefault(group_of_job(job), []).append(max(0.0, job.rendered_at - job.accepted_at))
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
        latest: durations in the order they were learned, `ordered` the same by length.
        waiting: renders that are out while nothing is known.
        turn: the one of them that is watched now.
        oldest_s: the greatest age at which one was seen unfinished while nothing was known.
    """

    hint_s: float | None = None
    latest: deque[float] = field(default_factory=deque)
    ordered: list[float] = field(default_factory=list)
    waiting: _Row = field(default_factory=_Row)
    turn: str | None = None
    oldest_s: float = 0.0

    @property
    def is_known(self) -> bool:
        return bool(self.latest)

    def learn(self, duration_s: float) -> None:
        if len(self.latest) == REMEMBERED:
            self.ordered.pop(bisect_right(self.ordered, self.latest.popleft()) - 1)
        self.latest.append(duration_s)
        insort(self.ordered, duration_s)

    def next_age(self, age_s: float) -> float:
        """The age at which to look next at a render of age `age_s`, by what is known."""
        usual_s = self.ordered[len(self.ordered) // 2]
        chance = min(MOST_CHANCE, max(LEAST_CHANCE, WORTH_S / max(usual_s, WORTH_S)))
        left = bisect_right(self.ordered, age_s)
        likely_s = 0.0
        if left < len(self.ordered):
            likely_s = self.ordered[left + int(chance * (len(self.ordered) - left))]
        if age_s > 0:  # only the first look may be far off: what is slow, is seen a minute late at most
            likely_s = min(likely_s, age_s + LONGEST_S)
        share = SHARE if left < len(self.ordered) else BEYOND_SHARE
        wait_s = min(LONGEST_S, max(SHORTEST_S, share * age_s))
        next_s = max(age_s + wait_s, likely_s)
        return min(next_s, age_s + self.fallback_s(age_s)) if len(self.latest) < FEW else next_s

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
        return min(LONGEST_S, max(SHORTEST_S, self._watch_share(oldest_s) * oldest_s))

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
                    self._group(name).learn(duration_s)

    def due_at(self, job_id: str) -> Instant | None:
        """When a render is to be looked at; None for one that is not out."""
        render = self._renders.get(job_id)
        return None if render is None else render.due_at

    def durations(self, name: str) -> Sequence[float]:
        """What is known of a group, in seconds, sorted; empty where nothing is."""
        group = self._groups.get(name)
        return () if group is None else group.ordered

    def learned(self) -> dict[str, list[float]]:
        """Durations in seconds by group, the oldest first: what to begin with the next time."""
        return {name: list(group.latest) for name, group in self._groups.items() if group.is_known}

    # --- what happened ---

    def accepted(self, job_id: str, *, group: str, at: Instant, now: Instant) -> Due:
        """A render is out since `at`, which may be long ago; a job that was out already begins anew."""
        moved = self.dropped(job_id, now=now)
        render = _Render(group=group, at=min(at, now), due_at=now, seen_at=min(at, now))
        self._renders[job_id] = render
        known = self._group(group)
        if known.is_known:
            return [*moved, self._plan(job_id, render, known, age_s=0.0)]
        known.waiting.add(job_id)
        due = [*moved, self._set(job_id, render, render.at + known.fallback_s(0.0))]
        return due if known.turn is not None else due + self._watch(known, now, turn=job_id)

    def looked(self, job_id: str, *, now: Instant) -> Due:
        """A render was seen unfinished."""
        render = self._renders[job_id]
        group = self._groups[render.group]
        # A clock that was set back is told by a look that comes before the last one: the age is kept.
        render.at += min(0.0, now - render.seen_at)
        render.seen_at = now
        age_s = render.age(now)
        if group.is_known:
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
        duration_s = _duration_s(render, group, now) if rendered_at is None else max(0.0, rendered_at - render.at)
        if duration_s is not None:
            group.learn(duration_s)
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
        if turn is None or self._renders[turn].age(now) < PEER * oldest_s:
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


def _duration_s(render: _Render, group: _Group, now: Instant) -> float | None:
    """How long a render took that was seen finished at `now`; None where that cannot be said closely enough."""
    age_s = render.age(now)
    if now < render.seen_at or now - render.due_at > max(TOO_LATE_S, SHARE * age_s):
        return None
    # While nothing is known, what was seen of the others in turn says how long at least.
    least_s = render.seen_at - render.at if group.is_known else max(render.seen_at - render.at, group.oldest_s)
    return (min(least_s, age_s) + age_s) / 2
