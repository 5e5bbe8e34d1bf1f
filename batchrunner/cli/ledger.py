"""`ledger`: where every credit went, and whether the account agrees."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Any

import click

from batchrunner.cli import options, show
from batchrunner.commands import Typed
from batchrunner.core.figures import moment_utc
from batchrunner.errors import Exit, UsageError

if TYPE_CHECKING:
    from batchrunner.core.job import Job
    from batchrunner.core.ledger import Drift, Line


@click.command(short_help="Show where every credit went, and refunds that are due.")
@options.manifest
@options.state
@click.option("--csv", "as_csv", is_flag=True, help="Print the lines as CSV on standard output.")
@click.option(
    "--refunds-due",
    is_flag=True,
    help="Only attempts that are still charged and failed, or brought something else than was asked for.",
)
@options.as_json
def ledger(manifest: Path, *, state: Path | None, as_csv: bool, refunds_due: bool, as_json: bool) -> int:
    """Show every movement of credits of MANIFEST, totals, and drift against the account. Reads the state file only."""
    from batchrunner import store
    from batchrunner.core import ledger as books

    path = state or store.path_for(manifest)
    with store.open_to_read(path) as view:
        if view is None:
            raise UsageError(f"there is no state file {path}, so nothing was bought")
        lines = view.book()
        due = books.refunds_due(view.all_attempts())
        drift = books.drift(view.baselines())
        moves = view.balance_moves()
        uncertain = sum(job.state == "uncertain" for job in view.jobs())
    if refunds_due:
        _print_due(due, as_json=as_json, as_csv=as_csv)
    elif as_json:
        show.as_json(_shape(manifest, lines, due, drift))
    elif as_csv:
        _print_csv(lines)
    else:
        _print(lines, drift, uncertain, moves=moves)
        if due:
            command = Typed(manifest=manifest, flags={"state": state}).command("ledger", refunds_due=True)
            show.say(f"{show.plural(len(due), 'refund')} due; {command}    lists what to send to support")
    return Exit.OK


def _shape(manifest: Path, lines: list[Line], due: list[Job], drift: Drift | None) -> dict[str, Any]:
    from batchrunner import shapes

    return {
        "manifest": str(manifest),
        "lines": [shapes.line_of(line) for line in lines],
        "totals": shapes.sums(lines),
        "refunds_due": [shapes.due(job) for job in due],
        "drift": None if drift is None else _drift_shape(drift),
    }


def _drift_shape(drift: Drift) -> dict[str, Any]:
    times = {"since": moment_utc(drift.since), "until": moment_utc(drift.until)}
    return asdict(drift) | times | {"unexplained": drift.unexplained}


def _print_csv(lines: list[Line]) -> None:
    from batchrunner import shapes
    from batchrunner.core.ledger import Line

    writer = csv.DictWriter(sys.stdout, fieldnames=list(Line.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(shapes.line_of(line) for line in lines)


WIDE = 110
"""Characters on the line of a terminal from which on there is room for all columns. On a narrower one the year, and
what tells least, make room for the project, which is what one wants to copy."""


def _is_narrow() -> bool:
    room = show.terminal_width()
    return room is not None and room < WIDE


def _short(time: str) -> str:
    """A time without its year."""
    return time[5:19].replace("T", " ")


def _print(lines: list[Line], drift: Drift | None, uncertain: int, *, moves: bool) -> None:
    from batchrunner import shapes

    rows: list[tuple[str, ...]] = [
        (
            moment_utc(line.at),
            line.job,
            str(line.attempt),
            line.move,
            f"{line.credits:+,}",
            line.source,
            line.project_id or "",
        )
        for line in lines
    ]
    headings: tuple[str, ...] = ("time", "job", "attempt", "move", "credits", "source", "project")
    if _is_narrow():
        rows = [(_short(row[0]), *row[1:5], row[6]) for row in rows]
        headings = (*headings[:5], headings[6])
    show.table(headings, rows, right=frozenset({2, 4}))
    summed = shapes.sums(lines)
    show.line(
        f"\n{summed['net']:,} credits net: {summed['charged']:,} charged, {summed['settled']:+,} settled,"
        f" {summed['refunded']:+,} refunded; {summed['still_reserved']:,} still reserved"
    )
    for heading, key in (("kind", "by_kind"), ("model", "by_model"), ("day", "by_day")):
        show.line(f"by {heading}: {_sums_words(summed[key]) or 'nothing'}")
    show.line(f"by job: {_by_job(summed['by_job']) or 'nothing'}")
    if drift is not None:
        show.line(_drift_words(drift, uncertain, moves=moves))


MOST_JOBS = 10
"""Jobs whose sums are shown, the dearest; the others are in the JSON."""


def _by_job(sums: dict[str, int]) -> str:
    dearest = dict(sorted(sums.items(), key=lambda each: -each[1])[:MOST_JOBS])
    rest = sums.keys() - dearest.keys()
    more = f", and {show.plural(len(rest), 'job')} with {sum(sums[job] for job in rest):,}" if rest else ""
    return _sums_words(dearest) + more


def _sums_words(sums: dict[str, int]) -> str:
    return ", ".join(f"{name} {amount:,}" for name, amount in sums.items())


def _drift_words(drift: Drift, uncertain: int, *, moves: bool) -> str:
    """What the account lost, or won, beside what the ledger explains; `moves` if it was seen to follow charges."""
    fell, explains, unexplained = drift.account_fell, drift.ledger_explains, drift.unexplained
    moved = f"account fell by {fell:,}" if fell >= 0 else f"account rose by {-fell:,}"
    told = f"{moved}, ledger explains {explains:,}"
    if unexplained < 0 and not moves:
        return f"{told} taken: the balance does not move as the ledger explains, so it proves nothing"
    if unexplained < 0:
        return f"{told} taken: at least {-unexplained:,} were added from elsewhere"
    doubt = f", {show.plural(uncertain, 'uncertain submission')}" if uncertain else ""
    return f"{told}: {unexplained:,} unexplained{doubt}" if unexplained else told


def _print_due(due: list[Job], *, as_json: bool, as_csv: bool) -> None:
    from batchrunner import shapes

    if as_json:
        show.as_json([shapes.due(job) for job in due])
        return
    if as_csv:
        writer = csv.DictWriter(sys.stdout, fieldnames=shapes.DUE, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(shapes.due, due))
        return
    columns = ("project_id", "credits", "accepted_at", "ended_at", "job", "error", "message")
    told = (
        {**each, "credits": "not told" if each["credits"] is None else each["credits"]} for each in map(shapes.due, due)
    )
    rows: list[tuple[str, ...]] = [tuple(str(each[column] or "") for column in columns) for each in told]
    headings: tuple[str, ...] = ("project", "credits", "accepted", "ended", "job", "error", "reason")
    if _is_narrow():
        rows = [(row[0], row[1], _short(row[3])[:-3], row[4], row[6] or row[5]) for row in rows]
        headings = ("project", "credits", "ended", "job", "reason")
    show.table(headings, rows, right=frozenset({1}))
