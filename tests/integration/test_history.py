"""Tests days in PostgreSQL: they equal the queries that define them, after any change of rows or settings."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import available_timezones

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from consumer.ingest.clock import SystemClock
from consumer.ingest.days import BusinessDays
from consumer.ingest.ports import Unavailable
from consumer.ingest.rollup_basis import Basis
from consumer.ingest.slo import DEFAULT_OBJECTIVES, Objective
from consumer.maintenance.rollup import RollupJob
from consumer.postgres.client import Database
from consumer.postgres.history import PostgresHistory
from consumer.settings.servers import Postgres
from tests.support.days import assert_day_equals_queries, at_the_edges, bounds, history, insert_dialogues
from tests.support.service import Environment
from tests.support.stack import wait_for
from tests.unit.maintenance.test_rollup import FakeAmendments, FakeDayTelemetry

pytestmark = pytest.mark.timeout(180)

TOKYO = "Asia/Tokyo"
FIRST = date(2026, 1, 10)
CHEAP = (Objective(name="cheap", figure="total_cost", operator="<=", target=Decimal("0.01")),)


@pytest.fixture
def environment(database: str) -> Environment:
    """Return a database without a service."""
    return Environment(database, "127.0.0.1:9", {})


@asynccontextmanager
async def opened(
    environment: Environment, zone: str = "UTC", objectives: Sequence[Objective] = DEFAULT_OBJECTIVES
) -> AsyncIterator[PostgresHistory]:
    """Open the history with the settings of one replica."""
    database = Database(Postgres(dsn=SecretStr(environment.dsn)))
    await database.open()
    try:
        yield PostgresHistory(database, Basis(zone, objectives), f"replica in {zone}")
    finally:
        await database.close(5)


async def run_timer(
    environment: Environment, zone: str = "UTC", objectives: Sequence[Objective] = DEFAULT_OBJECTIVES
) -> FakeDayTelemetry:
    """Run a replica's timer as at its start, as if no row were fresh, until no mark is left."""
    telemetry = FakeDayTelemetry()
    async with opened(environment, zone, objectives) as replica:
        job = RollupJob(replica, FakeAmendments(), telemetry, SystemClock(), 3600)
        while not await job.run_once(fresh_seconds=0) or environment.value("SELECT count(*) FROM touched_days"):
            pass
    return telemetry


def mark(environment: Environment, *days: date) -> None:
    """Add marks, as a flush does."""
    with psycopg.connect(environment.dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO touched_days (day) SELECT unnest(%s::date[])", (list(days),))


def execute(environment: Environment, statement: str, *arguments: Any) -> None:
    """Change something by hand."""
    with psycopg.connect(environment.dsn, autocommit=True) as connection:
        connection.execute(statement.encode(), arguments or None)


def stored_days(environment: Environment) -> list[date]:
    """Return the days that have a row."""
    return [row["date"].date() for row in environment.query("SELECT date FROM rag_metrics_history ORDER BY date")]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    zone=st.sampled_from(sorted(available_timezones())),
    day=st.dates(date(1990, 1, 1), date(2060, 1, 1)),
    seed=st.integers(0, 2**32),
    count=st.integers(0, 40),
)
def test_any_day_in_any_zone_equals_the_queries(
    environment: Environment, zone: str, day: date, seed: int, count: int
) -> None:
    """They are equal to the last digit, for empty, short, long and skipped days, and for missing figures."""
    chance = random.Random(seed)
    begins, ends = BusinessDays(zone).bounds(day)
    execute(environment, "TRUNCATE ai_dialogue_log, rag_metrics_history")
    within = [begins + (ends - begins) * chance.random() for _ in range(count)]
    insert_dialogues(environment, [*within, begins - timedelta(microseconds=1), begins, ends], seed)

    async def compute() -> None:
        async with opened(environment, zone) as replica:
            await replica.roll_up(day)

    asyncio.run(compute())
    row = assert_day_equals_queries(environment, day, between=(begins, ends))
    assert row["date"] == datetime(day.year, day.month, day.day)
    assert row["total_dialogues"] == (count + 1 if begins < ends else 0)


async def test_marks_are_removed_and_late_events_correct_their_day(environment: Environment) -> None:
    """This works for an old day too; a day without a mark is not changed."""
    days = [FIRST, FIRST + timedelta(days=400)]
    for round_ in range(2):
        insert_dialogues(environment, [moment for day in days for moment in at_the_edges(day, "UTC")], seed=round_)
        mark(environment, *days, days[0])
        await run_timer(environment)
        for day in days:
            assert_day_equals_queries(environment, day)
    assert stored_days(environment) == days
    assert environment.value("SELECT count(*) FROM touched_days") == 0


async def test_a_day_that_has_become_empty_gets_zeros(environment: Environment) -> None:
    """The queries give the same; a marked day that never had a row gets none."""
    insert_dialogues(environment, [datetime(2026, 1, 10, 12)] * 3, seed=1)
    mark(environment, FIRST)
    await run_timer(environment)
    execute(environment, "DELETE FROM ai_dialogue_log")
    mark(environment, FIRST, FIRST + timedelta(days=1))
    await run_timer(environment)
    row = assert_day_equals_queries(environment, FIRST)
    assert (row["total_dialogues"], row["total_cost"], row["latency_p95"], row["citation_rate"]) == (0, 0, None, None)
    assert {judged["met"] for judged in row["slo_compliance"].values()} == {None}
    assert stored_days(environment) == [FIRST]
    assert environment.value("SELECT count(*) FROM touched_days") == 0


async def test_another_time_zone_recomputes_every_day(environment: Environment) -> None:
    """The day after the last one gets a row too, because some dialogues are now on it; and back again."""
    days = [FIRST + timedelta(days=number) for number in range(3)]
    insert_dialogues(environment, [moment for day in days for moment in at_the_edges(day, "UTC")[1:4]], seed=2)
    mark(environment, *days)
    await run_timer(environment)
    assert stored_days(environment) == days
    for zone in (TOKYO, "America/New_York", "UTC"):
        await run_timer(environment, zone)
        found = stored_days(environment)
        for day in found:
            assert_day_equals_queries(environment, day, zone)
        total = "SELECT sum(total_dialogues) = (SELECT count(*) FROM ai_dialogue_log) FROM rag_metrics_history"
        assert environment.value(total)
    again = await run_timer(environment)
    assert again.days == [], "no day is due"


async def test_other_objectives_are_judged_without_reading_the_rows(environment: Environment) -> None:
    """The stored figures are judged, so that days whose dialogues were archived are judged too."""
    insert_dialogues(environment, [datetime(2026, 1, 10, 12)] * 5, seed=3)
    mark(environment, FIRST)
    await run_timer(environment)
    before = history(environment, FIRST)
    execute(environment, "TRUNCATE ai_dialogue_log")
    await run_timer(environment, objectives=(*CHEAP, DEFAULT_OBJECTIVES[-1]))
    after = history(environment, FIRST)
    assert {name: after[name] for name in after if name != "slo_compliance"} == {
        name: before[name] for name in before if name != "slo_compliance"
    }
    assert after["slo_compliance"]["cheap"] == {
        "target": 0.01,
        "operator": "<=",
        "actual": float(before["total_cost"]),
        "met": False,
    }
    assert after["slo_compliance"]["freshness"] == before["slo_compliance"]["freshness"]
    assert after["slo_compliance"].keys() == {"cheap", "freshness"}


async def test_a_day_whose_dialogues_were_archived_is_not_recomputed(environment: Environment) -> None:
    """A change of the time zone must not replace the figures of archived days by zeros."""
    days = [FIRST, FIRST + timedelta(days=5)]
    insert_dialogues(environment, [moment for day in days for moment in at_the_edges(day, "UTC")[1:4]], seed=4)
    mark(environment, *days)
    await run_timer(environment)
    before = history(environment, FIRST)
    # As archiving does it; single deletions would cause the day to be recomputed.
    execute(environment, "ALTER TABLE ai_dialogue_log DISABLE TRIGGER mark_days_of_deleted_dialogues")
    execute(environment, "DELETE FROM ai_dialogue_log WHERE created_at < %s", FIRST + timedelta(days=2))
    await run_timer(environment, TOKYO, CHEAP)
    kept = history(environment, FIRST)
    assert {name: kept[name] for name in ("total_dialogues", "latency_p95", "total_cost")} == {
        name: before[name] for name in ("total_dialogues", "latency_p95", "total_cost")
    }
    assert kept["slo_compliance"].keys() == {"cheap"}
    assert_day_equals_queries(environment, days[1], TOKYO)
    assert (await run_timer(environment, TOKYO, CHEAP)).days == [], "it is not checked again and again"
    left = "SELECT left_under IS NOT NULL FROM computed_days ORDER BY day"
    assert [row["?column?"] for row in environment.query(left)][:2] == [True, False]
    mark(environment, FIRST)
    await run_timer(environment, TOKYO, CHEAP)
    assert_day_equals_queries(environment, FIRST, TOKYO)


async def test_days_from_before_the_migration_are_computed_once(environment: Environment) -> None:
    """Their basis is not known."""
    insert_dialogues(environment, at_the_edges(FIRST, TOKYO)[1:4], seed=5)
    execute(environment, "INSERT INTO rag_metrics_history (date, total_dialogues) VALUES (%s, 1)", FIRST)
    assert FIRST in (await run_timer(environment, TOKYO)).days
    assert_day_equals_queries(environment, FIRST, TOKYO)
    assert (await run_timer(environment, TOKYO)).days == []


async def test_a_wrong_run_of_the_command_is_corrected_by_the_service(environment: Environment) -> None:
    """`ragledger rollup` in another time zone reports the difference, and does not change the basis in force."""
    insert_dialogues(environment, at_the_edges(FIRST, TOKYO), seed=6)
    mark(environment, *(FIRST + timedelta(days=shift) for shift in (-1, 0, 1)))
    await run_timer(environment, TOKYO)
    wrong_run = environment.run("rollup", "--day", str(FIRST))
    assert wrong_run.returncode == 0
    assert "the time zone is Asia/Tokyo instead of UTC" in wrong_run.stderr
    assert_day_equals_queries(environment, FIRST, "UTC")
    async with opened(environment, TOKYO) as replica:
        assert await replica.begin() == ""
        assert await replica.due(0) == [FIRST]
    await run_timer(environment, TOKYO)
    assert_day_equals_queries(environment, FIRST, TOKYO)


async def test_the_replica_that_starts_last_sets_the_basis(environment: Environment) -> None:
    """The other one reports the difference, and computes with the basis in force."""
    insert_dialogues(environment, at_the_edges(FIRST, TOKYO), seed=7)
    mark(environment, FIRST)
    async with opened(environment, "UTC") as first, opened(environment, TOKYO, CHEAP) as second:
        assert await first.begin() == ""
        assert await second.begin() == ""
        assert await first.begin() == "the time zone is Asia/Tokyo instead of UTC, and the objectives differ"
        assert await first.roll_up_due(FIRST, 0)
    row = assert_day_equals_queries(environment, FIRST, TOKYO)
    assert row["slo_compliance"].keys() == {"cheap"}


async def test_objectives_of_another_version_are_not_computed(environment: Environment) -> None:
    """A replica that does not understand the basis in force reports who set it, and computes nothing."""
    mark(environment, FIRST)
    async with opened(environment) as replica:
        await replica.begin()
        execute(
            environment,
            "INSERT INTO rollup_basis (time_zone, objectives, adopted_at, adopted_by)"
            ' VALUES (\'UTC\', \'[{"name": "x", "figure": "joy", "operator": ">", "target": 1}]\', now(), \'newer:1\')',
        )
        for ask in (replica.begin, lambda: replica.due(0), lambda: replica.roll_up_due(FIRST, 0)):
            call: Callable[[], Awaitable[Any]] = ask
            with pytest.raises(Unavailable, match="newer:1"):
                await call()
    assert stored_days(environment) == []


async def test_today_is_due_when_it_is_no_longer_fresh(environment: Environment) -> None:
    """It needs no mark. An old day is not due, and neither is today while its row is fresh."""
    today = environment.value("SELECT (now() AT TIME ZONE 'UTC')::date")
    insert_dialogues(environment, [datetime(today.year, today.month, today.day), datetime(2026, 1, 10)], seed=8)
    mark(environment, today, FIRST)
    await run_timer(environment)
    async with opened(environment) as replica:
        assert await replica.due(0) == [today]
        assert await replica.due(3600) == []
        mark(environment, today)
        assert await replica.due(3600) == []
        assert await replica.roll_up_due(today, 3600) is False
        assert await replica.roll_up_due(today, 0) is True
        assert environment.value("SELECT count(*) FROM touched_days") == 0


async def test_one_of_two_replicas_computes_and_a_dead_one_blocks_no_other(environment: Environment) -> None:
    """The lock belongs to the transaction: when the session of the first replica ends, the other one takes over."""
    insert_dialogues(environment, at_the_edges(FIRST, "UTC"), seed=9)
    mark(environment, FIRST)
    async with opened(environment) as one, opened(environment) as other:
        await one.begin()
        await other.begin()
        took = await asyncio.gather(one.roll_up_due(FIRST, 30), other.roll_up_due(FIRST, 30))
        assert sorted(took) == [False, True]
        mark(environment, FIRST)
        leader = psycopg.connect(environment.dsn)
        leader.execute("SELECT pg_advisory_xact_lock(hashtextextended('ragledger rollup', 0))")
        assert await other.roll_up_due(FIRST, 0) is False
        assert environment.value("SELECT pg_terminate_backend(%s, 10000)", leader.info.backend_pid)
        leader.close()
        assert await other.roll_up_due(FIRST, 0) is True
    assert_day_equals_queries(environment, FIRST)
    assert stored_days(environment) == [FIRST]


async def test_a_flush_never_waits_for_a_roll_up(environment: Environment) -> None:
    """The roll-up waits at its last step with all its locks; rows and marks of the same day are still committed."""
    mark(environment, FIRST)
    insert_dialogues(environment, at_the_edges(FIRST, "UTC"), seed=12)
    async with opened(environment) as replica:
        await replica.begin()
        await replica.roll_up_due(FIRST, 0)
        mark(environment, FIRST)
        with psycopg.connect(environment.dsn) as holder:
            holder.execute("SELECT * FROM rag_metrics_history FOR UPDATE")
            held_up = asyncio.create_task(replica.roll_up_due(FIRST, 0))
            waits = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            await wait_for(lambda: environment.value(waits) == 1, message="the roll-up waits")
            with psycopg.connect(environment.dsn, autocommit=True) as writer:
                writer.execute("SET lock_timeout = '1s'")
                writer.execute("INSERT INTO touched_days (day) VALUES (%s)", (FIRST,))
            insert_dialogues(environment, at_the_edges(FIRST, "UTC"), seed=13)
            assert not held_up.done()
        assert await held_up
    assert environment.value("SELECT count(*) FROM touched_days") == 1
    await run_timer(environment)
    assert_day_equals_queries(environment, FIRST)


@pytest.mark.parametrize("day", [date.min, date.max])
async def test_the_first_and_the_last_possible_day(environment: Environment, day: date) -> None:
    """A clock that is wrong by millennia gives a normal day, and leaves no mark."""
    moment = datetime.min if day == date.min else datetime(9999, 12, 31, 23, 59, 59, 999999)
    insert_dialogues(environment, [moment], seed=10)
    async with opened(environment) as replica:
        await replica.begin()
        async with replica._database.transaction() as transaction:
            await transaction.execute("INSERT INTO touched_days (day) SELECT unnest($1::date[])", [day])
        assert await replica.due(0) == [day]
        assert await replica.roll_up_due(day, 0)
    found = environment.query("SELECT date::text, total_dialogues FROM rag_metrics_history")
    assert found == [{"date": f"{day.isoformat()} 00:00:00", "total_dialogues": 1}]
    assert environment.value("SELECT count(*) FROM touched_days") == 0


async def test_freshness_is_the_time_until_a_dialogue_was_stored(environment: Environment) -> None:
    """It is exact; a clock that is ahead gives no delay; rows from before the column do not count."""
    insert_dialogues(environment, [datetime(2026, 1, 10, 12)] * 4, seed=11)
    delays = ("5 seconds", "25 seconds", "-1 hour", None)
    for row, delay in zip(environment.query("SELECT id FROM ai_dialogue_log"), delays, strict=True):
        execute(
            environment,
            "UPDATE ai_dialogue_log SET ingested_at = created_at + %s::interval WHERE id = %s",
            delay,
            row["id"],
        )
    mark(environment, FIRST)
    await run_timer(environment)
    judged = history(environment, FIRST)["slo_compliance"]["freshness"]
    assert judged == {"target": 60, "operator": "<=", "actual": 23.0, "met": True}  # 95 % of the distance from 5 to 25
    assert environment.value("SELECT ingest_delay_p95 FROM computed_days") == 23.0


def test_bounds_equal_those_of_the_queries_elsewhere() -> None:
    """Tests of commands and of the service compute bounds themselves; the results are equal."""
    for zone in ("UTC", TOKYO, "America/New_York", "Asia/Kathmandu", "America/Havana"):
        for number in range(366):
            day = FIRST + timedelta(days=number)
            assert BusinessDays(zone).bounds(day) == bounds(day, zone)
