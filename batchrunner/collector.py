"""Building many values at once without looking for cycles among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import gc
from typing import Final

SELDOM: Final = 100_000
"""Values that were made and not dropped, after which the youngest are looked at. More than the 60,000 of the modules of
a run, which are left out for good once its manifest was read (`paused`)."""


@contextmanager
def paused() -> Iterator[None]:
    """Leave Python's cycle collector off inside, if it was on; it is on again behind, whatever happened.

    Reading a large manifest makes millions of values that live to the end and hold no cycles. The collector walks
    through all of them again and again, for a quarter of the time (`benchmarks/reading.py`), and finds nothing.
    What goes out of use is freed as before: that is done by counting references. In a process that is ours alone, what
    was made is never walked through later either, not even once, as it would be as soon as the collector is on again.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if gc.get_threshold()[0] == SELDOM:  # as `seldom` left it
            gc.freeze()
        gc.enable()


def seldom() -> None:
    """Let the cycle collector run seldom from now on, in a process that is ours alone.

    A run makes and drops many small values for each request, which hold no cycles, beside all the jobs, which live to
    its end. By Python's own thresholds, looking for cycles among them is a tenth of the processor time of a run.
    """
    gc.set_threshold(SELDOM, *gc.get_threshold()[1:])
