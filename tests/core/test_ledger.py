"""The account book: what is due."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchrunner.core import events, job as machine
from batchrunner.core.job import Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.ledger import refunds_due
from batchrunner.core.spec import Spec


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
