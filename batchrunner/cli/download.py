"""`download`: bring to disk what was paid for and is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batchrunner.cli import options, recorder, show
from batchrunner.commands import Typed


@click.command(short_help="Fetch what was paid for and is not on disk; buys nothing.")
@options.manifest
@options.selecting
@options.sandbox
@click.option("-q", "--quiet", is_flag=True, help="No progress, only the summary.")
@options.workers
@options.log
@options.no_log
@options.as_json
def download(manifest: Path, *, state: Path | None, sandbox: bool, quiet: bool, as_json: bool, **given: Any) -> int:
    """Fetch what MANIFEST's jobs have paid for and is not on disk: renders not collected yet, and files deleted since.

    Buys nothing. Files deleted since are fetched for the selected jobs; what was never collected, for all.
    """
    from batchrunner import batch
    from batchrunner.cli.run import carry_out, conclude, progress
    from batchrunner.core.plan import Wishes
    from batchrunner.running import provider
    from batchrunner.session import Goal, Order

    selection = given["selection"]
    read = batch.read_for_collecting(manifest, state=state)
    show.problems(read.warnings)
    with (
        recorder.recording(read.state, manifest, log=given["log"], no_log=given["no_log"]) as recording,
        provider(read, is_sandbox=sandbox) as access,
    ):
        order = Order(goal=Goal.COLLECT, wishes=Wishes(selection=selection), tells_all=as_json)
        report = carry_out(
            read, access, order, display=progress(quiet=quiet), recorder=recording, workers=given["workers"]
        )
        typed = Typed(manifest=manifest, flags={"state": state, "sandbox": sandbox, "selection": selection})
        return conclude(read, report, typed=typed, as_json=as_json)
