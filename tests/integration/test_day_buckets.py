"""Tests days that are computed from buckets: they equal the queries that define them after any change of rows."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import DictRow
from pydantic import SecretStr

from consumer.decode.copy_format import microseconds
from consumer.ingest.clock import SystemClock
from consumer.ingest.days import BusinessDays
from consumer.ingest.rollup_basis import Basis
from consumer.ingest.slo import DEFAULT_OBJECTIVES
from consumer.maintenance.rollup import RollupJob
from consumer.postgres.client import Database
from consumer.postgres.history import PostgresHistory
from consumer.postgres.queries import load
from consumer.settings.servers import Postgres
from tests.support.days import assert_day_equals_queries, bounds, insert_dialogues
from tests.support.service import Environment
from tests.unit.maintenance.test_rollup import FakeAmendments, FakeDayTelemetry

pytestmark = pytest.mark.timeout(180)

DAY = date(2026, 1, 10)
ZONES = ("UTC", "Asia/Tokyo", "Asia/Kathmandu", "America/New_York")
# What can happen to a dialogue without a change of its time.
CHANGES = (
    "user_feedback = 1",
    "token_cost_jpy = 7.77",
    "latency_ms = 123",
    "latency_ms = NULL",
    "user_id = '00000000-0000-0000-0000-000000000007'",
    "ingested_at = created_at + random() * interval '20 seconds'",
    "ingested_at = created_at + random() * interval '5 hours'",
    "citations = '[{}, {}, {}]'",
)
KINDS = ("insert", "insert", "change", "change", "delete", "move", "flood", "all")


@pytest.fixture
def environment(database: str) -> Environment:
    """Return a database without a service."""
    return Environment(database, "127.0.0.1:9", {})


@asynccontextmanager
async def opened(environment: Environment, zone: str = "UTC") -> AsyncIterator[PostgresHistory]:
    """Open the history of a replica that computes every day from buckets, from the second time on."""
    database = Database(Postgres(dsn=SecretStr(environment.dsn)))
    await database.open()
    try:
        replica = PostgresHistory(database, Basis(zone, DEFAULT_OBJECTIVES), "replica", buckets_from=1)
        await replica.begin()
        yield replica
    finally:
        await database.close(5)


def execute(environment: Environment, statement: str, *arguments: Any) -> Sequence[Any]:
    """Run a statement; return what it returns."""
    with psycopg.connect(environment.dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), arguments or None)
        return cursor.fetchall() if cursor.description else ()


def mark(connection: psycopg.Connection[Any], zone: str, moments: Sequence[datetime]) -> None:
    """Add the marks of a transaction that touches these moments."""
    days, buckets = BusinessDays(zone).touched_by([microseconds(moment) for moment in moments])
    connection.execute(
        "INSERT INTO touched_days (day, bucket) SELECT * FROM unnest(%s::date[], %s::timestamp[])",
        (list(days), list(buckets)),
    )


def change(environment: Environment, zone: str, statement: str, *arguments: Any) -> None:
    """Change rows, and mark the buckets of the `created_at` that the statement returns, in one transaction."""
    with psycopg.connect(environment.dsn) as connection:
        rows = connection.execute(statement.encode(), arguments or None).fetchall()
        mark(connection, zone, [moment for row in rows for moment in row])


def insert(environment: Environment, zone: str, moments: Sequence[datetime], seed: int) -> None:
    """Insert dialogues at these moments, and mark their buckets."""
    insert_dialogues(environment, moments, seed)
    with psycopg.connect(environment.dsn) as connection:
        mark(connection, zone, moments)


def happen(environment: Environment, zone: str, chance: random.Random, kinds: Sequence[str] = KINDS) -> None:
    """Let something happen to the dialogues of the day."""
    begins, ends = bounds(DAY, zone)

    def moment() -> datetime:
        return begins + (ends - begins) * chance.random()

    kind = chance.choice(kinds)
    some = f"id IN (SELECT id FROM ai_dialogue_log ORDER BY md5(id::text || '{chance.random()}') LIMIT 3)"
    if kind in ("insert", "flood"):
        count = chance.randint(1, 5) if kind == "insert" else 40
        insert(environment, zone, [moment() for _ in range(count)], chance.getrandbits(32))
    elif kind == "change":
        assignment = chance.choice(CHANGES)
        change(environment, zone, f"UPDATE ai_dialogue_log SET {assignment} WHERE {some} RETURNING created_at")
    elif kind == "delete":
        execute(environment, "ALTER TABLE ai_dialogue_log DISABLE TRIGGER mark_days_of_deleted_dialogues")
        change(environment, zone, f"DELETE FROM ai_dialogue_log WHERE {some} RETURNING created_at")
        execute(environment, "ALTER TABLE ai_dialogue_log ENABLE TRIGGER mark_days_of_deleted_dialogues")
    elif kind == "move":
        to = moment()
        change(
            environment,
            zone,
            f"""WITH moved AS (SELECT id, created_at FROM ai_dialogue_log WHERE {some}),
                done AS (UPDATE ai_dialogue_log SET created_at = %s WHERE id IN (SELECT id FROM moved))
                SELECT created_at, %s::timestamp FROM moved""",
            to,
            to,
        )
    else:
        execute(environment, f"UPDATE ai_dialogue_log SET {chance.choice(CHANGES)} WHERE {some}")
        execute(environment, "INSERT INTO touched_days (day) VALUES (%s)", DAY)


def stored_buckets(environment: Environment) -> list[DictRow]:
    """Return everything that is stored about buckets, the users in order."""
    return environment.query(
        "SELECT to_jsonb(rollup_buckets) - '{users, computed_at}'::text[], ARRAY(SELECT unnest(users) ORDER BY 1)"
        " FROM rollup_buckets ORDER BY begins_at, ends_at"
    )


def assert_right(environment: Environment, zone: str, day: date = DAY) -> None:
    """Assert that the day equals the queries, and that its freshness equals the one computed from its rows."""
    span = bounds(day, zone)
    assert_day_equals_queries(environment, day, zone)
    figures = load("figures_of_day").replace("$1", f"'{span[0]}'").replace("$2", f"'{span[1]}'")
    [row] = environment.query(figures)
    assert (
        environment.value("SELECT ingest_delay_p95 FROM computed_days WHERE day = %s", day) == row["ingest_delay_p95"]
    )


@pytest.mark.parametrize("seed", range(8))
async def test_any_change_of_rows_leaves_the_day_equal_to_the_queries(environment: Environment, seed: int) -> None:
    """Dialogues are inserted, changed, moved and deleted. What is stored about buckets is what the rows give."""
    chance, zone = random.Random(seed), ZONES[seed % len(ZONES)]
    begins, ends = bounds(DAY, zone)
    insert(environment, zone, [begins + (ends - begins) * chance.random() for _ in range(60)], seed)
    async with opened(environment, zone) as replica:
        for number in range(16):
            assert await replica.roll_up_due(DAY, 0)
            assert_right(environment, zone)
            for _ in range(chance.randint(0, 3)):
                happen(environment, zone, chance, KINDS if number < 6 else KINDS[:-2])
        assert await replica.roll_up_due(DAY, 0)
        changed = stored_buckets(environment)
        execute(environment, "TRUNCATE rollup_buckets")
        assert await replica.roll_up_due(DAY, 0)
        assert changed == stored_buckets(environment)
        assert len(changed) > 30


async def test_writers_and_the_roll_up_at_once(environment: Environment) -> None:
    """Dialogues are added and their users change while the day is rolled up. In the end each user is counted once."""
    begins, _ = bounds(DAY, "UTC")
    moments = [begins + timedelta(minutes=5 + 15 * number) for number in range(24)]
    insert(environment, "UTC", moments, 1)

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with psycopg.connect(environment.dsn) as connection:
            for _ in range(150):
                touched = chance.sample(moments, 2)
                users = [UUID(int=chance.randint(1, 40)) for _ in touched]
                for moment, user in zip(touched, users, strict=True):
                    connection.execute(
                        "INSERT INTO ai_dialogue_log"
                        " (user_id, session_id, query, response, model_used, created_at, latency_ms)"
                        " VALUES (%s, gen_random_uuid(), 'q', 'r', 'm', %s, %s)",
                        (user, moment, chance.randint(1, 50)),
                    )
                if chance.random() < 0.5:
                    gone = chance.choice(moments)
                    connection.execute(
                        "UPDATE ai_dialogue_log SET user_id = %s WHERE id IN (SELECT id FROM ai_dialogue_log"
                        " WHERE created_at = %s ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED)",
                        (UUID(int=chance.randint(1, 40)), gone),
                    )
                    touched.append(gone)
                mark(connection, "UTC", touched)
                connection.commit()

    async with opened(environment) as replica:
        for _ in range(2):
            await replica.roll_up_due(DAY, 0)
        writers = [Thread(target=write, args=(seed,)) for seed in range(2)]
        for writer in writers:
            writer.start()
        rounds = 0
        while any(writer.is_alive() for writer in writers):
            rounds += await replica.roll_up_due(DAY, 0)
        await replica.roll_up_due(DAY, 0)
        assert rounds > 10
        assert environment.value("SELECT count(*) FROM touched_days") == 0
        assert_right(environment, "UTC")
        assert environment.value("SELECT count(*) FROM rollup_buckets WHERE users IS NULL") == 1


async def test_only_marked_buckets_are_computed_from_rows(environment: Environment) -> None:
    """All rows change without marks. The roll-up sees only the marked bucket; after the end of the day, it sees all."""
    begins, ends = bounds(DAY, "UTC")
    moments = [begins + timedelta(hours=hour) for hour in range(24)]
    insert(environment, "UTC", moments, 1)
    async with opened(environment) as replica:
        for _ in range(2):
            await replica.roll_up_due(DAY, 0)
        execute(environment, "UPDATE ai_dialogue_log SET prompt_tokens = 1000000")
        change(environment, "UTC", "SELECT created_at FROM ai_dialogue_log WHERE created_at = %s", moments[3])
        await replica.roll_up_due(DAY, 0)
        assert environment.value("SELECT prompt_tokens BETWEEN 1000000 AND 1999999 FROM rag_metrics_history")
        assert await replica.due(0) == []
        for table in ("rag_metrics_history", "rollup_buckets"):
            execute(environment, f"UPDATE {table} SET computed_at = %s", ends - timedelta(seconds=1))
        assert await replica.due(0) == [DAY]
        await replica.roll_up_due(DAY, 0)
        assert_right(environment, "UTC")
        assert await replica.due(0) == []


async def test_a_replica_of_an_older_version_may_compute_the_day_in_between(environment: Environment) -> None:
    """A replica of an older version deletes marks and leaves buckets. Then the sums are not used."""
    begins, _ = bounds(DAY, "UTC")
    moments = [begins + timedelta(hours=hour) for hour in range(24)]
    insert(environment, "UTC", moments, 1)
    update = "UPDATE ai_dialogue_log SET latency_ms = latency_ms + 1, user_id = gen_random_uuid() WHERE created_at = %s"
    async with opened(environment) as replica:
        for _ in range(2):
            await replica.roll_up_due(DAY, 0)
        change(environment, "UTC", f"{update} RETURNING created_at", moments[3])
        execute(environment, "DELETE FROM touched_days")
        execute(environment, "UPDATE rag_metrics_history SET computed_at = now() AT TIME ZONE 'UTC'")
        change(environment, "UTC", f"{update} RETURNING created_at", moments[7])
        await replica.roll_up_due(DAY, 0)
        assert_right(environment, "UTC")


async def test_deleted_dialogues_take_their_buckets_along(environment: Environment) -> None:
    """After any DELETE, no bucket names the users of the deleted dialogues, and the day is right. The DELETE does not
    wait for a roll-up that is writing a bucket.
    """
    begins, _ = bounds(DAY, "UTC")
    insert(environment, "UTC", [begins + timedelta(hours=hour) for hour in range(24)], 1)
    async with opened(environment) as replica:
        for _ in range(2):
            await replica.roll_up_due(DAY, 0)
        with psycopg.connect(environment.dsn) as writing:
            writing.execute("SELECT FROM rollup_buckets WHERE begins_at = %s AND day IS NULL FOR UPDATE", (begins,))
            execute(environment, "DELETE FROM ai_dialogue_log WHERE created_at < %s", begins + timedelta(hours=2))
        assert execute(environment, "SELECT begins_at FROM rollup_buckets ORDER BY 1 LIMIT 2") == [
            (begins,),
            (begins + timedelta(hours=2),),
        ]
        await replica.roll_up_due(DAY, 0)
        assert execute(environment, "SELECT begins_at FROM rollup_buckets") == []
    assert_right(environment, "UTC")


async def test_a_whole_day_of_a_replica_with_another_time_zone_marks_both_days(environment: Environment) -> None:
    """Its transaction touched many buckets of its own day, and some of them are in the next day here."""
    begins, _ = bounds(DAY, "Asia/Tokyo")
    moments = [begins + timedelta(hours=hour) for hour in range(48)]
    insert(environment, "Asia/Tokyo", moments, 1)
    async with opened(environment, "Asia/Tokyo") as replica:
        for _ in range(2):
            for day in (DAY, DAY + timedelta(days=1)):
                await replica.roll_up_due(day, 0)
        change(
            environment,
            "UTC",
            "UPDATE ai_dialogue_log SET latency_ms = 5 WHERE created_at BETWEEN %s AND %s RETURNING created_at",
            moments[15],
            moments[30],
        )
        change(environment, "Asia/Tokyo", "SELECT created_at FROM ai_dialogue_log WHERE created_at = %s", moments[40])
        job = RollupJob(replica, FakeAmendments(), FakeDayTelemetry(), SystemClock(), 3600)
        while execute(environment, "SELECT day FROM touched_days"):
            await job.run_once(fresh_seconds=0)
        for day in (DAY, DAY + timedelta(days=1)):
            assert_right(environment, "Asia/Tokyo", day)


async def test_a_mark_of_a_replica_with_another_time_zone_finds_its_day(environment: Environment) -> None:
    """Its bucket is in another day here: that day is marked, and rolled up."""
    begins, _ = bounds(DAY, "UTC")
    moments = [begins + timedelta(hours=hour) for hour in range(48)]
    insert(environment, "UTC", moments, 1)
    async with opened(environment) as replica:
        for _ in range(2):
            for day in (DAY, DAY + timedelta(days=1)):
                await replica.roll_up_due(day, 0)
        change(
            environment,
            "Asia/Tokyo",
            "UPDATE ai_dialogue_log SET latency_ms = 5 WHERE created_at >= %s RETURNING created_at",
            moments[44],
        )
        assert {row[0] for row in execute(environment, "SELECT day FROM touched_days")} == {DAY + timedelta(days=2)}
        job = RollupJob(replica, FakeAmendments(), FakeDayTelemetry(), SystemClock(), 3600)
        while execute(environment, "SELECT day FROM touched_days"):
            await job.run_once(fresh_seconds=0)
        assert_right(environment, "UTC", DAY + timedelta(days=1))


async def test_another_time_zone_leaves_no_sums_of_the_old_days(environment: Environment) -> None:
    """The days of the new time zone equal the queries, also after changes."""
    chance = random.Random(1)
    begins, _ = bounds(DAY, "UTC")
    insert(environment, "UTC", [begins + timedelta(minutes=37 * number) for number in range(80)], 1)
    for zone in ("UTC", "Asia/Tokyo", "America/New_York", "UTC"):
        async with opened(environment, zone) as replica:
            job = RollupJob(replica, FakeAmendments(), FakeDayTelemetry(), SystemClock(), 3600)
            for _ in range(4):
                await job.run_once(fresh_seconds=0)
                await job.run_once(fresh_seconds=0)
                for (day,) in execute(environment, "SELECT date::date FROM rag_metrics_history"):
                    assert_day_equals_queries(environment, day, zone)
                happen(environment, zone, chance)
            await job.run_once(fresh_seconds=0)


async def test_an_erased_user_is_in_no_bucket(environment: Environment, tmp_path: Path) -> None:
    """Buckets that name the user are deleted in the transaction that deletes the dialogues."""
    begins, _ = bounds(DAY, "UTC")
    insert(environment, "UTC", [begins + timedelta(hours=hour) for hour in range(24)], 1)
    user = UUID(int=1)
    named = "SELECT count(*) FROM rollup_buckets WHERE users @> ARRAY[%s]"
    async with opened(environment) as replica:
        for _ in range(2):
            await replica.roll_up_due(DAY, 0)
        assert environment.value(named, user)
        erased = await asyncio.to_thread(environment.run, "erase", "--user", str(user), "--receipt", str(tmp_path))
        assert erased.returncode == 0, erased.stderr
        assert not environment.value(named, user)
        await replica.roll_up_due(DAY, 0)
    assert_right(environment, "UTC")
