"""How long renders of one group take, learned from looks: each tells only that one had ended, or had not.

- A render that was seen unfinished and then finished took something between. What is learned is half the middle, which
  is new, and half what is known of others that took as long.
- A render that is finished at its first look says only that it took no longer. What is learned is the duration of one
  of those known up to then, so that their share is right. The look's own lateness is not learned.
- So nothing would tell of a group that became faster, or of lateness that was learned before. Where more first looks
  find a render finished than should, some are planned earlier. As long as even those do, what is known is shortened,
  and the next are planned twice as early.

Each event costs the logarithm of what is remembered, which is bounded; shortening costs all of it.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from dataclasses import dataclass, field
import math

REMEMBERED = 64
"""Durations kept, the latest."""

LEAST_CHANCE = 0.05
MOST_CHANCE = 0.7
WORTH_S = 1.1
"""A look is planned when the chance that the render is finished by then reaches `WORTH_S` over the usual duration,
within these bounds: of short renders a second more matters little and a look is dear, of long ones the reverse."""

EXCESS = 2.0
EARLY_EVERY = 8
"""More first looks find a render finished than should when their sum reaches the first: each counts 1 less the square
root of its chance, and each that does not find one minus that root, down to 0. Then one first look in so many is early.
The root lies between the chance and 1, so that the sum falls while the chance is right and rises when all are found."""

LEAST_EARLY = 0.03
MOST_EARLY = 0.5
"""By which share early looks are earlier than planned: the first, doubled with each that found a render finished though
hardly any should be, up to the second."""

GOLDEN = (math.sqrt(5) - 1) / 2
"""The fractions of its multiples are spread evenly from 0 to 1: drawing without randomness."""


@dataclass(slots=True, kw_only=True)
class Durations:
    """What is known, in seconds.

    Attributes:
        latest: durations in the order they were learned, `ordered` the same by length.
        planned: how many first looks were planned.
        drawn: how many durations were drawn from those known.
        excess: how many more first looks than should found a render finished, as `EXCESS` counts them.
        early: by which share early ones come sooner.
    """

    latest: deque[float] = field(default_factory=deque)
    ordered: list[float] = field(default_factory=list)
    planned: int = 0
    drawn: int = 0
    excess: float = 0.0
    early: float = LEAST_EARLY

    @property
    def usual_s(self) -> float:
        """That half of them took; there must be one."""
        return self.ordered[len(self.ordered) // 2]

    def are_alike(self, *, within: float) -> bool:
        """Whether the longest and the shortest are no more than this share of the usual one apart."""
        return self.ordered[-1] - self.ordered[0] <= within * self.usual_s

    def likely_s(self, *, beyond_s: float) -> float | None:
        """The age by which a look at a render older than this is worth it; None beyond all that is known."""
        left = bisect_right(self.ordered, beyond_s)
        return self.ordered[self._likely(left)] if left < len(self.ordered) else None

    def first_share(self) -> float:
        """Which share of the planned age to wait for the first look at one more render."""
        self.planned += 1
        is_its_turn = self.excess >= EXCESS and self.planned % EARLY_EVERY == 0
        return 1 - self.early if is_its_turn or self.early > LEAST_EARLY else 1.0

    def learn(self, duration_s: float) -> None:
        """Learn what one took."""
        if len(self.latest) == REMEMBERED:
            self.ordered.pop(bisect_right(self.ordered, self.latest.popleft()) - 1)
        self.latest.append(duration_s)
        insort(self.ordered, duration_s)

    def learn_between(self, least_s: float, most_s: float) -> None:
        """Learn of a render that took longer than `least_s`, 0 if nobody saw it before, and `most_s` at most."""
        first = bisect_right(self.ordered, least_s) if least_s > 0 else 0
        last = bisect_right(self.ordered, most_s)
        duration_s = (least_s + most_s) / 2
        if first < last:
            self.drawn += 1
            known_s = self.ordered[first + int(self.drawn * GOLDEN % 1 * (last - first))]
            duration_s = known_s if least_s <= 0 else (known_s + duration_s) / 2
        self.learn(duration_s)

    def first_was_early(self, age_s: float) -> None:
        """A first look saw a render of this age unfinished."""
        self.excess = max(0.0, self.excess - math.sqrt(self._chance))
        if age_s < self.ordered[self._likely(0)]:
            self.early = LEAST_EARLY

    def first_was_enough(self, age_s: float) -> None:
        """A first look saw a render of this age finished; shortens what is known if hardly any should have been."""
        self.excess = min(EXCESS, self.excess + 1 - math.sqrt(self._chance))
        expected = self._likely(0)
        if 2 * bisect_right(self.ordered, age_s) > expected:
            return
        share = max(1 - MOST_EARLY, min(1.0, age_s / self.ordered[expected]))
        self.latest = deque(share * duration_s for duration_s in self.latest)
        self.ordered = sorted(self.latest)
        self.early = min(MOST_EARLY, 2 * self.early)

    @property
    def _chance(self) -> float:
        """That a render is finished by the time a look at it is worth it."""
        return min(MOST_CHANCE, max(LEAST_CHANCE, WORTH_S / max(self.usual_s, WORTH_S)))

    def _likely(self, left: int) -> int:
        """Which duration that is, of those from `left` on."""
        return left + int(self._chance * (len(self.ordered) - left))
