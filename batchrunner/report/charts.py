"""Figures -> inline SVG. The only module that knows leather, which draws it: plain shapes, no script, no styles.

Colours are variables of the page, so that a chart follows its light and its dark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from xml.etree import ElementTree as ET

import leather

from batchrunner.core.retry import Instant
from batchrunner.report.model import Model, Report, Series

WIDTH: Final = 400
HEIGHT: Final = 220

MOST_POINTS: Final = 400
"""Points of a line; more than a screen has columns for would only make the page heavy."""

Clock = Callable[[Instant], datetime]
"""A moment as the reader's own time."""

_Line = tuple[str, Sequence[tuple[Instant, int]], str | None]
"""A name, the corners, and the dashes it is drawn with."""

_FONT: Final = "inherit"
_LOOK: Final[dict[str, Any]] = {
    "background_color": "none",
    "margin": 0.03,
    "label_color": "var(--quiet)",
    "legend_color": "var(--quiet)",
    "axis_title_color": "var(--quiet)",
    "tick_color": "var(--line)",
    "zero_color": "var(--edge)",
    "tick_font_family": _FONT,
    "legend_font_family": _FONT,
    "axis_title_font_family": _FONT,
    "tick_font_size": 13,
    "tick_font_char_width": 7,
    "legend_font_size": 13,
    "default_series_colors": ["var(--accent)", "var(--warn)"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawing, and what it says in words for those who do not see it."""

    title: str
    svg: str
    words: str


def draw(report: Report, clock: Clock) -> list[Chart]:
    """The charts of a report; those without anything to draw are left out."""
    for name, value in _LOOK.items():
        setattr(leather.theme, name, value)
    drawn = (_spend(report, clock), _in_flight(report, clock), _times(report.models), _prices(report.models))
    return [chart for chart in drawn if chart is not None]


def _spend(report: Report, clock: Clock) -> Chart | None:
    if not report.spend:
        return None
    highest = max(net for _, net in report.spend)
    words = f"{report.spend[-1][1]:,} credits charged in the end, {highest:,} at the most"
    lines: list[_Line] = [("charged", _steps(report.spend, report.origin.last_at), None)]
    if report.cap is not None:
        begin, end = lines[0][1][0][0], lines[0][1][-1][0]
        lines.append((f"cap {report.cap:,}", [(begin, report.cap), (end, report.cap)], "6 4"))
        words += f", of a cap of {report.cap:,}"
    return Chart(title="Credits spent over time", svg=_lines(lines, clock), words=f"{words}.")


def _in_flight(report: Report, clock: Clock) -> Chart | None:
    if not report.in_flight:
        return None
    points = _steps(report.in_flight, report.origin.last_at)
    most = max(count for _, count in report.in_flight)
    drawn = _lines([("in flight", points, None)], clock)
    return Chart(title="Renders in flight", svg=drawn, words=f"{most:,} at once at the most.")


def _times(models: Sequence[Model]) -> Chart | None:
    rows = [(model.typical_s, model.name) for model in models if model.typical_s is not None]
    return _bars("Time per render, by model", rows, _duration, "median")


def _prices(models: Sequence[Model]) -> Chart | None:
    rows = [(model.per_second, model.name) for model in models if model.per_second is not None]
    return _bars("Credits per finished second, by model", rows, lambda value: f"{value:,.4g}", "mean")


def _bars(title: str, rows: Sequence[tuple[float, str]], shown: Callable[[float], str], what: str) -> Chart | None:
    if not rows:
        return None
    rows = sorted(rows, reverse=True)[:12]
    chart = leather.Chart()
    chart.add_bars([(value, f"{_short(name)} · {shown(value)}") for value, name in rows])
    chart.add_x_scale(0, max(value for value, _ in rows) or 1)
    chart.add_x_axis(ticks=[0], tick_formatter=lambda *_: "")
    words = "; ".join(f"{name} {shown(value)}" for value, name in rows)
    return Chart(
        title=title, svg=_svg(chart, height=max(96, 40 * len(rows) + 36)), words=f"{what.capitalize()}: {words}."
    )


def _lines(lines: Sequence[_Line], clock: Clock) -> str:
    chart = leather.Chart()
    # In seconds from the beginning: leather's own scale of times is off by thousands of years for spans of seconds.
    begin = min(at for _, points, _ in lines for at, _ in points)
    highest = 1
    for name, points, dashes in lines:
        chart.add_line([(at - begin, value) for at, value in points], name=name, width=2.5, stroke_dasharray=dashes)
        highest = max(highest, *(value for _, value in points))
    ticks = _round_ticks(highest)
    chart.add_y_scale(0, ticks[-1])
    chart.add_y_axis(ticks=ticks, tick_formatter=lambda value, *_: f"{value:,}")
    _add_times(chart, begin, max(at for _, points, _ in lines for at, _ in points), clock)
    return _svg(chart)


def _add_times(chart: Any, begin: Instant, end: Instant, clock: Clock) -> None:
    span = end - begin
    ticks = [span * share for share in (0.06, 0.5, 0.94)]
    form = "%d %b %H:%M" if span > 20 * 3600 else "%H:%M" if span > 300 else "%H:%M:%S"
    chart.add_x_scale(0, span)
    chart.add_x_axis(ticks=ticks, tick_formatter=lambda value, *_: clock(begin + float(value)).strftime(form))


def _round_ticks(highest: int) -> list[int]:
    """Four round steps or fewer, from nothing to above the highest."""
    step = next(size * 10**power for power in range(18) for size in (1, 2, 5) if size * 10**power * 4 >= highest)
    return [number * step for number in range(-(-highest // step) + 1)]


def _steps(series: Series, until: Instant | None) -> list[tuple[Instant, int]]:
    """The corners of a line that stays until it changes, from nothing to the end."""
    thinned = _thinned(series)
    points = [(thinned[0][0], 0)]
    for at, value in thinned:
        points += [(at, points[-1][1]), (at, value)]
    last = max(thinned[-1][0], until or 0, thinned[0][0] + 1)
    return [*points, (last, points[-1][1])]


def _thinned(series: Series) -> Series:
    """The same with fewer points: of each stretch its highest, and the last of all."""
    if len(series) <= MOST_POINTS:
        return series
    stretch = -(-len(series) // MOST_POINTS)
    parts = [series[start : start + stretch] for start in range(0, len(series), stretch)]
    return (*(max(part, key=lambda point: point[1]) for part in parts), series[-1])


def _svg(chart: Any, *, height: int = HEIGHT) -> str:
    """The drawing, as wide as its place; what it says is said beside it in words."""
    root = ET.Element("svg", {"viewBox": f"0 0 {WIDTH} {height}", "aria-hidden": "true", "focusable": "false"})
    root.append(chart.to_svg_group(WIDTH, height))
    return ET.tostring(root, encoding="unicode")


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s" if whole < 60 else f"{whole // 60}:{whole % 60:02} min"
