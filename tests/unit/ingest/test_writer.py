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
from tests.support.virtual_time import passes
from tests.support.world import A


class Desk:
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
async def at_work() -> AsyncIterator[Desk]:
    """Run a desk's writer during the context."""
    desk = Desk()
    tasks = [asyncio.create_task(work) for work in desk.writer.workers()]
    yield desk
    for task in tasks:
        task.cancel()


async def test_two_batches_are_written_at_a_time() -> None:
    """One more batch waits. There is no slot for another one."""
    async with at_work() as desk:
        desk.store.gate.clear()
        for batch in desk.batches(BATCHES_IN_FLIGHT):
            await desk.put(batch)
        await passes(1)
        assert len(desk.store.tried) == 2
        assert not await desk.writer.slot_within(5)
        desk.store.gate.set()
        assert await desk.writer.slot_within(5)


async def test_batches_are_committed_in_the_order_in_which_they_were_sealed() -> None:
    """A later batch may be ready first. The ledger moves in order."""
    async with at_work() as desk:
        desk.store.write_seconds = iter([5.0, 0.0, 3.0, 0.0, 1.0]).__next__
        batches = desk.batches(5)
        for batch in batches:
            await desk.put(batch)
        await desk.writer.idle()
        assert [written.batch for written in desk.written] == batches
        assert desk.fenced == []
        assert desk.tables.ledger[A].next == 50


async def test_a_fenced_batch_takes_the_later_ones_with_it() -> None:
    """No batch after a hole in the offsets may be committed."""
    async with at_work() as desk:
        desk.store.write_seconds = lambda: 1.0
        batches = desk.batches(4)
        await desk.put(batches[0])
        await desk.writer.idle()
        desk.store.gate.clear()
        for batch in batches[1:]:
            await desk.put(batch)
        desk.tables.claim(A, 0, "another")
        desk.store.gate.set()
        await desk.writer.idle()
        assert [written.batch for written in desk.written] == batches[:1]
        assert desk.fenced == batches[1:]
        assert desk.telemetry.count("fenced") == 3


async def test_idle_waits_for_every_batch() -> None:
    """It waits until each batch is written or discarded, and returns at once if there is none."""
    async with at_work() as desk:
        await desk.writer.idle()
        desk.store.write_seconds = lambda: 2.0
        for batch in desk.batches(3):
            await desk.put(batch)
        await desk.writer.idle()
        assert len(desk.written) == 3


async def test_a_slot_that_is_not_needed_is_given_back() -> None:
    """Otherwise the writer would have no slots left."""
    async with at_work() as desk:
        for _ in range(10):
            await desk.writer.slot()
            desk.writer.free_slot()
        assert await desk.writer.slot_within(1)


async def test_waiting_for_a_slot_without_success_takes_none() -> None:
    """After waiting without success, all slots are still available."""
    async with at_work() as desk:
        desk.store.gate.clear()
        for batch in desk.batches(BATCHES_IN_FLIGHT):
            await desk.put(batch)
        for _ in range(5):
            assert not await desk.writer.slot_within(0.5)
        desk.store.gate.set()
        await desk.writer.idle()
        assert all([await desk.writer.slot_within(0.1) for _ in range(BATCHES_IN_FLIGHT)])


async def test_the_time_to_write_is_reported() -> None:
    """It is measured from the first try to the commit, and includes the wait for the turn."""
    async with at_work() as desk:
        desk.store.write_seconds = iter([3.0, 1.0]).__next__
        for batch in desk.batches(2):
            await desk.put(batch)
        await desk.writer.idle()
        assert [seconds for _, seconds in desk.telemetry.all("written")] == [3.0, 3.0]


async def test_a_batch_of_an_older_claim_is_reported_as_fenced() -> None:
    """The error names the lost partitions."""
    async with at_work() as desk:
        (batch,) = desk.batches(1)
        batch.spans = {A: Span.begin(Claim(A, 0, 0))}
        batch.spans[A].skip_to(5)
        await desk.put(batch)
        await desk.writer.idle()
        ((fenced,),) = desk.telemetry.all("fenced")
        assert isinstance(fenced, Fenced)
        assert fenced.partitions == {A}
        assert str(fenced) == "another replica has claimed rag.dialogue/0"
