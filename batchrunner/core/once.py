"""What follows from a value that many share, worked out once for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

V = TypeVar("V")
R = TypeVar("R")


class Once(Generic[V, R]):
    """Results by the very value that they are of.

    Equal values are worked out each for itself: to compare requests would take as long as what is saved by it.
    """

    def __init__(self) -> None:
        # With its value, which so lives as long as its result: else another could get its identity.
        self._known: dict[int, tuple[V, R]] = {}

    def of(self, value: V, work_out: Callable[[], R]) -> R:
        """Return the result for a value, worked out where it is asked for the first time."""
        known = self._known.get(id(value))
        if known is None:
            known = self._known[id(value)] = (value, work_out())
        return known[1]
