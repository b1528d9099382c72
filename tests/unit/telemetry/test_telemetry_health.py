"""Tests telemetry of outages, stopped partitions, and the newest day."""

from __future__ import annotations

import math
from collections.abc import Iterator, MutableMapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumer.ingest.offsets import Claim, StopReason
from consumer.ingest.ports import Cause, SourceError
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
    """Return the log lines."""
    with capture_logs() as logged:
        yield logged


@pytest.fixture
def scope(lines: Lines) -> Scope:
    """Return telemetry of two topics."""
    return Scope()


# ── outages ──


def events(lines: Lines) -> list[str]:
    """Return the names of the log lines in order."""
    return [line["event"] for line in lines]


def test_an_outage_of_the_database_is_logged_at_its_beginning_and_end(scope: Scope, lines: Lines) -> None:
    """It is logged once for all retries; each retry is counted."""
    assert scope.telemetry.outage() == ""
    for _ in range(50):
        scope.telemetry.unavailable(Cause.CONNECTION, "refused")
        scope.telemetry.silent(Cause.CONNECTION, "refused")
        scope.clock.now += 1
    assert scope.telemetry.outage() == "the database has been unavailable for 50 s: refused"
    assert events(lines) == ["database_unavailable"]
    assert scope.series("rag_write_retries_total")["connection",] == 50
    scope.telemetry.answered()
    scope.telemetry.available()
    assert scope.telemetry.outage() == ""
    assert events(lines) == ["database_unavailable", "database_available"]


def test_the_stages_of_one_restart_are_one_line(scope: Scope, lines: Lines) -> None:
    """A server that restarts shuts down, refuses connections, does not answer, and recovers."""
    for cause in (Cause.SHUTDOWN, Cause.CONNECTION, Cause.TIMEOUT, Cause.SYSTEM, Cause.SHUTDOWN, Cause.CONNECTION):
        scope.telemetry.unavailable(cause, "no")
    assert [line["cause"] for line in lines] == ["shutdown"]


def test_another_kind_of_cause_in_the_same_outage_is_logged_once(scope: Scope, lines: Lines) -> None:
    """The server is available again, but the role has lost a privilege."""
    for cause in (Cause.CONNECTION, Cause.PRIVILEGE, Cause.CONNECTION, Cause.PRIVILEGE):
        scope.telemetry.unavailable(cause, "no")
    assert [line["cause"] for line in lines] == ["connection", "privilege"]


def test_a_database_that_accepts_no_writes_is_still_unavailable(scope: Scope, lines: Lines) -> None:
    """It is full, locked or read-only; answered queries do not end the outage."""
    scope.telemetry.unavailable(Cause.LOCK, "locked")
    for _ in range(10):
        scope.telemetry.answered()
        scope.telemetry.unavailable(Cause.LOCK, "locked")
    assert scope.telemetry.outage() != ""
    assert events(lines) == ["database_unavailable"]


def test_a_write_that_is_tried_again_is_not_an_outage(scope: Scope, lines: Lines) -> None:
    """It may only wait for its turn. It is counted."""
    scope.telemetry.retried(Cause.TURN)
    assert scope.value("rag_write_retries_total", cause="turn") == 1
    assert scope.telemetry.outage() == ""
    assert lines == []


def test_an_outage_of_kafka_is_logged_at_its_beginning_and_end(scope: Scope, lines: Lines) -> None:
    """It is not an outage of the database."""
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


def test_a_stopped_partition_is_reported_with_the_command_that_settles_it(scope: Scope, lines: Lines) -> None:
    """It is in the log, a metric and /readyz, until the partition is claimed again."""
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


def test_a_stopped_partition_that_is_revoked_is_not_reported(scope: Scope) -> None:
    """The replica that it is assigned to reports it."""
    scope.telemetry.stopped(A, StopReason("a problem"))
    scope.telemetry.revoked([A])
    assert (scope.telemetry.stops(), scope.series("rag_stopped_partitions")) == ("", {})


# ── the days ──


def test_a_partition_without_a_leader_is_logged_at_the_beginning_and_the_end(scope: Scope, lines: Lines) -> None:
    """It is logged once for all requests. A partition that was not asked keeps its state; a revoked one is
    forgotten.
    """
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
    """Milliseconds become seconds; a figure without a value is NaN."""
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
    """It is the time of this replica's clock; a failure does not change it."""
    scope.days.rollup_succeeded()
    scope.clock.now += 60
    scope.days.rollup_failed("a problem")
    assert scope.value("rag_rollup_last_success_timestamp_seconds") == WALL_START + 1000
    scope.days.rollup_succeeded()
    assert scope.value("rag_rollup_last_success_timestamp_seconds") == WALL_START + 1060


def test_a_day_of_another_program_is_shown_too(scope: Scope) -> None:
    """Its row may have no time of computation and no result for our objectives."""
    foreign: dict[str, Any] = {**dict.fromkeys(DAY), "unique_users": 3, "slo_compliance": {}}
    scope.days.newest_day(foreign)
    assert scope.value("rag_day_unique_users") == 3
    assert math.isnan(scope.value("rag_day_cost_jpy") or 0)
