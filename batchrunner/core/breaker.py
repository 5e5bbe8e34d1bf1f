"""Breakers: what fails again and again is left alone for a while, instead of being asked by every job in turn.

Two kinds, with different meanings:

- `Breaker`, one for each endpoint: the provider cannot be talked to there (unreachable, no answer, HTTP 5xx). After
  some such failures in a row, of whatever sort, it opens; when its wait is over exactly one request goes through as a
  probe. A success closes it, another failure opens it again for twice as long.
- `Streak`, one for each group of jobs (kind and model): the provider answers, and always the same definite no. Buying
  of that group stops; what else is in the batch goes on.

How to use them:

    pause = refuses(breakers[step], now=now)                 # None: go; else a Pause with its date, and `words`
    breakers[step] = probe_started(breakers[step], now=now)  # as a request leaves; does nothing to a closed breaker
    breakers[step] = succeeded(breakers[step])               # any answer that the endpoint lives
    breakers[step] = failed(breakers[step], failure, now=now)

    streaks[group] = repeated(streaks.get(group, Streak()), failure)
    streaks[group] = Streak()                                # a render of the group succeeded
    why = stops_buying(streaks[group], name=group)

Each endpoint has a breaker of its own, so that one that is open on submitting never holds up looks and downloads: what
was paid for is collected all the same. A streak is asked only before buying. Both last for one run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from batchrunner.core.retry import NO_ANSWER, TRANSFER, UNREACHABLE, Failure, Instant

PAUSES = "pauses"
"""The name under which a run tells which breakers are open."""

FAILURES = 5
"""Failures in a row that open a breaker, or equal ones that stop a group."""

FIRST_WAIT_S = 10.0
LONGEST_WAIT_S = 300.0
"""How long a breaker stays open the first time, and at most; it doubles in between."""

LONGEST_PROBE_S = 300.0
"""A probe of which nothing was heard for so long was lost; another may go."""


TIMES = "\u00d7"
"""The sign between a count and what is counted, in what people read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """What is known of one endpoint; without arguments, of one that works.

    Attributes:
        label: what failed, in words; of several sorts, what they have in common.
        count: failures in a row that tell of the endpoint being out.
        opened_at: when it was last opened; None while it is closed.
        wait_s: how long it stays open from then on.
        probe_at: when a probe left of which nothing was heard yet.
    """

    label: str = ""
    count: int = 0
    opened_at: Instant | None = None
    wait_s: float = 0.0
    probe_at: Instant | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing, or only a probe, goes through."""
        return self.opened_at is not None


WORKS = Breaker()
"""The breaker of an endpoint that nothing is held against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Why an endpoint is not asked now.

    Attributes:
        until: when it may be asked again, as far as is known now.
        count: failures that led to it, in a row.
        label: what they were: `HTTP 503`.
        is_probing: whether a probe is under way, whose answer may end it at any time.
    """

    until: Instant
    count: int
    label: str
    is_probing: bool

    def words(self, show: Callable[[Instant], str]) -> str:
        """The same for people; `show` writes a time."""
        if self.is_probing:
            return f"paused after {self.count} {TIMES} {self.label}; 1 probe is under way"
        return f"paused until {show(self.until)} after {self.count} {TIMES} {self.label}; 1 probe then"


def refuses(breaker: Breaker, *, now: Instant) -> Pause | None:
    """Why nothing may be asked of the endpoint now; None where one request may go."""
    if breaker.opened_at is None:
        return None
    until, is_probing = breaker.opened_at + breaker.wait_s, False
    if breaker.probe_at is not None:
        until, is_probing = breaker.probe_at + LONGEST_PROBE_S, True
    began_at = breaker.opened_at if breaker.probe_at is None else breaker.probe_at
    # A beginning that is still to come was written before the clock was set back: the wait counts as over.
    if not began_at <= now < until:
        return None
    return Pause(until=until, count=breaker.count, label=breaker.label, is_probing=is_probing)


def probe_started(breaker: Breaker, *, now: Instant) -> Breaker:
    """The breaker after a request that it did not refuse has left."""
    return replace(breaker, probe_at=now) if breaker.is_open else breaker


def succeeded(breaker: Breaker) -> Breaker:
    """The breaker after an answer: closed, with nothing held against the endpoint."""
    return breaker if breaker == WORKS else WORKS


def failed(breaker: Breaker, failure: Failure, *, now: Instant) -> Breaker:
    """The breaker after a request has failed.

    An answer below HTTP 500 is an answer: the endpoint works. What says nothing of the endpoint (a damaged file)
    changes nothing, but ends a probe.
    """
    if not _tells(failure):
        return succeeded(breaker) if failure.status is not None else replace(breaker, probe_at=None)
    counted = _count(breaker, failure)
    if breaker.probe_at is not None:
        return replace(counted, opened_at=now, wait_s=min(LONGEST_WAIT_S, 2 * breaker.wait_s), probe_at=None)
    if breaker.is_open:
        return breaker  # it left before the breaker opened, and tells nothing new
    return replace(counted, opened_at=now, wait_s=FIRST_WAIT_S) if counted.count >= FAILURES else counted


def _count(breaker: Breaker, failure: Failure) -> Breaker:
    """One more in a row. An outage often shows in several ways at once (a balancer whose machines go), and is one."""
    label = _label(failure)
    common = label if not breaker.count else _common(label, breaker.label)
    return replace(breaker, label=common, count=breaker.count + 1)


def _tells(failure: Failure) -> bool:
    """Whether a failure says that the endpoint, or the storage behind it, cannot be used."""
    return failure.is_unreachable or failure.code == TRANSFER


_WORDS = {UNREACHABLE: "not reachable", NO_ANSWER: "no answer", TRANSFER: "transfer broken off"}


def _label(failure: Failure) -> str:
    return f"HTTP {failure.status}" if failure.status is not None else _WORDS.get(failure.code, failure.code)


def _common(label: str, other: str) -> str:
    """What two failures have in common, in words; every status among them is a 5xx, as an overload sends several."""
    if label == other:
        return label
    return "HTTP 5xx" if label.startswith("HTTP") and other.startswith("HTTP") else "no good answer"


# --- groups ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """Definite failures of one group in a row, with no success between; without arguments, none.

    Attributes:
        code: the error code they share.
        count: how many there were.
    """

    code: str = ""
    count: int = 0


def repeated(streak: Streak, failure: Failure) -> Streak:
    """The streak after a job of the group failed: its request was refused, or its render ended in an error.

    Failures that say nothing of the group (not reachable, too fast, the key, the balance) do not count. A group that
    was stopped stays so, whatever the renders still under way end with, until one of them succeeds.
    """
    if failure.is_unreachable or failure.status in {401, 429} or failure.is_about_credits:
        return streak
    if failure.code == streak.code:
        return replace(streak, count=streak.count + 1)
    return streak if streak.count >= FAILURES else Streak(code=failure.code, count=1)


def stops_buying(streak: Streak, *, name: str) -> str | None:
    """Why nothing more of the group called `name` is bought in this run, in words; None while it may be."""
    if streak.count < FAILURES:
        return None
    return f"{streak.count} {TIMES} {streak.code} in a row: no more of {name} is bought in this run"
