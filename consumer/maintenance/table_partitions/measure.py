"""How much there is, measured without reading the table: rows a day, size, and how long queries take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt
from time import monotonic
from typing import Any

from consumer.maintenance.table_partitions.locks import short_transaction
from consumer.postgres.admin import AdminConnection, StatementError
from consumer.postgres.queries import load

DAILY_QUERIES = ("partition_daily_citations", "partition_daily_latency", "partition_daily_users")
RUNS = 5
LONGEST_RUN_MS = 10_000
FEW_CALLS = 20
_P95_DEVIATIONS = 1.645  # of a normal distribution


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure and where it comes from; None where it cannot be had."""

    value: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Volume:
    """The table as it is: rows a day, bytes in all, p95 of its queries in milliseconds, and rows by estimate."""

    rows_a_day: Measured
    bytes: Measured
    p95_ms: Measured
    rows: int


async def measure(db: AdminConnection) -> Volume:
    """Measure; the queries that are timed run for at most ten seconds each.

    :raises DatabaseError: the database cannot be asked
    """
    async with short_transaction(db, 0):
        [size] = await db.rows(load("partition_size"))
        rows_a_day = await _rows_a_day(db)
    statements = await _by_statements(db)
    return Volume(
        rows_a_day,
        Measured(size["bytes"], "size of the table with its indexes"),
        statements or await _by_timing(db),
        size["rows"],
    )


async def _rows_a_day(db: AdminConnection) -> Measured:
    history = await db.rows(load("partition_volume"))
    if history:
        return Measured(
            history[0]["rows_a_day"], f"busiest of the newest 30 days in rag_metrics_history: {history[0]['day']}"
        )
    estimated = await db.rows(load("partition_volume_estimate"))
    if not estimated:
        return Measured(None, "no day was rolled up yet, and the planner has no statistics: ANALYZE ai_dialogue_log")
    return Measured(estimated[0]["rows_a_day"], "the planner's statistics; no day was rolled up yet")


async def _by_statements(db: AdminConnection) -> Measured | None:
    """None where pg_stat_statements is not there, not readable, or has seen too little."""
    try:
        async with short_transaction(db, 0):
            rows = await db.rows(load("partition_statements"))
    except StatementError:
        return None
    calls = sum(row["calls"] for row in rows)
    if calls < FEW_CALLS:
        return None
    return Measured(p95_of(rows), f"pg_stat_statements: estimated from mean and deviation of {calls:,} calls")


def p95_of(rows: Sequence[dict[str, Any]]) -> float:
    """The p95 of all calls together, were they distributed normally; never above the longest one.

    :param rows: of each statement its calls, and the mean, deviation and longest of its times
    """
    calls = sum(row["calls"] for row in rows)
    mean = sum(row["calls"] * row["mean"] for row in rows) / calls
    square = sum(row["calls"] * (row["deviation"] ** 2 + row["mean"] ** 2) for row in rows) / calls
    p95: float = mean + _P95_DEVIATIONS * sqrt(max(0.0, square - mean**2))
    longest: float = max(row["longest"] for row in rows)
    return min(p95, longest)


async def _by_timing(db: AdminConnection) -> Measured:
    async with short_transaction(db, 0):
        [row] = await db.rows(load("partition_newest_moment"))
    if row["newest"] is None:
        return Measured(None, "there are no dialogues to query")
    times = [await _time(db, name, row["newest"]) for name in DAILY_QUERIES for _ in range(RUNS)]
    source = f"measured: the three daily queries over the newest 24 hours, {RUNS} times each"
    return Measured(sorted(times)[int(len(times) * 0.95)], source)


async def _time(db: AdminConnection, name: str, newest: datetime) -> float:
    """Milliseconds; a query that is cut off counts with the limit."""
    try:
        async with short_transaction(db, 0):
            await db.execute(f"SET LOCAL statement_timeout = {LONGEST_RUN_MS}")
            started = monotonic()
            await db.rows(load(name), newest - timedelta(days=1), newest)
            return (monotonic() - started) * 1000
    except StatementError as error:
        if error.sqlstate != "57014":
            raise
        return float(LONGEST_RUN_MS)
