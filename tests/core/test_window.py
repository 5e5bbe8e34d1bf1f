"""The hours in which is bought, over midnight and in the two nights of the year with a change of the clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time, tzinfo
import os
import time as clocks
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, strategies as st
import pytest

from batchrunner import zones
from batchrunner.core import window
from batchrunner.core.window import ALWAYS, Hours, Window
from batchrunner.errors import UsageError

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
SPRING, AUTUMN = "2026-03-29", "2026-10-25"
"""The days of the changes in Europe: 02:00 becomes 03:00, and 03:00 becomes 02:00."""


def at(text: str, zone: tzinfo = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def written(**words: str) -> Window:
    moments: dict[str, Any] = {key: window.moment_of(word) for key, word in words.items()}
    return Window(**moments)


def hours(now: str, zone: tzinfo, words: Mapping[str, str]) -> tuple[str | None, ...]:
    """When it opens, stops and must be finished, as the zone's clock and its offset show it."""
    found = window.hours(written(**words), now=at(now, zone), zone=zone)
    shown = (found.opens_at, found.stops_at, found.finish_by)
    return tuple(None if each is None else f"{datetime.fromtimestamp(each, zone):%d %H:%M %z}" for each in shown)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("22:00", time(22)),
        ("7:05", time(7, 5)),
        ("06:00:30", time(6, 0, 30)),
        ("2026-11-01T22:00", datetime(2026, 11, 1, 22)),  # noqa: DTZ001 - as written, without a zone
        ("2026-11-01 22:00:05", datetime(2026, 11, 1, 22, 0, 5)),  # noqa: DTZ001 - as written, without a zone
        ("2026-11-01T22:00Z", datetime(2026, 11, 1, 22, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_time_of_day_or_a_date_with_a_time(text: str, expected: Any) -> None:
    assert window.moment_of(text) == expected


@pytest.mark.parametrize(
    "text", ["", "24:00", "22", "22:60", "10pm", "2026-11-01", "2026-02-30T10:00", "22:00 ", "²2:00"]
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="22:00"):
        window.moment_of(text)


# --- ordinary nights ---


@pytest.mark.parametrize(
    ("now", "words", "expected"),
    [
        ("2026-11-21T15:00", {"start": "22:00", "stop": "06:00"}, ("21 22:00", "22 06:00", None)),
        ("2026-11-21T22:00", {"start": "22:00", "stop": "06:00"}, ("21 22:00", "22 06:00", None)),
        ("2026-11-22T02:00", {"start": "22:00", "stop": "06:00"}, ("21 22:00", "22 06:00", None)),
        ("2026-11-22T06:00", {"start": "22:00", "stop": "06:00"}, ("22 22:00", "23 06:00", None)),
        ("2026-11-22T10:00", {"start": "09:00", "stop": "17:00"}, ("22 09:00", "22 17:00", None)),
        ("2026-11-22T18:00", {"start": "09:00", "stop": "17:00"}, ("23 09:00", "23 17:00", None)),
        ("2026-11-21T23:30", {"start": "22:00"}, ("22 22:00", None, None)),
        ("2026-11-21T23:30", {"stop": "06:00"}, (None, "22 06:00", None)),
        ("2026-11-21T23:30", {"finish_by": "06:00"}, (None, None, "22 06:00")),
        ("2026-11-22T04:00", {"start": "22:00", "finish_by": "07:00"}, ("21 22:00", None, "22 07:00")),
        # Between the stop and the time by which all is there, nothing is bought.
        (
            "2026-11-22T05:30",
            {"start": "22:00", "stop": "05:00", "finish_by": "06:00"},
            ("22 22:00", "23 05:00", "23 06:00"),
        ),
        ("2026-11-21T15:00", {"start": "2026-11-25T01:00", "stop": "06:00"}, ("25 01:00", "25 06:00", None)),
        ("2026-11-21T15:00", {"start": "22:00", "stop": "2026-11-22T06:00"}, ("21 22:00", "22 06:00", None)),
        ("2026-11-21T23:00", {"start": "22:00", "stop": "2026-11-22T06:00"}, ("21 22:00", "22 06:00", None)),
        ("2026-11-21T15:00", {"stop": "2026-11-20T06:00"}, (None, "20 06:00", None)),
    ],
)
def test_a_window_is_worked_out_when_a_run_begins(
    now: str, words: dict[str, str], expected: tuple[str | None, ...]
) -> None:
    assert hours(now, BERLIN, words) == tuple(None if each is None else f"{each} +0100" for each in expected)


def test_a_window_that_has_passed_is_over() -> None:
    found = window.hours(
        written(start="2026-11-01T22:00", stop="2026-11-02T06:00"), now=at("2026-11-05T00:00"), zone=BERLIN
    )
    assert found.is_over(at("2026-11-05T00:00"))
    assert not found.is_ahead(at("2026-11-05T00:00"))


# --- the two nights of the change ---


@pytest.mark.parametrize(
    ("now", "zone", "words", "expected"),
    [
        # Spring, Europe: 02:30 does not come; it is the moment of the jump, which shows 03:00.
        ("2026-03-28T23:00", BERLIN, {"start": "22:00", "stop": "02:30"}, ("28 22:00 +0100", "29 03:00 +0200", None)),
        ("2026-03-28T23:00", BERLIN, {"start": "02:30", "stop": "06:00"}, ("29 03:00 +0200", "29 06:00 +0200", None)),
        ("2026-03-28T12:00", BERLIN, {"start": "22:00", "stop": "06:00"}, ("28 22:00 +0100", "29 06:00 +0200", None)),
        # A window that lies in the hour that is left out is that of the next night.
        ("2026-03-28T23:00", BERLIN, {"start": "02:15", "stop": "02:45"}, ("30 02:15 +0200", "30 02:45 +0200", None)),
        ("2026-03-28T23:00", BERLIN, {"start": "02:00", "stop": "03:00"}, ("30 02:00 +0200", "30 03:00 +0200", None)),
        # Autumn, Europe: 02:30 comes twice; the first one counts.
        ("2026-10-24T23:00", BERLIN, {"start": "22:00", "stop": "02:30"}, ("24 22:00 +0200", "25 02:30 +0200", None)),
        ("2026-10-24T23:00", BERLIN, {"start": "02:30", "stop": "03:30"}, ("25 02:30 +0200", "25 03:30 +0100", None)),
        ("2026-10-24T23:00", BERLIN, {"finish_by": "02:59"}, (None, None, "25 02:59 +0200")),
        # America changes on other days, at 02:00 both ways.
        ("2026-03-07T23:00", NEW_YORK, {"start": "22:00", "stop": "02:30"}, ("07 22:00 -0500", "08 03:00 -0400", None)),
        ("2026-10-31T23:00", NEW_YORK, {"start": "22:00", "stop": "01:30"}, ("31 22:00 -0400", "01 01:30 -0400", None)),
        ("2026-10-31T23:00", NEW_YORK, {"start": "01:30", "stop": "02:30"}, ("01 01:30 -0400", "01 02:30 -0500", None)),
        ("2026-03-29T01:00", NEW_YORK, {"start": "22:00", "stop": "02:30"}, ("28 22:00 -0400", "29 02:30 -0400", None)),
        ("2026-10-25T01:00", NEW_YORK, {"start": "22:00", "stop": "01:30"}, ("24 22:00 -0400", "25 01:30 -0400", None)),
        # A date in the hour of the change follows the same rule.
        (
            "2026-03-01T00:00",
            BERLIN,
            {"start": f"{SPRING}T02:10", "stop": f"{SPRING}T04:00"},
            ("29 03:00 +0200", "29 04:00 +0200", None),
        ),
        (
            "2026-10-01T00:00",
            BERLIN,
            {"start": f"{AUTUMN}T02:10", "stop": f"{AUTUMN}T04:00"},
            ("25 02:10 +0200", "25 04:00 +0100", None),
        ),
    ],
)
def test_a_change_of_the_clock(now: str, zone: tzinfo, words: dict[str, str], expected: tuple[str | None, ...]) -> None:
    assert hours(now, zone, words) == expected


def test_in_the_second_two_o_clock_of_autumn_a_stop_at_half_past_two_has_passed() -> None:
    second = at(f"{AUTUMN}T02:10", fold=1)
    found = window.hours(written(start="22:00", stop="02:30"), now=second, zone=BERLIN)
    assert found.opens_at == at(f"{AUTUMN}T22:00")


def test_a_night_lasts_as_long_as_the_clock_makes_it() -> None:
    lengths = []
    for day in ("2026-03-28T20:00", "2026-06-10T20:00", "2026-10-24T20:00"):
        found = window.hours(written(start="22:00", stop="06:00"), now=at(day), zone=BERLIN)
        assert found.stops_at is not None
        assert found.opens_at is not None
        lengths.append((found.stops_at - found.opens_at) / 3600)
    assert lengths == [7, 8, 9]


TIMES = st.times().map(lambda each: each.replace(microsecond=0))
NOWS = st.integers(int(at("2025-01-01T00:00")), int(at("2028-01-01T00:00")))
ZONES = st.sampled_from(
    [BERLIN, NEW_YORK, ZoneInfo("UTC"), ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kathmandu")]
)


@given(start=TIMES, stop=TIMES, now=NOWS, zone=ZONES)
def test_while_it_is_open_the_clock_on_the_wall_is_within(start: time, stop: time, now: int, zone: ZoneInfo) -> None:
    if start == stop:
        return
    found = window.hours(Window(start=start, stop=stop), now=now, zone=zone)
    assert found.opens_at is not None
    assert found.stops_at is not None
    assert found.opens_at < found.stops_at
    assert now < found.stops_at
    assert found.stops_at - found.opens_at <= 25.5 * 3600
    shown = datetime.fromtimestamp(max(now, found.opens_at), zone)
    clock, is_over_midnight = shown.time().replace(microsecond=0), stop < start
    is_within = clock >= start or clock < stop if is_over_midnight else start <= clock < stop
    # What is jumped over in spring makes 02:00-02:30 a moment at 03:00; what comes twice may be open twice.
    has_change = {shown.utcoffset()} != {
        datetime.fromtimestamp(now + hour * 3600, zone).utcoffset() for hour in (-26, 26)
    }
    assert is_within or has_change
    assert found.is_open(max(now, found.opens_at))


@given(start=TIMES, stop=TIMES, now=NOWS)
def test_a_run_that_begins_a_second_later_has_the_same_hours_unless_they_ended(
    start: time, stop: time, now: int
) -> None:
    if start == stop:
        return
    one, next_ = (window.hours(Window(start=start, stop=stop), now=each, zone=BERLIN) for each in (now, now + 1))
    assert one == next_ or one.is_over(now + 1)


# --- decisions ---


def test_what_is_before_open_and_over() -> None:
    night = Hours(opens_at=100, stops_at=200, finish_by=300)
    assert [night.is_ahead(now) for now in (99, 100, 200)] == [True, False, False]
    assert [night.is_open(now) for now in (99, 100, 199, 200, 350)] == [False, True, True, False, False]
    assert [night.is_over(now) for now in (199, 200)] == [False, True]
    assert Hours(stops_at=400, finish_by=300).is_over(300)
    assert ALWAYS.is_open(0)
    assert ALWAYS.is_open(1e12)


def test_what_lands_in_time() -> None:
    night = Hours(finish_by=300)
    assert night.lands(200, 100)
    assert not night.lands(200.5, 100)
    assert ALWAYS.lands(0, 1e9)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ({"start": "22:00", "stop": "22:00"}, "stop"),
        ({"start": "22:00", "finish_by": "22:00:00"}, "finish_by"),
        ({"start": "2026-11-02T22:00", "stop": "2026-11-02T06:00"}, "stop"),
        ({"start": "2026-11-02T22:00", "stop": "2026-11-02T06:00Z"}, None),
        ({"start": "22:00", "stop": "06:00"}, None),
        ({"start": "22:00", "stop": "2026-11-02T06:00"}, None),
        ({"stop": "06:00"}, None),
    ],
)
def test_a_window_that_is_never_open_is_a_flaw(words: dict[str, str], key: str | None) -> None:
    flaw = window.flaw(written(**words))
    assert (None if flaw is None else flaw[0]) == key


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (11_520, "3 h 12 min"),
        (3599, "60 min"),
        (90_000, "25 h 0 min"),
        (-5, "0 s"),
    ],
)
def test_a_wait_in_words(seconds: float, words: str) -> None:
    assert window.duration_words(seconds) == words.replace("60 min", "1 h 0 min")


# --- zones ---


def test_a_zone_that_is_not_there_has_a_near_one_named() -> None:
    assert zones.zone("Europe/Berlin") == BERLIN
    with pytest.raises(UsageError, match="Europe/Berlim") as told:
        zones.zone("Europe/Berlim")
    assert told.value.hint == "did you mean Europe/Berlin?"


@pytest.mark.parametrize("name", ["../../etc/passwd", "Europe", "", "/etc/passwd", "a\0b"])
def test_what_is_no_name_is_no_zone(name: str) -> None:
    with pytest.raises(UsageError, match="there is no time zone"):
        zones.zone(name)


def test_a_machine_without_zones_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones, "names", frozenset)
    with pytest.raises(UsageError, match="no time zones at all") as told:
        zones.zone("Mars/Olympus")
    assert "tzdata" in str(told.value.hint)


@pytest.mark.skipif(not hasattr(clocks, "tzset"), reason="the zone of a process cannot be set here")
def test_the_machine_s_own_zone_changes_its_clock_as_the_named_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TZ", "Europe/Berlin")
    clocks.tzset()
    try:
        for day in (SPRING, AUTUMN, "2026-07-01"):
            for words in ({"start": "22:00", "stop": "02:30"}, {"start": "02:30", "stop": "04:00"}):
                for hour in range(-40, 40):
                    now = at(f"{day}T02:30") + hour * 1800
                    mine = window.hours(written(**words), now=now, zone=zones.zone(None))
                    assert mine == window.hours(written(**words), now=now, zone=BERLIN)
    finally:
        monkeypatch.undo()
        clocks.tzset()
