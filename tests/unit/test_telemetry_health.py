"""Telemetry: whether the reader is alive, and the figures of the newest day."""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.unit.builders import dialogue
from tests.unit.fakes import WALL_START
from tests.unit.scope import Scope
from tests.unit.world import A, B

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
def scope() -> Scope:
    """Telemetry of two topics."""
    return Scope()


# ── whether it is alive ──


def test_no_progress_although_there_is_something_to_do_is_a_stall(scope: Scope) -> None:
    """After two minutes; a commit ends it."""
    scope.telemetry.lag(A, 5, 1.0)
    scope.clock.now += 119
    assert scope.telemetry.stall() == ""
    scope.clock.now += 2
    assert "nothing was committed for 121 s although 1 partitions have records waiting" in scope.telemetry.stall()
    scope.write(dialogue())
    assert scope.telemetry.stall() == ""


def test_idling_is_no_stall(scope: Scope) -> None:
    """Where nothing waits, nothing has to be committed."""
    scope.telemetry.lag(A, 0, 0.0)
    scope.clock.now += 10_000
    assert scope.telemetry.stall() == ""


def test_the_first_record_after_a_long_idle_time_is_no_stall(scope: Scope) -> None:
    """The two minutes begin when there is something to do, not with the last commit hours ago."""
    scope.telemetry.lag(A, 0, 0.0)
    scope.clock.now += 10_000
    scope.telemetry.lag(A, 1, 0.0)
    assert scope.telemetry.stall() == ""
    scope.clock.now += 119
    scope.telemetry.lag(A, 2, 119.0)
    assert scope.telemetry.stall() == ""
    scope.clock.now += 2
    assert scope.telemetry.stall() != ""


def test_an_outage_of_the_database_is_no_stall(scope: Scope) -> None:
    """A restart would not mend it."""
    scope.telemetry.lag(A, 5, 1.0)
    scope.telemetry.unavailable("connection", "refused")
    scope.clock.now += 10_000
    assert scope.telemetry.stall() == ""


def test_after_an_outage_the_two_minutes_begin_anew(scope: Scope) -> None:
    """The first write comes a moment after the database is back; until then nothing is wrong."""
    scope.telemetry.lag(A, 5, 1.0)
    scope.telemetry.unavailable("connection", "refused")
    scope.clock.now += 10_000
    scope.telemetry.available()
    assert scope.telemetry.stall() == ""
    scope.clock.now += 121
    assert scope.telemetry.stall() != ""


def test_a_stopped_partition_is_no_stall(scope: Scope) -> None:
    """A person has to decide; a restart would not mend it, and the other partitions are read on."""
    scope.telemetry.lag(A, 5, 1.0)
    scope.telemetry.stopped(A, "deleted by retention")
    scope.clock.now += 60
    scope.telemetry.lag(A, 9, 60.0)
    scope.clock.now += 10_000
    assert scope.telemetry.stall() == ""
    scope.telemetry.lag(B, 1, 1.0)
    scope.clock.now += 121
    assert "1 partitions" in scope.telemetry.stall()


def test_partitions_that_are_gone_are_no_stall(scope: Scope) -> None:
    """What they have waiting is another reader's; a new assignment begins anew."""
    scope.telemetry.lag(A, 5, 1.0)
    scope.telemetry.revoked([A])
    scope.clock.now += 10_000
    assert scope.telemetry.stall() == ""
    scope.telemetry.assigned([A])
    scope.telemetry.lag(A, 5, 1.0)
    assert scope.telemetry.stall() == ""


# ── the days ──


def test_the_newest_day_is_shown(scope: Scope) -> None:
    """Seconds for milliseconds; NaN where the day has no value."""
    scope.telemetry.newest_day(DAY)
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
    scope.telemetry.rollup_succeeded()
    scope.clock.now += 60
    scope.telemetry.rollup_failed("a problem")
    assert scope.value("rag_rollup_last_success_timestamp_seconds") == WALL_START + 1000
    scope.telemetry.rollup_succeeded()
    assert scope.value("rag_rollup_last_success_timestamp_seconds") == WALL_START + 1060


def test_a_day_that_somebody_else_has_written_is_shown_too(scope: Scope) -> None:
    """Another job's row may say neither when it was computed nor how it meets our objectives."""
    foreign: dict[str, Any] = {**dict.fromkeys(DAY), "unique_users": 3, "slo_compliance": {}}
    scope.telemetry.newest_day(foreign)
    assert scope.value("rag_day_unique_users") == 3
    assert math.isnan(scope.value("rag_day_cost_jpy") or 0)
