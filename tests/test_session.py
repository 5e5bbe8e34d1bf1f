"""A run that begins: what was worked out for the question a moment before is worked out again only where it must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image
import pytest

from batchrunner import batch, planning, session as sessions, store
from batchrunner.access import Access
from batchrunner.batch import Batch
from batchrunner.core import events, job as machine
from batchrunner.core.plan import Plan, Wishes
from batchrunner.planning import Preview
from batchrunner.provider import wire

MANIFEST = """\
version: 1
output: renders/{id}.mp4
defaults:
  image-to-video: {end_seconds: 5, model: kling-3.0, resolution: 720p, style: {prompt: up}}
jobs:
  - {id: hero, kind: image-to-video, input: hero.png}
  - {id: tower, kind: image-to-video, input: tower.png}
"""

ACCOUNT = wire.Account(id="me", tier="pro", credits=100_000)


@pytest.fixture
def night(tmp_path: Path) -> Batch:
    for name, colour in (("hero", "red"), ("tower", "blue")):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "night.yaml").write_text(MANIFEST)
    return batch.read(tmp_path / "night.yaml")


def seen(night: Batch, wishes: Wishes | None = None) -> Preview:
    return planning.preview(night, wishes=wishes or Wishes(), tier=ACCOUNT.tier)


def begun(night: Batch, order: sessions.Order) -> Plan:
    access = Access(base_url="http://127.0.0.1:1", key="k")
    with sessions.begin(night, order, access=access, account=ACCOUNT) as session:
        return session.plan


def is_same(one: Plan, other: Plan) -> bool:
    return one is other


def test_a_plan_of_a_moment_ago_is_taken_where_nothing_moved(night):
    before = seen(night)
    made = begun(night, sessions.Order(seen=before))
    assert is_same(made, before.plan)
    assert made == begun_anew(night)


def begun_anew(night: Batch) -> Plan:
    """The plan of an order that nobody looked at before, of a state file that knows nothing yet."""
    night.state.unlink()
    return begun(night, sessions.Order())


def put_on_record(night: Batch, _seen: Preview) -> None:
    (hero, _) = _seen.plan.entries
    with store.open_for_run(night.state, run_id="other", now=1.0) as file:
        assert hero.spec is not None
        event = events.Opened(at=1.0, id="hero", attempt=1, spec=hero.spec)
        file.append_now([(event, machine.advance(None, event))])


def paint_another(night: Batch, _seen: Preview) -> None:
    Image.new("RGB", (64, 66), "green").save(night.root / "hero.png")


@pytest.mark.parametrize("move", [put_on_record, paint_another])
def test_a_plan_is_made_anew_where_something_moved(night: Batch, move: Callable[[Batch, Preview], None]) -> None:
    before = seen(night)
    move(night, before)
    made = begun(night, sessions.Order(seen=before))
    assert made != before.plan
    assert made.entries[1] == before.plan.entries[1]


@pytest.mark.parametrize(
    "order",
    [
        lambda seen: sessions.Order(seen=seen, wishes=Wishes(rerender=True)),
        lambda seen: sessions.Order(seen=seen, history=Path("/nowhere")),
        lambda seen: sessions.Order(seen=replace(seen, tier="creator")),
    ],
    ids=["other wishes", "another history", "another tier"],
)
def test_a_plan_is_made_anew_for_another_order(night: Batch, order: Callable[[Preview], sessions.Order]) -> None:
    before = seen(night)
    assert not is_same(begun(night, order(before)), before.plan)
