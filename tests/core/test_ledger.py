"""The account book: what is due."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchrunner.core import events, job as machine
from batchrunner.core.budget import exposure
from batchrunner.core.job import Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.ledger import Move, lines, refunds_due
from batchrunner.core.retry import Again, Failure, GiveUp
from batchrunner.core.spec import Spec
from batchrunner.core.totals import totals_of


def a_job(**changes: object) -> Job:
    spec = Spec(kind=Kind.IMAGE_TO_VIDEO, request="{}", inputs=(), output="o", seconds=1, fingerprint="f", hold=9)
    opened = machine.advance(None, events.Opened(at=0, id="j", attempt=1, spec=spec))
    return replace(opened, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("job", "is_due"),
    [
        (a_job(state=State.FAILED, project_id="p", charged=9), True),
        (a_job(state=State.FAILED, project_id="p", charged=0), False),
        (a_job(state=State.FAILED, project_id="p", charged=None), True),
        (a_job(state=State.CANCELED, project_id="p", charged=None), True),
        (a_job(state=State.FAILED, project_id=None, charged=None), False),
        (a_job(state=State.DONE, project_id="p", charged=9), False),
        (a_job(state=State.DONE, project_id="p", charged=9, suspect="short"), True),
    ],
)
def test_a_refund_is_due_for_what_came_to_nothing_and_is_or_may_be_charged(job, is_due):
    assert refunds_due([job]) == ([job] if is_due else [])


def _bought(at: float, credits: int | None) -> list[events.Event]:
    return [
        events.Uploaded(at=at, assets=()),
        events.SubmitStarted(at=at, name="n"),
        events.Accepted(at=at, project_id=f"p{at:g}", credits=credits),
    ]


_NO = Failure(code="nsfw", message="no")
_LIVES: dict[str, list[events.Event]] = {
    "starts over": [
        *_bought(1, 100),
        events.RenderFailed(at=2, failure=_NO, credits=0, verdict=Again(at=3, of=2)),
        *_bought(4, 90),
        events.Rendered(at=5, status="complete", credits=80),
    ],
    "settles, then fails": [
        *_bought(1, 100),
        events.Looked(at=2, status="rendering", credits=60),
        events.RenderFailed(at=3, failure=_NO, credits=10, verdict=GiveUp()),
        events.Corrected(at=4, credits=0),
    ],
    "refunded while awaited": [
        *_bought(1, 100),
        events.RefundAwaited(at=2, failure=_NO, credits=40),
        events.RenderFailed(at=3, failure=_NO, credits=0, verdict=Again(at=4, of=2)),
    ],
    "told late": [*_bought(1, None), events.Canceled(at=2, credits=70), events.Corrected(at=3, credits=0)],
    "estimated too low, then settled": [
        *_bought(1, 4),
        events.Looked(at=2, status="rendering", credits=3),
        events.Rendered(at=3, status="complete", credits=9),
    ],
    "estimated too low, then refunded": [
        *_bought(1, 4),
        events.RefundAwaited(at=2, failure=_NO, credits=4),
        events.RenderFailed(at=3, failure=_NO, credits=0, verdict=Again(at=4, of=2)),
    ],
    "charged again": [
        *_bought(1, 100),
        events.RenderFailed(at=2, failure=_NO, credits=0, verdict=GiveUp()),
        events.Corrected(at=3, credits=30),
    ],
}


@pytest.mark.parametrize("name", _LIVES)
def test_the_totals_are_those_of_the_movements(name):
    opened = events.Opened(at=0, id="j", attempt=1, spec=a_job().spec)
    log = [opened, *_LIVES[name]]
    moved = dict.fromkeys(Move, 0)
    for line in lines(("j", 1, event) for event in log):
        moved[line.move] += line.credits
    totals = totals_of([machine.replay(log)])
    assert (totals.held, totals.refunded) == (moved[Move.CHARGED], -moved[Move.REFUNDED])
    assert totals.charged == moved[Move.CHARGED] + moved[Move.SETTLED] + moved[Move.REFUNDED]


@pytest.mark.parametrize("name", _LIVES)
def test_the_book_reserves_and_charges_what_the_caps_count(name):
    log: list[events.Event] = [events.Opened(at=0, id="j", attempt=1, spec=a_job().spec)]
    for event in _LIVES[name]:
        log.append(event)
        moved = sum(line.credits for line in lines(("j", 1, each) for each in log))
        assert moved == exposure(machine.replay(log)), event


def test_what_may_still_be_charged_stays_reserved_beside_an_estimate():
    log = [events.Opened(at=0, id="j", attempt=1, spec=a_job().spec), *_LIVES["estimated too low, then settled"]]
    told = [(line.move, line.credits) for line in lines(("j", 1, each) for each in log)]
    assert told == [
        (Move.RESERVED, 9),
        (Move.RELEASED, -4),
        (Move.CHARGED, 4),
        (Move.SETTLED, -1),
        (Move.RESERVED, 1),
        (Move.SETTLED, 6),
        (Move.RELEASED, -6),
    ]
