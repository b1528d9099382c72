"""Writes consumer/admin/migrate/expected.json, the schema that `migrate verify` expects.

Run it after a change of the schema: python -m tests.support.expected_schema
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consumer.admin import migrate
from consumer.admin.migrate.roles import ROLES
from consumer.devstack import PostgresServer, Workspace
from consumer.postgres.admin import AdminConnection, connect
from consumer.postgres.queries import load

FILE = Path(migrate.__file__).with_name("expected.json")
HISTORY = "schema_migrations"
_RELATIONS = """
SELECT relname::text AS name, relkind::text AS kind FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'v')
ORDER BY relname
"""
_ENUMS = "SELECT DISTINCT enumtypid::regtype::text AS name FROM pg_enum ORDER BY 1"
_INDEXES = """
SELECT indexrelid::regclass::text AS name, indrelid::regclass::text AS table_name FROM pg_index
WHERE indrelid::regclass::text = ANY ($1::text[])
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
ORDER BY 1
"""
# The primary key of ai_dialogue_log has other columns and another name once the table is partitioned.
_CONSTRAINTS = """
SELECT conname::text AS name, conrelid::regclass::text AS table_name FROM pg_constraint
WHERE conrelid::regclass::text = ANY ($1::text[]) AND contype IN ('c', 'p', 'u', 'x')
  AND conname <> 'ai_dialogue_log_pkey'
ORDER BY 1
"""


async def describe(dsn: str) -> dict[str, Any]:
    """Return the schema of a migrated database in the form of the file."""
    async with connect(dsn) as db:
        relations = await db.rows(_RELATIONS)
        tables = [one["name"] for one in relations if one["kind"] == "r" and one["name"] != HISTORY]
        return {
            "columns": await _columns(db, tables),
            "constraints": {row["name"]: row["table_name"] for row in await db.rows(_CONSTRAINTS, tables)},
            "enums": await _enums(db),
            "grants": await _grants(db, [*tables, HISTORY]),
            "indexes": {row["name"]: row["table_name"] for row in await db.rows(_INDEXES, tables)},
            "policies": await _policies(db, tables),
            "views": [one["name"] for one in relations if one["kind"] == "v"],
        }


async def _columns(db: AdminConnection, tables: list[str]) -> dict[str, dict[str, str]]:
    columns: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in await db.rows(load("verify_columns"), tables):
        columns[row["table_name"]][row["name"]] = row["type"]
    return {table: columns[table] for table in tables}


async def _enums(db: AdminConnection) -> dict[str, list[str]]:
    names = [row["name"] for row in await db.rows(_ENUMS)]
    return {row["name"]: row["labels"] for row in sorted(await db.rows(load("verify_enums"), names), key=_name)}


async def _policies(db: AdminConnection, tables: list[str]) -> dict[str, dict[str, str | None]]:
    rows = sorted(await db.rows(load("verify_policies"), tables), key=_name)
    return {
        row["name"]: {"table": row["table_name"], "command": row["command"], "role": next(iter(row["roles"]), None)}
        for row in rows
    }


async def _grants(db: AdminConnection, tables: list[str]) -> Mapping[str, Mapping[str, Mapping[str, list[str]]]]:
    """Return, by role and table, each privilege with its columns; no columns mean the whole table."""
    grants: defaultdict[str, defaultdict[str, dict[str, list[str]]]] = defaultdict(lambda: defaultdict(dict))
    rows = await db.rows(load("verify_grants"), tables, list(ROLES))
    for row in sorted(rows, key=lambda one: (one["role"], one["table_name"], one["privilege"])):
        grants[row["role"]][row["table_name"]][row["privilege"]] = list(row["columns"])
    return grants


def _name(row: dict[str, Any]) -> str:
    return str(row["name"])


def text_of(described: dict[str, Any]) -> str:
    """Return the text of the file."""
    return json.dumps(described, indent=2, sort_keys=True) + "\n"


def main() -> None:
    """Migrate an empty database and write the file."""
    with Workspace() as workspace:
        postgres = PostgresServer(workspace)
        postgres.start()
        asyncio.run(migrate.up(postgres.dsn))
        FILE.write_text(text_of(asyncio.run(describe(postgres.dsn))))


if __name__ == "__main__":
    main()
