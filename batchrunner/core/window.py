"""The hours in which is bought: a window as it is written, and the instants it comes down to for one run.

A window is written in times of day, or in dates with a time, and means the clock on the wall of a time zone. It is
worked out once, when a run begins, into instants; from then on every decision is a comparison with the time now. So a
machine that slept, and a clock that was changed, are judged by the time it is at the moment of buying.

What a time of day means, in the order of the rules:

- A window with a start and an end is open when the run begins between them; else it opens at the next start. Where
  the end has a date and the start has none, it opens at the next start before that end, if there is one.
- A start alone, and an end alone, is the next one.
- A time that the clock jumps over in spring is the moment of the jump; one that comes twice in autumn is the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
import re
from typing import Final

from batchrunner.core.retry import Instant

Moment = time | datetime
"""A time of day, or a date with a time; a date without a zone is of the window's own."""

FORMS: Final = 'a time of day such as "22:00", or a date with a time such as 2026-11-01T22:00'
"""What may stand where a moment is asked for."""

_TIME: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:Z|[+-][0-9]{2}:[0-9]{2})?")

PATTERN: Final = f"^(?:{_TIME.pattern}|{_DATE.pattern})$"
"""What such a text is made of."""

YEARS: Final = range(2000, 2201)
"""Years of a date. Beyond the first and the last there is, a date has no instant in every zone."""

DAYS: Final = 3
"""How many days off a time of day is looked for; two are enough, but where a zone left a day out."""


def moment_of(text: str) -> Moment:
    """Read a moment.

    Raises:
        ValueError: it is none.
    """
    found = _TIME.fullmatch(text)
    if found is not None:
        hour, minute, second = (int(part or 0) for part in found.groups())
        return time(hour, minute, second)
    if _DATE.fullmatch(text) is None:
        raise ValueError(f"this is no time; write {FORMS}")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"there is no such date or time; write {FORMS}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When may be bought, as it is written.

    Attributes:
        start: before it, nothing is bought.
        stop: from then on, nothing more is bought.
        finish_by: what is bought must be on disk by then.
        timezone: the name of the zone whose clock is meant; None for the machine's own.
    """

    start: Moment | None = None
    stop: Moment | None = None
    finish_by: Moment | None = None
    timezone: str | None = None

    @property
    def is_always(self) -> bool:
        """Whether it is no restriction at all."""
        return self.start is None and self.stop is None and self.finish_by is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """A window, as instants: of one run. None where there is no such bound."""

    opens_at: Instant | None = None
    stops_at: Instant | None = None
    finish_by: Instant | None = None

    @property
    def ends_at(self) -> Instant | None:
        """From when on nothing more can be bought."""
        return min((at for at in (self.stops_at, self.finish_by) if at is not None), default=None)

    @property
    def is_never(self) -> bool:
        """Whether it ends before it opens."""
        return self.opens_at is not None and self.ends_at is not None and self.ends_at <= self.opens_at

    def is_ahead(self, now: Instant) -> bool:
        """Whether it has not opened yet."""
        return self.opens_at is not None and now < self.opens_at

    def is_over(self, now: Instant) -> bool:
        """Whether nothing more is bought."""
        return self.ends_at is not None and now >= self.ends_at

    def is_open(self, now: Instant) -> bool:
        """Whether may be bought now."""
        return not self.is_ahead(now) and not self.is_over(now)

    def lands(self, now: Instant, takes_s: float) -> bool:
        """Whether what is bought now, and then takes so many seconds, is there in time."""
        return self.finish_by is None or now + takes_s <= self.finish_by


ALWAYS: Final = Hours()


def hours(window: Window, *, now: Instant, zone: tzinfo) -> Hours:
    """What a window means for a run that begins now; `zone` is the one it names, or the machine's.

    It may be over already, where its end has a date, or its start.
    """
    if window.start is None:
        return _from(window, now, opens_at=None, zone=zone)
    found = Hours()
    for opens_at in _starts(window, now, zone):
        found = _from(window, opens_at, opens_at=opens_at, zone=zone)
        if found.ends_at is None or max(now, opens_at) < found.ends_at:
            break
    return found


def _starts(window: Window, now: Instant, zone: tzinfo) -> Iterator[Instant]:
    """The starts that may be meant, in the order of preference."""
    assert window.start is not None
    if isinstance(window.start, datetime):
        yield _instant(window.start, zone)
        return
    last = max(at for at in _occurrences(window.start, now, zone) if at <= now)
    # A window that is empty, since its hour is left out in spring, is the next night's.
    ahead = [at for at in _occurrences(window.start, now, zone) if at > now][:2]
    ends = (window.stop, window.finish_by)
    if any(isinstance(end, time) for end in ends):
        yield from (last, *ahead)  # the run may begin within the window
    elif any(ends):
        yield from (*ahead, last)  # the night that is meant has a date
    else:
        yield from ahead


def _from(window: Window, since: Instant, *, opens_at: Instant | None, zone: tzinfo) -> Hours:
    """The window of which the first moment is `since`."""
    return Hours(
        opens_at=opens_at,
        stops_at=_end(window.stop, since, zone),
        finish_by=_end(window.finish_by, since, zone),
    )


def _end(moment: Moment | None, since: Instant, zone: tzinfo) -> Instant | None:
    """The first end at `since` or after it; one with a date is what it is."""
    if moment is None:
        return None
    if isinstance(moment, datetime):
        return _instant(moment, zone)
    return min(at for at in _occurrences(moment, since, zone) if at >= since)


def _occurrences(at: time, near: Instant, zone: tzinfo) -> Iterator[Instant]:
    """When it is this time of day, some days around a moment."""
    today = datetime.fromtimestamp(near, zone).date()
    for days in range(-DAYS, DAYS + 1):
        yield _instant(datetime.combine(today + timedelta(days=days), at), zone)


def _instant(local: datetime, zone: tzinfo) -> Instant:
    """When a clock shows a date and time, or first shows a later one, since it jumps over that."""
    if local.tzinfo is not None:
        return local.timestamp()
    first, second = (local.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    # Of a time that comes twice the first fold is the earlier one; of one that never comes, it is the later one.
    return first if first <= second else _jump(second, first, zone)


def _jump(before: Instant, after: Instant, zone: tzinfo) -> Instant:
    """The second at which the clock jumps, somewhere between two moments."""
    low, high = int(before), int(after)
    offset = datetime.fromtimestamp(high, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return float(high)


# --- for people ------------------------------------------------------------------------------------------------------


def flaw(window: Window) -> tuple[str, str] | None:
    """What cannot be meant by a window, as the key and the words; None where nothing is wrong."""
    for key, moment in (("start", window.start), ("stop", window.stop), ("finish_by", window.finish_by)):
        if isinstance(moment, datetime) and moment.year not in YEARS:
            return key, f"a date of the year {moment.year:04}; write one between {YEARS[0]} and {YEARS[-1]}"
    for key, end in (("stop", window.stop), ("finish_by", window.finish_by)):
        if window.start is None or end is None:
            continue
        if isinstance(end, datetime) and isinstance(window.start, datetime):
            if _is_comparable(window.start, end) and end <= window.start:
                return key, "the window ends before it starts"
        elif end == window.start:
            return key, "the window ends when it starts, so it is never open"
    return None


def _is_comparable(one: datetime, other: datetime) -> bool:
    return (one.tzinfo is None) == (other.tzinfo is None)


def duration_words(seconds: float) -> str:
    """A wait, such as "3 h 12 min"; seconds only where it is less than a minute."""
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    hours_, minutes = divmod(minutes, 60)
    return f"{hours_:,} h {minutes} min" if hours_ else f"{minutes} min"
