"""What a person decides about a submission that no machine can judge, put on record. Part of the composition."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from batchrunner import clock, statefile, store
from batchrunner.access import Access, find_project
from batchrunner.core import events, job as machine
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.retry import Again, GiveUp
from batchrunner.errors import Exit, UsageError
from batchrunner.recorder import Recorder
from batchrunner.stateview import View


def adopt(state: Path, job_id: str, project_id: str, *, access: Access, recorder: Recorder) -> Job:
    """Record that an uncertain job became a project, which is asked for first; the job as it is then.

    Raises:
        UsageError: it is not uncertain, or the project cannot be it.
        ProviderError: no answer.
    """

    def decide(known: Job, record: View) -> Event:
        _refuse_known(record, project_id)
        found = asyncio.run(find_project(access, known, project_id))
        return events.Adopted(at=clock.now(), project_id=found.id, credits=found.credits_charged)

    return _decide(state, job_id, decide, recorder)


def resolve(state: Path, job_id: str, *, gives_up: bool, recorder: Recorder, confirm: Callable[[Job], None]) -> Job:
    """Record that an uncertain job was not created, or is written off; the job as it is then.

    `confirm` is asked, and raises if it is not meant, where the account says that the submission was paid.

    Raises:
        UsageError: it is not uncertain.
    """

    def decide(known: Job, _record: View) -> Event:
        if not gives_up and known.is_paid:
            confirm(known)
        now = clock.now()
        return events.Resolved(at=now, verdict=GiveUp() if gives_up else Again(at=now))

    return _decide(state, job_id, decide, recorder)


def seems_paid(job: Job) -> str:
    """What the account says of a submission that a person calls not created."""
    return f"the account says that {job.id!r} was {job.trouble.message if job.trouble else ''}"


def _refuse_known(record: View, project_id: str) -> None:
    """Refuse a project that another submission on record became: one render cannot be two purchases."""
    for owner, attempt, event in record.events():
        if isinstance(event, events.Accepted | events.Adopted) and event.project_id == project_id:
            raise UsageError(f"{project_id} is the project of {owner!r}, attempt {attempt}, already")


def _decide(path: Path, job_id: str, decide: Callable[[Job, View], Event], recorder: Recorder) -> Job:
    """Put a person's decision on record; only for a job that waits for one."""
    with store.open_for_run(path, run_id=recorder.run, now=clock.now(), told=recorder.told) as opened:
        known = {each.id: each for each in opened.jobs()}
        before = known.get(job_id)
        if before is None or before.state is not machine.State.UNCERTAIN:
            waiting = ", ".join(each.id for each in known.values() if each.state is machine.State.UNCERTAIN)
            state = "is not on record" if before is None else f"is {before.state}, not uncertain"
            raise UsageError(f"{job_id!r} {state}", hint=f"uncertain here: {waiting or 'none'}")
        event = decide(before, opened)
        after = machine.advance(before, event)
        opened.append_now([(event, after)])
        opened.end_run(at=clock.now(), exit_code=Exit.OK)
        return after


def refuse_unknown(state: Path) -> None:
    """Refuse where there is no state file, so that none is begun.

    Raises:
        UsageError: there is none.
        StateUnusable: it is damaged.
    """
    if not state.exists():
        statefile.check_bytes(state)
        raise UsageError(f"there is no state file {state}")
