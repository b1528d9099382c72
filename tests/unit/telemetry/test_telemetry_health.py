"""Telemetry: outages, stopped partitions, and the figures of the newest day."""

from __future__ import annotations

import math
from collections.abc import Iterator, MutableMapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumer.ingest.offsets import Claim, StopReason
from consumer.ingest.ports import SourceError
from tests.support.fakes import WALL_START
from tests.support.scope import Scope
from tests.support.world import A, B

Lines = list[MutableMapping[str, Any]]

DAY: dict[str, Any] = {
    "citation_rate": Decimal("71.50"),
    "unique_users": 12,
    "total_cost": Decimal("345.60"),
    "latency_p50": 900.0,
    "latency_p95": 2500.5,
    "latency_p99": None,
    "computed_at": datetime(2026, 1, 31, 12),
    "slo_compliance": {"fast": {"met": True}, "cheap": {"met": False}, "good": {"met": None}},
}


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What is logged."""
    with capture_logs() as logged:
        yield logged


@pytest.fixture
def scope(lines: Lines) -> Scope:
    """Telemetry of two topics."""
    return Scope()


# ── outages ──


def events(lines: Lines) -> list[str]:
    """What was said, in order."""
    return [line["event"] for line in lines]


def test_an_outage_of_the_database_is_said_once_and_when_it_is_over(scope: Scope, lines: Lines) -> None:
    """However many tries it takes; each try is counted."""
    assert scope.telemetry.outage() == ""
    for _ in range(50):
        scope.telemetry.unavailable("connection", "refused")
        scope.telemetry.silent("connection", "refused")
        scope.clock.now += 1
    assert scope.telemetry.outage() == "the database could not be used for 50 s: refused"
    assert events(lines) == ["database_unavailable"]
    assert scope.series("rag_write_retries_total")["connection",] == 50
    scope.telemetry.answered()
    scope.telemetry.available()
    assert scope.telemetry.outage() == ""
    assert events(lines) == ["database_unavailable", "database_available"]


def test_the_stages_of_one_restart_are_one_line(scope: Scope, lines: Lines) -> None:
    """A server that restarts shuts down, is not there, does not answer, and recovers."""
    for cause in ("shutdown", "connection", "timeout", "system", "shutdown", "connection"):
        scope.telemetry.unavailable(cause, "no")
    assert [line["cause"] for line in lines] == ["shutdown"]


def test_a_cause_with_another_remedy_in_the_same_outage_is_news_once(scope: Scope, lines: Lines) -> None:
    """The server is back, but the role has lost a privilege."""
    for cause in ("connection", "privilege", "connection", "privilege"):
        scope.telemetry.unavailable(cause, "no")
    assert [line["cause"] for line in lines] == ["connection", "privilege"]


def test_a_database_that_answers_but_takes_no_writes_is_still_away(scope: Scope, lines: Lines) -> None:
    """Full, locked, read-only: questions are answered all the time, and nothing is said of that."""
    scope.telemetry.unavailable("lock", "locked")
    for _ in range(10):
        scope.telemetry.answered()
        scope.telemetry.unavailable("lock", "locked")
    assert scope.telemetry.outage() != ""
    assert events(lines) == ["database_unavailable"]


def test_waiting_for_the_turn_is_no_outage(scope: Scope, lines: Lines) -> None:
    """Another batch of ours is just slower."""
    scope.telemetry.unavailable("turn", "an earlier batch is not committed yet")
    assert scope.telemetry.outage() == ""
    assert lines == []


def test_an_outage_of_kafka_is_said_once_and_when_it_is_over(scope: Scope, lines: Lines) -> None:
    """It is not one of the database."""
    for _ in range(50):
        scope.telemetry.kafka_unavailable(SourceError("no broker answers"))
        scope.clock.now += 1
    assert scope.telemetry.kafka_outage() == "Kafka has not answered for 50 s: no broker answers"
    assert scope.telemetry.outage() == ""
    scope.telemetry.kafka_available()
    scope.telemetry.kafka_available()
    assert scope.telemetry.kafka_outage() == ""
    assert events(lines) == ["kafka_unavailable", "kafka_available"]


# ── stopped partitions ──


def test_a_stopped_partition_is_told_with_the_command_that_settles_it(scope: Scope, lines: Lines) -> None:
    """In the log, as a metric and to whoever asks; until it is claimed to be read on."""
    assert scope.telemetry.stops() == ""
    scope.telemetry.stopped(A, StopReason("deleted by retention"))
    assert scope.series("rag_stopped_partitions") == {(A.topic, "0"): 1}
    command = f"ragledger ledger resume --topic {A.topic} --partition 0 --from earliest"
    assert command in scope.telemetry.stops()
    [line] = lines
    assert (line["event"], line["settle"]) == ("partition_stopped", command)
    scope.telemetry.claimed([Claim(B, 1, 0)])
    assert "deleted by retention" in scope.telemetry.stops()
    scope.telemetry.claimed([Claim(A, 3, 0)])
    assert scope.telemetry.stops() == ""
    assert scope.series("rag_stopped_partitions") == {}


def test_a_stopped_partition_that_is_gone_is_somebody_elses(scope: Scope) -> None:
    """Whoever is assigned it tells."""
    scope.telemetry.stopped(A, StopReason("a problem"))
    scope.telemetry.revoked([A])
    assert (scope.telemetry.stops(), scope.series("rag_stopped_partitions")) == ("", {})


# ── the days ──


def test_a_partition_without_a_leader_is_told_once_and_when_it_has_one(scope: Scope, lines: Lines) -> None:
    """However often it is asked for; what was not asked just now stays as it was, and what is revoked is forgotten."""
    telemetry, labels = scope.telemetry, {"topic": A.topic, "partition": str(A.partition)}
    for why in ("it has no leader", "broker 3, its leader, has not answered for 5 s"):
        telemetry.unanswered({A, B}, {A: why})
        assert telemetry.leaderless() == f"{A}: {why}"
    telemetry.unanswered({B}, {})
    assert scope.value("rag_leaderless_partitions", **labels) == 1
    telemetry.unanswered({A}, {})
    assert (telemetry.leaderless(), scope.value("rag_leaderless_partitions", **labels)) == ("", None)
    assert events(lines) == ["partition_without_leader", "partition_leader_answers"]
    telemetry.unanswered({A}, {A: "it has no leader"})
    telemetry.revoked([A])
    assert (telemetry.leaderless(), scope.value("rag_leaderless_partitions", **labels)) == ("", None)


def test_the_newest_day_is_shown(scope: Scope) -> None:
    """Seconds for milliseconds; NaN where the day has no value."""
    scope.days.newest_day(DAY)
    shown = [scope.value(f"rag_day_{name}") for name in ("citation_rate", "unique_users", "cost_jpy")]
    assert shown == [71.5, 12, 345.6]
    latency = scope.series("rag_day_latency_seconds")
    assert (latency["0.5",], latency["0.95",]) == (0.9, 2.5005)
    assert math.isnan(latency["0.99",])
    met = scope.series("rag_slo_met")
    assert (met["fast",], met["cheap",]) == (1, 0)
    assert math.isnan(met["good",])
    assert scope.value("rag_rollup_timestamp_seconds") == datetime.fromisoformat("2026-01-31T12:00:00Z").timestamp()


def test_the_last_success_of_the_roll_up_is_shown(scope: Scope) -> None:
    """By our own clock, and of this replica; a failure leaves it where it is."""
    scope.days.rollup_succeeded()
    scope.clock.now += 60
    scope.days.rollup_failed("a problem")
    assert scope.value("rag_rollup_last_success_timestamp_seconds") == WALL_START + 1000
    scope.days.rollup_succeeded()
    assert scope.value("rag_rollup_last_success_timestamp_seconds") == WALL_START + 1060


def test_a_day_that_somebody_else_has_written_is_shown_too(scope: Scope) -> None:
    """Another job's row may say neither when it was computed nor how it meets our objectives."""
    foreign: dict[str, Any] = {**dict.fromkeys(DAY), "unique_users": 3, "slo_compliance": {}}
    scope.days.newest_day(foreign)
    assert scope.value("rag_day_unique_users") == 3
    assert math.isnan(scope.value("rag_day_cost_jpy") or 0)
