"""Reads the content of the page from the database and Kafka, with time limits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from consumer.events.record import Partition
from consumer.http.page.snapshot import DAYS, MOST_DEAD_LETTERS, MOST_PARTITIONS, DeadLetters, Reading, Snapshot
from consumer.ingest.days import BusinessDays
from consumer.ingest.ports import Bounds, Clock, SourceError, StoreError
from consumer.ingest.rollup_basis import Basis
from consumer.postgres.client import Database, Transaction
from consumer.postgres.history import with_compliance
from consumer.postgres.queries import load

PATIENCE_SECONDS = 2.0
RATE_SECONDS = 30.0

_LIMIT = f"SET LOCAL statement_timeout = {int(PATIENCE_SECONDS * 1000)}"
Ends = Callable[[Collection[Partition]], Awaitable[Mapping[Partition, Bounds]]]


class SnapshotSource:
    """Takes snapshots; keeps earlier ones to compute rates and to show during an outage."""

    def __init__(self, database: Database, basis: Basis, group: str, ends: Ends, clock: Clock) -> None:
        self._database, self._basis, self._group, self._ends, self._clock = database, basis, group, ends, clock
        self._counts: deque[tuple[float, Mapping[Partition, int]]] = deque()
        self._last = Snapshot(self._now())

    async def take(self) -> Snapshot:
        """Return a snapshot within a few seconds. In an outage, return the last one with the problem."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                snapshot = await self._ask_database()
        except (StoreError, TimeoutError) as error:
            problem = str(error) or f"no answer within {PATIENCE_SECONDS:.0f} seconds"
            return replace(self._last, taken_at=self._now(), shown_at=self._last.taken_at, problem=problem)
        self._last = await self._with_lag(self._with_rates(snapshot))
        return self._last

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)

    async def _ask_database(self) -> Snapshot:
        async with self._database.transaction() as transaction:
            await transaction.execute(_LIMIT)
            timezone, today = await self._today(transaction)
            days = await transaction.fetch(load("page_days"), today.isoformat(), DAYS)
            partitions = await transaction.fetch(load("page_partitions"), self._group, MOST_PARTITIONS)
            letters = await transaction.fetch(load("page_dead_letters"), MOST_DEAD_LETTERS)
        return Snapshot(
            self._now(),
            today,
            timezone,
            [with_compliance(dict(day)) for day in days],
            [_reading(dict(row)) for row in partitions],
            [DeadLetters(**dict(row)) for row in letters],
        )

    async def _today(self, transaction: Transaction) -> tuple[str, date]:
        """Return the business time zone in force, which another replica may have set, and today in it."""
        rows = await transaction.fetch(load("basis_in_force"))
        timezone = rows[0]["time_zone"] if rows else self._basis.timezone
        try:
            days = BusinessDays(timezone)
        except (ValueError, KeyError):
            days = self._basis.days
        return timezone, days.day_of(self._now().replace(tzinfo=None))

    def _with_rates(self, snapshot: Snapshot) -> Snapshot:
        """Add rates, computed since the oldest snapshot of the last half minute."""
        now, counts = self._clock.monotonic(), {one.partition: one.records for one in snapshot.partitions}
        while self._counts and now - self._counts[0][0] > RATE_SECONDS:
            self._counts.popleft()
        since, before = self._counts[0] if self._counts else (now, {})
        self._counts.append((now, counts))
        return replace(snapshot, partitions=[_with_rate(one, before, now - since) for one in snapshot.partitions])

    async def _with_lag(self, snapshot: Snapshot) -> Snapshot:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                bounds = await self._ends([one.partition for one in snapshot.partitions])
        except (SourceError, TimeoutError) as error:
            return replace(snapshot, kafka_problem=str(error) or "Kafka does not answer")
        return replace(snapshot, partitions=[_with_lag(one, bounds) for one in snapshot.partitions])


def _reading(row: Mapping[str, Any]) -> Reading:
    partition = Partition(row["topic"], row["partition"])
    return Reading(partition, row["next_offset"], row["records"], row["owner"] or "", row["updated_at"])


def _with_rate(one: Reading, before: Mapping[Partition, int], seconds: float) -> Reading:
    counted = before.get(one.partition)
    return one if counted is None or seconds <= 0 else replace(one, rate=max(0, one.records - counted) / seconds)


def _with_lag(one: Reading, bounds: Mapping[Partition, Bounds]) -> Reading:
    found = bounds.get(one.partition)
    return one if found is None else replace(one, lag=max(0, found.high_watermark - one.next_offset))
