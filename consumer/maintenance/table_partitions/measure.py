"""Measures the table without reading all of it: rows per day, size, and query times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """A figure and its origin; `value` is None if there is no figure."""

    value: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Volume:
    """The size of the table: rows per day, bytes in total, p95 of its queries in milliseconds, and estimated rows."""

    rows_a_day: Measured
    bytes: Measured
    p95_ms: Measured
    rows: int


async def measure(db: AdminConnection) -> Volume:
    """Measure the table. Each query that is timed runs for at most ten seconds.

    :raises DatabaseError: the database cannot be queried
    """
    async with short_transaction(db, 0):
        [size] = await db.rows(load("partition_size"))
        spread = await volume_of_shards(db)
        rows_a_day = await _rows_a_day(db)
    statements = await _by_statements(db)
    return Volume(
        rows_a_day,
        Measured(
            sum(part.bytes for part in spread.values()) if spread else size["bytes"],
            "size of the table with its indexes",
        ),
        statements or await _by_timing(db),
        sum(part.rows for part in spread.values()) if spread else size["rows"],
    )


@dataclass(frozen=True, slots=True)
class ShardVolume:
    """Size in bytes and estimated rows of a distributed table or month, over all workers."""

    bytes: int
    rows: int


async def volume_of_shards(db: AdminConnection) -> Mapping[str, ShardVolume]:
    """Measure each month of a distributed table, or the whole table if it has none. Empty if it is not distributed."""
    if not await db.rows(load("distributed_tables"), ["ai_dialogue_log"]):
        return {}
    found = await db.rows(load("distribution_volume"))
    return {row["name"]: ShardVolume(row["bytes"], row["rows"]) for row in found}


async def _rows_a_day(db: AdminConnection) -> Measured:
    history = await db.rows(load("partition_volume"))
    if history:
        return Measured(
            history[0]["rows_a_day"], f"busiest of the newest 30 days in rag_metrics_history: {history[0]['day']}"
        )
    estimated = await db.rows(load("partition_volume_estimate"))
    if not estimated:
        return Measured(
            None, "no day was rolled up yet, and the planner has no statistics: run ANALYZE ai_dialogue_log"
        )
    return Measured(estimated[0]["rows_a_day"], "the planner's statistics; no day was rolled up yet")


async def _by_statements(db: AdminConnection) -> Measured | None:
    """Estimate from pg_stat_statements; None if it is missing, not readable, or has too few calls."""
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
    """Estimate the p95 of all calls together, as if their times were normally distributed; at most the longest time.

    :param rows: for each statement its calls, and the mean, deviation and longest of its times
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
    """Return the time in milliseconds; a query that reaches the time limit counts as the limit."""
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
