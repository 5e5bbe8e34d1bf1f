"""`reconcile`: what became of submissions whose answer was lost. Buys nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchrunner.cli import options, recorder, show
from batchrunner.commands import Typed

if TYPE_CHECKING:
    from batchrunner.batch import Batch
    from batchrunner.core.events import Event
    from batchrunner.core.job import Job, State
    from batchrunner.engine import Engine
    from batchrunner.running import Report
    from batchrunner.traffic import Traffic


@click.command(short_help="Find out what became of lost submissions; buys nothing.")
@options.manifest
@options.state
@options.sandbox
@options.log
@options.no_log
@options.as_json
def reconcile(manifest: Path, *, state: Path | None, sandbox: bool, as_json: bool, **given: Any) -> int:
    """Find out what became of MANIFEST's lost submissions, by the account's balance, and record late refunds.

    Buys nothing, and repeats no submission: the next run does, where it was proved that nothing was charged.
    """
    from batchrunner import batch
    from batchrunner.cli.run import carry_out
    from batchrunner.running import provider
    from batchrunner.session import Goal, Order

    read = batch.read_for_collecting(manifest, state=state)
    show.problems(read.warnings)
    heard, typed = _Heard(), Typed(manifest=manifest, flags={"state": state, "sandbox": sandbox})
    with (
        recorder.recording(read.state, manifest, log=given["log"], no_log=given["no_log"]) as recording,
        provider(read, is_sandbox=sandbox) as access,
    ):
        report = carry_out(read, access, Order(goal=Goal.JUDGE), display=heard, recorder=recording)
    return _tell(read, report, heard, typed, as_json=as_json)


class _Heard:
    """A display that shows nothing, and keeps what the evidence led to."""

    def __init__(self) -> None:
        self.proved: dict[str, str] = {}
        self.refunds: list[tuple[Job, int]] = []

    def observe(self, event: Event, job: Job) -> None:
        from batchrunner.core import events

        if isinstance(event, events.ProvedUnpaid):
            self.proved[job.id] = event.evidence
        elif isinstance(event, events.Corrected):
            self.refunds.append((job, event.credits))

    @asynccontextmanager
    async def shown(self, engine: Engine, traffic: Traffic) -> AsyncIterator[None]:
        del engine, traffic
        yield


def _tell(read: Batch, report: Report, heard: _Heard, typed: Typed, *, as_json: bool) -> int:
    """Print what was found, one line a job; the exit code."""
    from batchrunner import store
    from batchrunner.core import schedule
    from batchrunner.core.job import State

    judged = {job.id for job in report.jobs}
    # One that is uncertain already is not judged again: quiet moments since then have taken in what was missing, so the
    # difference that could tell is gone, and what is missing now would be somebody else's. A person decides.
    with store.open_to_read(read.state) as view:
        known = view.jobs() if view else []
    jobs = [job for job in known if job.id in judged or job.state is State.UNCERTAIN]
    rows = [_row(job, heard, typed) for job in jobs]
    if as_json:
        show.as_json(_shape(read, rows, heard))
    else:
        for line in _lines(rows, heard):
            show.line(line)
    open_ones: Counter[State] = Counter(job.state for job in jobs if job.state in {State.UNCERTAIN, State.SUBMITTING})
    outcome = report.outcome
    return schedule.exit_code(open_ones, stop=outcome.stop, is_unreachable=outcome.is_unreachable)


def _row(job: Job, heard: _Heard, typed: Typed) -> dict[str, Any]:
    """What was found for one job, and what to type next."""
    from batchrunner import commands
    from batchrunner.core.job import State

    words = job.trouble.message if job.trouble else ""
    if job.state is State.UNCERTAIN:
        finding, following = "uncertain", list(commands.answers(job, typed))
    elif job.id in heard.proved:
        finding, following, words = "not charged", [typed.command("run")], heard.proved[job.id]
    else:
        finding, following = "open", [typed.command("run")]
        words = "it cannot be told yet; a run goes on with it, and its next charge may tell"
    return {
        "id": job.id,
        "attempt": job.attempt,
        "finding": finding,
        "is_paid": job.is_paid,
        "evidence": words,
        "sent_at": show.time_utc(job.submitted_at),
        "sent_as": job.name,
        "next": following,
    }


def _lines(rows: list[dict[str, Any]], heard: _Heard) -> Iterator[str]:
    from batchrunner.provider import LIBRARY

    for row in rows:
        sent = f"sent {row['sent_at']} as {row['sent_as']!r}"
        yield f"{row['id']}: {row['finding']}, {sent}: {row['evidence']}; next: {'  or  '.join(row['next'])}"
    for job, credits in heard.refunds:
        yield f"{job.id}: attempt {job.attempt}, project {job.project_id}, is charged {credits:,} credits now"
    if any(row["finding"] == "uncertain" for row in rows):
        show.say(f"hint: look for uncertain ones, by the name they were sent under, in {LIBRARY}")
    if not rows:
        show.say("no submission is in question")


def _shape(read: Batch, rows: list[dict[str, Any]], heard: _Heard) -> dict[str, Any]:
    corrected = [
        {"id": job.id, "attempt": job.attempt, "project_id": job.project_id, "credits": credits}
        for job, credits in heard.refunds
    ]
    return {"manifest": str(read.path), "state_file": str(read.state), "jobs": rows, "corrected": corrected}
