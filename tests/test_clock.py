"""The real clock over a wall clock that is set, and a machine that sleeps."""

from __future__ import annotations

from datetime import datetime

from batchrunner.clock import WallClock, time_of


class Machine:
    """Its two clocks, as far apart as somebody sets them."""

    def __init__(self) -> None:
        self.wall = 1000.0
        self.steady = 5.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def test_a_clock_that_is_set_back_goes_on_from_where_it_was():
    machine = Machine()
    clock = WallClock(wall=lambda: machine.wall, steady=lambda: machine.steady)
    machine.pass_(10)
    assert clock.now() == 1010
    machine.wall -= 8 * 3600
    assert clock.now() == 1010
    machine.pass_(5)
    assert clock.now() == 1015


def test_a_machine_that_slept_wakes_up_later():
    machine = Machine()
    clock = WallClock(wall=lambda: machine.wall, steady=lambda: machine.steady)
    machine.wall += 8 * 3600
    assert clock.now() == 1000 + 8 * 3600
    machine.pass_(1)
    assert clock.now() == 1001 + 8 * 3600


def test_a_time_has_its_day_where_that_is_another():
    noon = datetime(2026, 11, 21, 12).astimezone().timestamp()
    assert time_of(noon + 3600, now=noon) == "13:00:00"
    assert time_of(noon + 86400, now=noon) == "2026-11-22 12:00:00"
    assert time_of(noon - 86400, now=noon) == "2026-11-20 12:00:00"
