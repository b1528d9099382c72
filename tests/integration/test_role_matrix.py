"""Tests every role on every table with every verb: declared rights work, and all others are refused."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, IntegrityError

from consumer.admin import migrate
from consumer.admin.migrate import expected
from consumer.admin.migrate.roles import GRANTS, MIGRATOR, OWNER, ROLES, Grant
from tests.support.psql import ONE_DIALOGUE, ONE_PROVENANCE, VERSIONS, rows, server_dsn
from tests.support.roles import login
from tests.support.stack import fresh_database

COLUMNS = {**expected.COLUMNS, "schema_migrations": {"version": "", "name": "", "applied_by": ""}}
# Rows that row-level security must accept; for other tables, a row that NOT NULL or a key may reject later.
INSERTS = {"ai_dialogue_log": ONE_DIALOGUE, "provenance": ONE_PROVENANCE}
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")


@pytest.fixture(scope="module", params=VERSIONS)
def logins(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Return a migrated database, and the DSN of a login for each role."""
    with fresh_database(server_dsn(request)) as dsn, ExitStack() as opened:
        asyncio.run(migrate.up(dsn))
        yield {role: opened.enter_context(login(dsn, role)) for role in ROLES}


def declared(role: str, table: str, verb: str) -> set[str] | None:
    """Return the columns on which a role has a right; None if it has none."""
    every = set(COLUMNS[table])
    if role in (OWNER, MIGRATOR):
        return every
    found = [grant for grant in GRANTS[role] if (grant.table, grant.privilege) == (table, verb)]
    return {column for grant in found for column in (grant.columns or every)} if found else None


def let_through(dsn: str, *tried: str) -> dict[str, bool]:
    """Return whether each statement is allowed; all are rolled back."""
    with psycopg.connect(dsn) as connection:
        return {statement: _may(connection, statement) for statement in tried}


def _may(connection: "psycopg.Connection[tuple[object, ...]]", statement: str) -> bool:
    try:
        connection.execute(statement.encode())
    except InsufficientPrivilege:
        return False
    except IntegrityError:
        return True  # privileges are checked first
    finally:
        connection.rollback()
    return True


def statements(table: str, verb: str, columns: set[str]) -> dict[str, bool]:
    """Return the statements to try on a table, and whether these columns allow them."""
    every = list(COLUMNS[table])
    if verb == "SELECT":
        return {f"SELECT {column} FROM {table}": column in columns for column in every} | {
            f"SELECT * FROM {table}": columns == set(every)
        }
    if verb == "UPDATE":
        return {f"UPDATE {table} SET {column} = DEFAULT WHERE false": column in columns for column in every}
    insert = INSERTS.get(table, f"INSERT INTO {table} DEFAULT VALUES")
    whole = {"INSERT": insert, "DELETE": f"DELETE FROM {table}", "TRUNCATE": f"TRUNCATE {table}"}
    return {whole[verb]: bool(columns)}


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_exactly_the_declared_rights(logins: dict[str, str], role: str) -> None:
    """Rights are compared for each column."""
    wanted = {
        statement: may
        for table, verb in product(COLUMNS, VERBS)
        for statement, may in statements(table, verb, declared(role, table, verb) or set()).items()
    }
    found = let_through(logins[role], *wanted)
    assert {statement: may for statement, may in found.items() if may is not wanted[statement]} == {}


@pytest.mark.parametrize("role", ROLES)
def test_only_the_owners_may_change_the_schema(logins: dict[str, str], role: str) -> None:
    """Tables, policies, triggers and new objects in the schema need the owner."""
    changes = (
        "ALTER TABLE ai_dialogue_log DISABLE ROW LEVEL SECURITY",
        "DROP POLICY ai_dialogue_user_isolation ON ai_dialogue_log",
        "ALTER TABLE ai_dialogue_log DISABLE TRIGGER USER",
        "CREATE TABLE more ()",
        "DROP TABLE touched_days",
    )
    assert set(let_through(logins[role], *changes).values()) == {role in (OWNER, MIGRATOR)}


@pytest.mark.parametrize("role", [role for role in ROLES if role not in (OWNER, MIGRATOR)])
def test_no_role_can_become_another(logins: dict[str, str], role: str) -> None:
    """SET ROLE and SET SESSION AUTHORIZATION are refused."""
    others = {*ROLES, "postgres"} - {role}
    ways = [f"SET {way} {other}" for way in ("ROLE", "SESSION AUTHORIZATION") for other in others]
    assert not any(let_through(logins[role], *ways).values())


def test_the_roles_are_only_groups(logins: dict[str, str]) -> None:
    """They cannot log in, and have no attribute beyond the tables."""
    attributes = "rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
    found = rows(logins[OWNER], f"SELECT rolname, {attributes} AS more FROM pg_roles WHERE rolname LIKE 'ragledger%'")
    assert {row["rolname"]: row["more"] for row in found} == dict.fromkeys(ROLES, False)


def test_a_grant_as_sql() -> None:
    """The grant is on columns or on the whole table."""
    grant = Grant("dead_letters", "UPDATE", ("detail", "reason"))
    assert grant.sql("r") == "GRANT UPDATE (detail, reason) ON dead_letters TO r"
    assert Grant("touched_days", "DELETE").revoke_sql("r") == "REVOKE DELETE ON touched_days FROM r"
