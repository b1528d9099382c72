"""Tests migrations of a partitioned database: up, down and verify."""

import psycopg
import pytest

from consumer.admin import migrate
from consumer.maintenance.table_partitions import abort, convert
from tests.support.partitions import WRONG_IDS, assert_sound, fill, is_partitioned, one_dialogue
from tests.support.psql import (
    APPLICATION_TABLES,
    BASE_COLUMNS,
    FILES,
    ROLLBACKS,
    catalog,
    execute,
    one_file,
    psql,
    rows,
    run_files,
    value,
)

pytestmark = pytest.mark.slow


class Interrupted(Exception):
    """Ends a conversion."""


@pytest.fixture
async def parts(blank: str) -> str:
    """Return the DSN of a migrated, filled and converted database with foreign keys."""
    await migrate.up(blank)
    fill(blank)
    execute(blank, *APPLICATION_TABLES, "INSERT INTO users SELECT DISTINCT user_id FROM ai_dialogue_log")
    await migrate.up(blank)
    await convert(blank, months_ahead=1)
    return blank


async def failures(dsn: str) -> dict[str, str]:
    return {check.name: check.detail for check in await migrate.verify(dsn) if not check.ok}


async def test_verify_passes_for_both_forms_of_the_table(parts: str) -> None:
    """Its details name the form."""
    checks = {check.name: check for check in await migrate.verify(parts)}
    assert [check for check in checks.values() if not check.ok] == []
    assert "every id is unique" in checks["partitions of ai_dialogue_log"].detail
    assert await migrate.up(parts) == ()


@pytest.mark.parametrize(
    ("damage", "detail"),
    [
        ("DROP TRIGGER keep_dialogue_id_on_insert ON ai_dialogue_log", "0011_add_partitions.sql"),
        ("DROP TABLE ai_dialogue_log_default", "ragledger partition ensure"),
    ],
)
async def test_verify_names_defects_of_partitions(parts: str, damage: str, detail: str) -> None:
    """Without a trigger an id could be stored twice; without a default partition rows would be rejected."""
    execute(parts, damage)
    found = await failures(parts)
    assert list(found) == ["partitions of ai_dialogue_log"]
    assert detail in found["partitions of ai_dialogue_log"]


def test_running_the_file_again_restores_the_triggers(parts: str) -> None:
    """It also collects the ids that were written without them."""
    execute(parts, "DROP TRIGGER keep_dialogue_id_on_insert ON ai_dialogue_log")
    execute(parts, "ALTER TABLE ai_dialogue_log DROP CONSTRAINT fk_ai_dialogue_user", *[one_dialogue()] * 3)
    run_files(parts, one_file("0011"))
    assert rows(parts, WRONG_IDS) == []
    assert_sound(parts)


def test_every_file_except_the_concurrent_one_runs_again(parts: str) -> None:
    """They run with psql, and nothing changes. 0003 itself says that it must run before a conversion."""
    before = catalog(parts)
    run_files(parts, *(file for file in FILES if not file.name.startswith("0003")))
    assert catalog(parts) == before
    assert psql(parts, "-f", one_file("0003"), check=False).returncode == 3


async def test_down_and_up_give_the_same_schema(parts: str) -> None:
    """The index that cannot be built concurrently here is included: each partition gets one, and they are attached."""
    before = set(catalog(parts))
    await migrate.down(parts, to=2, delete_data=True)
    assert value(parts, "SELECT to_regclass('idx_ai_dialogue_user_created')") is None
    await migrate.up(parts)
    assert await failures(parts) == {}
    assert_sound(parts)
    names = ("idx_ai_dialogue_user_created", "user_id_created_at_idx")
    assert [line for line in set(catalog(parts)) ^ before if not any(name in line for name in names)] == []


async def test_an_interrupted_build_continues(parts: str) -> None:
    """The index exists and is invalid, some partitions have theirs, and one of these is invalid."""
    await migrate.down(parts, to=2, delete_data=True)
    partitions = (
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'ai_dialogue_log'::regclass"
    )
    first, second, *_ = sorted(row["name"] for row in rows(parts, partitions))
    execute(
        parts,
        "CREATE INDEX idx_ai_dialogue_user_created ON ONLY ai_dialogue_log (user_id, created_at DESC)",
        f"CREATE INDEX done ON {first} (user_id, created_at DESC)",
        "ALTER INDEX idx_ai_dialogue_user_created ATTACH PARTITION done",
        f"CREATE INDEX idx_ai_dialogue_user_created_{second.removeprefix('ai_dialogue_log_')} ON {second} (user_id)",
    )
    await migrate.up(parts)
    assert value(parts, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'idx_ai_dialogue_user_created'::regclass")
    assert await failures(parts) == {}


def test_rollbacks_keep_the_partitions_and_their_rows(parts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each runs twice with psql. The base table stays partitioned, with its base columns and every row."""
    monkeypatch.setenv("PGOPTIONS", "-cragledger.delete_data=on")
    count = value(parts, "SELECT count(*) FROM ai_dialogue_log")
    for file in ROLLBACKS:
        run_files(parts, file, file)
    assert is_partitioned(parts)
    assert value(parts, "SELECT count(*) FROM ai_dialogue_log") == count
    columns = (
        "SELECT attname::text AS name FROM pg_attribute WHERE attrelid = 'ai_dialogue_log'::regclass AND attnum > 0"
    )
    assert {row["name"] for row in rows(parts, f"{columns} AND NOT attisdropped")} == BASE_COLUMNS
    with pytest.raises(psycopg.errors.UndefinedTable):
        execute(parts, "SELECT count(*) FROM provenance")


async def test_an_unfinished_conversion_is_not_rolled_back(blank: str) -> None:
    """The first rollback that affects dialogues names the fix and changes nothing; after an abort, all run."""
    await migrate.up(blank)

    def on_progress(step: str, _done: int, _total: int | None) -> None:
        if step == "compare":
            raise Interrupted

    with pytest.raises(Interrupted):
        await convert(blank, months_ahead=1, on_progress=on_progress)
    await migrate.down(blank, to=12)
    before = catalog(blank)
    with pytest.raises(migrate.StatementRefusedError, match="partition convert"):
        await migrate.down(blank, to=6)
    assert catalog(blank) == before
    await abort(blank)
    await migrate.down(blank, to=6)


def test_a_table_that_others_have_partitioned_is_accepted(blank: str) -> None:
    """Its ids are collected, and kept unique from then on."""
    run_files(blank, *(file for file in FILES if file.name < "0011"))
    execute(
        blank,
        "ALTER TABLE ai_dialogue_log RENAME TO old; ALTER INDEX ai_dialogue_log_pkey RENAME TO old_pkey",
        "CREATE TABLE ai_dialogue_log (LIKE old INCLUDING ALL EXCLUDING INDEXES, PRIMARY KEY (id, created_at))"
        " PARTITION BY RANGE (created_at)",
        "CREATE TABLE year PARTITION OF ai_dialogue_log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        "CREATE TABLE rest PARTITION OF ai_dialogue_log DEFAULT",
        "CREATE TRIGGER update_ai_dialogue_log_updated_at_base BEFORE UPDATE ON ai_dialogue_log"
        " FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()",
        *[one_dialogue("'2026-05-05'"), one_dialogue("'2020-05-05'")],
    )
    run_files(blank, one_file("0011"))
    assert rows(blank, WRONG_IDS) == []
    taken = value(blank, "SELECT id::text FROM ai_dialogue_log LIMIT 1")
    with pytest.raises(psycopg.errors.UniqueViolation):
        execute(blank, one_dialogue("'2031-01-01'", f"'{taken}'"))
