"""`adopt` and `resolve`: what a person decides about a submission that no machine can judge."""

from __future__ import annotations

from pathlib import Path
import sys
from typing import TYPE_CHECKING

import click

from batchrunner.cli import completion, options, show
from batchrunner.commands import Typed
from batchrunner.errors import Exit, UsageError

if TYPE_CHECKING:
    from batchrunner.core.job import Job


@click.command(short_help="Name the project that a lost submission became.")
@options.manifest
@click.argument("job", shell_complete=completion.uncertain)
@click.argument("project_id")
@options.state
@options.sandbox
@options.as_json
def adopt(manifest: Path, job: str, project_id: str, *, state: Path | None, sandbox: bool, as_json: bool) -> int:
    """Tell MANIFEST that its uncertain JOB became PROJECT_ID; the next run collects it.

    The project is asked for first: its kind and its name must fit the submission.
    """
    from batchrunner import batch, shapes, verdicts
    from batchrunner.cli.recorder import recording
    from batchrunner.running import provider

    read = batch.read_for_collecting(manifest, state=state)
    with provider(read, is_sandbox=sandbox) as access, recording(read.state, manifest) as recorder:
        after = verdicts.adopt(read.state, job, project_id, access=access, recorder=recorder)
    typed = Typed(manifest=manifest, flags={"state": state, "sandbox": sandbox})
    if as_json:
        show.as_json(shapes.one_status(after, typed))
    else:
        show.line(f"{job} is project {after.project_id}, {show.credits(after.charged)} credits")
    show.say(f"next: {typed.command('run')}    collects it")
    return Exit.OK


@click.command(short_help="Decide about a lost submission.")
@options.manifest
@click.argument("job", shell_complete=completion.uncertain)
@click.option("--not-created", "verdict", flag_value="not created", help="It was not accepted: submit it again.")
@click.option("--give-up", "verdict", flag_value="give up", help="Write it off: the job has failed.")
@click.option("--force", is_flag=True, help="With --not-created: although the account says that it was paid.")
@options.state
@options.as_json
def resolve(manifest: Path, job: str, *, verdict: str | None, force: bool, state: Path | None, as_json: bool) -> int:
    """Decide about the uncertain JOB of MANIFEST, after a look into the library at the provider."""
    from batchrunner import shapes, store, verdicts
    from batchrunner.cli.recorder import recording

    if verdict is None:
        raise UsageError("say what became of it: --not-created or --give-up")

    def confirm(known: Job) -> None:
        if not force:
            _confirm_paying_twice(known)

    path = state or store.path_for(manifest)
    verdicts.refuse_unknown(path)
    with recording(path, manifest) as recorder:
        after = verdicts.resolve(path, job, gives_up=verdict == "give up", recorder=recorder, confirm=confirm)
    typed = Typed(manifest=manifest, flags={"state": state})
    if as_json:
        show.as_json(shapes.one_status(after, typed))
    else:
        show.line(f"{job} is {after.state}")
    show.say(f"next: {typed.command('run')}")
    return Exit.OK


def _confirm_paying_twice(job: Job) -> None:
    """Have a person say a second time that what seems to be paid was not created.

    Raises:
        UsageError: there is nobody to ask, or the answer was no.
    """
    from batchrunner import verdicts

    hint = "look for it in the library and `adopt` it; --force submits it again, which may pay for it twice"
    if not (sys.stdin and sys.stdin.isatty()):
        raise UsageError(verdicts.seems_paid(job), hint=hint)
    show.say(f"{verdicts.seems_paid(job)}; submitting it again may pay for it twice")
    if click.prompt("type the job's id to submit it again", default="", show_default=False, err=True) != job.id:
        raise UsageError(f"{job.id!r} stays uncertain", hint=hint)
