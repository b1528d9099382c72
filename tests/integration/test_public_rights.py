"""Tests that a login without grants may use none of our objects, after every command and during it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from consumer.admin.migrate.expected import CLOSED_FUNCTIONS, OPEN_FUNCTIONS
from consumer.admin.migrate.roles import COMPLIANCE, INGEST
from consumer.maintenance.retention.months import MonthRemoval
from consumer.postgres.admin import connect
from tests.support.archives import HOURLY, Interrupted, archived, interrupt, restored, roll_up
from tests.support.partitions import converted
from tests.support.psql import ROLLBACKS, execute, one_file, one_rollback, rows, run_files, value
from tests.support.roles import login, name_of
from tests.support.service import Environment
from tests.support.stack import Servers, fresh_database

STEPS = (
    "make the new table",
    "mirror what is written",
    "copy",
    "settle deletions",
    "compare",
    "replace the table",
    "drop the old table",
)
OPEN = """
SELECT 'function ' || oid::regprocedure AS name FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND has_function_privilege('{role}', oid, 'EXECUTE')
  AND NOT (proname = ANY ('{{{harmless}}}') AND NOT prosecdef)
UNION ALL
SELECT 'relation ' || oid::regclass FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f') AND (
  has_table_privilege('{role}', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
  OR has_any_column_privilege('{role}', oid, 'SELECT, INSERT, UPDATE, REFERENCES')
)
UNION ALL
SELECT 'sequence ' || oid::regclass FROM pg_class
WHERE relnamespace = 'public'::regnamespace
  AND CASE relkind WHEN 'S' THEN has_sequence_privilege('{role}', oid, 'USAGE, SELECT, UPDATE') END
UNION ALL
SELECT 'granted type ' || oid::regtype FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typacl IS NOT NULL
UNION ALL
SELECT 'schema ' || oid::regnamespace FROM pg_namespace
WHERE nspname !~ '^(pg_|information_schema)' AND has_schema_privilege('{role}', oid, 'CREATE')
ORDER BY name
"""
LOOSE = r"""
SELECT oid::regprocedure::text AS name FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND prosecdef
  AND NOT EXISTS (SELECT FROM unnest(proconfig) AS setting WHERE setting ~ '^search_path=.*pg_temp$')
"""


@pytest.fixture
def outsider(filled: str) -> Iterator[str]:
    """Return the DSN of a login without a grant; new objects in the database are readable for all by default."""
    execute(filled, HOURLY, "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
    with login(filled) as dsn:
        yield dsn


def opened(dsn: str, outsider: str) -> list[str]:
    """Return the objects that the login may use, and owner's-rights functions with an unsafe search path."""
    found = rows(dsn, OPEN.format(role=name_of(outsider), harmless=",".join(OPEN_FUNCTIONS)))
    return [row["name"] for row in (*found, *rows(dsn, LOOSE))]


def test_nothing_is_public_after_any_command_or_during_it(
    filled: str, outsider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Migrations up and down, each step of a conversion, half archived months, restored months, an erasure."""
    environment = Environment(filled, "127.0.0.1:9", {})

    def look(when: str) -> None:
        assert opened(filled, outsider) == [], when

    look("migrated")
    converted_step_by_step(filled, look)
    look("converted")
    environment.run("partition", "ensure", "--months-ahead", "5")
    look("ensured")
    roll_up(filled)
    for statement in ("copy_out", "DROP TABLE"):
        with monkeypatch.context() as patch:
            interrupt(patch, statement)
            with pytest.raises(Interrupted):
                archived(filled, tmp_path)
        look(f"archiving interrupted at {statement}")
    archived(filled, tmp_path)
    look("archived")
    restored(filled, tmp_path / "ai_dialogue_log_2026_01.manifest.json")
    look("restored")
    user = value(filled, "SELECT user_id::text FROM ai_dialogue_log LIMIT 1")
    assert environment.run("erase", "--user", user, "--receipt", str(tmp_path)).returncode == 0
    look("erased")
    for statement in ("DROP TABLE", "nothing"):
        with monkeypatch.context() as patch, suppress(Interrupted):
            interrupt(patch, statement)
            asyncio.run(remove_months(filled))
        look(f"months removed up to {statement}")
    run_files(filled, one_rollback("0019"), one_file("0019"), one_file("0011"), one_file("0009"), one_file("0019"))
    look("rolled back, and migrated again")


async def remove_months(dsn: str) -> None:
    """Remove the months as retention does."""
    async with connect(dsn) as db:
        await MonthRemoval(db, 1_000).drop(datetime(2026, 3, 1), inf, lambda *_: None)


def test_no_rollback_grants_a_right_to_public(filled: str, outsider: str) -> None:
    """It is checked after each rollback, from the newest to the oldest."""
    for file in ROLLBACKS:
        run_files(filled, file)
        assert opened(filled, outsider) == [], file.name


def converted_step_by_step(dsn: str, look: Callable[[str], None]) -> None:
    """Interrupt a conversion at the beginning of each step, and check."""
    for step in STEPS:

        def on_progress(now: str, _done: int, _total: int | None, step: str = step) -> None:
            if now == step:
                raise Interrupted

        with pytest.raises(Interrupted):
            converted(dsn, on_progress=on_progress)
        look(f"interrupted at {step}")
    converted(dsn)


def test_no_role_can_write_into_the_copy_through_the_mirror(filled: str, outsider: str) -> None:
    """A trigger on another table that calls a function of the mirror would write with the owner's rights."""

    def on_progress(now: str, _done: int, _total: int | None) -> None:
        if now == "copy":
            raise Interrupted

    with pytest.raises(Interrupted):
        converted(filled, on_progress=on_progress)
    for event, tables in (("INSERT", "NEW TABLE AS written"), ("DELETE", "OLD TABLE AS gone")):
        with psycopg.connect(outsider, autocommit=True) as connection:
            connection.execute("CREATE TEMP TABLE mine (id UUID, created_at TIMESTAMP)")
            with pytest.raises(InsufficientPrivilege, match="mirror_ai_dialogue_log"):
                connection.execute(
                    f"CREATE TRIGGER t AFTER {event} ON mine REFERENCING {tables} FOR EACH STATEMENT"
                    f" EXECUTE FUNCTION mirror_ai_dialogue_log_{event.lower()}()".encode()
                )


def test_a_conversion_of_an_older_version_is_secured_by_the_migration(filled: str, outsider: str) -> None:
    """It continues, and its functions already exist."""
    execute(filled, OLD_MIRROR)
    assert opened(filled, outsider) == ["function mirror_ai_dialogue_log_truncate()"]
    run_files(filled, one_file("0019"))
    assert opened(filled, outsider) == []


OLD_MIRROR = """
CREATE FUNCTION mirror_ai_dialogue_log_truncate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS 'BEGIN RETURN NULL; END'
"""


EVERYBODY = "rights of everybody"
OPENED = (
    "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC",
    "ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO PUBLIC",
)


def test_rights_from_default_privileges_are_found_and_can_be_revoked(stack: Servers) -> None:
    """Default privileges that are set before the first migration give every role the key of erasure. The advised
    statements revoke all of this.
    """
    with fresh_database(stack.dsn) as dsn, login(dsn) as nobody:
        execute(dsn, *OPENED)
        assert Environment(dsn, "127.0.0.1:9", {}).run("migrate", "up").returncode == 0
        assert any("erasure_version" in name for name in opened(dsn, nobody))
        settled_as_advised(dsn, EVERYBODY)
        execute(dsn, "GRANT SELECT ON ai_dialogue_log TO PUBLIC")
        assert verified(dsn, EVERYBODY)["ok"], "policies protect a table that PUBLIC may read"
        assert opened(dsn, nobody) == ["relation ai_dialogue_log"]
        execute(dsn, "REVOKE SELECT ON ai_dialogue_log FROM PUBLIC", "CREATE TABLE next (a int)")
        assert opened(dsn, nobody) == [], "the next table is not public"


def test_rights_after_a_restore_without_privileges_are_found_and_can_be_revoked(filled: str, outsider: str) -> None:
    """After pg_restore --no-acl, every role may call every function, as PostgreSQL's default is."""
    converted(filled)
    execute(filled, FORGET_REVOKES)
    assert len([name for name in opened(filled, outsider) if name.startswith("function ")]) == len(CLOSED_FUNCTIONS)
    settled_as_advised(filled, EVERYBODY)
    assert opened(filled, outsider) == []


def test_roles_with_rights_from_default_privileges_are_named(filled: str) -> None:
    """On some hosted databases, the web API has its own role. A schema in which every role may create objects is
    reported too.
    """
    environment = Environment(filled, "127.0.0.1:9", {})
    with login(filled) as anonymous:
        name = name_of(anonymous)
        execute(
            filled,
            "GRANT CREATE ON SCHEMA public TO PUBLIC",
            f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {name}",
            f"GRANT SELECT ON dead_letters, erasure_version, ai_dialogue_log TO {name}",
        )
        fixes = {one["fix"] for one in environment.run_json("doctor")["findings"] if one["check"] == "privileges"}
        assert f"REVOKE ALL ON dead_letters, erasure_version FROM {name}; do nothing if this is intended" in fixes
        assert "REVOKE CREATE ON SCHEMA public FROM PUBLIC" in fixes
        execute(filled, f"ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM {name}")


def test_functions_that_strict_default_privileges_close_are_found_and_can_be_opened(stack: Servers) -> None:
    """This is a usual hardening. Without the fix, the service could write no report of a plugin, and an auditor could
    read no view.
    """
    report = (
        "INSERT INTO plugin_registry (name, source, capabilities, version, config) VALUES ('a', 'b', '[]', '1', '{}')"
    )
    with fresh_database(stack.dsn) as dsn:
        execute(dsn, "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
        assert Environment(dsn, "127.0.0.1:9", {}).run("migrate", "up").returncode == 0
        with login(dsn, INGEST) as service, login(dsn, COMPLIANCE) as auditor:
            with pytest.raises(InsufficientPrivilege):
                execute(service, report)
            settled_as_advised(dsn, "functions of roles")
            execute(service, report)
            assert value(auditor, "SELECT count(*) FROM source_usability") == 0


def verified(dsn: str, name: str) -> Any:
    """Return one check of `migrate verify`."""
    checks = Environment(dsn, "127.0.0.1:9", {}).run_json("migrate", "verify")["checks"]
    return next(one for one in checks if one["name"] == name)


def settled_as_advised(dsn: str, name: str) -> None:
    """Run the statements that verify advises. Assert that it reports the problem before, and none after."""
    found = verified(dsn, name)
    assert not found["ok"]
    execute(dsn, *found["detail"].partition(": ")[2].split("; "))
    assert verified(dsn, name)["ok"], verified(dsn, name)


FORGET_REVOKES = """
DO $$
DECLARE name text;
BEGIN
  FOR name IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'public'::regnamespace LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', name);
  END LOOP;
END
$$
"""
