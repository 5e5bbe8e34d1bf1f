"""When a result is not what was asked for."""

from __future__ import annotations

import pytest

from batchrunner.core.result import suspicion


@pytest.mark.parametrize(
    ("asked_s", "found_s", "fps"),
    [
        (10, 10, 24),
        (10, 9, 24),
        (10, 11, 24),
        (0.5, 0.5 + 2 / 12, 12),  # two pictures, which are more than a tenth
        (0.5, 0.5 - 2 / 12, 12),
        (0.1, 0.1 + 2 / 24, 0),
        (0, 5, 24),  # a length that nobody asked for
    ],
)
def test_a_length_as_asked(asked_s: float, found_s: float, fps: float) -> None:
    assert suspicion(asked_s=asked_s, found_s=found_s, fps=fps) is None


@pytest.mark.parametrize(
    ("asked_s", "found_s", "fps"), [(10, 5, 24), (10, 8.99, 24), (10, 11.01, 24), (0.5, 0.3, 24), (5, 0, 0)]
)
def test_a_length_that_is_not(asked_s: float, found_s: float, fps: float) -> None:
    told = suspicion(asked_s=asked_s, found_s=found_s, fps=fps)
    assert told == f"it is {found_s:.2f} s long where {asked_s:g} s were asked for"
