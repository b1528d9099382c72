"""Tests the timer that makes monthly partitions, also when it fails in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from itertools import pairwise

from structlog.testing import capture_logs

from consumer.ingest.ports import Cause, StoreError, Unavailable
from consumer.maintenance.partition_job import PartitionJob
from consumer.maintenance.partition_log import LoggedPartitions
from consumer.maintenance.periodic import PeriodicJob
from consumer.postgres.table_partitions import MadePartition
from tests.support.virtual_time import time_passes

JANUARY = MadePartition(date(2026, 1, 1), "ai_dialogue_log_2026_01", 7, 0)
FEBRUARY = MadePartition(date(2026, 2, 1), "ai_dialogue_log_2026_02", 0, 0)
CROWDED = MadePartition(date(2026, 3, 1), "ai_dialogue_log_2026_03", 0, 10_001)


class FakePartitions:
    """Partitions in memory: each call makes the missing ones, or fails."""

    def __init__(self, *missing: MadePartition) -> None:
        self.missing = list(missing)
        self.outages: list[StoreError] = []
        self.looks: list[float] = []

    async def ensure(self) -> AsyncIterator[MadePartition]:
        self.looks.append(asyncio.get_running_loop().time())
        while self.missing:
            if self.outages:
                raise self.outages.pop(0)
            yield self.missing.pop(0)


class FakePartitionTelemetry:
    """Records the reports."""

    def __init__(self) -> None:
        self.made: list[MadePartition] = []
        self.problems: list[str] = []

    def partition_made(self, made: MadePartition) -> None:
        self.made.append(made)

    def partitions_failed(self, problem: str) -> None:
        self.problems.append(problem)


@asynccontextmanager
async def running(partitions: FakePartitions, telemetry: FakePartitionTelemetry) -> AsyncIterator[None]:
    """Run a timer with an interval of an hour."""
    task = asyncio.create_task(PeriodicJob("partitions", 3600.0, PartitionJob(partitions, telemetry).run_once).run())
    yield
    assert not task.done(), "the job has ended"
    task.cancel()


async def test_it_checks_at_once_and_then_on_the_timer() -> None:
    """One run makes every missing partition."""
    partitions, telemetry = FakePartitions(JANUARY, FEBRUARY), FakePartitionTelemetry()
    async with running(partitions, telemetry):
        await time_passes(1)
        assert telemetry.made == [JANUARY, FEBRUARY]
        partitions.missing = [CROWDED]
        await time_passes(3 * 3600)
    assert telemetry.made == [JANUARY, FEBRUARY, CROWDED]
    assert [later - earlier for earlier, later in pairwise(partitions.looks)] == [3600.0] * 3


async def test_an_outage_is_reported_and_retried_on_the_timer() -> None:
    """Partitions that were made before stay."""
    partitions, telemetry = FakePartitions(JANUARY, FEBRUARY), FakePartitionTelemetry()
    partitions.outages = [Unavailable("locked", Cause.LOCK), Unavailable("down", Cause.CONNECTION)]
    async with running(partitions, telemetry):
        await time_passes(3601)
        assert (telemetry.problems, telemetry.made) == (["locked", "down"], [])
        await time_passes(3600)
        assert telemetry.made == [JANUARY, FEBRUARY]


def test_new_and_waiting_partitions_are_logged() -> None:
    """If too many rows would have to be moved, it is a warning with the command that helps."""
    telemetry = LoggedPartitions()
    with capture_logs() as said:
        telemetry.partition_made(JANUARY)
        telemetry.partition_made(CROWDED)
    made, waiting = said
    assert (made["event"], made["partition"], made["moved"]) == ("monthly_partition_made", JANUARY.partition, 7)
    assert (waiting["event"], waiting["log_level"], waiting["rows"]) == ("monthly_partition_waiting", "warning", 10_001)
    assert "ragledger partition ensure" in waiting["hint"]


def test_the_same_problem_is_logged_once() -> None:
    """It is logged again if it returns after a success."""
    telemetry = LoggedPartitions()
    with capture_logs() as said:
        for problem in ("no right", "no right", "locked", "no right"):
            telemetry.partitions_failed(problem)
        telemetry.partition_made(FEBRUARY)
        telemetry.partitions_failed("no right")
    assert [line["problem"] for line in said if line["event"] == "monthly_partitions_failed"] == [
        "no right",
        "locked",
        "no right",
        "no right",
    ]
