"""Checks tables and indexes: size, vacuum, statistics, and whether to partition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consumer.admin.doctor.context import CheckContext
from consumer.admin.doctor.findings import Finding, error, fine, note, warning
from consumer.admin.doctor.statements import slowest_query_ms
from consumer.admin.migrate import expected
from consumer.maintenance.table_partitions.measure import volume_of_shards
from consumer.postgres.queries import load

TABLES = list(expected.COLUMNS)
MANY_ROWS = 10_000
DEAD_SHARE = 0.2
OLD_TRANSACTIONS = 1_000_000_000
DIALOGUES_A_DAY, GIGABYTES, QUERY_MS = 100_000, 50, 500


async def check_tables(context: CheckContext) -> list[Finding]:
    """Check sizes, vacuum, statistics and partitions."""
    rows = await context.db.rows(load("doctor_tables"), TABLES)
    spread = await volume_of_shards(context.db)
    if spread:  # the coordinator holds none of its rows
        size = sum(part.bytes for part in spread.values())
        rows = [row | {"bytes": size} if row["name"] == "ai_dialogue_log" else row for row in rows]
    sizes = ", ".join(f"{row['name']} {_size(row['bytes'])}" for row in rows)
    return [fine("tables", sizes), *_vacuum(rows), *await _partitions(context, rows)]


def _vacuum(rows: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for row in rows:
        name, dead, live = row["name"], row["dead"], row["live"]
        if (row["transaction_age"] or 0) > OLD_TRANSACTIONS:
            found = (
                f"{name} has transaction ids {row['transaction_age']:,} old: the server stops writing at two billion"
            )
            yield error("vacuum", found, f"VACUUM (FREEZE) {name}")
        if dead > MANY_ROWS and dead > DEAD_SHARE * live:
            share = f"{dead:,} dead rows beside {live:,} live ones"
            fix = f"VACUUM (ANALYZE) {name}; ALTER TABLE {name} SET (autovacuum_vacuum_scale_factor = 0.02)"
            yield warning("vacuum", f"{name} has {share}: autovacuum does not keep up", fix)
        if live > MANY_ROWS and not row["analyzed"]:
            yield warning("statistics", f"{name} was never analyzed: the planner has no statistics", f"ANALYZE {name}")


async def _partitions(context: CheckContext, rows: Sequence[Mapping[str, Any]]) -> list[Finding]:
    (table,) = [row for row in rows if row["name"] == "ai_dialogue_log"]
    if table["partitioned"]:
        return [fine("partitions", "ai_dialogue_log is partitioned")]
    (volume,) = await context.db.rows(load("doctor_volume"), context.settings.rollup.timezone)
    reasons = reasons_to_partition(volume["dialogues"] or 0, table["bytes"], await slowest_query_ms(context))
    if not reasons:
        return [fine("partitions", "not needed yet")]
    return [warning("partitions", f"partitioning is due: {'; '.join(reasons)}", "ragledger partition plan")]


def reasons_to_partition(dialogues_a_day: int, size: int, slowest_ms: float | None) -> list[str]:
    """Return why `ai_dialogue_log` should be partitioned by month now; empty if it should not.

    :param size: bytes, indexes included
    :param slowest_ms: 95th percentile of its slowest query, if known
    """
    reasons = []
    if dialogues_a_day > DIALOGUES_A_DAY:
        reasons.append(f"{dialogues_a_day:,} dialogues a day, over {DIALOGUES_A_DAY:,}")
    if size > GIGABYTES << 30:
        reasons.append(f"{_size(size)}, over {GIGABYTES} GB")
    if slowest_ms is not None and slowest_ms > QUERY_MS:
        reasons.append(f"the 95th percentile of its slowest query is {slowest_ms:,.0f} ms, over {QUERY_MS}")
    return reasons


async def check_indexes(context: CheckContext) -> list[Finding]:
    """Report indexes that no query has used. Each one slows down every write."""
    rows = await context.db.rows(load("doctor_unused_indexes"), TABLES, MANY_ROWS)
    return [_unused(row) for row in rows] or [fine("indexes", "every index is used, or its table is small")]


def _unused(row: Mapping[str, Any]) -> Finding:
    found = f"{row['name']} on {row['table_name']} ({_size(row['bytes'])}) is unused since {row['since']:%Y-%m-%d}"
    ours = "; `migrate verify` then reports it as missing" if row["name"] in expected.INDEXES else ""
    fix = f"if no monthly report needs it: DROP INDEX CONCURRENTLY {row['schema_name']}.{row['name']}{ours}"
    return note("indexes", found, fix)


def _size(count: int) -> str:
    amount, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1024 or unit == "TB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
