"""How much room results are taken for."""

from __future__ import annotations

import json

import pytest

from batchrunner.core.kind import Kind
from batchrunner.core.space import Need, need_of
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
