"""Writes docs/growth.md and its picture from a template and the results."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from bench.growth.curve import Curve
from bench.growth.table import QUERIES, ROLL_UP, ROWS_A_DAY
from bench.results import Machine

_DOCS = Path(__file__).parents[2] / "docs"
_TEMPLATE = Path(__file__).parents[1] / "templates" / "growth.md"
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 760, 340, 60, 30, 190, 40
_STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .axis { stroke: #d1d9e0 } path { fill: none; stroke-width: 2 }
.c0 { stroke: #0969da } .c1 { stroke: #bf3989 } .c2 { stroke: #1a7f37 } .c3 { stroke: #bc4c00 }
@media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .axis { stroke: #3d444d }
.c0 { stroke: #4493f8 } .c1 { stroke: #db61a2 } .c2 { stroke: #3fb950 } .c3 { stroke: #f0883e } }
</style>"""


def write(machine: Machine, curves: Sequence[Curve]) -> list[Path]:
    """Write the page and its picture."""
    page, picture = _DOCS / "growth.md", _DOCS / "growth.svg"
    page.write_text(_page(machine, curves), encoding="utf-8")
    picture.write_text(draw(curves), encoding="utf-8")
    return [page, picture]


def _page(machine: Machine, curves: Sequence[Curve]) -> str:
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        cpu=_costs(curves, "{0.postgres_us:.1f}"),
        speed=_costs(curves, "{0.rows_per_s:,.0f}"),
        wal=_costs(curves, "{0.wal_bytes:,.0f}"),
        queries="\n\n".join(_queries(curve) for curve in curves),
        rows_a_day=f"{ROWS_A_DAY:,}",
        machine=f"{machine.cores} cores of {machine.processor}, {machine.memory_gb} GB, {machine.system}",
    )


def _costs(curves: Sequence[Curve], form: str) -> str:
    head = ["rows already there", *(_name(curve) for curve in curves)]
    rows = [
        [f"{costs[0].rows:,}", *(form.format(cost) for cost in costs)]
        for costs in zip(*(curve.costs for curve in curves), strict=True)
    ]
    return _table(head, rows)


def _queries(curve: Curve) -> str:
    names = [*QUERIES, ROLL_UP]
    rows = [[f"{cost.rows:,}", *(f"{cost.milliseconds[name]:,.0f}" for name in names)] for cost in curve.costs]
    return f"{_name(curve).capitalize()}:\n\n{_table(['rows', *names], rows)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["--:"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _name(curve: Curve) -> str:
    return f"{curve.ids} ids, {curve.shape}"


def draw(curves: Sequence[Curve]) -> str:
    """Draw a line for each curve: PostgreSQL's CPU for a row, by the number of existing rows."""
    most_rows = max(cost.rows for curve in curves for cost in curve.costs) or 1
    most_cpu = 10 * (max(cost.postgres_us for curve in curves for cost in curve.costs) // 10 + 1)
    across, up = (_WIDTH - _LEFT - _RIGHT) / most_rows, (_HEIGHT - _TOP - _BOTTOM) / most_cpu

    def place(rows: float, cpu: float) -> str:
        return f"{_LEFT + rows * across:.1f},{_HEIGHT - _BOTTOM - cpu * up:.1f}"

    lines = ['<text x="0" y="16">µs of PostgreSQL\'s CPU for a row, by millions of rows already there</text>']
    for mark in range(0, int(most_cpu) + 1, 10):
        lines.append(f'<path class="axis" d="M{place(0, mark)} L{place(most_rows, mark)}"/>')
        lines.append(f'<text x="{_LEFT - 30}" y="{float(place(0, mark).split(",")[1]) + 4:.1f}">{mark}</text>')
    for cost in curves[0].costs:
        x = float(place(cost.rows, 0).split(",")[0])
        lines.append(f'<text x="{x - 6:.1f}" y="{_HEIGHT - 18}">{cost.rows / 1e6:g}</text>')
    for number, curve in enumerate(curves):
        points = [place(cost.rows, cost.postgres_us) for cost in curve.costs]
        lines.append(f'<path class="c{number}" d="M{" L".join(points)}"/>')
        y = _TOP + 20 + number * 22
        lines.append(f'<path class="c{number}" d="M{_WIDTH - _RIGHT + 12},{y - 4} h20"/>')
        lines.append(f'<text x="{_WIDTH - _RIGHT + 38}" y="{y}">{escape(_name(curve))}</text>')
    body = "\n".join(lines)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
    return f'{head}aria-label="PostgreSQL\'s CPU for a row as the table grows">\n{_STYLE}\n{body}\n</svg>\n'
