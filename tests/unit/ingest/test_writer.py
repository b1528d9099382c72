"""Tests the writer: batches are written concurrently, and committed in the order in which they were sealed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consumer.ingest.batch import Batch
from consumer.ingest.offsets import Claim, Span
from consumer.ingest.ports import Fenced, Written
from consumer.ingest.writer import BATCHES_IN_FLIGHT, Writer
from tests.support.builders import ROOMY
from tests.support.fakes import Changes, FakeStore, FakeTelemetry, LoopClock, Tables
from tests.support.virtual_time import time_passes
from tests.support.world import A


class WriterSetup:
    """A running writer, on one partition without records: its batches are gaps."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.tables = Tables(self.changes)
        self.store = FakeStore(self.tables, self.changes)
        self.telemetry = FakeTelemetry(self.changes)
        self.written: list[Written] = []
        self.fenced: list[Batch] = []
        self.writer = Writer(
            self.store, self.telemetry, LoopClock(), self.written.append, lambda batch, _: self.fenced.append(batch)
        )
        self.claim = self.tables.claim(A, 0, "one")

    def batches(self, count: int) -> list[Batch]:
        """Return consecutive batches."""
        made: list[Batch] = []
        span = Span.begin(self.claim)
        for _ in range(count):
            span = span.next_span()
            span.skip_to(span.next + 10)
            made.append(Batch(ROOMY, spans={A: span}))
        return made

    async def put(self, batch: Batch) -> None:
        """Get a slot, then put the batch, as the pipeline does."""
        await self.writer.slot()
        self.writer.put(batch)


@asynccontextmanager
async def running_writer() -> AsyncIterator[WriterSetup]:
    """Run a writer during the context."""
    setup = WriterSetup()
    tasks = [asyncio.create_task(work) for work in setup.writer.workers()]
    yield setup
    for task in tasks:
        task.cancel()


async def test_two_batches_are_written_at_a_time() -> None:
    """One more batch waits. There is no slot for another one."""
    async with running_writer() as setup:
        setup.store.gate.clear()
        for batch in setup.batches(BATCHES_IN_FLIGHT):
            await setup.put(batch)
        await time_passes(1)
        assert len(setup.store.tried) == 2
        assert not await setup.writer.slot_within(5)
        setup.store.gate.set()
        assert await setup.writer.slot_within(5)


async def test_batches_are_committed_in_the_order_in_which_they_were_sealed() -> None:
    """A later batch may be ready first. The ledger moves in order."""
    async with running_writer() as setup:
        setup.store.write_seconds = iter([5.0, 0.0, 3.0, 0.0, 1.0]).__next__
        batches = setup.batches(5)
        for batch in batches:
            await setup.put(batch)
        await setup.writer.idle()
        assert [written.batch for written in setup.written] == batches
        assert setup.fenced == []
        assert setup.tables.ledger[A].next == 50


async def test_a_fenced_batch_fences_the_later_ones() -> None:
    """No batch after a hole in the offsets may be committed."""
    async with running_writer() as setup:
        setup.store.write_seconds = lambda: 1.0
        batches = setup.batches(4)
        await setup.put(batches[0])
        await setup.writer.idle()
        setup.store.gate.clear()
        for batch in batches[1:]:
            await setup.put(batch)
        setup.tables.claim(A, 0, "another")
        setup.store.gate.set()
        await setup.writer.idle()
        assert [written.batch for written in setup.written] == batches[:1]
        assert setup.fenced == batches[1:]
        assert setup.telemetry.count("fenced") == 3


async def test_idle_waits_for_every_batch() -> None:
    """It waits until each batch is written or discarded, and returns at once if there is none."""
    async with running_writer() as setup:
        await setup.writer.idle()
        setup.store.write_seconds = lambda: 2.0
        for batch in setup.batches(3):
            await setup.put(batch)
        await setup.writer.idle()
        assert len(setup.written) == 3


async def test_an_unused_slot_is_returned() -> None:
    """Otherwise the writer would have no slots left."""
    async with running_writer() as setup:
        for _ in range(10):
            await setup.writer.slot()
            setup.writer.free_slot()
        assert await setup.writer.slot_within(1)


async def test_an_unsuccessful_wait_takes_no_slot() -> None:
    """After waiting without success, all slots are still available."""
    async with running_writer() as setup:
        setup.store.gate.clear()
        for batch in setup.batches(BATCHES_IN_FLIGHT):
            await setup.put(batch)
        for _ in range(5):
            assert not await setup.writer.slot_within(0.5)
        setup.store.gate.set()
        await setup.writer.idle()
        assert all([await setup.writer.slot_within(0.1) for _ in range(BATCHES_IN_FLIGHT)])


async def test_the_time_to_write_is_reported() -> None:
    """It is measured from the first try to the commit, and includes the wait for the turn."""
    async with running_writer() as setup:
        setup.store.write_seconds = iter([3.0, 1.0]).__next__
        for batch in setup.batches(2):
            await setup.put(batch)
        await setup.writer.idle()
        assert [seconds for _, seconds in setup.telemetry.all("written")] == [3.0, 3.0]


async def test_a_batch_of_an_older_claim_is_reported_as_fenced() -> None:
    """The error names the lost partitions."""
    async with running_writer() as setup:
        (batch,) = setup.batches(1)
        batch.spans = {A: Span.begin(Claim(A, 0, 0))}
        batch.spans[A].skip_to(5)
        await setup.put(batch)
        await setup.writer.idle()
        ((fenced,),) = setup.telemetry.all("fenced")
        assert isinstance(fenced, Fenced)
        assert fenced.partitions == {A}
        assert str(fenced) == "another replica has claimed rag.dialogue/0"
