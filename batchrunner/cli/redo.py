"""`redo`: another take of one job, beside what was made of it."""

from __future__ import annotations

from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchrunner.cli import completion, options, show

if TYPE_CHECKING:
    from batchrunner.core.job import Job
    from batchrunner.core.plan import Plan


@click.command(short_help="Make another take of one job, beside the old file.")
@options.manifest
@click.argument("job", shell_complete=completion.jobs)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="FIELD=VALUE",
    help="A field that is other than in the manifest for this take, such as style.prompt='slow push in'; nothing after"
    " the = takes it away. May be repeated.",
)
@options.state
@options.sandbox
@options.scale
@options.buying
def redo(manifest: Path, job: str, **given: Any) -> int:
    """Render JOB of MANIFEST once more: shows what is other than before, with the price, and asks.

    The new file lies beside the old one, which stays, and the manifest is not touched: as long as it says what it
    says now, the job counts as done.
    """
    from batchrunner import again, batch
    from batchrunner.cli import plan, run
    from batchrunner.core.plan import Wishes
    from batchrunner.core.selection import Selection

    read = batch.read(manifest, state=given["state"], allow_unlisted=given["allow_unlisted"], variables=given["var"])
    known, names = again.taken(read, job)
    read = batch.redone(read, known, given["sets"], names=names)
    # An id may have brackets in it, which mean something else in a pattern.
    wishes = Wishes(selection=Selection(only=(escape(job),)), redo=frozenset({job}))

    def shown(made: Plan) -> None:
        entry = next(entry for entry in made.entries if entry.id == job)
        assert entry.spec is not None
        show.say(f"{job}, attempt {known.attempt + 1}, {entry.reason}")
        show.say(f"into {entry.spec.output}; {_stays(known)}")
        for line in plan.left_behind(made):
            show.say(line)

    return run.buy(read, wishes, given, shown=shown)


def _stays(known: Job) -> str:
    if not known.is_final:
        return f"attempt {known.attempt}, which was never bought, is dropped"
    files = ", ".join(output.path for output in known.outputs)
    return f"{files} stays as it is" if files else f"attempt {known.attempt} left no file"
