"""`ragledger migrate verify`: the checks after a migration. Changes nothing; the trial row is rolled back."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from consumer.adapters.admin import AdminConnection, StatementError, connect
from consumer.operations.migrate import expected, history
from consumer.operations.migrate.checks import Check, Column, Facts, compare
from consumer.operations.queries import query

_FOREIGN_KEYS_VERSION = 4


async def verify(dsn: str) -> tuple[Check, ...]:
    """Look at the tables, columns, comments, indexes, enums, triggers, constraints and views, and try an insert.

    Expects every version, the optional foreign keys only where they were applied. Works just as well where
    the files were run with psql.

    :raises DatabaseError: the connection failed
    :raises ForeignHistoryError: schema_migrations is another tool's
    """
    async with connect(dsn) as db:
        return (*compare(await _facts(db)), await _trial_insert(db))


async def _facts(db: AdminConnection) -> Facts:
    return Facts(
        tables={row["name"]: row["comment"] for row in await _ask(db, "verify_tables")},
        columns=await _columns(db),
        indexes={(row["table_name"], row["name"]): row["usable"] for row in await _ask(db, "verify_indexes")},
        enums=await _enums(db),
        constraints={
            (row["table_name"], row["name"]): row["validated"] for row in await _ask(db, "verify_constraints")
        },
        triggers=await _triggers(db),
        foreign_keys_recorded=_FOREIGN_KEYS_VERSION in await history.read(db),
        views={row["name"]: row["invoker"] for row in await db.rows(query("verify_views"), list(expected.VIEWS))},
    )


async def _ask(db: AdminConnection, name: str) -> list[dict[str, Any]]:
    return await db.rows(query(name), list(expected.COLUMNS))


async def _columns(db: AdminConnection) -> dict[str, dict[str, Column]]:
    columns: defaultdict[str, dict[str, Column]] = defaultdict(dict)
    for row in await _ask(db, "verify_columns"):
        columns[row["table_name"]][row["name"]] = Column(row["type"], row["comment"])
    return columns


async def _enums(db: AdminConnection) -> dict[str, tuple[str, ...]]:
    rows = await db.rows(query("verify_enums"), list(expected.ENUMS))
    return {row["name"]: tuple(row["labels"]) for row in rows}


async def _triggers(db: AdminConnection) -> dict[str, tuple[str, ...]]:
    triggers: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    for row in await _ask(db, "verify_triggers"):
        triggers[row["table_name"]] += (row["name"],)
    return triggers


async def _trial_insert(db: AdminConnection) -> Check:
    name = "insert into plugin_registry"
    try:
        async with db.transaction(keep=False):
            await db.rows(query("verify_plugin_insert"))
    except StatementError as error:
        return Check(name, ok=False, detail=str(error))
    return Check(name, ok=True, detail="taken, and rolled back")
