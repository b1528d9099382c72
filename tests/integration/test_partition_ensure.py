"""Tests `ragledger partition ensure` and the service's timer: months have partitions, and rows are in them."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from consumer.ingest.ports import Unavailable
from consumer.postgres.client import Database
from consumer.postgres.queries import load
from consumer.postgres.table_partitions import MadePartition, PostgresPartitions
from consumer.settings.servers import Postgres
from tests.support.ingestion import environment_on, log_lines
from tests.support.partitions import MONTHS_AHEAD, assert_sound, converted, fill, one_dialogue
from tests.support.psql import execute, rows, value
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers

DEFAULT = "SELECT count(*) FROM ai_dialogue_log_default"


def month(ahead: int) -> str:
    """Return the name of the partition so many months from now."""
    now = datetime.now(UTC)
    place = now.year * 12 + now.month - 1 + ahead
    return f"ai_dialogue_log_{place // 12}_{place % 12 + 1:02}"


async def ensured(dsn: str, months_ahead: int, at_most: int = 10_000) -> list[MadePartition]:
    """Run ensure once. Return the new partitions."""
    database = Database(Postgres(dsn=SecretStr(dsn)))
    await database.open()
    try:
        return [made async for made in PostgresPartitions(database, months_ahead, at_most).ensure()]
    finally:
        await database.close(5)


def names(made: Sequence[MadePartition]) -> list[str]:
    return [one.partition for one in made]


@pytest.fixture
def parts(filled: str) -> str:
    """Return the DSN of a database with partitions for the current month and two ahead."""
    converted(filled)
    return filled


async def test_months_ahead_are_made_once(parts: str) -> None:
    """They are made one after the other. A second run finds nothing to do."""
    assert names(await ensured(parts, 5)) == [month(3), month(4), month(5)]
    assert await ensured(parts, 5) == []
    assert_sound(parts)


async def test_rows_move_to_their_month(parts: str) -> None:
    """They leave the default partition, past months too; none is lost, changed or gets another id."""
    fill(parts)
    outside = value(parts, DEFAULT)
    before = rows(parts, "SELECT id, dialogue::text FROM ai_dialogue_log AS dialogue ORDER BY id")
    made = await ensured(parts, MONTHS_AHEAD)
    assert sum(one.moved for one in made) == outside - 4
    assert value(parts, DEFAULT) == 4
    assert rows(parts, "SELECT id, dialogue::text FROM ai_dialogue_log AS dialogue ORDER BY id") == before
    assert_sound(parts)


async def test_too_many_rows_wait_in_the_default_partition(parts: str) -> None:
    """Their month has no partition, other months do, and no writer waits; a larger limit moves them."""
    execute(parts, *[one_dialogue("now() AT TIME ZONE 'UTC' + interval '5 months'")] * 5)
    made = await ensured(parts, 6, at_most=4)
    assert [(one.partition, one.waiting > 0) for one in made] == [
        (month(3), False),
        (month(4), False),
        (month(5), True),
        (month(6), False),
    ]
    assert value(parts, DEFAULT) == 5
    [last] = await ensured(parts, 6, at_most=5)
    assert (last.partition, last.moved, last.waiting) == (month(5), 5, 0)
    assert_sound(parts)


async def test_no_month_is_made_while_days_are_computed(parts: str) -> None:
    """Otherwise a roll-up that was planned before could miss rows that leave the default partition."""
    execute(parts, one_dialogue("now() AT TIME ZONE 'UTC' + interval '3 months'"))
    with psycopg.connect(parts) as rolling_up:
        rolling_up.execute(load("wait_to_lead_rollup").encode())
        making = asyncio.create_task(ensured(parts, 3))
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not value(parts, waits):
            assert not making.done(), "ensure has not waited for the roll-up"
            await asyncio.sleep(0.05)
        assert value(parts, DEFAULT) == 1
        rolling_up.commit()
        [made] = await making
    assert (made.partition, made.moved) == (month(3), 1)


async def test_a_table_that_is_not_partitioned_is_not_changed(filled: str) -> None:
    """Nothing is made, and there is no error."""
    assert await ensured(filled, 5) == []
    assert value(filled, "SELECT count(*) FROM pg_class WHERE relname LIKE 'ai_dialogue_log_2%' AND relkind = 'r'") == 0


async def test_a_missing_default_partition_is_made(parts: str) -> None:
    """It was dropped; without it, rows without a month would be rejected."""
    execute(parts, "DROP TABLE ai_dialogue_log_default")
    with pytest.raises(psycopg.errors.CheckViolation):
        execute(parts, one_dialogue("'2199-01-01'"))
    await ensured(parts, MONTHS_AHEAD)
    execute(parts, one_dialogue("'2199-01-01'"))
    assert_sound(parts)


async def test_a_writer_of_dialogues_may_ensure_and_make_nothing_else(parts: str) -> None:
    """The service's role owns nothing; the function runs with the owner's rights and does only this."""
    execute(
        parts,
        "DO $$ BEGIN CREATE ROLE partition_writer LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "GRANT SELECT, INSERT ON ai_dialogue_log TO partition_writer",
        "SELECT admit_dialogue_writers()",
        *[one_dialogue("now() AT TIME ZONE 'UTC' + interval '4 months'")] * 3,
    )
    writer = parts.replace("postgres@", "partition_writer@").replace("postgres:postgres@", "partition_writer@")
    made = await ensured(writer, 4)
    assert [(one.partition, one.moved) for one in made] == [(month(3), 0), (month(4), 3)]
    for refused in (
        "CREATE TABLE mine (LIKE ai_dialogue_log)",
        "SELECT make_dialogue_partition('2030-01-01', 1, NULL)",
        "SELECT watch_dialogue_ids()",
        "DELETE FROM known_ids",
        f"SELECT * FROM {month(4)}",
        "SELECT * FROM ensure_dialogue_partition(25, '2020-01-01', 1)",
    ):
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue)):
            execute(writer, refused)
    assert_sound(parts)


async def test_writers_of_other_months_do_not_wait(parts: str) -> None:
    """An open transaction of this month does not wait for the new partition, and does not prevent it."""
    with psycopg.connect(parts) as writer:
        writer.execute(one_dialogue().encode())
        assert names(await ensured(parts, 3)) == [month(3)]
        writer.execute(one_dialogue().encode())
    assert_sound(parts)


async def test_it_does_not_wait_long_for_the_default_partition(parts: str) -> None:
    """After half a second it gives up, so that no session queues behind it; the next run makes the partition."""
    with psycopg.connect(parts) as writer:
        writer.execute(one_dialogue("'2199-01-01'").encode())
        with pytest.raises(Unavailable) as unavailable:
            await ensured(parts, 3)
        assert unavailable.value.cause == "lock"
    assert names(await ensured(parts, 3)) == [month(3)]


async def test_two_replicas_do_not_disturb_each_other(parts: str) -> None:
    """Each month is made by one of them."""
    both = await asyncio.gather(*(ensured(parts, 12) for _ in range(4)))
    made = names([one for look in both for one in look])
    made += names(await ensured(parts, 12))
    assert sorted(made) == sorted(month(ahead) for ahead in range(MONTHS_AHEAD + 1, 13))


def test_the_output_of_the_command(database: str) -> None:
    """It is JSON for scripts and a table for people. A lock of another session is exit code 1 with a reason."""
    converted(database)
    environment = Environment(database, "127.0.0.1:9", {}, RAGLEDGER_PARTITIONS__MONTHS_AHEAD="3")
    execute(database, one_dialogue("now() AT TIME ZONE 'UTC' + interval '3 months'"))
    [made] = environment.run_json("partition", "ensure")
    assert made["partition"] == month(3)
    assert (made["moved"], made["waiting"]) == (1, 0)
    shown = environment.run("partition", "ensure", "--months-ahead", "4")
    assert (shown.returncode, month(4) in shown.stdout) == (0, True)
    assert "nothing is missing" in environment.run("partition", "ensure").stdout
    with psycopg.connect(database) as writer:
        writer.execute(one_dialogue("'2199-01-01'").encode())
        failed = environment.run("partition", "ensure", "--months-ahead", "5")
        assert (failed.returncode, "55P03" in failed.stderr) == (1, True)
    assert environment.run("partition", "ensure", "--months-ahead", "0").returncode == 2


def test_the_service_keeps_months_ahead(stack: Servers, migrated_template: str, tmp_path: Path) -> None:
    """It makes them at its start and on its timer, and moves rows that had to wait for their month."""
    log = tmp_path / "run.log"
    often = {"RAGLEDGER_PARTITIONS__MONTHS_AHEAD": "4", "RAGLEDGER_PARTITIONS__INTERVAL_S": "0.5"}
    with environment_on(stack, migrated_template) as environment:
        environment.variables |= often
        converted(environment.dsn)
        with ServiceProcess(environment, log) as service:
            service.wait_ready()
            eventually(
                lambda: len(log_lines(log, "monthly_partition_made")) == 2, message="the two missing months are made"
            )
            execute(
                environment.dsn,
                f"DROP TABLE {month(4)}",
                one_dialogue("now() AT TIME ZONE 'UTC' + interval '4 months'"),
            )
            eventually(lambda: value(environment.dsn, DEFAULT) == 0, message="the row is in its month")
            assert service.stop() == 0
        assert_sound(environment.dsn)
    assert [line["partition"] for line in log_lines(log, "monthly_partition_made")] == [month(3), month(4), month(4)]
