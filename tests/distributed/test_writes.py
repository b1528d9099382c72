"""Tests writes to a distributed table that the contract of the store does not cover: roles, foreign keys, names."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr

from consumer.admin import distribute, migrate
from consumer.postgres.client import Database
from consumer.settings.servers import Postgres
from tests.support.citus import DISTRIBUTED, distributed_schema
from tests.support.psql import APPLICATION_TABLES, execute, rows, value
from tests.support.stores import A, P, PostgresBackend, batch_of, claim, records, write

pytestmark = pytest.mark.timeout(180)

USER = "00000000-0000-4000-8000-00000000000a"


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[PostgresBackend]:
    """Return the tables, written with the login of the DSN."""
    database = Database(Postgres(dsn=SecretStr(dsn)))
    await database.open()
    try:
        yield PostgresBackend(dsn, database)
    finally:
        await database.close(5)


def as_role(dsn: str, role: str) -> str:
    """Return the DSN with another user, who needs no password."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))


@pytest.mark.parametrize("name", DISTRIBUTED)
async def test_the_role_of_the_service_suffices(name: str) -> None:
    """A login that is a member of ragledger_ingest and nothing else writes new rows, duplicates and rejected ones."""
    role = f"svc_{uuid4().hex}"
    with distributed_schema(name) as dsn:
        schema = value(dsn, "SELECT current_schema()")
        execute(
            dsn,
            f"CREATE ROLE {role} LOGIN",
            f"GRANT ragledger_ingest TO {role}",
            f"GRANT USAGE ON SCHEMA {schema} TO {role}",
        )
        try:
            async with opened(as_role(dsn, role)) as backend:
                store = backend.store("one")
                claims = await claim(store, A, P)
                await write(store, batch_of(claims, records(A, 0, "a", "refused", "c"), records(P, 0, "p")))
                again = [record._replace(offset=3) for record in records(A, 0, "a")]
                claims = await claim(store, A)
                await write(store, batch_of(claims, again))
            assert rows(dsn, "SELECT query FROM ai_dialogue_log ORDER BY query") == [{"query": "a"}, {"query": "c"}]
            ledger = rows(dsn, "SELECT sum(inserted) AS new, sum(duplicates) AS known FROM ingest_ledger")
            assert [dict(row) for row in ledger] == [{"new": 3, "known": 1}]
        finally:
            execute(dsn, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


async def test_an_unknown_user_is_an_unknown_reference(migrated: str) -> None:
    """The worker's name of the foreign key ends with a number; the dead letter names the key, its column and table."""
    execute(migrated, *APPLICATION_TABLES)
    await migrate.up(migrated)
    with pytest.raises(distribute.CannotDistributeError, match="Citus would hold provenance too"):
        await distribute.apply(migrated, None, None, lambda _: None)
    execute(migrated, "ALTER TABLE provenance DROP CONSTRAINT fk_provenance_acquired_by")
    execute(migrated, f"INSERT INTO users VALUES ('{USER}')")
    await distribute.apply(migrated, None, None, lambda _: None)
    assert all(check.ok for check in await migrate.verify(migrated))
    async with opened(migrated) as backend:
        store = backend.store("one")
        claims = await claim(store, A)
        [known, unknown] = records(A, 0, "known", "unknown")
        known = known._replace(value=_with_user(known.value or b""))
        await write(store, batch_of(claims, [known, unknown]))
    assert rows(migrated, "SELECT query FROM ai_dialogue_log") == [{"query": "known"}]
    (letter,) = rows(migrated, "SELECT reason, sqlstate, detail::text AS detail FROM dead_letters")
    assert (letter["reason"], letter["sqlstate"]) == ("unknown_reference", "23503")
    assert "fk_ai_dialogue_user)" in letter["detail"]


async def test_a_constraint_of_the_owner_is_named(migrated: str) -> None:
    """The SQLSTATE and the name are those of the table, not of the shard."""
    execute(migrated, "ALTER TABLE ai_dialogue_log ADD CONSTRAINT no_secrets CHECK (query <> 'secret')")
    await distribute.apply(migrated, None, None, lambda _: None)
    async with opened(migrated) as backend:
        store = backend.store("one")
        await write(store, batch_of(await claim(store, A), records(A, 0, "a", "secret")))
    (letter,) = rows(migrated, "SELECT sqlstate, detail::text AS detail FROM dead_letters")
    assert letter["sqlstate"] == "23514"
    assert "table ai_dialogue_log, constraint no_secrets" in letter["detail"]


def test_a_reader_sees_its_own_rows(migrated: str) -> None:
    """The setting reaches the workers if the session propagates it; otherwise no row is visible."""
    asyncio.run(distribute.apply(migrated, None, None, lambda _: None))
    role, schema = f"reader_{uuid4().hex}", value(migrated, "SELECT current_schema()")
    insert = "INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used) VALUES"
    execute(
        migrated,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT ragledger_reader TO {role}",
        f"GRANT USAGE ON SCHEMA {schema} TO {role}",
        f"{insert} ('{USER}', gen_random_uuid(), 'mine', 'r', 'm')",
        f"{insert} (gen_random_uuid(), gen_random_uuid(), 'x', 'r', 'm')",
    )
    try:
        with psycopg.connect(as_role(migrated, role)) as connection:
            connection.execute("SET LOCAL citus.propagate_set_commands = 'local'")
            connection.execute(f"SET LOCAL app.current_user_id = '{USER}'")
            assert connection.execute("SELECT query FROM ai_dialogue_log").fetchall() == [("mine",)]
            connection.rollback()
            assert connection.execute("SELECT query FROM ai_dialogue_log").fetchall() == []
    finally:
        execute(migrated, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def _with_user(event: bytes) -> bytes:
    """Return the event with the known user."""
    before, _, rest = event.partition(b'"user_id": "')
    return before + b'"user_id": "' + USER.encode() + rest[36:]
