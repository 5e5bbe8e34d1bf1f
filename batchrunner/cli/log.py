"""`log`: all that happened to one job, from the state file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchrunner.cli import completion, options, show
from batchrunner.core import plain
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

    happened = history(manifest, job, state=state)
    if as_json:
        redactor = recorder.redactor()
        show.as_json([redactor.value(told.line()) for told in happened])
        return Exit.OK
    rows = [(_time(told), str(told.attempt), told.event, _words(told)) for told in happened]
    show.table(("time", "attempt", "event", "what is known"), rows, right=frozenset({1}))
    return Exit.OK


def _time(told: JobEvent) -> str:
    return told.at.replace("T", " ")


def _words(told: JobEvent) -> str:
    """What an event adds to what was known before."""
    parts: list[str] = []
    if told.event == "submit-started":
        parts.append(f"sent as {told.submission!r}")
    if told.event in {"accepted", "adopted", "reappeared"}:
        parts.append(f"project {told.project_id}")
    if told.event in _CHARGES and told.credits.charged is not None:
        parts.append(f"{told.credits.charged:,} credits")
    if told.failure is not None:
        parts.append(f"{told.failure.code}: {plain.clause(told.failure.message)}")
    if told.evidence is not None:
        parts.append(told.evidence)
    if told.then is not None:
        parts.append(f"again at {told.again_at}" if told.again_at else told.then)
    if told.event == "downloaded":
        parts += [f"{each.path} ({each.bytes:,} bytes)" for each in told.outputs]
    return "; ".join(parts)


_CHARGES = frozenset({"accepted", "rendered", "render-failed", "canceled", "corrected", "adopted", "reappeared"})
