"""Tests backpressure: a slow database delays reading, memory is bounded, and the replica stays in the group."""

from __future__ import annotations

import pytest

from consumer.ingest.pipeline import PipelinePolicy
from tests.support.virtual_time import time_passes
from tests.support.world import LIMITS, A, B, Replica, World, policy

SMALL = policy(poll_records=100, slice_records=50)
# Two are being written, one waits, one is open.
MOST_BATCHES = 4


async def stalled(replica: Replica, count: int = 5000) -> None:
    """Close the database, and wait until fetching has stopped."""
    replica.store.gate.clear()
    replica.world.produce(A, count)
    await replica.world.changes.until(lambda: replica.source.assigned.keys() <= replica.source.paused)


@pytest.mark.parametrize("limits", [SMALL, policy()])
async def test_held_records_are_bounded(limits: PipelinePolicy) -> None:
    """With any number of records, the replica holds a fixed number of batches and the result of one poll."""
    world = World()
    async with world.replica(policy=limits) as replica:
        await replica.own(A)
        await stalled(replica, 8000)
        await time_passes(60)
        batch = LIMITS.max_rows + limits.slice_records
        assert replica.source.returned <= MOST_BATCHES * batch + limits.poll_records
        assert len(replica.store.tried) <= MOST_BATCHES - 1
        replica.store.gate.set()
        await world.caught_up(A)
    world.assert_exactly_once(replica)


async def test_reading_continues_while_a_batch_is_written() -> None:
    """The next batch is filled and written at the same time as the first. Both are committed in order."""
    world = World()
    async with world.replica(policy=SMALL) as replica:
        replica.store.write_seconds = iter([3.0, *[0.0] * 100]).__next__
        await replica.own(A)
        world.produce(A, 250)
        await world.changes.until(lambda: len(replica.store.tried) == 2)
        assert world.tables.ledger[A].next == 0
        await world.caught_up(A)
    assert world.offsets(A) == list(range(250))


async def test_a_long_stall_stops_fetching_but_not_polling() -> None:
    """Fetching stops after two seconds. Polling continues, or the group would take the replica for dead."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A, B)
        await stalled(replica)
        assert replica.source.paused == {A, B}
        polls = len(replica.source.polls)
        await time_passes(60)
        assert len(replica.source.polls) - polls >= 20
        replica.store.gate.set()
        await world.caught_up(A)


async def test_a_short_wait_does_not_stop_fetching() -> None:
    """Pausing discards prefetched records, so it must be rare."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A)
        replica.store.write_seconds = lambda: 0.5
        world.produce(A, 5000)
        await world.caught_up(A)
        assert len(replica.source.seeks) == 1
    assert sum(seconds for (seconds,) in replica.telemetry.all("backpressure")) > 1


async def test_fetching_continues_after_a_stall() -> None:
    """It continues for every claimed partition, and no record that arrived meanwhile is lost."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A, B)
        await stalled(replica)
        world.produce(B, 300)
        replica.store.gate.set()
        await world.caught_up(A, B)
        assert replica.source.paused == set()
    world.assert_exactly_once(replica)


async def test_records_that_are_returned_although_fetching_is_paused_are_read_again() -> None:
    """No client should return such records. If one does, nobody takes them, and they must not become a gap."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A)
        await stalled(replica)
        for record in world.produce(A, 5):
            replica.source.deliver(A, [record])
            replica.source.assigned[A] = record.offset + 1
            await time_passes(3)
        replica.store.gate.set()
        await world.caught_up(A)
    world.assert_exactly_once()


async def test_the_time_spent_waiting_is_reported() -> None:
    """It is reported while the wait lasts; the rest is reported when there is room again."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A)
        await stalled(replica)
        await time_passes(30)
        reported = sum(seconds for (seconds,) in replica.telemetry.all("backpressure"))
        assert 28 < reported <= replica.pipeline.seconds_waited < 40
        await time_passes(1)
        replica.store.gate.set()
        await world.caught_up(A)
        assert sum(seconds for (seconds,) in replica.telemetry.all("backpressure")) == replica.pipeline.seconds_waited


async def test_a_rebalance_during_a_stall() -> None:
    """Revoked partitions are released, new ones are read, and none stays paused."""
    world = World()
    async with world.replica() as replica, world.replica("two") as other:
        await replica.own(A)
        await stalled(replica, 1000)
        await replica.rebalanced_to(B)
        await other.own(A)
        world.produce(B, 300)
        await world.caught_up(A)
        replica.store.gate.set()
        await world.caught_up(B)
        assert replica.source.paused == set()
    world.assert_exactly_once(replica, other)


async def test_a_partition_whose_unread_records_were_deleted_stays_stopped() -> None:
    """A stall pauses every partition. Its end resumes only partitions that can be read."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A, B)
        world.produce(B, 20)
        world.broker.delete_before(B, 10)
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        await stalled(replica)
        replica.store.gate.set()
        await world.caught_up(A)
        await time_passes(5)
        assert (replica.source.paused, replica.source.lost) == ({B}, 1)
    assert (world.offsets(B), replica.telemetry.count("stopped")) == ([], 1)


async def test_a_partition_stopped_during_a_stall_stays_stopped() -> None:
    """Fetching continues for claimed partitions, but not for partitions that wait for a person's decision."""
    world = World()
    world.produce(B, 5)
    world.tables.claim(B, 99, "somebody before")
    async with world.replica() as replica:
        replica.source.assign(A, B)
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        await world.changes.until(lambda: A in replica.sought())
        await stalled(replica)
        replica.store.gate.set()
        await world.caught_up(A)
        assert replica.source.paused == {B}
    assert world.offsets(B) == []
