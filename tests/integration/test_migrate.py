"""`ragledger migrate`, on the oldest and the newest PostgreSQL that is supported."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from consumer.adapters.admin import ConnectError, DatabaseError
from consumer.operations import migrate
from consumer.operations.migrate import State, expected
from tests.psql import FILES, ROLLBACKS, SCHEMA, catalog, execute, psql, rows, run_files, server_dsn, value
from tests.stack import fresh_database, with_database

APPLICATION_TABLES = ("CREATE TABLE users (id UUID PRIMARY KEY)", "CREATE TABLE materials (id UUID PRIMARY KEY)")
HISTORY = "SELECT version, checksum, applied_by FROM schema_migrations ORDER BY version"
WITHOUT_OPTIONAL = [int(file.name[:4]) for file in FILES if not file.name.startswith("0004")]
ALL = sorted([*WITHOUT_OPTIONAL, 4])


@pytest.fixture(params=[15, 18])
def blank(request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of an empty database, on either version."""
    with fresh_database(server_dsn(request)) as dsn:
        yield dsn


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A copy of the schema's files, to be changed."""
    return shutil.copytree(SCHEMA, tmp_path / "schema")


def ran(steps: tuple[migrate.Step, ...], action: str) -> list[int]:
    return [step.version for step in steps if step.action == action]


def recorded(dsn: str) -> list[int]:
    return [row["version"] for row in rows(dsn, HISTORY)]


def add(directory: Path, name: str, sql: str, rollback: str = "SELECT 1") -> None:
    (directory / f"{name}.sql").write_text(sql)
    (directory / f"rollback_{name}.sql").write_text(rollback)


async def failures(dsn: str) -> dict[str, str]:
    return {check.name: check.detail for check in await migrate.verify(dsn) if not check.ok}


async def test_up_gives_the_schema_that_psql_gives(blank: str) -> None:
    """The same files, the same result, and nothing left to do."""
    seen: list[tuple[str, int, int]] = []
    steps = await migrate.up(blank, progress=lambda *step: seen.append(step))
    assert ran(steps, "applied") == WITHOUT_OPTIONAL
    assert seen[0] == ("0002_add_rag_metrics", 1, len(FILES))
    ours = catalog(blank)
    execute(blank, "DROP TABLE schema_migrations")
    run_files(blank, *ROLLBACKS, *FILES)
    assert [line for line in ours if "schema_migrations" not in line] == catalog(blank)


async def test_up_records_what_it_ran(blank: str) -> None:
    """Version, checksum and role are noted, everything in the table has a comment, and a second run is idle."""
    await migrate.up(blank)
    steps = await migrate.up(blank)
    assert ran(steps, "applied") == []
    history = rows(blank, HISTORY)
    assert [row["version"] for row in history] == WITHOUT_OPTIONAL
    assert {row["applied_by"] for row in history} == {value(blank, "SELECT current_user")}
    assert [len(row["checksum"]) for row in history] == [64] * len(history)
    assert any("column version of table schema_migrations" in line for line in catalog(blank))


async def test_up_goes_no_further_than_told(blank: str) -> None:
    """`to` is the last version applied; the next run goes on from there."""
    assert ran(await migrate.up(blank, to=3), "applied") == [2, 3]
    assert ran(await migrate.up(blank), "applied") == WITHOUT_OPTIONAL[2:]


async def test_down_leaves_the_base_table_only(blank: str) -> None:
    """With 0 everything of ours is gone, schema_migrations too, and up again gives the same schema."""
    await migrate.up(blank)
    before = catalog(blank)
    steps = await migrate.down(blank, to=0)
    assert ran(steps, "rolled back") == ALL[::-1]
    assert rows(
        blank, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    ) == [{"relname": "ai_dialogue_log"}]
    await migrate.up(blank)
    assert catalog(blank) == before


async def test_down_stops_above_the_version_that_stays(blank: str) -> None:
    """Only what is above it goes, from the database and from the record."""
    await migrate.up(blank)
    await migrate.down(blank, to=3)
    assert recorded(blank) == [2, 3]
    assert value(blank, "SELECT to_regclass('ingest_ledger') IS NULL AND to_regclass('provenance') IS NOT NULL")


async def test_plan_changes_nothing(blank: str) -> None:
    """It lists what `up` would run with its SQL, and does not even make schema_migrations."""
    planned = await migrate.plan(blank, to=4)
    assert [(step.version, step.skipped) for step in planned] == [
        (2, None),
        (3, None),
        (4, "tables users and materials are missing"),
    ]
    assert any(statement.startswith("CREATE UNIQUE INDEX CONCURRENTLY") for statement in planned[1].statements)
    assert planned[2].statements == ()
    assert catalog(blank) == []
    await migrate.up(blank, to=3)
    assert [step.version for step in await migrate.plan(blank)] == ALL[2:]


async def test_status_says_what_has_run(blank: str) -> None:
    """Applied with time and role, pending, or skipped with the reason; current when nothing is pending."""
    await migrate.up(blank, to=3)
    status = await migrate.status(blank)
    assert [version.state for version in status.migrations[:4]] == [
        State.APPLIED,
        State.APPLIED,
        State.SKIPPED,
        State.PENDING,
    ]
    first = status.migrations[0].applied
    assert first is not None
    assert first.applied_at.tzinfo is not None
    assert not status.is_current
    await migrate.up(blank)
    assert (await migrate.status(blank)).is_current


async def test_up_takes_over_a_database_that_psql_made(blank: str) -> None:
    """Files that were run with psql are run again, change nothing, and are recorded."""
    run_files(blank, *FILES)
    before = catalog(blank)
    await migrate.up(blank)
    assert [line for line in catalog(blank) if "schema_migrations" not in line] == before
    assert recorded(blank) == WITHOUT_OPTIONAL


async def test_down_takes_back_what_psql_made(blank: str) -> None:
    """Rolling back does not depend on the record."""
    run_files(blank, *FILES)
    await migrate.down(blank, to=0)
    assert value(blank, "SELECT to_regclass('provenance') IS NULL AND to_regclass('schema_migrations') IS NULL")


async def test_a_changed_file_is_refused(blank: str, files: Path) -> None:
    """Up names the file, both checksums and what to do, and runs nothing; deleting the row is a way out."""
    await migrate.up(blank, to=2, directory=files)
    changed = files / "0002_add_rag_metrics.sql"
    changed.write_text(changed.read_text() + "-- more\n")
    with pytest.raises(migrate.ChangedFileError, match=r"(?s)0002_add_rag_metrics\.sql.*applied: .*found: .*Put the"):
        await migrate.up(blank, directory=files)
    assert (await migrate.status(blank, directory=files)).migrations[0].state is State.CHANGED
    assert recorded(blank) == [2]
    execute(blank, "DELETE FROM schema_migrations WHERE version = 2")
    assert ran(await migrate.up(blank, directory=files), "applied") == WITHOUT_OPTIONAL


async def test_two_at_once(blank: str) -> None:
    """One applies everything, concurrent builds included, and the other waits and finds nothing to do."""
    first, second = await asyncio.gather(migrate.up(blank), migrate.up(blank))
    assert sorted([ran(first, "applied"), ran(second, "applied")]) == [[], WITHOUT_OPTIONAL]


async def test_the_lock_does_not_depend_on_the_roles_defaults(blank: str) -> None:
    """Under REPEATABLE READ the holder of the lock would keep a snapshot, and the concurrent builds wait for it."""
    name = urlsplit(blank).path.removeprefix("/")
    execute(
        blank,
        f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'",
        f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '50ms'",
        f"ALTER DATABASE {name} SET statement_timeout = '20s'",
    )
    both = await asyncio.gather(migrate.up(blank), migrate.up(blank))
    assert sorted(ran(steps, "applied") for steps in both) == [[], WITHOUT_OPTIONAL]


async def test_waiting_for_another_migration_has_an_end(blank: str) -> None:
    """Who waits in vain is told where to look."""
    key = int.from_bytes(b"ragledgr")
    with psycopg.connect(blank) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [key])
        with pytest.raises(migrate.LockTakenError, match="pg_stat_activity"):
            await migrate.up(blank, lock_wait_s=0)
    assert ran(await migrate.up(blank, lock_wait_s=0), "applied") == WITHOUT_OPTIONAL


async def test_an_index_whose_build_failed_is_built_again(blank: str) -> None:
    """Up fails with the place and what to do; once the cause is gone, the next one replaces the invalid index."""
    await migrate.up(blank, to=2)
    execute(blank, *["INSERT INTO rag_metrics_history (date) VALUES ('2025-10-29')"] * 2)
    with pytest.raises(migrate.StatementRefusedError, match=r"0003_optimize_rag_indexes\.sql, line \d+: .*unique"):
        await migrate.up(blank)
    assert recorded(blank) == [2]
    assert "invalid" in (await failures(blank))["index idx_rag_metrics_date_unique"]
    execute(blank, "DELETE FROM rag_metrics_history")
    await migrate.up(blank)
    assert await failures(blank) == {}


async def test_foreign_keys_are_applied_once_their_tables_exist(blank: str) -> None:
    """Skipped with the reason while users is missing, and applied by a later up; both times the rest goes on."""
    execute(blank, APPLICATION_TABLES[1])
    steps = await migrate.up(blank)
    assert [step.reason for step in steps if step.action == "skipped"] == ["table users is missing"]
    assert recorded(blank) == WITHOUT_OPTIONAL
    execute(blank, APPLICATION_TABLES[0])
    assert ran(await migrate.up(blank), "applied") == [4]
    assert recorded(blank) == ALL
    checks = {check.name: check.detail for check in await migrate.verify(blank)}
    assert checks["foreign key fk_provenance_content"] == "holds for every row of provenance"


async def test_a_refused_statement_undoes_its_transaction(blank: str, files: Path) -> None:
    """What the file committed before stays, the transaction that failed is gone, and nothing is recorded."""
    sql = "BEGIN;\nCREATE TABLE a ();\nCOMMIT;\nBEGIN;\nCREATE TABLE b ();\nSELECT 1/0;\nCOMMIT;"
    add(files, "9001_broken", sql)
    with pytest.raises(migrate.StatementRefusedError) as caught:
        await migrate.up(blank, directory=files)
    assert (caught.value.file, caught.value.line, caught.value.sqlstate) == ("9001_broken.sql", 6, "22012")
    assert value(blank, "SELECT to_regclass('a') IS NOT NULL AND to_regclass('b') IS NULL")
    assert recorded(blank) == WITHOUT_OPTIONAL


async def test_a_file_and_its_record_are_one_transaction(blank: str, files: Path) -> None:
    """Where the record cannot be written, the file has not run either."""
    await migrate.up(blank)
    add(files, "9001_more", "BEGIN;\nCREATE TABLE more ();\nCOMMIT;")
    execute(blank, "ALTER TABLE schema_migrations ADD CONSTRAINT no_more CHECK (version < 9000)")
    with pytest.raises(DatabaseError, match="no_more"):
        await migrate.up(blank, directory=files)
    assert value(blank, "SELECT to_regclass('more') IS NULL")


async def test_a_table_in_use_is_left_alone(blank: str, files: Path) -> None:
    """When the lock does not come in time, the message says to try again."""
    add(files, "9001_lock", "BEGIN; SET LOCAL lock_timeout = '10ms'; ALTER TABLE provenance ADD x int; COMMIT;")
    await migrate.up(blank)
    with psycopg.connect(blank) as user:
        user.execute("SELECT FROM provenance")
        with pytest.raises(migrate.StatementRefusedError, match="Somebody else is using the table"):
            await migrate.up(blank, directory=files)


async def test_a_valid_index_on_a_partitioned_table_is_left_alone(blank: str) -> None:
    """After the conversion of ai_dialogue_log, a database that psql made can still be taken over."""
    run_files(blank, *FILES)
    execute(
        blank,
        "ALTER TABLE ai_dialogue_log RENAME TO old",
        "ALTER INDEX idx_ai_dialogue_user_created RENAME TO old_index",
        "CREATE TABLE ai_dialogue_log (LIKE old INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS)"
        " PARTITION BY RANGE (created_at)",
        "CREATE TABLE part PARTITION OF ai_dialogue_log DEFAULT",
        "CREATE INDEX idx_ai_dialogue_user_created ON ai_dialogue_log (user_id, created_at DESC)",
    )
    await migrate.up(blank)
    assert recorded(blank) == WITHOUT_OPTIONAL


async def test_another_tools_history_is_not_touched(blank: str) -> None:
    """A schema_migrations without our columns is refused; in a schema of its own ragledger is at home."""
    execute(blank, "CREATE TABLE schema_migrations (version TEXT)", "CREATE SCHEMA ragledger")
    for refused in (migrate.up(blank), migrate.down(blank, to=0), migrate.status(blank), migrate.verify(blank)):
        with pytest.raises(migrate.ForeignHistoryError, match="belongs to another tool"):
            await refused
    own = f"{blank}?options=-csearch_path%3Dragledger"
    await migrate.up(own)
    assert await failures(own) == {}
    assert (
        value(blank, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'") == 1
    )


async def test_a_newer_database(blank: str) -> None:
    """What a newer ragledger applied is shown as unknown, is no obstacle to up, and cannot be rolled back here."""
    await migrate.up(blank)
    execute(blank, "INSERT INTO schema_migrations VALUES (9999, '9999_later', 'x', now(), 'owner', 1)")
    status = await migrate.status(blank)
    assert (status.migrations[-1].state, status.is_current) == (State.UNKNOWN, True)
    assert ran(await migrate.up(blank), "applied") == []
    with pytest.raises(migrate.UnknownVersionError, match="9999"):
        await migrate.down(blank, to=0)


async def test_no_connection(blank: str) -> None:
    """The message has the address and the reason, and no password."""
    parts = urlsplit(with_database(blank, "no_such_database"))
    missing = parts._replace(netloc=f"nobody:secret@{parts.netloc.rpartition('@')[2]}").geturl()
    with pytest.raises(ConnectError, match=r"cannot connect to [\w.]+:\d+/no_such_database: .*nobody") as caught:
        await migrate.status(missing)
    assert "secret" not in str(caught.value)


async def test_verify_holds_after_up_and_after_psql(blank: str) -> None:
    """Every check holds, and the trial insert leaves no row."""
    run_files(blank, *FILES)
    assert await failures(blank) == {}
    await migrate.up(blank)
    assert await failures(blank) == {}
    assert value(blank, "SELECT count(*) FROM plugin_registry") == 0


async def test_verify_expects_every_table_there_is(blank: str) -> None:
    """Whoever adds a table, a column or an index to the schema tells verify of it."""
    execute(blank, *APPLICATION_TABLES)
    before = set(catalog(blank))
    await migrate.up(blank)
    made = [line.split()[1] for line in catalog(blank) if line.startswith("column ") and line not in before]
    assert {name for name in made if not name.startswith("schema_migrations.")} == {
        f"{table}.{column}" for table, columns in expected.COLUMNS.items() for column in columns
    }
    indexes = rows(blank, "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND indexname LIKE 'idx_%'")
    assert {row["indexname"] for row in indexes} == set(expected.INDEXES)


@pytest.mark.parametrize(
    ("damage", "check", "detail"),
    [
        ("DROP TABLE touched_days", "table touched_days", "missing"),
        ("DROP INDEX idx_plugin_enabled", "index idx_plugin_enabled", "missing"),
        ("ALTER TABLE provenance DROP access_policy", "columns of provenance", "access_policy is missing"),
        (
            "ALTER TABLE ai_dialogue_log ALTER token_cost_jpy TYPE numeric(9,2)",
            "columns of ai_dialogue_log",
            "token_cost_jpy is numeric(9,2) instead of numeric(8,2)",
        ),
        ("COMMENT ON COLUMN provenance.id IS NULL", "comments of provenance", "none on id"),
        ("COMMENT ON TABLE dead_letters IS NULL", "comments of dead_letters", "none on the table itself"),
        ("ALTER TYPE content_type ADD VALUE 'more'", "enum content_type", "more instead of"),
        (
            "ALTER TABLE provenance DISABLE TRIGGER update_provenance_updated_at",
            "trigger on provenance",
            "none instead of update_provenance_updated_at alone",
        ),
        (
            "CREATE TRIGGER again BEFORE UPDATE ON provenance FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()",
            "trigger on provenance",
            "again, update_provenance_updated_at",
        ),
        (
            "ALTER TABLE ingest_ledger DROP CONSTRAINT ingest_ledger_balanced",
            "constraint ingest_ledger_balanced",
            "missing",
        ),
        (
            "ALTER TABLE plugin_registry ALTER health_status DROP DEFAULT",
            "insert into plugin_registry",
            "null value in column",
        ),
        (
            "ALTER TABLE ai_dialogue_log DROP CONSTRAINT fk_ai_dialogue_user",
            "foreign key fk_ai_dialogue_user",
            "missing",
        ),
    ],
)
async def test_verify_names_what_is_wrong(blank: str, damage: str, check: str, detail: str) -> None:
    """One thing is damaged, and the check that is about it fails and says so."""
    execute(blank, *APPLICATION_TABLES)
    await migrate.up(blank)
    assert await failures(blank) == {}
    execute(blank, damage)
    found = await failures(blank)
    assert detail in found[check]
    assert len(found) <= 3


async def test_status_of_an_untouched_database(blank: str) -> None:
    """Everything is pending or skipped, and asking changes nothing."""
    states = {version.state for version in (await migrate.status(blank)).migrations}
    assert states == {State.PENDING, State.SKIPPED}
    assert catalog(blank) == []


def test_the_files_run_in_one_go_with_psql(blank: str) -> None:
    """The loop in the schema's README works."""
    for file in FILES:
        assert psql(blank, "-q", "-f", file).returncode == 0
