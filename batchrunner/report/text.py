"""A report for a terminal, a ticket or a chat: Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
import re
from typing import Final

from batchrunner.report.charts import Clock
from batchrunner.report.model import Card, Report

_SPECIAL: Final = re.compile(r"([\\`*_\[\]<>|#~&!])")

_AT_START: Final = re.compile(r"^([0-9]*)([-+=.)])")
"""What makes a list, a rule or a heading of a line that begins so."""


def markdown(report: Report, clock: Clock) -> str:
    """The report as Markdown."""
    return "\n".join(_lines(report, clock)) + "\n"


def _lines(report: Report, clock: Clock) -> Iterator[str]:
    origin, totals = report.origin, report.totals
    yield f"# {plain(origin.manifest)}"
    yield ""
    yield from _table(
        ("what", "how much"),
        [
            ("jobs", f"{len(report.cards):,}"),
            *((state, f"{count:,}") for state, count in report.by_state.items()),
            ("suspect", f"{len(report.suspects):,}"),
            ("credits expected", f"{report.estimated:,}"),
            ("credits charged", f"{totals.charged:,}"),
            ("credits given back", f"{totals.refunded:,}"),
            *([("cap", f"{report.cap:,}")] if report.cap is not None else []),
            *([("charges not told", f"{totals.unknown:,}")] if totals.unknown else []),
        ],
    )
    yield from _needed(report)
    yield "## Jobs"
    yield ""
    yield from _table(("job", "kind", "model", "state", "credits", "file or reason"), map(_row, report.cards))
    made = clock(origin.made_at).strftime("%Y-%m-%d %H:%M")
    yield f"Made {made} by batchrunner {origin.version} from {plain(origin.manifest)} and {plain(origin.state_file)}."


def _row(card: Card) -> tuple[str, ...]:
    files = ", ".join(file.shown if file.is_there else f"{file.shown} (is no longer there)" for file in card.now.files)
    told = f"{files} (suspect: {card.now.suspect})" if card.now.suspect else files or card.note
    return (card.id, card.kind, card.model, card.state, f"{card.credits:,}", told)


def _needed(report: Report) -> Iterator[str]:
    for one in report.uncertain:
        yield f"## Uncertain: {plain(one.id)}"
        yield ""
        yield f"{plain(one.message)}. Look in {one.library} for {plain(one.sent_as)}; then type one of:"
        yield from _commands(one.adopt, one.resolve)
    for group in report.groups:
        yield f"## {len(group.ids):,} came to nothing: {plain(group.code)}"
        yield ""
        yield from (plain(message) for message in group.messages)
        yield f"Jobs: {', '.join(map(plain, group.ids))}"
        yield from _commands(group.command)
    if report.download:
        yield "## Results that are no longer there"
        yield ""
        yield "The provider is asked for them again, at no cost, by:"
        yield from _commands(report.download)
    if report.due:
        yield "## Refunds due"
        yield ""
        yield from _table(
            ("job", "project", "credits", "error", "reason"),
            (
                (
                    due.job,
                    due.project_id or "",
                    "not told" if due.credits is None else f"{due.credits:,}",
                    due.error or "",
                    due.message or "",
                )
                for due in report.due
            ),
        )


def _commands(*commands: str) -> Iterator[str]:
    yield ""
    # Indented, so that no text of theirs can end the block.
    yield from (f"    {command}" for command in commands)
    yield ""


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    yield from (f"| {' | '.join(map(plain, row))} |" for row in rows)
    yield ""


def plain(text: str) -> str:
    """Text that Markdown leaves as it is, and that calls nobody by name."""
    escaped = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return _AT_START.sub(r"\1\\\2", escaped).replace("@", "@\N{ZERO WIDTH SPACE}")
