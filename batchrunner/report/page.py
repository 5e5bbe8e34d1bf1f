"""A report as one HTML page: it asks nothing of any network, and runs no script but its own.

Everything is escaped by the template engine; what may run or style is named by its hash in a content security policy,
so that even a text that slipped through could do nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cache
import hashlib
from importlib import resources
import json
import os
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from batchrunner.core import address as addresses
from batchrunner.core.ledger import Due
from batchrunner.core.retry import Instant
from batchrunner.report import charts
from batchrunner.report.charts import Clock
from batchrunner.report.model import Gallery, Report

STATE_ORDER = (
    "done",
    "rendered",
    "rendering",
    "submitting",
    "uploaded",
    "ready",
    "uncertain",
    "failed",
    "canceled",
)


def page(
    report: Report,
    gallery: Gallery,
    *,
    clock: Clock,
    link: Callable[[str], str],
    clean: Callable[[str], str],
    pictures_beside: bool = False,
) -> str:
    """The page.

    Args:
        report: what it tells.
        gallery: its pictures.
        clock: a moment as the reader's own time.
        link: the address, seen from the page, of a path that is relative to the manifest's folder.
        clean: makes a path fit to be shown.
        pictures_beside: whether pictures are files beside the page, and not in it.
    """
    style, script = _part("report.css"), _part("report.js")
    sources = "data: 'self' file:" if pictures_beside else "data:"
    policy = (
        f"default-src 'none'; img-src {sources}; style-src '{_hash(style)}'; script-src '{_hash(script)}';"
        " base-uri 'none'; form-action 'none'"
    )
    found = ((str(number), gallery.shown.get(card.id)) for number, card in enumerate(report.cards))
    loops = {number: shown.loop for number, shown in found if shown is not None and shown.loop is not None}
    return _template().render(
        report=report,
        gallery=gallery,
        policy=policy,
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        loops=_json(loops),
        charts=[(chart.title, Markup(chart.svg), chart.words) for chart in charts.draw(report, clock)],  # noqa: S704 - drawn by ElementTree, which escapes
        states=[(state, report.by_state[state]) for state in STATE_ORDER if report.by_state.get(state)],
        choices=_choices(report),
        anchors={card.id: f"job-{number}" for number, card in enumerate(report.cards)},
        link=link,
        clean=clean,
        when=lambda at: _when(at, clock),
        iso=lambda at: clock(at).isoformat(timespec="seconds"),
        support=_support,
    )


def link_from(page_folder: PurePath, root: PurePath) -> Callable[[str], str]:
    """The addresses of results as a page in one folder writes them, for paths relative to another."""

    def link(path: str) -> str:
        if addresses.is_object(path):
            return quote(path, safe="/:")
        whole = os.path.join(root, path)  # noqa: PTH118 - a result may lie at a whole path
        try:
            relative = PurePath(os.path.relpath(whole, page_folder)).as_posix()
        except ValueError:  # another drive
            return PurePath(whole).as_uri()
        # A name with a colon would be read as the scheme of an address.
        address = quote(relative, safe="/", errors="surrogateescape")
        return address if relative.startswith("..") else f"./{address}"

    return link


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("batchrunner", "data"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "size": _size, "span": _span, "signed": lambda value: f"{value:+,}"}
    return environment.get_template("report.html.j2")


def _part(name: str) -> str:
    return (resources.files("batchrunner.data") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _json(value: Any) -> Markup:
    """A value inside a script element, out of which no text of it can lead."""
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))  # noqa: S704 - escaped here


def _choices(report: Report) -> list[tuple[str, str, list[str]]]:
    """What cards can be filtered by, where there is a choice: the key, its label and its values."""
    cards = report.cards
    found = (
        ("kind", "Kind", {card.kind for card in cards}),
        ("model", "Model", {card.model for card in cards}),
        ("style", "Style", {card.style for card in cards if card.style}),
        ("tag", "Tag", {tag for card in cards for tag in card.tags}),
    )
    return [(key, label, sorted(values)) for key, label, values in found if values]


def _support(due: Due, when: Callable[[Instant | None], str]) -> str:
    """What to send to support, ready to be copied."""
    credits = "an amount that was not told" if due.credits is None else f"{due.credits:,} credits"
    failed = "does not show what was asked for" if due.error == "suspect" else "failed"
    lines = [
        f"Project {due.project_id} was charged {credits}, and",
        f"it {failed}: {due.message or 'no reason given'}",
        f"Error code: {due.error or 'none'}",
        f"Accepted {when(due.accepted_at)}, ended {when(due.ended_at)}.",
        "Please give these credits back.",
    ]
    return "\n".join(lines)


def _when(at: Instant | None, clock: Clock) -> str:
    return "-" if at is None else clock(at).strftime("%d %b %Y, %H:%M")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _span(seconds: float | None) -> str:
    """A duration in words that are read at a glance."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\N{NO-BREAK SPACE}s"
    if whole < 3600:
        return f"{whole // 60}\N{NO-BREAK SPACE}min {whole % 60:02}\N{NO-BREAK SPACE}s"
    return f"{whole // 3600}\N{NO-BREAK SPACE}h {whole % 3600 // 60:02}\N{NO-BREAK SPACE}min"
