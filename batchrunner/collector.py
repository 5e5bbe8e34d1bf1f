"""Building many values at once without looking for cycles among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import gc


@contextmanager
def paused() -> Iterator[None]:
    """Leave Python's cycle collector off inside, if it was on; it is on again behind, whatever happened.

    Reading a large manifest makes millions of values that live to the end and hold no cycles. The collector walks
    through all of them again and again, for a quarter of the time (`benchmarks/reading.py`), and finds nothing.
    What goes out of use is freed as before: that is done by counting references.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
