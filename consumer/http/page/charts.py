"""Small SVG charts with one value for each day. The stylesheet sets the colours, light and dark. PURE."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

from consumer.http.page.html import Html, join, tag
from consumer.http.page.words import short_day

WIDTH, HEIGHT = 360, 168
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 8, 10, 22
_PLOT_WIDTH, _PLOT_HEIGHT = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


@dataclass(frozen=True)
class Series:
    """Values by day, oldest first; None for a day without a value. `style` is a class of the stylesheet."""

    name: str
    style: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Frame:
    """Shared by all series of a chart: the days, the top of the scale, and how to write a value."""

    days: Sequence[date]
    top: float
    write: Callable[[Any], str]

    def x(self, place: int) -> float:
        """Return the x coordinate of the middle of a day's column."""
        return _LEFT + _PLOT_WIDTH * (place + 0.5) / len(self.days)

    def y(self, value: float) -> float:
        """Return the y coordinate of a value."""
        return _TOP + _PLOT_HEIGHT * (1 - min(value, self.top) / self.top)


def lines(
    title: str,
    summary: str,
    days: Sequence[date],
    series: Sequence[Series],
    write: Callable[[Any], str],
    *,
    top: float | None = None,
    target: float | None = None,
) -> Html:
    """Draw a line for each series, broken at days without a value, and a dashed line at the target."""
    values = [value for one in series for value in one.values if value is not None]
    frame = Frame(days, top or nice_top([*values, *([target] if target is not None else [])]), write)
    drawn = [node for one in series for node in _line(frame, one)]
    return _svg(title, summary, _axes(frame), _target(frame, target), *drawn)


def bars(title: str, summary: str, days: Sequence[date], series: Series, write: Callable[[Any], str]) -> Html:
    """Draw a bar for each day."""
    frame = Frame(days, nice_top([value for value in series.values if value is not None]), write)
    drawn = [_bar(frame, series, place, value) for place, value in enumerate(series.values) if value is not None]
    return _svg(title, summary, _axes(frame), *drawn)


def strip(summary: str, days: Sequence[date], met: Sequence[bool | None]) -> Html:
    """Draw a cell for each day: filled if the objective was met, crossed if it was missed, a dash if
    there is no data.
    """
    cells = [_cell(place, day, verdict, len(days)) for place, (day, verdict) in enumerate(zip(days, met, strict=True))]
    return tag("svg", *cells, class_="strip", viewBox=f"0 0 {WIDTH} 16", role="img", aria_label=summary)


def nice_top(values: Sequence[float]) -> float:
    """Return the smallest round number that is not below any value: 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20 and so on."""
    highest = max(values, default=0)
    size = 10.0**-2
    while True:
        for step in _STEPS:
            if step * size >= highest:
                return step * size
        size *= 10


def _svg(title: str, summary: str, *content: object) -> Html:
    label = f"{title}. {summary}"
    return tag("svg", *content, class_="chart", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label)


def _axes(frame: Frame) -> Html:
    return join(*_levels(frame), *_dates(frame))


def _levels(frame: Frame) -> Iterator[Html]:
    for share in (0.0, 0.5, 1.0):
        y = round(frame.y(frame.top * share), 1)
        yield tag("path", class_="grid", d=f"M{_LEFT} {y}H{WIDTH - _RIGHT}")
        yield tag("text", frame.write(frame.top * share), x=_LEFT - 6, y=y + 4, class_="level")


def _dates(frame: Frame) -> Iterator[Html]:
    last = len(frame.days) - 1
    for place, anchor in ((0, "start"), (last // 2, "middle"), (last, "end")):
        x = {"start": _LEFT, "middle": round(frame.x(place), 1), "end": WIDTH - _RIGHT}[anchor]
        yield tag("text", short_day(frame.days[place]), x=x, y=HEIGHT - 6, class_=f"date {anchor}")


def _target(frame: Frame, target: float | None) -> Html | None:
    if target is None or target > frame.top:
        return None
    return tag("path", class_="target", d=f"M{_LEFT} {frame.y(target):.1f}H{WIDTH - _RIGHT}")


def _line(frame: Frame, series: Series) -> Iterator[Html]:
    for has_value, run in groupby(enumerate(series.values), key=lambda place: place[1] is not None):
        if has_value:
            points = [(frame.x(place), frame.y(float(value or 0))) for place, value in run]
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            yield tag("path", class_=f"line {series.style}", d=f"M{path}")
    for place, value in enumerate(series.values):
        if value is not None:
            yield _dot(frame, series, place, value)


def _dot(frame: Frame, series: Series, place: int, value: float) -> Html:
    tip = tag("title", f"{short_day(frame.days[place])}: {series.name} {frame.write(value)}")
    at = {"cx": f"{frame.x(place):.1f}", "cy": f"{frame.y(value):.1f}"}
    return tag("circle", tip, class_=f"dot {series.style}", r="2", **at)


def _bar(frame: Frame, series: Series, place: int, value: float) -> Html:
    width = _PLOT_WIDTH / len(frame.days) * 0.72
    tip = tag("title", f"{short_day(frame.days[place])}: {series.name} {frame.write(value)}")
    x, y = frame.x(place) - width / 2, frame.y(value)
    size = {"width": f"{width:.1f}", "height": f"{_TOP + _PLOT_HEIGHT - y:.1f}"}
    return tag("rect", tip, class_=f"bar {series.style}", x=f"{x:.1f}", y=f"{y:.1f}", rx="1", **size)


def _cell(place: int, day: date, met: bool | None, count: int) -> Html:
    width = WIDTH / count
    x, inner = place * width + 1, width - 2
    word = {True: "met", False: "missed", None: "no data"}[met]
    tip = tag("title", f"{short_day(day)}: {word}")
    if met is None:
        return tag("path", tip, class_="cell none", d=f"M{x + inner * 0.25:.1f} 8h{inner * 0.5:.1f}")
    box = tag("rect", tip, class_=f"cell {word}", x=f"{x:.1f}", y="1", width=f"{inner:.1f}", height="14", rx="1.5")
    middle = x + inner / 2
    cross = tag("path", class_="cross", d=f"M{middle - 2.5:.1f} 5.5l5 5m0-5l-5 5")
    return box if met else join(box, cross)
