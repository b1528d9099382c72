"""schema_migrations, and the lock that keeps two migrations of one database apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from time import monotonic

from consumer.adapters.admin import AdminConnection, connect
from consumer.operations.migrate.errors import ForeignHistoryError, LockTakenError
from consumer.operations.migrate.files import Migration
from consumer.operations.migrate.planning import Applied
from consumer.operations.queries import query

LOCK_KEY = int.from_bytes(b"ragledgr")
_LOCK_POLL_S = 0.2


@asynccontextmanager
async def exclusive(dsn: str, wait_s: float) -> AsyncIterator[None]:
    """Be the only migration of this database, waiting up to `wait_s` seconds for another one to end.

    The lock belongs to a transaction on a connection of its own. A session's lock would not survive a
    transaction-mode pooler, and the transactions of the work must come and go, or be none at all.

    :raises LockTakenError: the other one did not end
    """
    # Asking again instead of waiting inside the database: a waiting statement has a snapshot, the other
    # migration's concurrent index build waits for all snapshots, and so the two would wait for each other.
    deadline = monotonic() + wait_s
    async with connect(dsn) as holder:
        while True:
            async with holder.transaction():
                if await _take(holder):
                    yield
                    return
            if monotonic() > deadline:
                raise LockTakenError(wait_s)
            await asyncio.sleep(_LOCK_POLL_S)


async def _take(holder: AdminConnection) -> bool:
    await holder.rows(query("migrate_lock_lives_on"))
    (row,) = await holder.rows("SELECT pg_try_advisory_xact_lock($1) AS taken", LOCK_KEY)
    return bool(row["taken"])


async def ensure(db: AdminConnection) -> None:
    """Make schema_migrations where it is missing.

    :raises ForeignHistoryError: there is one, of another tool
    """
    if not await _exists(db):
        await db.execute(query("migrate_create_history"))


async def read(db: AdminConnection) -> dict[int, Applied]:
    """Return what has been applied, by version; nothing where there is no schema_migrations.

    :raises ForeignHistoryError: it is another tool's
    """
    if not await _exists(db):
        return {}
    return {row["version"]: Applied(**row) for row in await db.rows(query("migrate_read_history"))}


async def record(db: AdminConnection, migration: Migration, execution_ms: int) -> None:
    """Note that a file has run."""
    await db.rows(query("migrate_record"), migration.version, migration.name, migration.forward.checksum, execution_ms)


async def forget(db: AdminConnection, version: int) -> None:
    """Note that a file was rolled back."""
    await db.rows("DELETE FROM schema_migrations WHERE version = $1", version)


async def drop(db: AdminConnection) -> None:
    """Leave nothing behind."""
    await db.execute("DROP TABLE IF EXISTS schema_migrations")


async def missing_tables(db: AdminConnection, migrations: tuple[Migration, ...]) -> frozenset[str]:
    """Return those tables that some migration requires and the database does not have."""
    required = sorted({table for migration in migrations for table in migration.requires})
    return frozenset(row["name"] for row in await db.rows(query("migrate_missing_tables"), required))


async def _exists(db: AdminConnection) -> bool:
    found = {row["name"] for row in await db.rows(query("migrate_history_columns"))}
    missing = [field.name for field in fields(Applied) if field.name not in found]
    if found and missing:
        raise ForeignHistoryError(missing)
    return bool(found)
