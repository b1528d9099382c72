"""Tests that queries on the partitioned table read only the partitions they need."""

import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any

import psycopg
import pytest

from consumer.ingest.days import BusinessDays
from consumer.postgres.queries import load
from tests.support.archives import HOURLY
from tests.support.partitions import converted
from tests.support.psql import execute
from tests.support.stack import fresh_database

JANUARY_FEBRUARY = ("'2026-01-31 12:00'", "'2026-02-01 12:00'")
SOMEBODY = "00000000-0000-0000-0000-000000000003"
BOTH = {"ai_dialogue_log_2026_01", "ai_dialogue_log_2026_02"}


@pytest.fixture(scope="module")
def parts(filled_template: tuple[str, str]) -> Any:
    """Return the DSN of a database with rows of three months in partitions, and more months ahead."""
    with fresh_database(*filled_template) as dsn:
        execute(dsn, HOURLY)
        converted(dsn)
        execute(dsn, "ANALYZE")
        yield dsn


def partitions_read(dsn: str, sql: str, *arguments: str, prepared: bool = False) -> set[str]:
    """Return the partitions whose scan is executed.

    :param arguments: SQL expressions for $1 and so on; with `prepared` they are parameters of a generic plan
    """
    with psycopg.connect(dsn) as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        if prepared:
            connection.execute(f"PREPARE asked AS {sql}".encode())
            sql = f"EXECUTE asked ({', '.join(arguments)})"
        else:
            sql = re.sub(r"\$(\d+)", lambda place: arguments[int(place[1]) - 1], sql)
        explained = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}".encode()).fetchone()
        connection.rollback()
    assert explained
    return set(executed_scans(explained[0][0]["Plan"]))


def executed_scans(plan: Mapping[str, Any]) -> list[str]:
    """Return the partitions in a plan whose nodes ran at least once."""
    own = [plan["Relation Name"]] if plan["Actual Loops"] and "Relation Name" in plan else []
    found = [name for child in plan.get("Plans", []) for name in executed_scans(child)]
    return [name for name in [*own, *found] if name.startswith("ai_dialogue_log_")]


@pytest.mark.parametrize("name", ["citations", "latency", "users"])
@pytest.mark.parametrize("prepared", [False, True])
def test_the_daily_queries_prune(parts: str, name: str, prepared: bool) -> None:
    """All three queries are planned with literal times and with parameters."""
    sql = load(f"partition_daily_{name}")
    assert partitions_read(parts, sql, *JANUARY_FEBRUARY, prepared=prepared) == BOTH
    one = partitions_read(parts, sql, "'2026-02-01'", "'2026-02-28 23:59:59.999999'", prepared=prepared)
    assert one == {"ai_dialogue_log_2026_02"}


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize(
    ("day", "zone", "read"),
    [
        ("2026-01-15", "UTC", {"ai_dialogue_log_2026_01"}),
        ("2026-01-31", "UTC", {"ai_dialogue_log_2026_01"}),
        ("2026-02-01", "UTC", {"ai_dialogue_log_2026_02"}),
        ("2026-02-01", "Asia/Tokyo", BOTH),
        ("2026-01-31", "America/New_York", BOTH),
        ("2199-01-01", "UTC", {"ai_dialogue_log_default"}),
    ],
)
def test_the_roll_up_reads_the_months_of_its_day(
    parts: str, day: str, zone: str, read: set[str], prepared: bool
) -> None:
    """One month, or two if the business day overlaps two months."""
    bounds = [f"'{moment}'::timestamp" for moment in BusinessDays(zone).bounds(date.fromisoformat(day))]
    assert partitions_read(parts, load("figures_of_day"), *bounds, prepared=prepared) == read


HISTORY = "SELECT * FROM ai_dialogue_log WHERE user_id = $1::uuid {} ORDER BY created_at DESC LIMIT 50"


@pytest.mark.parametrize("prepared", [False, True])
def test_a_users_history_prunes_by_time(parts: str, prepared: bool) -> None:
    """A range of days reads its months."""
    sql = HISTORY.format("AND created_at >= $2::timestamp AND created_at < $3::timestamp")
    assert partitions_read(parts, sql, f"'{SOMEBODY}'", *JANUARY_FEBRUARY, prepared=prepared) == BOTH


def scans(dsn: str, sql: str) -> str:
    """Return the plan of a statement with sequential scans disabled as far as possible."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET enable_seqscan = off")
        return json.dumps(connection.execute(f"EXPLAIN (FORMAT JSON) {sql}".encode()).fetchone())


def test_a_users_whole_history_uses_indexes(parts: str) -> None:
    """Without a range, the index of every partition is used."""
    plan = scans(parts, HISTORY.format("").replace("$1::uuid", f"'{SOMEBODY}'"))
    assert "Seq Scan" not in plan
    assert plan.count("user_id_created_at_idx") >= 3


def test_a_dialogue_is_found_by_its_id_with_indexes(parts: str) -> None:
    """Feedback names an id and no time: the key of each partition is used."""
    plan = scans(parts, f"UPDATE ai_dialogue_log SET user_feedback = 1 WHERE id = '{SOMEBODY}'")
    assert "Seq Scan" not in plan
    assert plan.count("_pkey") >= 3
