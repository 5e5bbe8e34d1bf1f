"""How much room results are taken for."""

from __future__ import annotations

import json

import pytest

from batchrunner.core.kind import Kind
from batchrunner.core.space import LEAST_BOUND, LEAST_LIKELY, Bound, Need, bound_of, need_of
from batchrunner.core.spec import Spec


def spec(kind: Kind, *, seconds: float = 8.0, **request: object) -> Spec:
    return Spec(kind=kind, request=json.dumps(request), inputs=(), output="out/a.mp4", seconds=seconds, fingerprint="f")


@pytest.mark.parametrize(
    ("kind", "resolution", "need"),
    [
        (Kind.IMAGE_TO_VIDEO, "720p", Need(least=500_000, most=7_500_000)),
        (Kind.IMAGE_TO_VIDEO, "4k", Need(least=4_500_000, most=67_500_000)),
        (Kind.IMAGE_TO_VIDEO, None, Need(least=100_000, most=12_000_000)),
        (Kind.IMAGE_TO_VIDEO, "of another time", Need(least=100_000, most=12_000_000)),
        (Kind.VIDEO_TO_VIDEO, None, Need(least=100_000, most=12_000_000)),
    ],
)
def test_the_room_for_a_result(kind: Kind, resolution: str | None, need: Need) -> None:
    assert need_of(spec(kind, resolution=resolution)) == need


def test_no_length_takes_no_room() -> None:
    assert need_of(spec(Kind.VIDEO_TO_VIDEO, seconds=0)) == Need(least=0, most=0)


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [
        (0, Bound(likely=LEAST_LIKELY, most=LEAST_BOUND)),
        (5, Bound(likely=18_750_000, most=LEAST_BOUND)),
        (120, Bound(likely=450_000_000, most=1_800_000_000)),
    ],
)
def test_what_no_result_has(seconds: float, bound: Bound) -> None:
    assert bound_of(spec(Kind.IMAGE_TO_VIDEO, seconds=seconds, resolution="720p")) == bound


def test_only_what_is_beyond_the_bound_is_objected_to() -> None:
    bound = Bound(likely=10, most=1000)
    assert bound.objection(1000) is None
    assert bound.objection(1001) == "1,001 bytes or more are no result of this job, which has 1,000 at the very most"
