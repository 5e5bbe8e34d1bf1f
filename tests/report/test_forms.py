"""The same report for terminals, spreadsheets, build servers and browsers, with texts that are out to do harm."""

from __future__ import annotations

import csv
from html.parser import HTMLParser
import io
from pathlib import PurePosixPath
import re
from xml.etree import ElementTree as ET

import pytest

from batchrunner.core import plain
from batchrunner.report import charts, page
from batchrunner.report.junit import as_junit
from batchrunner.report.model import Gallery, Picture, Shown
from batchrunner.report.rows import COLUMNS, as_csv
from batchrunner.report.text import markdown
from tests.support.nights import START, bought, clock, done, failed, report_of, spec_of, uncertain

EVIL = "<script>alert(1)</script>\"'&{{7*7}}]]>--><img src=x onerror=alert(2)>"


def evil_report():
    return report_of(
        done("a", spec=spec_of(prompt=EVIL, tags=(EVIL,)), suspect=EVIL),
        failed(EVIL, code="x<y", message=EVIL),
        uncertain("c"),
        bought("d"),
    )


def html_of(report, gallery=None):
    return page.page(
        report,
        gallery or Gallery(),
        clock=clock,
        link=page.link_from(PurePosixPath("/b"), PurePosixPath("/b")),
        clean=plain.shown,
    )


class Tags(HTMLParser):
    """Every element of a page, and its attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_no_text_becomes_an_element_of_the_page():
    tags = Tags(html_of(evil_report())).found
    scripts = [attributes for tag, attributes in tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "loops"}, {}]
    assert not [1 for tag, attributes in tags if any(name.startswith("on") or name == "style" for name in attributes)]
    assert not [1 for tag, attributes in tags if tag == "img"]
    assert "{{7*7}}" in html_of(evil_report())


def test_the_policy_names_what_may_run_and_nothing_else():
    text = html_of(evil_report())
    (policy,) = (attributes["content"] for tag, attributes in Tags(text).found if attributes.get("http-equiv"))
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'sha256-[^']+'; script-src 'sha256-[^']+'; base-uri 'none';"
        r" form-action 'none'",
        policy,
    )
    # Nothing of it is fetched: the only addresses that lead out are the library's, to be clicked on.
    assert set(re.findall(r"(?:src|href)=\"(https?:[^\"]*)\"", text)) == {"https://example.com/library"}


def test_a_loop_cannot_end_the_element_it_is_kept_in():
    picture = Picture(src="data:image/webp;base64,AA", width=2, height=1)
    gallery = Gallery(shown={"a": Shown(before=picture, after=picture, loop="</script><b>")})
    text = html_of(report_of(done("a")), gallery)
    assert r'{"0":"\u003c/script>\u003cb>"}' in text
    assert ("b", {}) not in Tags(text).found


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("renders/a b.mp4", "./renders/a%20b.mp4"),
        ("renders/100%?#x.mp4", "./renders/100%25%3F%23x.mp4"),
        ("javascript:alert(1).mp4", "./javascript%3Aalert%281%29.mp4"),
        ("/elsewhere/ä.mp4", "../elsewhere/%C3%A4.mp4"),
        ("renders/\udcff.mp4", "./renders/%FF.mp4"),
    ],
)
def test_results_are_linked_from_where_the_page_is(path, address):
    assert page.link_from(PurePosixPath("/b"), PurePosixPath("/b"))(path) == address


def test_a_page_elsewhere_links_back():
    assert page.link_from(PurePosixPath("/www/reports"), PurePosixPath("/b"))("r/a.mp4") == "../../b/r/a.mp4"


# --- charts ---


def test_charts_are_drawn_without_scripts_or_styles_and_say_their_figures():
    report = report_of(done("a"), done("b", took_s=90), failed("c"))
    drawn = charts.draw(report, clock)
    assert [chart.title for chart in drawn] == [
        "Credits spent over time",
        "Renders in flight",
        "Time per render, by model",
        "Credits per finished second, by model",
    ]
    for chart in drawn:
        root = ET.fromstring(chart.svg)
        assert root.attrib["aria-hidden"] == "true"
        assert not {element.tag for element in root.iter()} & {"script", "style"}
        assert not [1 for element in root.iter() if "style" in element.attrib]
    assert drawn[0].words == "480 credits charged in the end, 720 at the most, of a cap of 6,000."
    assert "kling-3.0 1:15 min" in drawn[2].words
    assert charts.draw(report_of(), clock) == []


@pytest.mark.parametrize("took_s", [0.2, 5, 400, 40_000, 400_000])
def test_the_lines_lie_within_their_charts_however_long_the_night_was(took_s):
    report = report_of(done("a", took_s=took_s / 2), done("b", at=START + took_s / 2, took_s=took_s / 2), cap=None)
    lines = charts.draw(report, clock)[:2]
    assert len(lines) == 2
    for chart in lines:
        width, height = (float(each) for each in ET.fromstring(chart.svg).attrib["viewBox"].split()[2:])
        (drawn,) = re.findall(r' d="M ([^"]+)"', chart.svg)
        corners = [tuple(map(float, each.split())) for each in drawn.split(" L ")]
        assert len({x for x, _ in corners}) > 2
        assert all(0 <= x <= width and 0 <= y <= height for x, y in corners), corners
        assert len(set(re.findall(r">(?:\d\d \w{3} )?\d\d:\d\d(?::\d\d)?<", chart.svg))) >= (1 if took_s < 1 else 3)


def test_a_night_of_a_hundred_thousand_charges_is_a_small_chart():
    report = report_of(*(done(f"j{number}", at=1_790_000_000 + number) for number in range(1_500)))
    assert all(len(chart.svg) < 40_000 for chart in charts.draw(report, clock))


@pytest.mark.parametrize(
    ("highest", "ticks"), [(1, [0, 1]), (3, [0, 1, 2, 3]), (240, [0, 100, 200, 300]), (6_000, [0, 2000, 4000, 6000])]
)
def test_an_axis_has_few_round_steps_up_to_the_highest(highest, ticks):
    assert charts._round_ticks(highest) == ticks


# --- other forms ---


def test_a_spreadsheet_carries_nothing_out():
    report = report_of(
        done("=cmd|' /C calc'!A0", spec=spec_of(tags=("+1",))), failed("@sum", code="-x", message="\t=1"), done("plain")
    )
    rows = list(csv.DictReader(io.StringIO(as_csv(report))))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["id"] for row in rows] == ["'=cmd|' /C calc'!A0", "'@sum", "plain"]
    assert (rows[0]["tags"], rows[1]["error"], rows[1]["message"]) == ("'+1", "'-x", "'\t'=1")
    assert (rows[2]["charged"], rows[2]["render_seconds"], rows[2]["output"]) == ("240", "60.0", "renders/plain.mp4")
    assert all(not cell.startswith(("=", "+", "-", "@", "\t")) for row in rows for cell in row.values())


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("\uff1d1", "'\uff1d1"),
        ("\uff201", "'\uff201"),
        ("  =1", "  '=1"),
        ("no; =1", "no; '=1"),
        ("no;-1\t+1", "no;'-1\t'+1"),
        ("a-b; c=d, e@f", "a-b; c=d, e@f"),
    ],
)
def test_a_cell_that_some_spreadsheet_takes_apart_is_a_text(text, cell):
    table = as_csv(report_of(failed("a", message=text)))
    (row,) = csv.DictReader(io.StringIO(table))
    assert row["message"] == cell
    assert table.splitlines()[0] == ",".join(f'"{name}"' for name in COLUMNS)


def test_a_path_on_record_steers_no_terminal_in_any_form():
    report = report_of(done("a\x1b]0;owned\x07"), clean=plain.shown)
    for text in (as_csv(report), markdown(report, clock), html_of(report), as_junit(report)):
        assert "\x1b" not in text
    assert "renders/a\\x1b]0;owned\\x07.mp4" in as_csv(report)


def test_junit_has_a_case_for_each_job_and_counts_that_fit():
    root = ET.fromstring(as_junit(evil_report()))
    (suite,) = root
    cases = suite.findall("testcase")
    for element in (root, suite):
        counts = {name: int(element.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
        assert counts == {"tests": 4, "failures": 2, "errors": 1, "skipped": 1}
        assert float(element.attrib["time"]) == 60
    assert [[child.tag for child in case] for case in cases] == [["failure"], ["failure"], ["error"], ["skipped"]]
    assert all(set(case.attrib) == {"classname", "name", "time"} for case in cases)
    suspect, broken, lost, _ = cases
    assert suspect[0].attrib == {"type": "suspect", "message": EVIL}
    assert (broken.attrib["name"], broken[0].attrib["type"], broken[0].text) == (EVIL, "x<y", EVIL)
    assert lost[0].attrib["type"] == "uncertain"
    properties = {each.attrib["name"]: each.attrib["value"] for each in suite.iter("property")}
    assert properties["credits.charged"] == "480"


def test_markdown_is_read_as_text():
    text = markdown(evil_report(), clock)
    assert "<script>" not in text
    assert r"\<script\>" in text
    assert "    batchrunner retry night.yaml --code x<y\n" in text  # a block of code is as it stands
    assert "| credits charged | 480 |" in text
    rows = [line for line in text.splitlines() if line.startswith("| a | image-to-video")]
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 7


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("=== x", r"\=== x"),
        ("- x", r"\- x"),
        ("+ x", r"\+ x"),
        ("1. x", r"1\. x"),
        ("12) x", r"12\) x"),
        ("a - b = 1.", "a - b = 1."),
        ("ask @someone", "ask @\u200bsomeone"),
    ],
)
def test_a_message_is_no_list_no_heading_and_calls_nobody(text, escaped):
    assert f"\n{escaped}\n" in markdown(report_of(failed("a", message=text)), clock)
