"""A report for a build server: JUnit's XML, one test case a job.

Done is passed. Failed, canceled and suspect is failed, uncertain is an error, and what is still under way is skipped.
The form is that of Jenkins and GitLab (github.com/testmoapp/junitxml).
"""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element, SubElement

from batchrunner.report.model import Card, Report


def as_junit(report: Report) -> str:
    """The jobs as test cases."""
    told = [_told(card) for card in report.cards]
    counts = {
        name: str(sum(each is not None and each[0] == name for each in told))
        for name in ("failure", "error", "skipped")
    }
    totals = {
        "name": report.origin.manifest,
        "tests": str(len(report.cards)),
        "failures": counts["failure"],
        "errors": counts["error"],
        "skipped": counts["skipped"],
        "time": f"{sum(card.now.took_s or 0 for card in report.cards):.3f}",
    }
    suites = Element("testsuites", totals)
    made = datetime.fromtimestamp(report.origin.made_at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    suite = SubElement(suites, "testsuite", {**totals, "timestamp": made})
    properties = SubElement(suite, "properties")
    for name, value in _properties(report):
        SubElement(properties, "property", {"name": name, "value": value})
    for card, each in zip(report.cards, told, strict=True):
        _add_case(suite, card, each)
    ET.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suites, encoding="unicode")}\n'


def _properties(report: Report) -> list[tuple[str, str]]:
    return [
        ("batchrunner", report.origin.version),
        ("state_file", report.origin.state_file),
        ("credits.estimated", str(report.estimated)),
        ("credits.charged", str(report.totals.charged)),
        ("credits.refunded", str(report.totals.refunded)),
    ]


def _told(card: Card) -> tuple[str, str, str] | None:
    """The element that says why a job is no success: its name, the sort and the words; None for a success."""
    code, message = card.now.code or card.state, card.now.message or card.note or card.state
    match card.state:
        case "done" if card.now.suspect is not None:
            return "failure", "suspect", card.now.suspect
        case "done":
            return None
        case "failed" | "canceled":
            return "failure", code, message
        case "uncertain":
            return "error", code, message
        case _:
            return "skipped", card.state, card.note or card.state


def _add_case(suite: Element, card: Card, told: tuple[str, str, str] | None) -> None:
    took = f"{card.now.took_s or 0:.3f}"
    case = SubElement(suite, "testcase", {"classname": f"{card.kind}.{card.model}", "name": card.id, "time": took})
    if told is None:
        return
    element, sort, words = told
    if element == "skipped":
        SubElement(case, element, {"message": words})
    else:
        SubElement(case, element, {"type": sort, "message": words}).text = words
