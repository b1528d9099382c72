"""Draws a bar chart as SVG with two panels, for light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from bench.summary import Summary

_WIDTH, _LEFT, _BARS, _ROW, _BAR = 760, 180, 440, 28, 18
_TOP, _GAP = 34, 26
_STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .small { font-size: 12px; fill: #59636e }
.own { fill: #0969da } .postgres { fill: #8250df } .broker { fill: #bf8700 } .spread { stroke: #1f2328 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .small { fill: #9198a1 }
.own { fill: #4493f8 } .postgres { fill: #ab7df8 } .broker { fill: #d29922 } .spread { stroke: #f0f6fc }
}
</style>"""


class Part(NamedTuple):
    """A part of a bar: its colour, and its length in the panel's unit."""

    colour: str
    value: float


class Bar(NamedTuple):
    """One bar of several parts. `spread` is drawn as a line over its end."""

    label: str
    parts: Sequence[Part]
    text: str
    spread: tuple[float, float] | None = None

    @property
    def end(self) -> float:
        """The largest value that the panel must show."""
        total = sum(part.value for part in self.parts)
        return max(total, self.spread[1]) if self.spread else total


def draw(summaries: Sequence[Summary]) -> str:
    """Draw rows a second in the upper panel, and CPU for each row in the lower panel."""
    speed = _panel(_TOP, "Rows a second (median; the line spans all rounds)", [_speed_bar(one) for one in summaries])
    second = _TOP + _height(summaries) + _GAP
    costs = _panel(second, "CPU for each row, µs", [_cost_bar(one) for one in summaries])
    height = second + _height(summaries) + 30
    body = "\n".join([*speed, *costs, *_legend(height - 12)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="Rows a second and CPU for each row">\n{_STYLE}\n{body}\n</svg>\n'
    )


def _height(summaries: Sequence[Summary]) -> int:
    return _ROW * len(summaries) + 12


def _speed_bar(one: Summary) -> Bar:
    parts = [Part("own", one.rows_per_s.median)]
    text = f"{one.rows_per_s.median:,.0f}  ({one.ratio.median:.2f})"
    return Bar(one.contestant, parts, text, (one.rows_per_s.low, one.rows_per_s.high))


def _cost_bar(one: Summary) -> Bar:
    parts = [
        Part("own", one.cpu_us.median),
        Part("postgres", one.postgres_us.median),
        Part("broker", one.kafka_us.median),
    ]
    return Bar(one.contestant, parts, " + ".join(f"{part.value:.1f}" for part in parts))


def _panel(top: int, title: str, bars: Sequence[Bar]) -> list[str]:
    scale = _BARS / max(bar.end for bar in bars)
    lines = [f'<text class="title" x="0" y="{top - 12}">{escape(title)}</text>']
    for place, bar in enumerate(bars):
        lines += _bar(bar, top + place * _ROW, scale)
    return lines


def _bar(bar: Bar, y: int, scale: float) -> list[str]:
    middle = y + _BAR / 2
    lines = [f'<text x="{_LEFT - 10}" y="{middle + 5}" text-anchor="end">{escape(bar.label)}</text>']
    x = float(_LEFT)
    for part in bar.parts:
        width = part.value * scale
        lines.append(f'<rect class="{part.colour}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}"/>')
        x += width
    if bar.spread:
        low, high = (_LEFT + value * scale for value in bar.spread)
        lines.append(f'<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>')
    end = _LEFT + bar.end * scale + 8
    return [*lines, f'<text class="small" x="{end:.1f}" y="{middle + 5}">{escape(bar.text)}</text>']


def _legend(y: int) -> list[str]:
    lines, x = [], _LEFT
    for colour, label in (("own", "its own process"), ("postgres", "PostgreSQL"), ("broker", "Kafka's broker")):
        lines.append(f'<rect class="{colour}" x="{x}" y="{y - 10}" width="11" height="11"/>')
        lines.append(f'<text class="small" x="{x + 17}" y="{y}">{escape(label)}</text>')
        x += 140
    return lines
