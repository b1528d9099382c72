"""Tests the main path: from the source to the tables, once and in order, written when a batch is full or has waited."""

from __future__ import annotations

import asyncio

import pytest

from consumer.events.dialogue import DIALOGUE
from consumer.events.provenance import PROVENANCE
from consumer.events.rejection import Reason
from consumer.ingest.batch import BatchLimits
from tests.support.builders import dialogue, encode, provenance
from tests.support.fakes import ASIDE_SECONDS
from tests.support.virtual_time import time_passes
from tests.support.world import BAD, GOOD, A, B, P, World, policy


async def test_records_land_once_and_in_order() -> None:
    """Every record of a partition becomes one row, in offset order."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A, B)
        world.produce(A, 1000)
        world.produce(B, 10)
        await world.caught_up(A, B)
    assert world.offsets(A) == list(range(1000))
    world.assert_exactly_once(replica)


async def test_the_topic_decides_the_kind() -> None:
    """Each topic's records become rows of its own table, in one batch."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A, P)
        world.produce(A, 1)
        world.broker.append(P, provenance(), dialogue())
        await world.caught_up(A, P)
    assert [table for table, _ in world.tables.rows] == [DIALOGUE.table, PROVENANCE.table]
    assert [letter.rejected.reason for letter in world.tables.dead_letters.values()] == [Reason.MISSING_FIELD]


async def test_reading_begins_at_the_offset_of_the_ledger() -> None:
    """The offset that is committed to Kafka does not matter; only the ledger counts."""
    world = World()
    world.produce(A, 100)
    world.tables.claim(A, 40, "somebody before")
    world.broker.committed[A] = 7
    async with world.replica() as replica:
        await replica.own(A)
        await world.caught_up(A)
    assert world.offsets(A) == list(range(40, 100))


async def test_nothing_is_read_before_it_is_claimed() -> None:
    """A partition may be assigned long before the database grants the claim."""
    world = World()
    world.produce(A, 10)
    world.broker.is_down = True
    async with world.replica() as replica:
        replica.source.assign(A)
        await time_passes(30)
        assert (replica.source.returned, replica.pipeline.is_claimed) == (0, False)
        world.broker.is_down = False
        await world.caught_up(A)
    world.assert_exactly_once(replica)


# ── when a batch is written ──


async def test_a_full_batch_is_written_at_once() -> None:
    """It is full by rows: it does not wait for the delay, and exceeds its limit by less than a slice."""
    world = World()
    async with world.replica(policy=policy(slice_records=50)) as replica:
        await replica.own(A)
        world.produce(A, 1000)
        before = asyncio.get_running_loop().time()
        await world.changes.until(lambda: world.tables.ledger[A].next >= 900)
        assert max(replica.store.times) == before
        await world.caught_up(A)
    assert max(batch.records for batch in replica.store.tried) <= 100 + 50 - 1


async def test_a_batch_is_full_by_bytes_too() -> None:
    """A few large records fill a batch."""
    world, heavy = World(), dialogue(query="x" * 1000)
    limits = BatchLimits(max_rows=1000, max_bytes=3 * len(encode(heavy)), max_delay=60)
    async with world.replica(policy=policy(limits, slice_records=1)) as replica:
        await replica.own(A)
        world.produce(A, 9, heavy)
        await world.caught_up(A)
        assert [batch.records for batch in replica.store.tried] == [3, 3, 3]


async def test_a_batch_is_written_when_its_first_record_has_waited() -> None:
    """The delay begins with the first record. Later ones do not extend it."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A)
        await time_passes(5)
        first = asyncio.get_running_loop().time()
        for _ in range(4):
            world.produce(A, 1)
            await time_passes(0.06)
        await world.caught_up(A)
        assert replica.store.times == [pytest.approx(first + 0.2)]
        assert replica.store.tried[0].records == 4


async def test_nothing_is_written_without_records() -> None:
    """An idle replica sends no write to the database."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A, B)
        await time_passes(60)
    assert replica.store.tried == []


# ── records that cannot be stored ──


async def test_a_record_that_cannot_be_stored_becomes_a_dead_letter() -> None:
    """Each has its reason. The good records around them are stored."""
    world = World()
    async with world.replica(policy=policy(max_record_bytes=1000)) as replica:
        await replica.own(A)
        world.broker.append(A, GOOD, BAD, None, dialogue(query="x" * 1000), dialogue(query=None), GOOD)
        await world.caught_up(A)
    reasons = {offset: letter.rejected.reason for (_, offset, _), letter in world.tables.dead_letters.items()}
    expected = [Reason.NOT_JSON, Reason.TOMBSTONE, Reason.RECORD_TOO_LARGE, Reason.MISSING_FIELD]
    assert reasons == dict(zip((1, 2, 3, 4), expected, strict=True))
    assert world.offsets(A) == [0, 5]


async def test_a_record_of_the_largest_size_is_taken() -> None:
    """With one byte more it is too large; the reason has both sizes."""
    world, event = World(), dialogue(query="x" * 1000)
    size = len(encode(event))
    async with world.replica(policy=policy(max_record_bytes=size)) as replica:
        await replica.own(A)
        world.broker.append(A, event, dialogue(query="x" * 1001))
        await world.caught_up(A)
    assert world.offsets(A) == [0]
    (letter,) = world.tables.dead_letters.values()
    assert str(letter.rejected) == f"the value has {size + 1:,} bytes; at most {size:,} are taken"


async def test_a_record_that_the_database_rejects_becomes_a_dead_letter() -> None:
    """Only the rejected record becomes one, and the ledger counts it."""
    world = World()
    async with world.replica() as replica:
        replica.store.refuses = lambda row: "22021" if row.record.offset == 3 else None
        await replica.own(A)
        world.produce(A, 6)
        await world.caught_up(A)
    assert (world.tables.ledger[A].inserted, world.tables.ledger[A].dead_lettered) == (5, 1)


async def test_a_duplicate_event_is_one_row() -> None:
    """The first write wins. The second event counts as a duplicate, in the same batch or in a later one."""
    world, event = World(), dialogue(id="0190b6f2-7c3e-7a1b-8c4d-5e6f70819203")
    async with world.replica() as replica:
        await replica.own(A, B)
        world.broker.append(A, event, event)
        await world.caught_up(A)
        world.broker.append(B, event)
        await world.caught_up(B)
    assert world.offsets(A) == [0]
    assert [world.tables.ledger[partition].duplicates for partition in (A, B)] == [1, 1]


# ── offsets ──


async def test_gaps_between_records_are_counted() -> None:
    """Gaps are transaction markers, and aborted and compacted records."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A)
        world.broker.append_gap(A, 3)
        world.produce(A, 2)
        world.broker.append_gap(A, 4)
        world.produce(A, 1)
        await world.caught_up(A)
    assert (world.tables.ledger[A].inserted, world.tables.ledger[A].gaps) == (3, 7)


async def test_a_gap_at_the_end_moves_the_ledger() -> None:
    """A transaction's marker is the last offset of its partition. It must not count as lag."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A, B)
        world.produce(A, 2)
        world.broker.append_gap(A)
        world.broker.append_gap(B, 2)
        await world.caught_up(A, B)
    assert (world.tables.ledger[A].gaps, world.tables.ledger[B].gaps) == (1, 2)


async def test_records_that_were_read_already_are_dropped() -> None:
    """A record below the position is ignored, and does not stop the pipeline from waiting for new records."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A)
        old = world.produce(A, 5)
        await world.caught_up(A)
        replica.source.deliver(A, old)
        await time_passes(10)
        assert replica.source.polls[-1] == 0.25
        world.produce(A, 1)
        await world.caught_up(A)
    world.assert_exactly_once(replica)


async def test_the_offset_of_the_ledger_is_committed_to_kafka() -> None:
    """Lag tools see the offset within about a second, also the offset from before the start."""
    world = World()
    world.produce(B, 5)
    world.tables.claim(B, 5, "somebody before")
    async with world.replica() as replica:
        await replica.own(A, B)
        world.produce(A, 7)
        await world.caught_up(A)
        await time_passes(1.5)
        assert world.broker.committed == {A: 7, B: 5}


# ── reports ──


async def test_a_batch_is_reported_after_its_commit() -> None:
    """The report has the outcome of every record and the duration, including the time in the queue."""
    world = World()
    async with world.replica() as replica:
        replica.store.write_seconds = lambda: 0.5
        await replica.own(A)
        world.broker.append(A, GOOD, BAD, GOOD)
        await world.caught_up(A)
        assert replica.telemetry.count("written") == 0
        await world.changes.until(lambda: replica.telemetry.count("written"))
    ((written, seconds),) = replica.telemetry.all("written")
    assert [row.record.offset for row in written.inserted[DIALOGUE]] == [0, 2]
    assert ([letter.record.offset for letter in written.dead_letters], seconds) == ([1], pytest.approx(0.5))


# ── records that take long ──


async def test_a_small_record_does_not_wait_for_a_large_one_to_be_decoded() -> None:
    """The small record is written while the large one is decoded outside the event loop, which still runs."""
    world, large = World(), dialogue(query="x" * 3_000)
    async with world.replica(policy=policy(slice_bytes=2_000)) as replica:
        await replica.own(A)
        world.produce(A, 1)
        world.produce(A, 1, large)
        await world.changes.until(lambda: world.tables.ledger[A].next == 1)
        assert replica.pipeline.positions[A] == 1
        await world.caught_up(A)
    assert [batch.records for batch in replica.store.tried] == [1, 1]


async def test_a_record_whose_partition_is_lost_while_it_is_decoded_is_not_taken_in() -> None:
    """The next owner reads the record."""
    world, large = World(), dialogue(query="x" * 3_000)
    async with world.replica(policy=policy(slice_bytes=2_000)) as first, world.replica("two") as second:
        await first.own(A)
        world.produce(A, 3, large)
        await time_passes(ASIDE_SECONDS / 2)
        await first.source.revoke()
        await second.own(A)
        await world.caught_up(A)
    assert first.store.tried == []
    assert len(world.offsets(A)) == 3
