"""`adopt` and `resolve`: what a person decides about a submission that no machine can judge."""

from __future__ import annotations

import asyncio
from pathlib import Path
import sys
from typing import TYPE_CHECKING

import click

from batchrunner.cli import completion, options, show
from batchrunner.cli.advice import Typed
from batchrunner.errors import Exit, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchrunner.core.events import Event
    from batchrunner.core.job import Job
    from batchrunner.store import View


@click.command()
@options.manifest
@click.argument("job", shell_complete=completion.uncertain)
@click.argument("project_id")
@options.state
@options.sandbox
def adopt(manifest: Path, job: str, project_id: str, *, state: Path | None, sandbox: bool) -> int:
    """Tell MANIFEST that its uncertain JOB became PROJECT_ID; the next run collects it.

    The project is asked for first: its kind and its name must fit the submission.
    """
    from batchrunner import batch, clock
    from batchrunner.access import find_project
    from batchrunner.cli.run import provider
    from batchrunner.core import events

    read = batch.read_for_collecting(manifest, state=state)
    with provider(read, is_sandbox=sandbox) as access:

        def decide(known: Job, record: View) -> Event:
            _refuse_known(record, project_id)
            found = asyncio.run(find_project(access, known, project_id))
            return events.Adopted(at=clock.now(), project_id=found.id, credits=found.credits_charged)

        after = _decide(read.state, manifest, job, decide)
    show.line(f"{job} is project {after.project_id}, {show.credits(after.charged)} credits")
    typed = Typed(manifest=manifest, flags={"state": state, "sandbox": sandbox})
    show.say(f"next: {typed.command('run')}    collects it")
    return Exit.OK


@click.command()
@options.manifest
@click.argument("job", shell_complete=completion.uncertain)
@click.option("--not-created", "verdict", flag_value="not created", help="It was not accepted: submit it again.")
@click.option("--give-up", "verdict", flag_value="give up", help="Write it off: the job has failed.")
@click.option("--force", is_flag=True, help="With --not-created: although the account says that it was paid.")
@options.state
def resolve(manifest: Path, job: str, *, verdict: str | None, force: bool, state: Path | None) -> int:
    """Decide about the uncertain JOB of MANIFEST, after a look into the library at the provider."""
    from batchrunner import clock, store
    from batchrunner.core import events
    from batchrunner.core.retry import Again, GiveUp

    if verdict is None:
        raise UsageError("say what became of it: --not-created or --give-up")

    def decide(known: Job, _record: View) -> Event:
        if verdict == "not created" and known.is_paid and not force:
            _confirm_paying_twice(known)
        now = clock.now()
        return events.Resolved(at=now, verdict=Again(at=now) if verdict == "not created" else GiveUp())

    after = _decide(state or store.path_for(manifest), manifest, job, decide)
    show.line(f"{job} is {after.state}")
    show.say(f"next: {Typed(manifest=manifest, flags={'state': state}).command('run')}")
    return Exit.OK


def _refuse_known(record: View, project_id: str) -> None:
    """Refuse a project that another submission on record became: one render cannot be two purchases."""
    from batchrunner.core import events

    for owner, attempt, event in record.events():
        if isinstance(event, events.Accepted | events.Adopted) and event.project_id == project_id:
            raise UsageError(f"{project_id} is the project of {owner!r}, attempt {attempt}, already")


def _confirm_paying_twice(job: Job) -> None:
    """Have a person say a second time that what seems to be paid was not created.

    Raises:
        UsageError: there is nobody to ask, or the answer was no.
    """
    why = job.trouble.message if job.trouble else ""
    hint = "look for it in the library and `adopt` it; --force submits it again, which may pay for it twice"
    if not (sys.stdin and sys.stdin.isatty()):
        raise UsageError(f"the account says that {job.id!r} was {why}", hint=hint)
    show.say(f"the account says that {job.id!r} was {why}; submitting it again may pay for it twice")
    if click.prompt("type the job's id to submit it again", default="", show_default=False, err=True) != job.id:
        raise UsageError(f"{job.id!r} stays uncertain", hint=hint)


def _decide(path: Path, manifest: Path, job_id: str, decide: Callable[[Job, View], Event]) -> Job:
    """Put a person's decision on record; only for a job that waits for one."""
    from batchrunner import clock, statefile, store
    from batchrunner.cli.recorder import recording
    from batchrunner.core import job as machine

    if not path.exists():
        statefile.check_bytes(path)
        raise UsageError(f"there is no state file {path}")
    with (
        recording(path, manifest) as recorder,
        store.open_for_run(path, run_id=recorder.run, now=clock.now(), told=recorder.told) as opened,
    ):
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
