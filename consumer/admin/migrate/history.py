"""Reads and writes the table schema_migrations."""

from __future__ import annotations

from dataclasses import fields

from consumer.admin.migrate.errors import ForeignHistoryError
from consumer.admin.migrate.files import Migration
from consumer.admin.migrate.planning import Applied
from consumer.postgres.admin import AdminConnection
from consumer.postgres.queries import load


async def ensure(db: AdminConnection) -> None:
    """Create schema_migrations if it is missing.

    :raises ForeignHistoryError: the table belongs to another tool
    """
    if not await _exists(db):
        await db.execute(load("migrate_create_history"))


async def read(db: AdminConnection) -> dict[int, Applied]:
    """Return the applied migrations by version; empty if there is no schema_migrations.

    :raises ForeignHistoryError: the table belongs to another tool
    """
    if not await _exists(db):
        return {}
    return {row["version"]: Applied(**row) for row in await db.rows(load("migrate_read_history"))}


async def record(db: AdminConnection, migration: Migration, execution_ms: int) -> None:
    """Record that a file has run."""
    await db.rows(load("migrate_record"), migration.version, migration.name, migration.forward.checksum, execution_ms)


async def forget(db: AdminConnection, version: int) -> None:
    """Delete the record of a file that was rolled back."""
    await db.rows("DELETE FROM schema_migrations WHERE version = $1", version)


async def drop(db: AdminConnection) -> None:
    """Drop the table."""
    await db.execute("DROP TABLE IF EXISTS schema_migrations")


async def missing_tables(db: AdminConnection, migrations: tuple[Migration, ...]) -> frozenset[str]:
    """Return the required tables that the database does not have."""
    required = sorted({table for migration in migrations for table in migration.requires})
    return frozenset(row["name"] for row in await db.rows(load("migrate_missing_tables"), required))


async def _exists(db: AdminConnection) -> bool:
    found = {row["name"] for row in await db.rows(load("migrate_history_columns"))}
    missing = [field.name for field in fields(Applied) if field.name not in found]
    if found and missing:
        raise ForeignHistoryError(missing)
    return bool(found)
