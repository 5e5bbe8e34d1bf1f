"""Time zones: those that the machine, or the package tzdata, knows by name, and the machine's own."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
import zoneinfo

from batchrunner.core import findings
from batchrunner.core.retry import Instant
from batchrunner.errors import UsageError


class Machine(tzinfo):
    """The machine's own zone, with its changes of the clock; Python has no object for it."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        """How far the clock is ahead of UTC at a local time."""
        if moment is None:
            return None
        local = moment.replace(tzinfo=None)
        return local.replace(tzinfo=UTC, fold=0) - datetime.fromtimestamp(local.timestamp(), UTC)

    def dst(self, moment: datetime | None) -> timedelta | None:
        """Not known; nobody asks."""
        del moment
        return None

    def tzname(self, moment: datetime | None) -> str | None:
        """The zone's short name."""
        return None if moment is None else moment.replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, moment: datetime) -> datetime:
        """The local time."""
        local = datetime.fromtimestamp(moment.replace(tzinfo=UTC).timestamp())  # noqa: DTZ006 - in local time
        return local.replace(tzinfo=self)


MACHINE = Machine()


@cache
def names() -> Collection[str]:
    """The names of all zones; none where neither the machine nor Python has them."""
    return frozenset(zoneinfo.available_timezones())


def zone(name: str | None) -> tzinfo:
    """The zone of a name; the machine's own for None.

    Raises:
        UsageError: there is none.
    """
    if name is None:
        return MACHINE
    with suppress(zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):
        return zoneinfo.ZoneInfo(name)
    if not names():
        raise UsageError(
            f"there is no time zone {name!r}: this machine has no time zones at all",
            hint="`pip install tzdata` brings them; or leave `timezone` out for the machine's own",
        )
    raise UsageError(f"there is no time zone {name!r}", hint=findings.did_you_mean(name, tuple(sorted(names()))))


def time_words(at: Instant, now: Instant) -> str:
    """A time for people by the machine's clock, with its day where that is not today."""
    when, today = (datetime.fromtimestamp(each, MACHINE) for each in (at, now))
    shown = when.strftime("%H:%M:%S" if when.second else "%H:%M")
    return shown if when.date() == today.date() else f"{when.date().isoformat()} {shown}"
