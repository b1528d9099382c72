"""Writes docs/performance.md and its pictures from templates and the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from bench.backlog import Backlog
from bench.delay import RATE
from bench.peers import bento_build, connect_jars
from bench.picture import draw
from bench.ragledger import NAME
from bench.report import (
    COST_COLUMNS,
    DELAY_COLUMNS,
    LANE_COLUMNS,
    SHAPE_COLUMNS,
    SPEED_COLUMNS,
    TRACE_COLUMNS,
    costs,
    delays,
    describe,
    describe_traces,
    lane_costs,
    shape_costs,
    speed,
    trace_costs,
)
from bench.results import Machine, Results
from bench.rounds import Suite
from bench.summary import Target, of, summarize

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "performance.md"
PICTURE = DOCS / "performance.svg"
PEERS_PICTURE = DOCS / "performance-peers.svg"
_TEMPLATES = Path(__file__).parent / "templates"
_OPEN, _CLOSE = "<!-- peers -->", "<!-- /peers -->"
_NO_PEERS = '## Peers\n\nNot measured yet: `make bench ARGS="--peers --write-docs"`.'


def write(results: Results) -> list[Path]:
    """Write the page and its pictures. If this run had no peers, the results of an earlier run with peers stay."""
    written = [PAGE, PICTURE]
    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    PAGE.write_text(page(results, old), encoding="utf-8")
    PICTURE.write_text(draw(summarize(results.everything)), encoding="utf-8")
    if results.with_peers:
        PEERS_PICTURE.write_text(draw(summarize(results.dialogues)), encoding="utf-8")
        written.append(PEERS_PICTURE)
    return written


def page(results: Results, old: str) -> str:
    """The text of the page; `old` is its previous text."""
    peers = _peers(results.dialogues, results) if results.with_peers else _between(old)
    return _fill(
        "performance.md",
        _shared(results.everything, results)
        | {
            "kinds": _kinds(results),
            "shapes": _table(SHAPE_COLUMNS, shape_costs(results.costs)),
            "lanes": _table(LANE_COLUMNS, lane_costs(results.costs)),
            "traces": _table(TRACE_COLUMNS, trace_costs(results.traces)),
            "traces_measured": describe_traces(results.traces),
            "delays": _table(DELAY_COLUMNS, delays(results.delays)),
            "rate": f"{RATE:,}",
            "backlog": _backlog(results.backlog),
            "targets": "\n".join(_target(target) for target in results.targets),
            "peers_open": _OPEN,
            "peers": peers,
            "peers_close": _CLOSE,
            "events": f"{sum(part.count for part in results.everything.rows):,}",
            "idle_seconds": f"{results.idle_start.seconds:.1f}",
            "idle_cpu": f"{results.idle_start.cpu:.1f}",
            "postgres": ", ".join(f"`{name}={value}`" for name, value in results.settings["postgres"].items()),
            "partitions": results.settings["partitions"],
            "compression": results.settings["compression"],
        },
    )


def _kinds(results: Results) -> str:
    """A table of the cost of each kind of event alone."""
    columns = ("rows of one kind alone", "rows/s", "of COPY", "CPU µs/row", "PostgreSQL µs/row")
    found = [(suite.rows[0].table, of(summarize(suite), NAME)) for suite in (results.dialogues, results.provenance)]
    rows = [
        (
            table,
            f"{one.rows_per_s.median:,.0f}",
            f"{one.ratio.median:.2f}",
            f"{one.cpu_us.median:.1f}",
            f"{one.postgres_us.median:.1f}",
        )
        for table, one in found
    ]
    return _table(columns, rows)


def _backlog(found: Backlog | None) -> str:
    if found is None:
        return "Not measured in this run."
    return (
        f"With {found.events:,} events waiting when it starts, ragledger holds {found.resident_mb:,.0f} MB at most "
        f"(resident), and writes {found.rows_per_s:,.0f} rows a second."
    )


def _peers(suite: Suite, results: Results) -> str:
    skipped = "".join(f"\n- {name} did not take part: {reason}" for name, reason in suite.skipped.items())
    return _fill(
        "peers.md",
        _shared(suite, results)
        | {
            "skipped": f"{skipped}\n" if skipped else "",
            "debezium": connect_jars.DEBEZIUM_VERSION,
            "connect": connect_jars.KAFKA_VERSION,
            "bento": bento_build.VERSION,
        },
    ).strip()


def _shared(suite: Suite, results: Results) -> dict[str, Any]:
    summaries = summarize(suite)
    return {
        "speed": _table(SPEED_COLUMNS, speed(summaries)),
        "costs": _table(COST_COLUMNS, costs(summaries)),
        "rows": describe(suite),
        "rounds": len(suite.rounds),
        "machine": _machine(results.machine),
        "load": results.machine.load,
        "versions": ", ".join(f"{name} {version}" for name, version in results.versions.items()),
    }


def _machine(machine: Machine) -> str:
    return f"{machine.cores} cores of {machine.processor}, {machine.memory_gb} GB, {machine.system}"


def _fill(template: str, values: Mapping[str, Any]) -> str:
    return Template((_TEMPLATES / template).read_text(encoding="utf-8")).substitute(values)


def _between(old: str) -> str:
    if _OPEN not in old or _CLOSE not in old:
        return _NO_PEERS
    return old.partition(_OPEN)[2].partition(_CLOSE)[0].strip()


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _target(target: Target) -> str:
    sign = "≥" if target.higher_is_better else "≤"
    bounds = (
        f"{sign} {bound:g}{'' if target.is_met(bound) else ' (not met)'}" for bound in (target.least, target.goal)
    )
    return f"| {target.figure} | {target.measured:.2f} | {' | '.join(bounds)} |"
