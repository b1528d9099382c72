"""Tests `ragledger partition plan`: whether partitioning is due, why, and which steps a conversion has."""

import re
from typing import Any

import pytest

from tests.support.partitions import converted, fill
from tests.support.psql import execute
from tests.support.service import Environment

DAYS = """
INSERT INTO rag_metrics_history (date, total_dialogues)
SELECT timestamp '2026-01-31' - n * interval '1 day', CASE n WHEN 3 THEN {busiest} WHEN 40 THEN 900000 ELSE 10 END
FROM generate_series(0, 50) AS n
"""


@pytest.fixture
def environment(filled: str) -> Environment:
    """Return a database on either version, without Kafka."""
    return Environment(filled, "127.0.0.1:9", {})


def criteria(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in plan["criteria"]}


def test_an_empty_table_needs_no_partitions(environment: Environment) -> None:
    """No threshold is reached, unknown figures are shown as unknown, and the exit code is 0, also with --check."""
    plan = environment.run_json("partition", "plan")
    assert (plan["due"], plan["partitioned"], plan["obstacles"]) == (False, False, [])
    assert [one["measured"] is None for one in plan["criteria"]] == [True, False, True]
    assert environment.run("partition", "plan", "--check").returncode == 0


@pytest.mark.parametrize(("busiest", "due"), [(100_000, False), (100_001, True)])
def test_the_busiest_of_the_newest_thirty_days_counts(environment: Environment, busiest: int, due: bool) -> None:
    """An earlier busier day does not count. With --check the exit code is 3 if partitioning is due, without it 0."""
    execute(environment.dsn, DAYS.format(busiest=busiest))
    plan = environment.run_json("partition", "plan")
    volume = criteria(plan)["rows_a_day"]
    assert (volume["measured"], volume["reached"], plan["due"]) == (busiest, due, due)
    assert "2026-01-28" in volume["source"]
    assert environment.run("partition", "plan", "--check").returncode == (3 if due else 0)
    assert environment.run("partition", "plan").returncode == 0


def test_without_rolled_up_days_the_planner_statistics_count(environment: Environment) -> None:
    """They give two rows a day in spite of some wrong clocks; the table is not counted."""
    fill(environment.dsn)
    execute(environment.dsn, "ANALYZE ai_dialogue_log")
    volume = criteria(environment.run_json("partition", "plan"))["rows_a_day"]
    assert volume["measured"] == 2
    assert "statistics" in volume["source"]


def test_the_p95_is_measured_with_the_daily_queries(environment: Environment) -> None:
    """This happens if pg_stat_statements has no figures."""
    fill(environment.dsn)
    p95 = criteria(environment.run_json("partition", "plan"))["p95_ms"]
    assert 0 < p95["measured"] < 5000
    assert "the three daily queries" in p95["source"]


def test_the_p95_comes_from_pg_stat_statements_if_possible(environment: Environment) -> None:
    """Only statements of others count, not our own queries of the catalog."""
    fill(environment.dsn)
    execute(environment.dsn, "CREATE EXTENSION pg_stat_statements")
    slow = "SELECT count(*), pg_sleep(0.02) FROM ai_dialogue_log WHERE latency_ms = 1"
    execute(environment.dsn, *[slow] * 25)
    p95 = criteria(environment.run_json("partition", "plan"))["p95_ms"]
    assert 20 <= p95["measured"] < 1000
    assert re.search("2[5-9] calls", p95["source"])


def test_it_describes_a_conversion_and_its_obstacles(environment: Environment) -> None:
    """It lists each step with its lock and its time."""
    fill(environment.dsn)
    execute(environment.dsn, "CREATE UNIQUE INDEX once ON ai_dialogue_log (session_id)")
    plan = environment.run_json("partition", "plan")
    assert [step["name"] for step in plan["steps"]] == ["made", "mirrored", "copied", "verified", "switched", "done"]
    assert plan["obstacles"] == ["once cannot be unique across partitions without created_at: drop it"]
    assert plan["disk_bytes"] == criteria(plan)["bytes"]["measured"] > 0
    shown = environment.run("partition", "plan").stdout
    assert "Partitioning is not due yet." in shown
    assert "Obstacle: once cannot be unique" in " ".join(shown.split())


def test_a_partitioned_table_shows_its_partitions(environment: Environment) -> None:
    """Partitioning is not due any more; each partition has its range, and the default one is last."""
    execute(environment.dsn, DAYS.format(busiest=10**6))
    fill(environment.dsn)
    converted(environment.dsn)
    plan = environment.run_json("partition", "plan")
    assert (plan["partitioned"], plan["due"], plan["steps"]) == (True, False, [])
    assert [one["is_default"] for one in plan["partitions"]][-1]
    assert plan["partitions"][0]["begins_at"] < plan["partitions"][0]["ends_at"]
    assert environment.run("partition", "plan", "--check").returncode == 0
    assert "ai_dialogue_log_default" in environment.run("partition", "plan").stdout
