"""Tests `ragledger rollup` and the timer: one exact row for every day of the business time zone."""

import random
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.days import assert_day_equals_queries, at_the_edges, bounds, history, insert_dialogues
from tests.support.ingestion import Outgoing, as_json, environment_on, send, small_dialogue, wait_for_records
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers, fresh_database

pytestmark = pytest.mark.timeout(120)

TOKYO, NEW_YORK = "Asia/Tokyo", "America/New_York"
ZONES = [
    ("UTC", date(2026, 1, 31), 24),
    (TOKYO, date(2026, 1, 1), 24),
    (NEW_YORK, date(2026, 3, 8), 23),
    (NEW_YORK, date(2026, 11, 1), 25),
    ("America/Sao_Paulo", date(2018, 11, 4), 23),  # its midnight did not exist
    ("Asia/Kathmandu", date(2026, 2, 28), 24),  # 5:45 ahead of UTC
]


@pytest.fixture
def offline(stack: Servers, migrated_template: str) -> Iterator[Callable[..., Environment]]:
    """Return a function that makes environments on one database, without Kafka."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        yield lambda **settings: Environment(dsn, "127.0.0.1:9", {}, **settings)


@pytest.mark.parametrize(("zone", "day", "hours"), ZONES)
def test_a_day_is_half_open_and_equals_the_queries(
    offline: Callable[..., Environment], zone: str, day: date, hours: int
) -> None:
    """Its first microsecond counts and that of the next day does not, whether the day has 23, 24 or 25 hours."""
    environment = offline(RAGLEDGER_ROLLUP__TIMEZONE=zone)
    begins, ends = bounds(day, zone)
    assert ends - begins == timedelta(hours=hours)
    within = [begins + (ends - begins) * n / 50 for n in range(50)]
    insert_dialogues(environment, [*within, *at_the_edges(day, zone)], seed=hours)
    days = [day - timedelta(days=1), day, day + timedelta(days=1)]
    printed = environment.run_json("rollup", "--since", str(days[0]), "--until", str(days[-1]))
    for each, shown, total in zip(days, printed, (1, 53, 1), strict=True):
        row = assert_day_equals_queries(environment, each, zone)
        assert row["total_dialogues"] == total
        assert row["date"] == datetime(each.year, each.month, each.day)
        assert shown["date"] == f"{each}T00:00:00"
        assert as_numbers(shown) == as_numbers(row)


def as_numbers(row: Any) -> dict[str, float]:
    """Return the figures of a row as numbers."""
    figures = ("total_dialogues", "unique_users", "citation_rate", "latency_p95", "total_cost", "total_tokens")
    return {name: float(row[name] or 0) for name in figures}


def test_a_day_without_dialogues_is_a_row_of_zeros(offline: Callable[..., Environment]) -> None:
    """Counts and sums are 0; other figures are NULL; no objective is met or missed."""
    environment = offline()
    [printed] = environment.run_json("rollup", "--day", "2026-02-03")
    row = assert_day_equals_queries(environment, date(2026, 2, 3))
    assert (row["total_dialogues"], row["unique_users"], row["total_cost"], row["total_tokens"]) == (0, 0, 0, 0)
    assert (row["latency_p95"], row["citation_rate"], row["avg_relevance_score"]) == (None, None, None)
    for judged in (row["slo_compliance"], printed["slo_compliance"]):
        assert {objective["met"] for objective in judged.values()} == {None}
        assert all(objective.keys() == {"target", "operator", "actual", "met"} for objective in judged.values())


def test_a_range_computes_each_of_its_days_every_time(offline: Callable[..., Environment]) -> None:
    """Both ends are included, in order; rows are replaced and not added, and later changes are in the new figures."""
    environment = offline()
    days = [date(2026, 2, 26) + timedelta(days=n) for n in range(5)]  # across the end of a month
    insert_dialogues(environment, [datetime(2026, 2, 28, 12)], seed=1)
    for extra in range(2):
        insert_dialogues(environment, [datetime(2026, 3, 1, 12)] * extra, seed=2)
        printed = environment.run_json("rollup", "--since", "2026-02-26", "--until", "2026-03-02")
        assert [one["date"][:10] for one in printed] == [day.isoformat() for day in days]
        assert [one["total_dialogues"] for one in printed] == [0, 0, 1, extra, 0]
    assert environment.value("SELECT count(*) FROM rag_metrics_history") == 5
    for day in days:
        assert_day_equals_queries(environment, day)
    created, computed = environment.query("SELECT created_at, computed_at FROM rag_metrics_history")[0].values()
    assert created < computed


def test_tables_have_a_column_or_a_line_for_each_day(offline: Callable[..., Environment]) -> None:
    """A few days are columns with all figures; many days are lines."""
    environment = offline()
    insert_dialogues(environment, [datetime(2026, 2, 3, 12)] * 7, seed=3)
    few = environment.run("rollup", "--day", "2026-02-03")
    assert (few.returncode, few.stderr) == (0, "")
    assert "2026-02-03" in few.stdout
    many = environment.run("rollup", "--since", "2026-02-01", "--until", "2026-02-10").stdout
    assert all(f"2026-02-{number:02}" in many for number in range(1, 11))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--since", "2026-01-01"],
        ["--day", "2026-01-01", "--since", "2026-01-01"],
        ["--since", "2026-01-02", "--until", "2026-01-01"],
        ["--day", "2026-02-30"],
    ],
)
def test_wrong_use_exits_with_2(arguments: list[str]) -> None:
    """No day, half a range, both forms at once, a reversed range, a day that does not exist."""
    done = Environment("postgresql://127.0.0.1:9/x", "127.0.0.1:9", {}).run("rollup", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--" in done.stderr


def test_objectives_come_from_the_file(offline: Callable[..., Environment], tmp_path: Path) -> None:
    """There is one member for each objective; a wrong file is reported with its error."""
    file = tmp_path / "slo.yaml"
    file.write_text("objectives:\n  - {name: quick, figure: latency_p95, operator: '<=', target: 1}\n")
    environment = offline(RAGLEDGER_SLO__FILE=str(file))
    insert_dialogues(environment, [datetime(2026, 2, 3, 12)] * 9, seed=4)
    [printed] = environment.run_json("rollup", "--day", "2026-02-03")
    actual = history(environment, date(2026, 2, 3))["latency_p95"]
    wanted = {"quick": {"target": 1.0, "operator": "<=", "actual": actual, "met": False}}
    assert printed["slo_compliance"] == wanted
    assert history(environment, date(2026, 2, 3))["slo_compliance"] == wanted
    file.write_text("objectives:\n  - {name: quick, figure: speed, operator: '<=', target: 1}\n")
    wrong = environment.run("rollup", "--day", "2026-02-03")
    assert wrong.returncode == 1
    assert str(file) in wrong.stderr
    assert "figure" in wrong.stderr


def test_the_cost_of_a_busy_day_fits_the_columns(offline: Callable[..., Environment]) -> None:
    """Thousands of dialogues have the highest cost."""
    environment = offline()
    insert_dialogues(environment, [datetime(2026, 2, 3, 12)] * 200, seed=5)
    environment.query("UPDATE ai_dialogue_log SET token_cost_jpy = 999999.99 RETURNING 1")
    assert environment.run("rollup", "--day", "2026-02-03").returncode == 0
    assert float(assert_day_equals_queries(environment, date(2026, 2, 3))["total_cost"]) == 199_999_998.0


def test_two_replicas_keep_one_row_a_day_and_late_events_correct_it(
    stack: Servers, migrated_template: str, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Both timers run, in the business time zone, for old days and for today."""
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(3)]
    zone = {"RAGLEDGER_ROLLUP__TIMEZONE": TOKYO, "RAGLEDGER_ROLLUP__INTERVAL_S": "0.1"}
    moments = [moment for day in days for moment in at_the_edges(day, TOKYO)]
    chance = random.Random(6)
    with environment_on(stack, migrated_template, partitions=2, **zone) as environment:

        def publish(count: int) -> None:
            made = [small_dialogue(chance, created_at=f"{chance.choice(moments).isoformat()}Z") for _ in range(count)]
            send(bootstrap_servers, [Outgoing(environment.topics["dialogue"], as_json(event)) for event in made])

        with (
            ServiceProcess(environment, tmp_path / "one") as one,
            ServiceProcess(environment, tmp_path / "two") as two,
        ):
            for count, total in ((200, 200), (10, 210), (1, 211)):
                publish(count)
                wait_for_records(environment, total)
                eventually(lambda: environment.value("SELECT count(*) FROM touched_days") == 0)
                found = [assert_day_equals_queries(environment, day, TOKYO)["total_dialogues"] for day in days]
                assert 0 < sum(found) <= total
            assert environment.value("SELECT count(*) = count(DISTINCT date(date)) FROM rag_metrics_history")
            assert [one.stop(), two.stop()] == [0, 0]
