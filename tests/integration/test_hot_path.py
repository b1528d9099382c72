"""Tests the statements of the service while it writes: only those that the page on scaling lists."""

import re
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from consumer.admin.migrate.roles import INGEST
from consumer.ingest.ports import Bounds
from consumer.postgres.client import Database
from consumer.postgres.insert import InsertStrategy
from consumer.postgres.store import PostgresStore
from consumer.settings.servers import Postgres
from tests.support.psql import execute, rows
from tests.support.roles import login, name_of
from tests.support.stores import A, ImmediateTurn, P, PostgresBackend, batch_of, records

EVERY_BATCH = {
    "BEGIN",
    "COMMIT",
    "SET LOCAL statement_timeout",
    "SET LOCAL lock_timeout",
    "SET LOCAL idle_in_transaction_session_timeout",
    "SET LOCAL timezone",
    "SELECT set_config",
    "SELECT pg_trigger",
    "COPY ai_dialogue_log",
    "COPY provenance",
    "INSERT INTO dead_letters",
    "SELECT kept_feedback",
    "SELECT kept_verifications",
    "INSERT INTO touched_days",
    "SELECT erasure_version",
    "UPDATE ingest_ledger",
    "SET CONSTRAINTS",
}
# The client looks up an array type, and turns the just-in-time compiler off for that query.
ONCE_A_CONNECTION = {"typeinfo_tree", "set_config"}
AFTER_REJECTIONS = {
    "ROLLBACK",
    "DO CREATE TEMPORARY TABLE",
    "COPY stage_ai_dialogue_log",
    "COPY stage_provenance",
    "COPY split_stage",
    "INSERT INTO split_progress",
    "SELECT pg_attribute",
    "DO INSERT INTO split_new",
    "SELECT split_progress",
    "SELECT split_stage",
    "INSERT INTO ai_dialogue_log",
    "INSERT INTO provenance",
    "SAVEPOINT",
    "RELEASE SAVEPOINT",
    "ROLLBACK TO",
}
CLAIMING = {"INSERT INTO ingest_ledger", "SELECT erased_users"}
STATEMENTS = """
SELECT query FROM pg_stat_statements JOIN pg_roles ON pg_roles.oid = userid WHERE rolname = '{role}' AND toplevel
"""
SHAPES = (
    r"WITH wanted AS .*(INSERT INTO) (ingest_ledger)",
    r"WITH moves AS .*(UPDATE) (ingest_ledger)",
    r"WITH RECURSIVE (typeinfo_tree)",
    r"(SELECT) .*set_config.*FROM (pg_trigger)",
    r"SELECT current_setting.*(set_config)",
    r"(SELECT) (set_config)",
    r"(SELECT) EXISTS \(SELECT FROM (kept_\w+)",
    r"(SELECT) version FROM (erasure_version)",
    r"(SELECT) \(SELECT version FROM erasure_version\) AS version, .*(erased_users)",
    r"(SELECT) string_agg\( CASE .*FROM (pg_attribute)",
    r"(?:WITH tables AS .*)?(SELECT) .*FROM (split_\w+?)_(?:ai_dialogue_log|provenance)",
    r"(COPY|INSERT INTO) \"?(split_\w+?)_(?:ai_dialogue_log|provenance)",
    r"(INSERT INTO) (\w+)",
    r"(COPY|TRUNCATE) \"?(\w+)",
    r"(SET LOCAL) (\w+)",
    r"(SET CONSTRAINTS)",
    r"(DO) .*(CREATE TEMPORARY TABLE)",
    r"(DO) .*(INSERT INTO split_new)",
    r"(RELEASE SAVEPOINT|ROLLBACK TO|SAVEPOINT|BEGIN|COMMIT|ROLLBACK)",
)


@pytest.fixture(params=["BYPASSRLS", ""], ids=["COPY allowed", "COPY refused"])
async def store(request: pytest.FixtureRequest, database: str) -> AsyncIterator[tuple[PostgresStore, str, str]]:
    """Return a store with a role of its own, the owner's DSN, and the role's name."""
    execute(database, "CREATE EXTENSION pg_stat_statements")
    with login(database, INGEST, attributes=request.param) as service:
        pool = Database(Postgres(dsn=SecretStr(service), pgbouncer=True))
        await pool.open()
        made = PostgresBackend(database, pool).store("owner")
        assert isinstance(made, PostgresStore)
        yield made, database, name_of(service)
        await pool.close(5)


def asked(owner: str, role: str) -> set[str]:
    """Return the form of every statement that the role has run since the last call."""
    found = {shape_of(row["query"]) for row in rows(owner, STATEMENTS.format(role=role))}
    execute(owner, "SELECT pg_stat_statements_reset()")
    return found - ONCE_A_CONNECTION


def shape_of(statement: str) -> str:
    """Return the words by which a statement is listed, without comments."""
    text = " ".join(re.sub(r"--[^\n]*", "", statement).split())
    for shape in SHAPES:
        if match := re.match(shape, text):
            return " ".join(match.groups())
    return text


async def test_the_statements_of_a_batch(store: tuple[PostgresStore, str, str]) -> None:
    """First new rows of both kinds and a dead letter; then duplicates and a rejected row."""
    writer, owner, role = store
    bounds = {A: Bounds(0, 100), P: Bounds(0, 100)}
    claims = await writer.claim(bounds)
    asked(owner, role)
    await writer.write(batch_of(claims, records(A, 0, "a", "bad"), records(P, 0, "x")), ImmediateTurn())
    first = asked(owner, role)
    assert first <= EVERY_BATCH | AFTER_REJECTIONS
    bypasses = writer._choice.current is InsertStrategy.DIRECT
    assert (first <= EVERY_BATCH) is bypasses
    assert not bypasses or first == EVERY_BATCH
    again = [record._replace(offset=record.offset + 2) for record in records(A, 0, "a", "refused")]
    second = batch_of(await writer.claim(bounds), again, skip_to={A: 4})
    await writer.write(second, ImmediateTurn())
    asked_for = asked(owner, role) - CLAIMING
    assert asked_for <= EVERY_BATCH | AFTER_REJECTIONS
    assert "SAVEPOINT" in asked_for


async def test_equal_ids_in_a_batch_need_no_staging_table(store: tuple[PostgresStore, str, str]) -> None:
    """The first one is inserted, the other one is a duplicate, and the statements are those of a batch of new rows. A
    duplicate of a stored row needs the staging table, which is used until a batch has no such duplicate.
    """
    writer, owner, role = store
    known = dict(zip("abcd", records(A, 0, *"abcd"), strict=True))

    async def write(offset: int, *names: str) -> tuple[list[int], list[int]]:
        made = [known[name]._replace(offset=offset + place) for place, name in enumerate(names)]
        bounds = {A: Bounds(0, 100)}
        batch = batch_of(await writer.claim(bounds), made)
        asked(owner, role)
        written = await writer.write(batch, ImmediateTurn())
        (rows,) = written.inserted.values()
        return [row.record.offset for row in rows], [row.record.offset for row in written.duplicates]

    assert await write(0, "a", "b", "a", "b") == ([0, 1], [2, 3])
    usual = writer._choice.current
    assert usual is InsertStrategy.MERGE or asked(owner, role) <= EVERY_BATCH
    assert await write(4, "c", "a", "c") == ([4], [5, 6])
    assert writer._choice.current is InsertStrategy.MERGE
    assert await write(7, "d", "d") == ([7], [8])
    assert writer._choice.current is usual
