"""Tests `ragledger migrate` on the oldest and the newest supported PostgreSQL."""

import asyncio
from urllib.parse import urlsplit

import pytest

from consumer.admin import migrate
from consumer.admin.migrate import State
from tests.support.psql import APPLICATION_TABLES, FILES, ROLLBACKS, catalog, execute, psql, rows, run_files, value

HISTORY = "SELECT version, checksum, applied_by FROM schema_migrations ORDER BY version"
WITHOUT_OPTIONAL = [int(file.name[:4]) for file in FILES if not file.name.startswith("0004")]
ALL = sorted([*WITHOUT_OPTIONAL, 4])


def ran(steps: tuple[migrate.Step, ...], action: str) -> list[int]:
    return [step.version for step in steps if step.action == action]


def recorded(dsn: str) -> list[int]:
    return [row["version"] for row in rows(dsn, HISTORY)]


async def test_up_gives_the_same_schema_as_psql(blank: str) -> None:
    """The files and the result are equal, and nothing is pending."""
    seen: list[tuple[str, int, int]] = []
    steps = await migrate.up(blank, progress=lambda *step: seen.append(step))
    assert ran(steps, "applied") == WITHOUT_OPTIONAL
    assert seen[0] == ("0002_add_rag_metrics", 1, len(FILES))
    ours = catalog(blank)
    execute(blank, "DROP TABLE schema_migrations")
    run_files(blank, *ROLLBACKS, *FILES)
    assert [line for line in ours if "schema_migrations" not in line] == catalog(blank)


async def test_up_records_what_it_ran(blank: str) -> None:
    """Version, checksum and role are recorded, everything in the table has a comment, and a second run does nothing."""
    await migrate.up(blank)
    steps = await migrate.up(blank)
    assert ran(steps, "applied") == []
    history = rows(blank, HISTORY)
    assert [row["version"] for row in history] == WITHOUT_OPTIONAL
    assert {row["applied_by"] for row in history} == {value(blank, "SELECT current_user")}
    assert [len(row["checksum"]) for row in history] == [64] * len(history)
    assert any("column version of table schema_migrations" in line for line in catalog(blank))


async def test_up_stops_at_the_given_version(blank: str) -> None:
    """`to` is the last applied version; the next run continues after it."""
    assert ran(await migrate.up(blank, to=3), "applied") == [2, 3]
    assert ran(await migrate.up(blank), "applied") == WITHOUT_OPTIONAL[2:]


async def test_down_leaves_only_the_base_table(blank: str) -> None:
    """With 0, all our objects are gone, schema_migrations too, and up gives the same schema again."""
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
    """Only later versions are removed, from the database and from the record."""
    await migrate.up(blank)
    await migrate.down(blank, to=3)
    assert recorded(blank) == [2, 3]
    assert value(blank, "SELECT to_regclass('ingest_ledger') IS NULL AND to_regclass('provenance') IS NOT NULL")


async def test_plan_changes_nothing(blank: str) -> None:
    """It lists the SQL that `up` would run, and does not even create schema_migrations."""
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


async def test_status_shows_the_state_of_every_version(blank: str) -> None:
    """Applied with time and role, pending, or skipped with the reason; current if nothing is pending."""
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


async def test_up_takes_over_a_database_from_psql(blank: str) -> None:
    """Files that psql has run are run again, change nothing, and are recorded."""
    run_files(blank, *FILES)
    before = catalog(blank)
    await migrate.up(blank)
    assert [line for line in catalog(blank) if "schema_migrations" not in line] == before
    assert recorded(blank) == WITHOUT_OPTIONAL


async def test_down_rolls_back_what_psql_applied(blank: str) -> None:
    """A rollback does not depend on the record."""
    run_files(blank, *FILES)
    await migrate.down(blank, to=0)
    assert value(blank, "SELECT to_regclass('provenance') IS NULL AND to_regclass('schema_migrations') IS NULL")


async def test_two_concurrent_runs(blank: str) -> None:
    """One applies everything, concurrent builds included; the other waits and finds nothing to do."""
    first, second = await asyncio.gather(migrate.up(blank), migrate.up(blank))
    assert sorted([ran(first, "applied"), ran(second, "applied")]) == [[], WITHOUT_OPTIONAL]


async def test_the_lock_does_not_depend_on_the_defaults_of_the_role(blank: str) -> None:
    """Under REPEATABLE READ the lock holder would keep a snapshot, and concurrent builds would wait for it."""
    name = urlsplit(blank).path.removeprefix("/")
    execute(
        blank,
        f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'",
        f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '1s'",
        f"ALTER DATABASE {name} SET statement_timeout = '20s'",
    )
    both = await asyncio.gather(migrate.up(blank), migrate.up(blank))
    assert sorted(ran(steps, "applied") for steps in both) == [[], WITHOUT_OPTIONAL]


async def test_an_index_whose_build_failed_is_built_again(blank: str) -> None:
    """Up fails with the line and the fix; after the cause is removed, the next run replaces the invalid index."""
    await migrate.up(blank, to=2)
    execute(blank, *["INSERT INTO rag_metrics_history (date) VALUES ('2025-10-29')"] * 2)
    with pytest.raises(migrate.StatementRefusedError, match=r"0003_optimize_rag_indexes\.sql, line \d+: .*unique"):
        await migrate.up(blank)
    assert recorded(blank) == [2]
    assert [check.name for check in await migrate.verify(blank) if "invalid" in check.detail] == [
        "index idx_rag_metrics_date_unique"
    ]
    execute(blank, "DELETE FROM rag_metrics_history")
    await migrate.up(blank)
    assert all(check.ok for check in await migrate.verify(blank))


async def test_foreign_keys_are_applied_after_their_tables_exist(blank: str) -> None:
    """They are skipped with the reason while users is missing, and applied by a later run."""
    execute(blank, APPLICATION_TABLES[1])
    steps = await migrate.up(blank)
    assert [step.reason for step in steps if step.action == "skipped"] == ["table users is missing"]
    assert recorded(blank) == WITHOUT_OPTIONAL
    execute(blank, APPLICATION_TABLES[0])
    assert ran(await migrate.up(blank), "applied") == [4]
    assert recorded(blank) == ALL
    checks = {check.name: check.detail for check in await migrate.verify(blank)}
    assert checks["foreign key fk_provenance_content"] == "holds for every row of provenance"


async def test_a_valid_index_on_a_partitioned_table_is_kept(blank: str) -> None:
    """After a conversion of ai_dialogue_log, a database that psql made can still be taken over."""
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


async def test_status_of_an_untouched_database(blank: str) -> None:
    """Everything is pending or skipped, and nothing is changed."""
    states = {version.state for version in (await migrate.status(blank)).migrations}
    assert states == {State.PENDING, State.SKIPPED}
    assert catalog(blank) == []


def test_the_files_run_in_a_loop_with_psql(blank: str) -> None:
    """The loop in the schema's README works."""
    for file in FILES:
        assert psql(blank, "-q", "-f", file).returncode == 0
