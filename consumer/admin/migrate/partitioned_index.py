"""Builds an index concurrently on a partitioned table.

PostgreSQL cannot do this in one statement, so an index is built on each partition and then attached.
"""

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
    """Build the index of a statement if its table is partitioned; return False if it is not.

    Writers do not wait for it. After an interruption it continues with the partitions that are left.

    :raises StatementError: the database rejected a statement
    """
    match = _STATEMENT.match(statement)
    if match is None or not await _is_partitioned(db, match["table"]):
        return False
    unique, name, table, rest = match["unique"] or "", match["name"], match["table"], match["rest"]
    await db.execute(f"CREATE {unique}INDEX IF NOT EXISTS {name} ON ONLY {table} {rest}")
    for row in await db.rows(load("migrate_partitions_without_index"), table, name):
        part = f"{name}_{row['suffix']}"[:_LONGEST_NAME]
        await db.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {part}")  # left by an interrupted build
        await db.execute(f"CREATE {unique}INDEX CONCURRENTLY {part} ON {row['partition']} {rest}")
        await db.execute(f"ALTER INDEX {name} ATTACH PARTITION {part}")
    return True


async def _is_partitioned(db: AdminConnection, table: str) -> bool:
    return bool(await db.rows("SELECT FROM pg_class WHERE oid = to_regclass($1) AND relkind = 'p'", table))
