"""Checks whether the service can write to the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consumer.ingest.ports import Cause
from consumer.postgres.client import Transaction
from consumer.postgres.errors import WrongDatabase
from consumer.postgres.queries import load

SCHEMA_VERSION = 25  # the newest migration in schema/. The service reads no migrations, so a test compares the two


async def check_schema(transaction: Transaction) -> None:
    """Check the encoding, the tables and the recorded version.

    :raises WrongDatabase: the service cannot work with this database; the message says what to do
    :raises Unavailable: not now
    """
    (database,) = await transaction.fetch(load("schema_recorded"))
    missing = [row["name"] for row in await transaction.fetch(load("schema_ready"))]
    # If migrations were run with psql, no version is recorded, and only the tables show it.
    recorded = await transaction.fetch(load("schema_version")) if database["recorded"] else []
    if problem := _problem(database["encoding"], missing, recorded):
        raise WrongDatabase(problem, Cause.SCHEMA)


def _problem(encoding: str, missing: Sequence[str], recorded: Sequence[Any]) -> str:
    if encoding != "UTF8":
        problem = f"the encoding of the database is {encoding}, but events are UTF-8"
        return f"{problem}: `ragledger doctor` says what to do"
    if missing:
        return f"no table {', '.join(missing)} yet: run `ragledger migrate up`"
    for version in [row["version"] for row in recorded if row["version"] is not None]:
        if version < SCHEMA_VERSION:
            problem = f"the schema has version {version}, but this ragledger needs {SCHEMA_VERSION}"
            return f"{problem}: run `ragledger migrate up`"
    return ""
