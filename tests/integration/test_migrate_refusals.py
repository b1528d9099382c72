"""Tests the refusals of `ragledger migrate`, and the changes that remain after each."""

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from consumer.admin import migrate
from consumer.admin.migrate import State
from consumer.postgres.admin import ConnectError, DatabaseError
from consumer.postgres.schema_lock import LockTakenError
from tests.support.psql import FILES, SCHEMA, execute, rows, value
from tests.support.stack import with_database

WITHOUT_OPTIONAL = [int(file.name[:4]) for file in FILES if not file.name.startswith("0004")]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a copy of the schema files, to be changed."""
    return shutil.copytree(SCHEMA, tmp_path / "schema")


def ran(steps: tuple[migrate.Step, ...], action: str) -> list[int]:
    return [step.version for step in steps if step.action == action]


def recorded(dsn: str) -> list[int]:
    return [row["version"] for row in rows(dsn, "SELECT version FROM schema_migrations ORDER BY version")]


def add(directory: Path, name: str, sql: str, rollback: str = "SELECT 1") -> None:
    (directory / f"{name}.sql").write_text(sql)
    (directory / f"rollback_{name}.sql").write_text(rollback)


async def test_a_changed_file_is_refused(blank: str, files: Path) -> None:
    """Up names the file, both checksums and the fix, and runs nothing; deleting the row is one solution."""
    await migrate.up(blank, to=2, directory=files)
    changed = files / "0002_add_rag_metrics.sql"
    changed.write_text(changed.read_text() + "-- more\n")
    with pytest.raises(
        migrate.ChangedFileError, match=r"(?s)0002_add_rag_metrics\.sql.*applied: .*found: .*Restore the"
    ):
        await migrate.up(blank, directory=files)
    assert (await migrate.status(blank, directory=files)).migrations[0].state is State.CHANGED
    assert recorded(blank) == [2]
    execute(blank, "DELETE FROM schema_migrations WHERE version = 2")
    assert ran(await migrate.up(blank, directory=files), "applied") == WITHOUT_OPTIONAL


async def test_waiting_for_another_migration_is_limited(blank: str) -> None:
    """The message says how to find the other one."""
    key = int.from_bytes(b"ragledgr")
    with psycopg.connect(blank) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [key])
        with pytest.raises(LockTakenError, match="pg_stat_activity"):
            await migrate.up(blank, lock_wait_s=0)
    assert ran(await migrate.up(blank, lock_wait_s=0), "applied") == WITHOUT_OPTIONAL


async def test_a_rejected_statement_rolls_back_its_transaction(blank: str, files: Path) -> None:
    """Earlier transactions of the file stay, and nothing is recorded."""
    sql = "BEGIN;\nCREATE TABLE a ();\nCOMMIT;\nBEGIN;\nCREATE TABLE b ();\nSELECT 1/0;\nCOMMIT;"
    add(files, "9001_broken", sql)
    with pytest.raises(migrate.StatementRefusedError) as caught:
        await migrate.up(blank, directory=files)
    assert (caught.value.file, caught.value.line, caught.value.sqlstate) == ("9001_broken.sql", 6, "22012")
    assert value(blank, "SELECT to_regclass('a') IS NOT NULL AND to_regclass('b') IS NULL")
    assert recorded(blank) == WITHOUT_OPTIONAL


async def test_a_file_and_its_record_are_one_transaction(blank: str, files: Path) -> None:
    """If the record cannot be written, the file has not run either."""
    await migrate.up(blank)
    add(files, "9001_more", "BEGIN;\nCREATE TABLE more ();\nCOMMIT;")
    execute(blank, "ALTER TABLE schema_migrations ADD CONSTRAINT no_more CHECK (version < 9000)")
    with pytest.raises(DatabaseError, match="no_more"):
        await migrate.up(blank, directory=files)
    assert value(blank, "SELECT to_regclass('more') IS NULL")


async def test_a_table_in_use_is_not_changed(blank: str, files: Path) -> None:
    """If the lock is not available in time, the message says to try again."""
    add(files, "9001_lock", "BEGIN; SET LOCAL lock_timeout = '10ms'; ALTER TABLE provenance ADD x int; COMMIT;")
    await migrate.up(blank)
    with psycopg.connect(blank) as user:
        user.execute("SELECT FROM provenance")
        with pytest.raises(migrate.StatementRefusedError, match="Another session is using the table"):
            await migrate.up(blank, directory=files)


async def test_the_history_of_another_tool_is_not_changed(blank: str) -> None:
    """A schema_migrations without our columns is refused; a schema of its own works."""
    execute(blank, "CREATE TABLE schema_migrations (version TEXT)", "CREATE SCHEMA ragledger")
    for refused in (migrate.up(blank), migrate.down(blank, to=0), migrate.status(blank), migrate.verify(blank)):
        with pytest.raises(migrate.ForeignHistoryError, match="belongs to another tool"):
            await refused
    own = f"{blank}?options=-csearch_path%3Dragledger"
    await migrate.up(own)
    assert all(check.ok for check in await migrate.verify(own))
    assert (
        value(blank, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'") == 1
    )


async def test_a_newer_database(blank: str) -> None:
    """Later versions are shown as unknown, do not prevent up, and cannot be rolled back here."""
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
