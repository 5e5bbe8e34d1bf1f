"""A report as a table for a spreadsheet: CSV, one row a job."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
import io
import re
from typing import Any, Final

from batchrunner.core.retry import Instant
from batchrunner.report.model import Card, Report

_FORMULA: Final = re.compile(r"(^|[;\t\r\n])(\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""A cell that begins so is carried out by spreadsheets (owasp.org/www-community/attacks/CSV_Injection).

Some begin one after each semicolon or tab, whatever quotation it stands in, and take the full-width forms as well.
"""


def as_csv(report: Report) -> str:
    """The jobs as CSV. Text that a spreadsheet would carry out has an apostrophe before it."""
    file = io.StringIO()
    rows = [_row(card) for card in report.cards]
    writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows({name: _safe(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


COLUMNS: Final = (
    "id",
    "kind",
    "model",
    "style",
    "tags",
    "state",
    "attempt",
    "project_id",
    "seconds",
    "estimated",
    "held",
    "charged",
    "charged_in_all",
    "accepted_at",
    "rendered_at",
    "ended_at",
    "render_seconds",
    "output",
    "bytes",
    "error",
    "message",
    "suspect",
    "gone",
)


def _row(card: Card) -> dict[str, Any]:
    now = card.now
    return {
        "id": card.id,
        "kind": card.kind,
        "model": card.model,
        "style": card.style,
        "tags": " ".join(card.tags),
        "state": card.state,
        "attempt": now.number,
        "project_id": now.project_id,
        "seconds": card.seconds,
        "estimated": now.estimated,
        "held": now.held,
        "charged": now.charged,
        "charged_in_all": card.credits,
        "accepted_at": _time(now.accepted_at),
        "rendered_at": _time(now.rendered_at),
        "ended_at": _time(now.ended_at),
        "render_seconds": None if now.took_s is None else round(now.took_s, 1),
        "output": " ".join(file.shown for file in now.files),
        "bytes": sum(file.bytes for file in now.files) if now.files else None,
        "error": now.code,
        "message": now.message,
        "suspect": now.suspect,
        "gone": " ".join(file.shown for file in now.files if not file.is_there),
    }


def _safe(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    guarded = _FORMULA.sub(r"\1\2'", value)
    return f"'{guarded}" if guarded.startswith(("\t", "\r")) else guarded


def _time(at: Instant | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
