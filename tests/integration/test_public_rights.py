"""What a login without any grant may use, after every command and in the middle of it: nothing that is ours."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from tests.support.archives import HOURLY, Interrupted, archived, interrupt, restored, roll_up
from tests.support.partitions import converted
from tests.support.psql import ROLLBACKS, execute, one_file, one_rollback, rows, run_files, value
from tests.support.roles import login, name_of
from tests.support.service import Environment

STEPS = (
    "make the new table",
    "mirror what is written",
    "copy",
    "settle deletions",
    "compare",
    "replace the table",
    "drop the old table",
)
# They read no table and have no rights of their own; row constraints and views of whoever asks need them.
HARMLESS = (
    "is_on_legal_hold",
    "named_uuid",
    "plugin_config_is_valid",
    "retention_ends_at",
    "session_id_of",
    "spdx_license_id",
    "update_updated_at_column",
    "usage_problems",
    "user_id_of",
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
def stranger(filled: str) -> Iterator[str]:
    """The DSN of a login without a grant; what is made in the database from now on is readable for all by default."""
    execute(filled, HOURLY, "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
    with login(filled) as dsn:
        yield dsn


def opened(dsn: str, stranger: str) -> list[str]:
    """What the login may use, and functions with their owner's rights whose search path leads elsewhere."""
    found = rows(dsn, OPEN.format(role=name_of(stranger), harmless=",".join(HARMLESS)))
    return [row["name"] for row in (*found, *rows(dsn, LOOSE))]


def test_nothing_is_open_after_any_command_or_within_one(
    filled: str, stranger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Migrations there and back, each step of a conversion, archives half done, months brought back, an erasure."""
    environment = Environment(filled, "127.0.0.1:9", {})

    def look(when: str) -> None:
        assert opened(filled, stranger) == [], when

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
    run_files(filled, one_rollback("0019"), one_file("0019"), one_file("0011"), one_file("0009"), one_file("0019"))
    look("rolled back, and migrated again")


def test_no_rollback_gives_everybody_a_right(filled: str, stranger: str) -> None:
    """After each, from the newest to the oldest, while one of them has run and the next has not."""
    for file in ROLLBACKS:
        run_files(filled, file)
        assert opened(filled, stranger) == [], file.name


def converted_step_by_step(dsn: str, look: Callable[[str], None]) -> None:
    """A conversion that is interrupted at the beginning of each step, with a look each time."""
    for step in STEPS:

        def told(now: str, _done: int, _total: int | None, step: str = step) -> None:
            if now == step:
                raise Interrupted

        with pytest.raises(Interrupted):
            converted(dsn, told=told)
        look(f"interrupted at {step}")
    converted(dsn)


def test_nobody_writes_into_the_copy_through_the_mirror(filled: str, stranger: str) -> None:
    """A trigger on a table of one's own that calls a function of the mirror would write with the owner's rights."""

    def told(now: str, _done: int, _total: int | None) -> None:
        if now == "copy":
            raise Interrupted

    with pytest.raises(Interrupted):
        converted(filled, told=told)
    for event, tables in (("INSERT", "NEW TABLE AS written"), ("DELETE", "OLD TABLE AS gone")):
        with psycopg.connect(stranger, autocommit=True) as connection:
            connection.execute("CREATE TEMP TABLE mine (id UUID, created_at TIMESTAMP)")
            with pytest.raises(InsufficientPrivilege, match="mirror_ai_dialogue_log"):
                connection.execute(
                    f"CREATE TRIGGER t AFTER {event} ON mine REFERENCING {tables} FOR EACH STATEMENT"
                    f" EXECUTE FUNCTION mirror_ai_dialogue_log_{event.lower()}()".encode()
                )


def test_a_conversion_begun_by_an_older_version_is_closed_by_the_migration(filled: str, stranger: str) -> None:
    """It goes on where it stood, and its functions are there already."""
    execute(filled, OLD_MIRROR)
    assert opened(filled, stranger) == ["function mirror_ai_dialogue_log_truncate()"]
    run_files(filled, one_file("0019"))
    assert opened(filled, stranger) == []


OLD_MIRROR = """
CREATE FUNCTION mirror_ai_dialogue_log_truncate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS 'BEGIN RETURN NULL; END'
"""
