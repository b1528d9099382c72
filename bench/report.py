"""Prints the results as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from bench.delay import Delay
from bench.measure import COPY
from bench.results import Results
from bench.rounds import Suite
from bench.shapes import BY_COLUMN, Costs
from bench.summary import Spread, Summary, Target, summarize
from bench.traces import TraceCosts

SPEED_COLUMNS = ("", "rows/s", "of COPY", "spread", "from start", "first row, s")
COST_COLUMNS = ("", "CPU µs/row", "of PostgreSQL's", "PostgreSQL µs/row", "broker µs/row", "RSS MB", "USS MB")


SHAPE_COLUMNS = ("shape", "bytes", "CPU µs", "of plain")
LANE_COLUMNS = ("decoding", "CPU µs", "of the fast lane")
TRACE_COLUMNS = ("a dialogue from a trace", "CPU µs", "of PostgreSQL's")
DELAY_COLUMNS = ("batch delay", "events", "p50", "p95", "p99", "longest")


def show(results: Results, console: Console) -> None:
    """Print all tables."""
    for suite in results.suites:
        _show_suite(suite, console)
    if results.delays:
        console.print(_table("From publishing to the commit, ms", DELAY_COLUMNS, delays(results.delays)))
    console.print(
        _table("Decoding a dialogue of one shape, values not seen before", SHAPE_COLUMNS, shape_costs(results.costs))
    )
    console.print(_table("Decoding a dialogue of the mixture", LANE_COLUMNS, lane_costs(results.costs)))
    console.print(_table(f"Traces: {describe_traces(results.traces)}", TRACE_COLUMNS, trace_costs(results.traces)))
    _show_targets(results.targets, console)
    machine, idle = results.machine, results.idle_start
    console.print(
        f"COPY is {COPY}. {machine.cores} cores of {machine.processor}, load {machine.load} before the run. "
        f"An idle start of ragledger takes {idle.seconds:.2f} s and {idle.cpu:.2f} s of CPU, which is subtracted.",
        soft_wrap=True,
    )


def _show_suite(suite: Suite, console: Console) -> None:
    summaries = summarize(suite)
    console.print(f"\n{describe(suite)}: medians of {len(suite.rounds)} rounds\n", soft_wrap=True, style="bold")
    console.print(_table("Rows a second, from the first visible row to the last", SPEED_COLUMNS, speed(summaries)))
    console.print(_table("What a row costs", COST_COLUMNS, costs(summaries)))
    rounds = ("", *(f"round {number}" for number in range(1, len(suite.rounds) + 1)))
    console.print(_table("Rows a second, round by round", rounds, _round_rows(suite)))
    for name, reason in suite.skipped.items():
        console.print(f"{name} did not take part: {reason}", soft_wrap=True, markup=False)


def describe(suite: Suite) -> str:
    """Describe the rows of a suite."""
    return " and ".join(
        f"{part.count:,} rows of {part.table} ({part.mean_bytes:,.0f} bytes of JSON on average)" for part in suite.rows
    )


def speed(summaries: Sequence[Summary]) -> list[tuple[str, ...]]:
    """One line for each contestant, with its speed."""
    return [
        (
            one.contestant,
            f"{one.rows_per_s.median:,.0f}",
            f"{one.ratio.median:.2f}",
            "-" if one.contestant == COPY else _range(one.ratio),
            f"{one.ratio_from_start.median:.2f}",
            f"{one.seconds_to_first_row.median:.1f}",
        )
        for one in summaries
    ]


def costs(summaries: Sequence[Summary]) -> list[tuple[str, ...]]:
    """One line for each contestant, with its cost."""
    return [
        (
            one.contestant,
            f"{one.cpu_us.median:.1f}",
            f"{one.cpu_to_postgres.median:.2f}",
            f"{one.postgres_us.median:.1f}",
            f"{one.kafka_us.median:.1f}",
            _megabytes(one.resident_mb),
            _megabytes(one.unique_mb),
        )
        for one in summaries
    ]


def delays(found: Sequence[Delay]) -> list[tuple[str, ...]]:
    """One line for each batch delay."""
    return [
        (
            str(one.batch_delay),
            f"{one.events:,}",
            *(f"{value:.0f}" for value in (one.p50, one.p95, one.p99, one.longest)),
        )
        for one in found
    ]


def shape_costs(found: Costs) -> list[tuple[str, ...]]:
    """One line for each shape of dialogues."""
    return [
        (name, f"{found.sizes[name]:,.0f}", f"{micros:.1f}", f"{micros / found.shapes['plain']:.2f}")
        for name, micros in found.shapes.items()
    ]


def lane_costs(found: Costs) -> list[tuple[str, ...]]:
    """One line for each lane."""
    return [(name, f"{micros:.1f}", f"{micros / found.lanes[BY_COLUMN]:.2f}") for name, micros in found.lanes.items()]


def describe_traces(found: TraceCosts) -> str:
    """Describe the traces, and their speed."""
    return (
        f"{found.traces:,} traces a round, {found.mean_bytes:,.0f} bytes on average; "
        f"{found.per_second:,.0f} dialogues a second from one process that stages and folds at the same time"
    )


def trace_costs(found: TraceCosts) -> list[tuple[str, ...]]:
    """One line for each step."""
    ours = found.stage + found.fold
    lines = (("staging", found.stage), ("folding", found.fold), ("both", ours), ("PostgreSQL", found.postgres))
    return [(name, f"{micros:.0f}", f"{micros / found.postgres:.2f}") for name, micros in lines]


def _range(spread: Spread) -> str:
    return f"{spread.low:.2f}-{spread.high:.2f}"


def _megabytes(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _round_rows(suite: Suite) -> list[tuple[str, ...]]:
    copied = [one.rows_per_s for one in suite.of(COPY)]
    return [
        (name, *(_rate(one.rows_per_s, copy) for one, copy in zip(suite.of(name), copied, strict=True)))
        for name in suite.names
    ]


def _rate(rows_per_s: float, copied: float) -> str:
    return f"{rows_per_s:,.0f} ({rows_per_s / copied:.2f})"


def _show_targets(targets: Sequence[Target], console: Console) -> None:
    console.print(_table("Targets", ("ragledger", "measured", "least", "goal"), [_target_row(one) for one in targets]))


def _target_row(target: Target) -> tuple[str, ...]:
    sign = "≥" if target.higher_is_better else "≤"
    bounds = [f"{sign} {bound:g} {_verdict(target, bound)}" for bound in (target.least, target.goal)]
    return (target.figure, f"{target.measured:.2f}", *bounds)


def _verdict(target: Target, bound: float) -> str:
    return "met" if target.is_met(bound) else "not met"


def _table(title: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for place, column in enumerate(columns):
        table.add_column(
            column, justify="right" if place else "left", no_wrap=place == 0 and len(columns) > 4, overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    return table
