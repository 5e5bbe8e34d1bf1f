"""What to type next after a run, and what it left to be known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
import re
import shlex
from typing import TYPE_CHECKING, Final

import click

from batchrunner import commands
from batchrunner.cli import options, show
from batchrunner.core import address as addresses
from batchrunner.errors import Exit

if TYPE_CHECKING:
    from batchrunner.commands import Typed
    from batchrunner.core.job import Job
    from batchrunner.running import Report
    from batchrunner.seams import Outcome

_UNFILLED: Final = re.compile(r"(`batchrunner [a-z]+(?: --[a-z-]+)*) MANIFEST\b")


def filled(text: str) -> str:
    """What is said by what does not know the batch, with the files that were typed in the commands that it advises."""
    context = click.get_current_context(silent=True)
    given = context.find_object(options.Batch) if context is not None else None
    if given is None or given.manifest is None:
        return text
    words = shlex.join([str(given.manifest), *commands.written("state", given.state)])
    return _UNFILLED.sub(lambda found: f"{found[1]} {words}", text)


def say(text: str) -> None:
    """Tell it to the person, with its commands filled in."""
    show.say(filled(text))


MOST_SUSPECTS = 10
"""Suspect results that are named after a run; the rest is counted."""


MOST_FAILED = 10
"""Jobs that came to nothing and are named after a run; the rest is counted."""


MOST_CHANGED = 5
"""Finished jobs that changed since and are named after a run; the rest is counted."""


MOST_WAITING = 10
"""Jobs that wait for what came to nothing and are named after a run; the rest is counted."""


# --- after a run ---------------------------------------------------------------------------------------------------


def after_run(report: Report, typed: Typed) -> Iterator[str]:
    """What a run left to be known or done, line by line, and the command that goes on."""
    from batchrunner.cli import doubts
    from batchrunner.core.job import State
    from batchrunner.core.schedule import Stop

    outcome = report.outcome
    if outcome.held_back:
        yield f"{show.plural(outcome.held_back, 'job')} not bought: {outcome.held_back_why}"
    if outcome.passed is not None:
        yield f"passed: {outcome.passed}"
    if report.missing:
        lacking = f"{show.plural(report.missing, 'finished job')} without a file on disk"
        yield f"{lacking}; {typed.command('download')}    fetches it"
    yield from _about_stop(outcome)
    if outcome.stop is not Stop.COLLECTING:
        yield from _about_failed(report.jobs)
    yield from _about_changed(report.changed, typed)
    yield from _about_suspects(report.jobs, typed)
    for job in report.jobs:
        if job.state is State.UNCERTAIN:
            yield from doubts.lines(job, typed, project_id=report.named.get(job.name or ""))
    yield from _about_waiting(report.jobs)
    yield from _next_command(report, typed)


def _about_stop(outcome: Outcome) -> Iterator[str]:
    """Why the buying stopped, and what helps."""
    from batchrunner.core.schedule import Stop

    if outcome.trouble is not None:
        yield f"stopped: {outcome.trouble.message}"
    if outcome.stop is Stop.KEY_REFUSED:
        yield "hint: set MAGIC_HOUR_API_KEY to a valid key and run again; nothing is lost"
    elif outcome.stop is Stop.OUT_OF_CREDITS:
        yield "hint: top up the account and run again; what was bought is on disk"
    elif outcome.stop is Stop.DISK_FULL:
        yield "hint: make room and run again; the provider keeps what was bought"


def _about_changed(ids: Sequence[str], typed: Typed) -> Iterator[str]:
    """What was left as it is though the manifest says otherwise now: else a run that did nothing looks as if it had."""
    if not ids:
        return
    more = f" and {len(ids) - MOST_CHANGED:,} more" if len(ids) > MOST_CHANGED else ""
    changed = f"{show.plural(len(ids), 'finished job')} changed since, and left: {', '.join(ids[:MOST_CHANGED])}{more}"
    it = "it" if len(ids) == 1 else "them"
    yield f"{changed}; {typed.command('run', rerender=True)}    renders {it} again"


def _about_waiting(jobs: Sequence[Job]) -> Iterator[str]:
    """The jobs that were not bought because another, which they wait for, came to nothing."""
    from batchrunner.core import awaited

    known = {job.id: job for job in jobs}
    stuck = awaited.stuck(known)
    for job in stuck[:MOST_WAITING]:
        yield f"not bought: {job.id} {awaited.words(job, known)}"
    if len(stuck) > MOST_WAITING:
        yield f"{len(stuck) - MOST_WAITING:,} more jobs wait for such"


def _about_failed(jobs: Sequence[Job]) -> Iterator[str]:
    """Which jobs came to nothing, and why: where all is quiet, or much went by, nothing else has told it."""
    from batchrunner.core.job import State

    failed = [job for job in jobs if job.state in {State.FAILED, State.CANCELED}]
    for job in failed[:MOST_FAILED]:
        why = f": {job.trouble.code}: {job.trouble.message}" if job.trouble else ""
        yield f"{job.state}: {job.id}{why}"
    if len(failed) > MOST_FAILED:
        yield f"{len(failed) - MOST_FAILED:,} more came to nothing"


def _about_suspects(jobs: Sequence[Job], typed: Typed) -> Iterator[str]:
    suspects = [job for job in jobs if job.suspect is not None]
    for job in suspects[:MOST_SUSPECTS]:
        files = ", ".join(addresses.beneath(typed.manifest.parent, each.path) for each in job.outputs)
        yield f"suspect: {job.id} ({files}): {job.suspect}"
    if suspects:
        more = f"{len(suspects) - MOST_SUSPECTS:,} more; " if len(suspects) > MOST_SUSPECTS else ""
        yield f"hint: {more}`{typed.command('ledger', refunds_due=True)}` lists what to send to support"


def _waits_for_a_look(report: Report) -> bool:
    from batchrunner.core.schedule import Stop

    return report.outcome.stop is Stop.CANARY and report.exit_code is Exit.INCOMPLETE


def _about_canaries(report: Report, typed: Typed) -> Iterator[str]:
    """Why nothing more was bought, and what there is to be looked at."""
    canaries = report.outcome.canaries
    assert canaries is not None
    yield f"stopped: {canaries.stops}"
    for job in report.jobs:
        if job.id in canaries.ids and job.outputs:
            yield f"look: {', '.join(addresses.beneath(typed.manifest.parent, each.path) for each in job.outputs)}"
    if canaries.doubts:
        again = typed.command("run", selection=typed.selection.going_on(), canary="go")
        yield f"next: mend it, then {again}    tries another canary first"


def _lacks_a_file(job: Job) -> bool:
    """Whether a job waits for the file of the job it is made from, which no run but a download brings back."""
    from batchrunner.core.retry import INPUT_CHANGED
    from batchrunner.core.selection import OPEN

    is_changed = job.trouble is not None and job.trouble.code == INPUT_CHANGED
    return is_changed and job.spec.source is not None and job.state in OPEN


def _go_on(report: Report, typed: Typed, again: str) -> Iterator[str]:
    """What goes on with what is left, and what the window left; a file that is lacking is brought back first."""
    from batchrunner.clock import time_of
    from batchrunner.core.schedule import Stop
    from batchrunner.core.selection import OPEN

    if report.exit_code is Exit.WINDOW_OVER:
        left = [job for job in report.jobs if job.state in OPEN]
        hold = sum(job.spec.hold or 0 for job in left)
        yield f"left, since the window is over: {show.plural(len(left), 'job')}, {hold:,} credits at the most"
    at = report.outcome.again_at
    when = "" if at is None else f", not before {time_of(at)}: the provider asked for patience"
    is_next = "next"
    if report.outcome.stop is not Stop.COLLECTING and any(_lacks_a_file(job) for job in report.jobs):
        # Of all jobs: the one whose file is missing need not be selected.
        yield f"next: {replace(typed, flags={**typed.flags, 'selection': None}).command('download')}"
        is_next = "then"
    yield f"{is_next}: {again}    goes on where it was{when}"


def _has_failed(report: Report) -> bool:
    """Whether jobs came to nothing, which may be so beside a submission that a person has to decide about."""
    from batchrunner.core.job import State

    is_told = report.exit_code in {Exit.JOBS_FAILED, Exit.UNCERTAIN}
    return is_told and any(job.state in {State.FAILED, State.CANCELED} for job in report.jobs)


def _about_budget(report: Report, typed: Typed, again: str) -> Iterator[str]:
    """What helps against a cap, or a charge that is far above its hold."""
    from batchrunner.core.job import BOUGHT

    if report.outcome.far_off is not None:
        if not report.outcome.held_back:
            yield f"stopped: {report.outcome.far_off}"
        yield f"next: correct its price in a catalogue file, or its hold in the manifest, then {again}"
        return
    if any(job.state in BOUGHT for job in report.jobs):
        yield f"next: {typed.command('download')}    collects what was bought"
    yield f"next: raise the cap, then {again}    goes on with what is left"


_GOES_ON = frozenset(
    {
        Exit.INCOMPLETE,
        Exit.UNREACHABLE,
        Exit.INTERRUPTED,
        Exit.WINDOW_OVER,
        Exit.KEY_REFUSED,
        Exit.OUT_OF_CREDITS,
    }
)
"""After these the same command goes on with what is left."""


def _next_command(report: Report, typed: Typed) -> Iterator[str]:
    from batchrunner.core import awaited
    from batchrunner.core.selection import OPEN

    selection = typed.selection
    again = typed.command("run", selection=selection.going_on())
    if report.outcome.not_fetched:
        yield f"next: {typed.command('download')}"
    elif _waits_for_a_look(report):
        yield from _about_canaries(report, typed)
        yield f"next: {again}    buys the rest"
    elif report.exit_code is Exit.BUDGET_REACHED:
        yield from _about_budget(report, typed, again)
    elif report.exit_code in _GOES_ON:
        yield from _go_on(report, typed, again)
    elif _has_failed(report):
        yield f"next: {typed.command('retry', selection=selection.without_states())}"
        left = {job.id for job in report.jobs if job.state in OPEN}
        if left:
            waiting = {job.id for job in awaited.stuck({job.id: job for job in report.jobs})}
            yield f"then: {again}    goes on with what {'waits for them' if left <= waiting else 'is left'}"
    elif report.exit_code is Exit.UNCERTAIN:
        yield f"then: {again}    goes on with it"
    elif report.exit_code is Exit.OK and not report.missing:
        yield f"next: {typed.command('report')}    makes a page of what came of it"
