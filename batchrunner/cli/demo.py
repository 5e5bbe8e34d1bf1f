"""`demo`: the main job, end to end, with nothing but this program."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from batchrunner.cli import show
from batchrunner.errors import Exit


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"))
def demo(folder: Path) -> int:
    """Make a few clips and stills in FOLDER, write a manifest for them, and render it on a sandbox.

    No key, no credits. Run again, it goes on where it was, or says that all is done.
    """
    from batchrunner import batch, demo as material
    from batchrunner.cli import run, status
    from batchrunner.core.plan import Wishes

    show.say(f"making clips and stills in {folder}")
    read = batch.read(material.prepare(folder))
    show.problems(read.warnings)
    show.say(f"rendering {show.plural(len(read.jobs), 'job')} of {read.path} on a sandbox")
    with run.provider(read, is_sandbox=True) as access:
        report = asyncio.run(run.carry_out(read, access, wishes=Wishes(), progress=run.progress(quiet=False)))
    status.print_jobs(report.jobs)
    run.conclude(read, report, as_json=False)
    if report.exit_code is Exit.OK:
        show.say(f"all done: look at {folder / 'renders'}\n")
        show.say("next:")
        show.say(f"  batchrunner plan {read.path}             what a run would do now (nothing: all is done)")
        show.say(
            f"  batchrunner run {read.path} --sandbox    change a style in the manifest first, then add --rerender"
        )
        show.say("  export MAGIC_HOUR_API_KEY=…             your own clips, your own manifest, for real")
    return report.exit_code
