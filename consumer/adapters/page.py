"""The page at `/`: how the newest day went, and where to look further. Never shows query or response text."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>ragledger</title><style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }}
th {{ text-align: left; font-weight: normal; padding-right: 2rem; }}
td {{ text-align: right; font-variant-numeric: tabular-nums; }}
</style></head><body><h1>ragledger</h1>
{day}
<nav><a href="/metrics">metrics</a> · <a href="/healthz">alive</a> · <a href="/readyz">ready</a></nav>
</body></html>"""

_FIGURES = (
    ("dialogues", "total_dialogues", ""),
    ("users", "unique_users", ""),
    ("cite a source", "citation_rate", " %"),
    ("latency p50", "latency_p50", " ms"),
    ("latency p95", "latency_p95", " ms"),
    ("latency p99", "latency_p99", " ms"),
    ("cost", "total_cost", " JPY"),
    ("cost of an answer", "cost_per_answer", " JPY"),
)


def render(day: Mapping[str, Any] | None, problem: str = "") -> str:
    """The page, for the newest row of rag_metrics_history, or why there is none to show."""
    nothing = f"The database cannot be asked: {problem}" if problem else "No day has been computed yet."
    return _PAGE.format(day=_table(day) if day else f"<p>{escape(nothing)}</p>")


def _table(day: Mapping[str, Any]) -> str:
    figures = "".join(_row(title, day[column], unit) for title, column, unit in _FIGURES)
    judged = "".join(_objective(name, verdict) for name, verdict in day["slo_compliance"].items())
    return f"<h2>{day['date']:%Y-%m-%d}</h2><table>{figures}</table><h2>Objectives</h2><table>{judged}</table>"


def _row(title: str, value: Any, unit: str) -> str:
    shown = "-" if value is None else f"{value:,}{unit}"
    return f"<tr><th scope=row>{escape(title)}</th><td>{shown}</td></tr>"


def _objective(name: str, verdict: Mapping[str, Any]) -> str:
    words = {True: "met", False: "missed", None: "no data"}
    wanted = escape(f"{verdict['operator']} {verdict['target']:g}")
    return f"<tr><th scope=row>{escape(name)} {wanted}</th><td>{words[verdict['met']]}</td></tr>"
