"""A broker, a database and replicas between them: the setting of pipeline tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from consumer.events.kind import Kind
from consumer.events.record import Partition, Record
from consumer.ingest.batch import BatchLimits
from consumer.ingest.pipeline import Pipeline, PipelinePolicy
from tests.support.builders import DIALOGUE_TOPIC, KINDS, PROVENANCE_TOPIC, dialogue, encode
from tests.support.fakes import (
    Changes,
    FakeBroker,
    FakeSource,
    FakeStore,
    FakeTelemetry,
    LoopClock,
    Tables,
    aside_in_virtual_time,
    partition_of,
)

A, B, C = (Partition(DIALOGUE_TOPIC, number) for number in range(3))
P = Partition(PROVENANCE_TOPIC, 0)

LIMITS = BatchLimits(max_rows=100, max_bytes=1_000_000, max_delay=0.2)
GOOD, BAD = dialogue(), b"not JSON"


def policy(limits: BatchLimits = LIMITS, **changes: Any) -> PipelinePolicy:
    """Return a policy with small batches."""
    return PipelinePolicy(limits, **{"max_record_bytes": 100_000, **changes})


@dataclass
class World:
    """The broker and the database."""

    changes: Changes = field(default_factory=Changes)

    def __post_init__(self) -> None:
        self.broker = FakeBroker(self.changes)
        self.tables = Tables(self.changes)
        for partition in (A, B, C, P):
            self.broker.create(partition)

    def replica(self, name: str = "one", policy: PipelinePolicy = policy()) -> Replica:  # noqa: B008 - frozen
        """Return a replica that does not run yet."""
        return Replica(self, name, policy)

    def produce(self, partition: Partition, count: int, event: Any = GOOD) -> Sequence[Record]:
        """Append `count` records."""
        return self.broker.append(partition, *[event] * count)

    def is_caught_up(self, *partitions: Partition) -> bool:
        """Return whether the ledger is at the end of these partitions."""
        return all(
            partition in self.tables.ledger and self.tables.ledger[partition].next == self.broker.logs[partition].end
            for partition in partitions
        )

    async def caught_up(self, *partitions: Partition) -> None:
        """Wait until the ledger is at the end of these partitions."""
        await self.changes.until(lambda: self.is_caught_up(*partitions))

    def assert_exactly_once(self, *replicas: Replica) -> None:
        """Assert that every record is one row or one dead letter, that the ledger balances, and that the replicas
        reported exactly that.
        """
        records = self.broker.all_records()
        good = {(*partition_of(one), one.offset) for one in records if one.value == encode(GOOD)}
        rows = [row.record for row in self.tables.rows.values()]
        assert sorted((*partition_of(one), one.offset) for one in rows) == sorted(good)
        assert len(self.tables.dead_letters) == len(records) - len(good)
        for partition, row in self.tables.ledger.items():
            log = self.broker.logs[partition]
            assert row.is_balanced
            assert (row.next, row.duplicates) == (log.end, 0)
            assert row.gaps == log.end - row.start - sum(partition_of(one) == partition for one in records)
        reported = [written for replica in replicas for (written, _) in replica.telemetry.all("written")]
        assert not replicas or sum(written.batch.records for written in reported) == len(records)

    def offsets(self, partition: Partition) -> list[int]:
        """Return the offsets of the rows, in the order in which they were written."""
        records = (row.record for row in self.tables.rows.values())
        return [record.offset for record in records if (record.topic, record.partition) == partition]


class Replica:
    """One replica: a pipeline with its own source and store. As a context manager it runs."""

    def __init__(self, world: World, name: str, policy: PipelinePolicy) -> None:
        self.world, self.stopping = world, asyncio.Event()
        self.source = FakeSource(world.broker)
        self.store = FakeStore(world.tables, world.changes, name)
        self.telemetry = FakeTelemetry(world.changes)
        kinds: dict[str, Kind] = dict(KINDS)
        self.pipeline = Pipeline(
            self.source, self.store, self.telemetry, LoopClock(), kinds, policy, aside_in_virtual_time
        )
        self.source.listener = self.pipeline
        self.running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            await self.stop()
        else:
            await self.kill()

    def start(self) -> None:
        """Start."""
        self.running = asyncio.create_task(self.pipeline.run(self.stopping))
        self.running.add_done_callback(self._ended)

    def _ended(self, running: asyncio.Task[None]) -> None:
        """Report the end of the replica to tasks that wait for its work."""
        if not running.cancelled() and running.exception() is not None:
            self.world.changes.failure = running.exception()
            self.world.changes.notify()

    async def stop(self) -> None:
        """Stop in order, unless it was killed."""
        assert self.running is not None
        if self.running.cancelled():
            return
        self.store.gate.set()
        self.stopping.set()
        async with asyncio.timeout(60):
            await self.running

    async def kill(self) -> None:
        """Kill it: uncommitted work is lost."""
        assert self.running is not None
        self.running.cancel()
        with suppress(asyncio.CancelledError, ExceptionGroup):
            await self.running

    async def own(self, *partitions: Partition) -> None:
        """Assign these partitions, and wait until they are claimed."""
        self.source.assign(*partitions)
        await self.world.changes.until(lambda: set(partitions) <= self.sought())

    def sought(self) -> set[Partition]:
        """Return the partitions that it has ever begun to read."""
        return {partition for seek in self.source.seeks for partition in seek}

    async def rebalanced_to(self, *partitions: Partition) -> None:
        """Revoke everything and assign these partitions."""
        await self.source.revoke()
        self.source.assign(*partitions)
