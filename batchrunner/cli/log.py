"""`log`: all that happened to one job, from the state file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchrunner.cli import completion, options, show
from batchrunner.errors import Exit

if TYPE_CHECKING:
    from batchrunner.core.eventlines import JobEvent


@click.command(short_help="Show all that happened to one job.")
@options.manifest
@click.argument("job", shell_complete=completion.jobs)
@options.state
@options.as_json
def log(manifest: Path, job: str, *, state: Path | None, as_json: bool) -> int:
    """Show all that happened to JOB of MANIFEST: every attempt, failure, wait, doubt and charge, oldest first.

    Reads the state file only. The requests of a run are in its log, <manifest>.log, beside it.
    """
    from batchrunner import recorder
    from batchrunner.api.records import history
    from batchrunner.core import eventlines

    happened = history(manifest, job, state=state)
    if as_json:
        redactor = recorder.redactor()
        show.as_json([redactor.value(told.line()) for told in happened])
        return Exit.OK
    rows = [(_time(told), str(told.attempt), told.event, eventlines.words(told)) for told in happened]
    show.table(("time", "attempt", "event", "what is known"), rows, right=frozenset({1}))
    return Exit.OK


def _time(told: JobEvent) -> str:
    return told.at.replace("T", " ")
