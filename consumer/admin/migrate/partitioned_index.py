"""CREATE INDEX CONCURRENTLY on a partitioned table, which PostgreSQL refuses: on each partition, then put together."""

from __future__ import annotations

import re

from consumer.postgres.admin import AdminConnection
from consumer.postgres.queries import load

_STATEMENT = re.compile(
    r"CREATE\s+(?P<unique>UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+IF\s+NOT\s+EXISTS\s+(?P<name>\w+)\s+ON\s+(?P<table>\w+)\s*"
    r"(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_LONGEST_NAME = 63


async def build(db: AdminConnection, statement: str) -> bool:
    """Build the index of a statement where its table is partitioned; False where it is not.

    Nobody waits for it. Run again after an interruption, it goes on with the partitions that are left.

    :raises StatementError: PostgreSQL refused a part of it
    """
    match = _STATEMENT.match(statement)
    if match is None or not await _is_partitioned(db, match["table"]):
        return False
    unique, name, table, rest = match["unique"] or "", match["name"], match["table"], match["rest"]
    await db.execute(f"CREATE {unique}INDEX IF NOT EXISTS {name} ON ONLY {table} {rest}")
    for row in await db.rows(load("migrate_partitions_without_index"), table, name):
        part = f"{name}_{row['suffix']}"[:_LONGEST_NAME]
        await db.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {part}")  # what an interrupted build has left
        await db.execute(f"CREATE {unique}INDEX CONCURRENTLY {part} ON {row['partition']} {rest}")
        await db.execute(f"ALTER INDEX {name} ATTACH PARTITION {part}")
    return True


async def _is_partitioned(db: AdminConnection, table: str) -> bool:
    return bool(await db.rows("SELECT FROM pg_class WHERE oid = to_regclass($1) AND relkind = 'p'", table))
