"""`doctor`: is everything in order, and what helps where it is not?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchrunner.cli import advice, colours, options, show
from batchrunner.core import plain
from batchrunner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchrunner.core.doctor import Finding


@click.command(short_help="Check the set-up; with a manifest, its state file as well.")
@options.any_manifest
@options.state
@click.option("--fix", is_flag=True, help="Mend what is safe to mend; never while a run goes on.")
@click.option(
    "--accept-lost-log",
    is_flag=True,
    help="Go on although the log of the last run is lost. What it bought is on no record then: every job that may have"
    " been bought waits for a person, and one that is bought again is paid for twice.",
)
@options.as_json
def doctor(manifest: Path | None, *, state: Path | None, fix: bool, accept_lost_log: bool, as_json: bool) -> int:
    """Check the set-up: versions, key, provider, clock, disk; with a MANIFEST also its inputs and its state file.

    Spends nothing, and changes nothing without --fix or --accept-lost-log. The key itself is never shown.
    """
    from batchrunner.api.setup import examine

    if manifest is None and (fix or accept_lost_log or state is not None):
        raise UsageError(
            "--fix, --accept-lost-log and --state are about a batch",
            hint="name its manifest: batchrunner doctor MANIFEST",
        )
    found = examine(manifest, state=state, fix=fix, accept_lost_log=accept_lost_log)
    if as_json:
        shapes = [_shape(each) for each in found.findings]
        show.as_json({"exit_code": int(found.exit_code), "fixed": list(found.fixed), "findings": shapes})
    else:
        _print(found.fixed, found.findings)
    return found.exit_code


def _print(done: Sequence[str], findings: Sequence[Finding]) -> None:
    for text in done:
        show.line(f"fixed    {plain.cell(text)}")
    for finding in findings:
        colour = colours.OF_GRADES.get(finding.grade)
        show.hanging(
            f"{finding.grade:<8} {finding.subject:<11} ", plain.cell(advice.filled(finding.text)), colour=colour
        )
        if finding.advice:
            show.hanging(f"{'':<20} -> ", plain.cell(advice.filled(finding.advice)))


def _shape(finding: Finding) -> dict[str, str | None]:
    return {
        "subject": finding.subject,
        "grade": finding.grade,
        "text": advice.filled(finding.text),
        "advice": finding.advice and advice.filled(finding.advice),
    }
