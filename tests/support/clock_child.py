"""The program on a machine whose clock is off, or becomes so in the middle: it was set, or the machine slept.

Run as `python -m tests.support.clock_child BEFORE_S AFTER_S UNTIL_S ARGUMENT...`: the wall clock is off by BEFORE_S,
and UNTIL_S seconds after the start by AFTER_S. The steady clock goes on as it is, as it does over a sleep.
"""

from __future__ import annotations

import sys
import time


def shift(before_s: float, after_s: float, until_s: float) -> None:
    """Put the wall clock off, for all that asks for the time from now on."""
    real, steady, began = time.time, time.monotonic, time.monotonic()

    def shifted() -> float:
        return real() + (before_s if steady() - began < until_s else after_s)

    time.time = shifted


def main() -> int:
    shift(*map(float, sys.argv[1:4]))
    from batchrunner.cli.app import main as program  # what is loaded keeps hold of the clock that it finds

    return program(sys.argv[4:])


if __name__ == "__main__":
    sys.exit(main())
