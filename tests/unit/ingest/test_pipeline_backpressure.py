"""Tests backpressure: a slow database delays reading, memory is bounded, and the replica stays in the group."""

from __future__ import annotations

import pytest

from consumer.ingest.pipeline import PipelinePolicy
from tests.support.virtual_time import passes
from tests.support.world import LIMITS, A, B, Reader, World, policy

SMALL = policy(poll_records=100, slice_records=50)
# Two are being written, one waits, one is open.
MOST_BATCHES = 4


async def stalled(reader: Reader, count: int = 5000) -> None:
    """Close the database, and wait until fetching has stopped."""
    reader.store.gate.clear()
    reader.world.produce(A, count)
    await reader.world.changes.until(lambda: reader.source.assigned.keys() <= reader.source.paused)


@pytest.mark.parametrize("limits", [SMALL, policy()])
async def test_held_records_are_bounded(limits: PipelinePolicy) -> None:
    """With any number of records, the replica holds a fixed number of batches and the result of one poll."""
    world = World()
    async with world.reader(policy=limits) as reader:
        await reader.own(A)
        await stalled(reader, 8000)
        await passes(60)
        batch = LIMITS.max_rows + limits.slice_records
        assert reader.source.returned <= MOST_BATCHES * batch + limits.poll_records
        assert len(reader.store.tried) <= MOST_BATCHES - 1
        reader.store.gate.set()
        await world.caught_up(A)
    world.assert_exactly_once(reader)


async def test_reading_continues_while_a_batch_is_written() -> None:
    """The next batch is filled and written at the same time as the first. Both are committed in order."""
    world = World()
    async with world.reader(policy=SMALL) as reader:
        reader.store.write_seconds = iter([3.0, *[0.0] * 100]).__next__
        await reader.own(A)
        world.produce(A, 250)
        await world.changes.until(lambda: len(reader.store.tried) == 2)
        assert world.tables.ledger[A].next == 0
        await world.caught_up(A)
    assert world.offsets(A) == list(range(250))


async def test_a_long_stall_stops_fetching_but_not_polling() -> None:
    """Fetching stops after two seconds. Polling continues, or the group would take the replica for dead."""
    world = World()
    async with world.reader() as reader:
        await reader.own(A, B)
        await stalled(reader)
        assert reader.source.paused == {A, B}
        polls = len(reader.source.polls)
        await passes(60)
        assert len(reader.source.polls) - polls >= 20
        reader.store.gate.set()
        await world.caught_up(A)


async def test_a_short_wait_does_not_stop_fetching() -> None:
    """Pausing discards prefetched records, so it must be rare."""
    world = World()
    async with world.reader() as reader:
        await reader.own(A)
        reader.store.write_seconds = lambda: 0.5
        world.produce(A, 5000)
        await world.caught_up(A)
        assert len(reader.source.seeks) == 1
    assert sum(seconds for (seconds,) in reader.telemetry.all("backpressure")) > 1


async def test_fetching_continues_after_a_stall() -> None:
    """It continues for every claimed partition, and no record that arrived meanwhile is lost."""
    world = World()
    async with world.reader() as reader:
        await reader.own(A, B)
        await stalled(reader)
        world.produce(B, 300)
        reader.store.gate.set()
        await world.caught_up(A, B)
        assert reader.source.paused == set()
    world.assert_exactly_once(reader)


async def test_records_that_are_returned_although_fetching_is_paused_are_read_again() -> None:
    """No client should return such records. If one does, nobody takes them, and they must not become a gap."""
    world = World()
    async with world.reader() as reader:
        await reader.own(A)
        await stalled(reader)
        for record in world.produce(A, 5):
            reader.source.deliver(A, [record])
            reader.source.assigned[A] = record.offset + 1
            await passes(3)
        reader.store.gate.set()
        await world.caught_up(A)
    world.assert_exactly_once()


async def test_the_time_spent_waiting_is_reported() -> None:
    """It is reported while the wait lasts; the rest is reported when there is room again."""
    world = World()
    async with world.reader() as reader:
        await reader.own(A)
        await stalled(reader)
        await passes(30)
        told = sum(seconds for (seconds,) in reader.telemetry.all("backpressure"))
        assert 28 < told <= reader.pipeline.seconds_waited < 40
        await passes(1)
        reader.store.gate.set()
        await world.caught_up(A)
        assert sum(seconds for (seconds,) in reader.telemetry.all("backpressure")) == reader.pipeline.seconds_waited


async def test_a_rebalance_during_a_stall() -> None:
    """Revoked partitions are released, new ones are read, and none stays paused."""
    world = World()
    async with world.reader() as reader, world.reader("two") as other:
        await reader.own(A)
        await stalled(reader, 1000)
        await reader.rebalanced_to(B)
        await other.own(A)
        world.produce(B, 300)
        await world.caught_up(A)
        reader.store.gate.set()
        await world.caught_up(B)
        assert reader.source.paused == set()
    world.assert_exactly_once(reader, other)


async def test_a_partition_that_retention_has_overtaken_stays_stopped() -> None:
    """A stall pauses every partition. Its end resumes only partitions that can be read."""
    world = World()
    async with world.reader() as reader:
        await reader.own(A, B)
        world.produce(B, 20)
        world.broker.delete_before(B, 10)
        await world.changes.until(lambda: reader.telemetry.count("stopped"))
        await stalled(reader)
        reader.store.gate.set()
        await world.caught_up(A)
        await passes(5)
        assert (reader.source.paused, reader.source.lost) == ({B}, 1)
    assert (world.offsets(B), reader.telemetry.count("stopped")) == ([], 1)


async def test_a_partition_stopped_during_a_stall_stays_stopped() -> None:
    """Fetching continues for claimed partitions, but not for partitions that wait for a person's decision."""
    world = World()
    world.produce(B, 5)
    world.tables.claim(B, 99, "somebody before")
    async with world.reader() as reader:
        reader.source.assign(A, B)
        await world.changes.until(lambda: reader.telemetry.count("stopped"))
        await world.changes.until(lambda: A in reader.sought())
        await stalled(reader)
        reader.store.gate.set()
        await world.caught_up(A)
        assert reader.source.paused == {B}
    assert world.offsets(B) == []
