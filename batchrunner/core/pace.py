"""The shared pace: how fast may be bought, and when an endpoint may be asked again, after the provider said 429.

The provider publishes no rate limit (documentation 2026-08, "quick start": 429 and exponential backoff, no figures, no
word of Retry-After). So the pace is found by trying: each 429 makes it slower for everyone at once, and it grows only
while it is really used. Two parts:

- `Pace` is for buying. Submissions keep an even distance, so that no minute ever holds more than the rate allows.
- `Cooldown` is for any one endpoint (looks, upload addresses, the account): after a 429 nothing is asked there until
  the cooldown ends. `Pace` has one of its own.

How to use it:

    pace = from_learned(stored, most_in_flight=limits.in_flight, most_per_minute=None, now=now)
    at = may_submit_at(pace, now=now)          # None: now
    pace = submitted(pace, now=now)            # as the request leaves
    pace = accepted(pace, now=now, in_flight=load.in_flight)
    pace = throttled(pace, now=now, retry_after_s=failure.retry_after_s)
    stored = learned(pace)                     # JSON, or None where nothing was learned

    cooldowns[step] = cooled(cooldowns.get(step), now=now, retry_after_s=failure.retry_after_s)
    at = may_ask_at(cooldowns.get(step), now=now)
    stored = kept(cooldowns)                   # the provider's word outlives the run
    cooldowns = from_kept(stored, now=now)

Times are wall clock, which may be set. What lies in the future although it has happened was written before the clock
was set back, and holds nobody up: at worst one more 429 comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
import math
from typing import Any

from batchrunner.core.retry import Instant, Step

PACE = "pace"
COOLDOWNS = "cooldowns"
"""The names under which a run remembers what is learned here."""

SLOWER = 0.8
FASTER = 1.05
USED = 0.8
"""A 429 multiplies by the first; each calm while with at least the third of the value in use, by the second."""

GROWS_EVERY_S = 30.0
"""How long a value is tried before it grows. What one 429 took is back after five such steps, in two or three minutes;
where the provider's limit was really met, the next 429 comes then, which costs one unpaid request."""

FIRST_COOLDOWN_S = 2.0
LONGEST_COOLDOWN_S = 60.0
CALM_S = 60.0
"""Cooldowns double while the next 429 comes within the last of these after one, and else begin again at the first."""

LEAST_COOLDOWN_S = 1.0
LONGEST_ASKED_S = 24 * 3600.0
"""Bounds of what is taken from Retry-After: below the first, every answer of one burst would count again."""

LEAST_PER_MINUTE = 1.0
SHORTEST_SPAN_S = 10.0
"""The slowest rate there is, and the shortest time over which a rate is measured."""

LEAST_MEASURED = 6
"""Submissions within a minute that make a rate. After fewer, a 429 says nothing of it: taken for one, two submissions
and a busy moment of the provider would slow a whole night down to ten a minute."""

MOST_RECENT = 64
"""Submissions remembered for measuring the rate; of more in a minute, the latest tell it as well."""

MINUTE_S = 60.0

GREATEST = 1e15
"""No figure of ours is greater; one that is was not written by us."""

STALE_AFTER_S = 7 * 86400.0
"""What was learned longer ago says nothing of today's limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooldown:
    """A time in which nothing is asked.

    Attributes:
        began_at: when the 429 came that began it.
        until: when it ends.
        backoff_s: how long it lasts where the provider does not say; the next one doubles it.
    """

    began_at: Instant
    until: Instant
    backoff_s: float

    def is_on(self, now: Instant) -> bool:
        """Whether it lasts still; not if the clock was set back to before it began."""
        return self.began_at <= now < self.until

    def words(self, show: Callable[[Instant], str]) -> str:
        """The same for people; `show` writes a time."""
        return f"the provider asked for a slower pace; it goes on at {show(self.until)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast may be bought.

    Attributes:
        in_flight: renders allowed at once, at least 1; `allowed_in_flight` is the whole number.
        most_in_flight: its ceiling.
        per_minute: submissions allowed in a minute; None where no limit is known.
        most_per_minute: its ceiling; None where there is none.
        cooldown: the last one of submitting.
        changed_at: when `in_flight` or `per_minute` last changed; None where they never did.
        tried_since: since when the present values are tried.
        recent: when the submissions of the last minute left, oldest first; at most `MOST_RECENT`.
    """

    in_flight: float
    most_in_flight: int
    per_minute: float | None = None
    most_per_minute: float | None = None
    cooldown: Cooldown | None = None
    changed_at: Instant | None = None
    tried_since: Instant | None = None
    recent: tuple[Instant, ...] = ()

    @property
    def allowed_in_flight(self) -> int:
        """How many renders may be in flight."""
        return max(1, math.floor(self.in_flight))


def unthrottled(*, most_in_flight: int, most_per_minute: float | None = None) -> Pace:
    """The pace at its ceilings, of which nothing has been learned."""
    return Pace(
        in_flight=float(most_in_flight),
        most_in_flight=most_in_flight,
        per_minute=most_per_minute,
        most_per_minute=most_per_minute,
    )


# --- cooldowns ---


def cooled(cooldown: Cooldown | None, *, now: Instant, retry_after_s: float | None) -> Cooldown:
    """The cooldown of an endpoint after a 429.

    Answers that come while one lasts were asked for before it: they begin no new one, but are heeded where they ask
    for a longer wait.
    """
    asked_s = _asked(retry_after_s)
    if cooldown is not None and cooldown.is_on(now):
        return replace(cooldown, until=max(cooldown.until, now + (asked_s or 0.0)))
    backoff_s = FIRST_COOLDOWN_S
    if cooldown is not None and 0 <= now - cooldown.until <= CALM_S:
        backoff_s = min(LONGEST_COOLDOWN_S, 2 * cooldown.backoff_s)
    wait_s = backoff_s if asked_s is None else asked_s
    return Cooldown(began_at=now, until=now + wait_s, backoff_s=backoff_s)


def _asked(retry_after_s: float | None) -> float | None:
    if retry_after_s is None or not math.isfinite(retry_after_s):
        return None
    return min(LONGEST_ASKED_S, max(LEAST_COOLDOWN_S, retry_after_s))


def may_ask_at(cooldown: Cooldown | None, *, now: Instant) -> Instant | None:
    """When an endpoint may be asked again; None means now."""
    return cooldown.until if cooldown is not None and cooldown.is_on(now) else None


# --- buying ---


def may_submit_at(pace: Pace, *, now: Instant) -> Instant | None:
    """When the next submission may leave, renders in flight apart; None means now."""
    times = [] if pace.cooldown is None else [may_ask_at(pace.cooldown, now=now)]
    if pace.per_minute is not None and pace.recent and pace.recent[-1] <= now:
        times.append(pace.recent[-1] + MINUTE_S / pace.per_minute)
    return max((at for at in times if at is not None and at > now), default=None)


def submitted(pace: Pace, *, now: Instant) -> Pace:
    """The pace after a submission has left, whatever its answer will be."""
    return replace(pace, recent=(*_recent(pace, now), now)[-MOST_RECENT:])


def throttled(pace: Pace, *, now: Instant, retry_after_s: float | None) -> Pace:
    """The pace after a submission was answered by 429: slower, once for every cooldown."""
    cooldown = cooled(pace.cooldown, now=now, retry_after_s=retry_after_s)
    if pace.cooldown is not None and pace.cooldown.is_on(now):
        return replace(pace, cooldown=cooldown)
    return replace(
        pace,
        in_flight=max(1.0, SLOWER * pace.in_flight),
        per_minute=_slower_per_minute(pace, now),
        cooldown=cooldown,
        changed_at=now,
        tried_since=now,
    )


def _slower_per_minute(pace: Pace, now: Instant) -> float | None:
    """Without a limit so far, the rate that was too fast is the one that was used, if there was one."""
    if pace.per_minute is None and len(_recent(pace, now)) < LEAST_MEASURED:
        return None
    tried = used_per_minute(pace, now=now) if pace.per_minute is None else pace.per_minute
    return max(min(LEAST_PER_MINUTE, tried), SLOWER * tried)


def accepted(pace: Pace, *, now: Instant, in_flight: int) -> Pace:
    """The pace after a submission was accepted: a little faster where it has been nearly used up for a while.

    Args:
        pace: as it was.
        now: when the answer came.
        in_flight: renders in flight, this one included.
    """
    since = pace.tried_since
    if pace.cooldown is not None and pace.cooldown.is_on(now):
        return pace
    if since is None or since > now:
        return replace(pace, tried_since=now)
    if now - since < GROWS_EVERY_S:
        return pace
    grown = replace(pace, in_flight=_grown_in_flight(pace, in_flight), per_minute=_grown_per_minute(pace, now))
    has_grown = (grown.in_flight, grown.per_minute) != (pace.in_flight, pace.per_minute)
    return replace(grown, changed_at=now, tried_since=now) if has_grown else pace


def _grown_in_flight(pace: Pace, in_flight: int) -> float:
    if in_flight < USED * pace.allowed_in_flight:
        return pace.in_flight
    return min(float(pace.most_in_flight), FASTER * pace.in_flight)


def _grown_per_minute(pace: Pace, now: Instant) -> float | None:
    if pace.per_minute is None or used_per_minute(pace, now=now) < USED * pace.per_minute:
        return pace.per_minute
    return min(pace.most_per_minute or math.inf, FASTER * pace.per_minute)


def used_per_minute(pace: Pace, *, now: Instant) -> float:
    """Submissions a minute, measured over the last one, or over the time since its first."""
    recent = _recent(pace, now)
    if not recent:
        return 0.0
    return MINUTE_S * len(recent) / max(SHORTEST_SPAN_S, now - recent[0])


def _recent(pace: Pace, now: Instant) -> tuple[Instant, ...]:
    """The submissions of the last minute; those that seem to come were before the clock was set back, and are over."""
    return tuple(at for at in pace.recent if now - MINUTE_S < at <= now)


# --- from one night to the next ---


def learned(pace: Pace) -> dict[str, float] | None:
    """What is worth knowing the next time, for JSON; None where nothing holds the pace below its ceilings."""
    values: dict[str, float] = {}
    if pace.changed_at is None:
        return None
    if pace.in_flight < pace.most_in_flight:
        values["in_flight"] = pace.in_flight
    if pace.per_minute is not None and pace.per_minute != pace.most_per_minute:
        values["per_minute"] = pace.per_minute
    return {**values, "at": pace.changed_at} if values else None


def from_learned(
    stored: Mapping[str, Any] | None, *, most_in_flight: int, most_per_minute: float | None, now: Instant
) -> Pace:
    """The pace to begin with: what `learned` gave, within today's ceilings; older than seven days, it is ignored."""
    pace = unthrottled(most_in_flight=most_in_flight, most_per_minute=most_per_minute)
    at = _number(stored, "at")
    # A date ahead by less was written before the clock was set back.
    if at is None or abs(now - at) > STALE_AFTER_S:
        return pace
    in_flight, per_minute = _number(stored, "in_flight"), _number(stored, "per_minute")
    if in_flight is not None:
        pace = replace(pace, in_flight=min(pace.in_flight, max(1.0, in_flight)), changed_at=at)
    if per_minute is not None:
        per_minute = min(most_per_minute or math.inf, max(LEAST_PER_MINUTE, per_minute))
        pace = replace(pace, per_minute=per_minute, changed_at=at)
    return pace


def kept(cooldowns: Mapping[Step, Cooldown]) -> dict[str, dict[str, float]] | None:
    """Cooldowns of endpoints as the next run is to find them, for JSON; None where there are none."""
    return {
        str(step): {"began_at": each.began_at, "until": each.until, "backoff_s": each.backoff_s}
        for step, each in sorted(cooldowns.items())
    } or None


def from_kept(stored: Mapping[str, Any] | None, *, now: Instant) -> dict[Step, Cooldown]:
    """Those of an earlier run that last still; what is longer than any of ours was not written by us."""
    found = {}
    for step in Step:
        noted = (stored or {}).get(step)
        began_at, until, backoff_s = (
            _number(noted if isinstance(noted, Mapping) else None, key) for key in ("began_at", "until", "backoff_s")
        )
        if began_at is None or until is None or until - began_at > LONGEST_ASKED_S:
            continue
        backoff_s = min(LONGEST_COOLDOWN_S, max(FIRST_COOLDOWN_S, backoff_s or 0.0))
        cooldown = Cooldown(began_at=began_at, until=until, backoff_s=backoff_s)
        if cooldown.is_on(now):
            found[step] = cooldown
    return found


def _number(stored: Mapping[str, Any] | None, key: str) -> float | None:
    value = (stored or {}).get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # The comparison also refuses what is no number, and a whole number too great for a float.
    return float(value) if abs(value) <= GREATEST else None
