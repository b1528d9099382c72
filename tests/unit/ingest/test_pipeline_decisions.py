"""Tests partitions that stop, and people's decisions about them, while the replica runs."""

from __future__ import annotations

from consumer.ingest.batch import BatchLimits
from consumer.ingest.claims import CHECK_SECONDS
from consumer.ingest.offsets import StopReason
from tests.support.virtual_time import time_passes
from tests.support.world import BAD, A, B, World, policy

SECONDS = CHECK_SECONDS + 1
LONG = 600.0
TOO_MANY = StopReason("too many", "here")
SMALL_AND_LATE = BatchLimits(max_rows=100, max_bytes=1_000_000, max_delay=30.0)


async def test_records_read_before_a_stop_are_written_and_none_after_it_is_skipped() -> None:
    """The topic is recreated while records of the old one wait in the open batch. The new topic becomes longer."""
    world = World()
    world.broker.recreate(A.topic)
    async with world.replica(policy=policy(SMALL_AND_LATE)) as replica:
        await replica.own(A)
        world.produce(A, 20)
        await world.changes.until(lambda: replica.source.returned == 20)
        world.broker.recreate(A.topic)
        world.broker.append_gap(A, 20)
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        world.broker.append_gap(A, 500)
        await time_passes(LONG)
    assert world.offsets(A) == list(range(20))
    row = world.tables.ledger[A]
    assert (row.next, row.gaps) == (20, 0)
    assert row.stop is not None
    assert "recreated" in row.stop.problem


async def test_records_held_when_a_partition_stops_are_not_gaps() -> None:
    """The source's position is ahead of the taken records. The offsets between are neither read nor absent."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A)
        world.produce(A, 20)
        await world.caught_up(A)
        made = world.produce(A, 30)
        replica.pipeline._claimer.stop(A, StopReason("because a test says so"))
        replica.source.assigned[A] = 50
        replica.source.deliver(A, made)
        await time_passes(SECONDS)
        assert world.tables.ledger[A].next == 20
        world.tables.confirm(A)
        await world.caught_up(A)
    assert world.offsets(A) == list(range(50))
    assert world.tables.ledger[A].gaps == 0


async def test_after_a_decision_reading_continues_at_its_offset() -> None:
    """Retention has stopped the partition, and the decision is a later offset. No restart is needed, and no other
    partition waits.
    """
    world = World()
    world.produce(A, 50)
    world.tables.claim(A, 4, "somebody before")
    world.broker.delete_before(A, 20)
    async with world.replica() as replica:
        replica.source.assign(A, B)
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        await time_passes(LONG)
        world.tables.decide(A, 30)
        await world.caught_up(A)
    assert world.offsets(A) == list(range(30, 50))
    assert replica.telemetry.count("stopped") == 1


async def test_a_decision_reaches_a_replica_that_holds_records() -> None:
    """The held records are discarded, and reading continues at the offset of the decision. The new books count each
    record once.
    """
    world = World()
    async with world.replica(policy=policy(SMALL_AND_LATE)) as replica:
        await replica.own(A, B)
        world.produce(A, 20)
        world.produce(B, 20)
        await world.changes.until(lambda: replica.source.returned == 40)
        world.tables.decide(A, 10)
        await time_passes(SECONDS)
        world.produce(A, 100)
        world.produce(B, 100)
        await world.caught_up(A, B)
    assert world.offsets(A) == list(range(10, 120))
    assert world.offsets(B) == list(range(120))
    assert (world.tables.ledger[A].inserted, world.tables.ledger[A].duplicates) == (110, 0)


async def test_going_back_counts_stored_records_as_duplicates() -> None:
    """An idle replica notices the decision by itself."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A)
        world.produce(A, 50)
        await world.caught_up(A)
        world.tables.decide(A, 0)
        await world.caught_up(A)
        await time_passes(LONG)
    row = world.tables.ledger[A]
    assert (row.start, row.next, row.inserted, row.duplicates) == (0, 50, 0, 50)


async def test_a_decision_about_one_partition_delays_no_other() -> None:
    """The other partitions are claimed again at once, and read."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A, B)
        world.tables.decide(A, 0)
        await world.changes.until(lambda: replica.telemetry.count("overtaken"))
        world.produce(B, 20)
        await world.caught_up(B)
        await time_passes(LONG)
        assert len([claim for claim in replica.store.claims if claim.partition == B]) <= 2
    assert replica.telemetry.count("fenced") == 0


async def test_a_batch_can_stop_its_partition_for_every_later_replica() -> None:
    """The limit on dead letters does this. The partition is not read any more, even after a restart, until a person
    decides.
    """
    world = World()
    async with world.replica() as replica:
        replica.store.stops = lambda written: {A: TOO_MANY} if written.dead_letters else {}
        await replica.own(A, B)
        world.produce(A, 20, BAD)
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        world.produce(A, 300)
        world.produce(B, 300)
        await world.caught_up(B)
        await time_passes(LONG)
        assert replica.telemetry.all("stopped") == [(A, TOO_MANY)]
    stood = world.tables.ledger[A].next
    assert stood < 320
    async with world.replica() as successor:
        successor.source.assign(A, B)
        await world.changes.until(lambda: successor.telemetry.count("stopped"))
        await time_passes(LONG)
        assert world.tables.ledger[A].next == stood
        world.tables.confirm(A)
        await world.caught_up(A)
    world.assert_exactly_once(replica, successor)


async def test_a_batch_that_is_discarded_before_it_is_written_is_fenced_too() -> None:
    """Another replica has the partition. It does not matter whether a write or the regular check finds out."""
    world = World()
    async with world.replica(policy=policy(SMALL_AND_LATE)) as replica:
        await replica.own(A)
        world.produce(A, 20)
        await world.changes.until(lambda: replica.source.returned == 20)
        world.tables.claim(A, 0, "another")
        await time_passes(SECONDS)
        assert replica.telemetry.count("fenced") == 1
        assert (replica.store.tried, world.offsets(A)) == ([], [])
        await world.caught_up(A)
    world.assert_exactly_once(replica)


# ── a stop while earlier records are in flight ──


async def test_a_stop_is_stored_and_reported_after_earlier_records_are_committed() -> None:
    """While the writer waits, neither the ledger nor the log shows a command to a person."""
    world = World()
    world.produce(A, 30)
    world.broker.append_damaged(A, 3)
    world.produce(A, 5)
    async with world.replica() as replica:
        replica.store.gate.clear()
        await replica.own(A)
        await time_passes(LONG)
        assert replica.pipeline._claimer.stopped == {A}
        assert (replica.telemetry.count("stopped"), world.tables.ledger[A].stop) == (0, None)
        replica.store.gate.set()
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        row = world.tables.ledger[A]
        assert row.stop is not None
        assert (row.next, row.stop.unreadable_from, row.stop.unreadable_until) == (30, 30, 33)
        assert row.stop.resume_from == "33"
        world.tables.settle(A)
        await world.caught_up(A)
    assert world.offsets(A) == [*range(30), *range(33, 38)]
    assert (row.gaps, replica.telemetry.count("stopped")) == (3, 1)


async def test_a_stop_is_stored_at_once_if_no_batch_is_being_written() -> None:
    """No record of the partition was read, so no batch will be written for it."""
    world = World()
    world.broker.append_damaged(A, 3)
    async with world.replica() as replica:
        await replica.own(A)
        await time_passes(1)
        assert world.tables.ledger[A].stop is not None
        assert replica.telemetry.count("stopped") == 1


async def test_a_stop_after_a_gap_is_stored_once_the_ledger_has_passed_the_gap() -> None:
    """No record waits, but the ledger must first move past the gap."""
    world = World()
    world.broker.append_gap(A, 4)
    world.broker.append_damaged(A, 3)
    async with world.replica() as replica:
        await replica.own(A)
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
    row = world.tables.ledger[A]
    assert row.stop is not None
    assert (row.next, row.gaps, row.stop.unreadable_from) == (4, 4, 4)


async def test_records_that_a_fence_discards_before_a_stop_are_read_again() -> None:
    """Another partition of the same batch is fenced. The stop is discarded with the records and found again."""
    world = World()
    async with world.replica(policy=policy(SMALL_AND_LATE)) as replica:
        await replica.own(A, B)
        world.produce(B, 10)
        world.produce(A, 30)
        world.broker.append_damaged(A, 3)
        await world.changes.until(lambda: replica.pipeline._claimer.stopped == {A})
        world.tables.claim(B, 0, "another")
        await world.changes.until(lambda: replica.telemetry.count("fenced"))
        assert (world.offsets(A), replica.telemetry.count("stopped")) == ([], 0)
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        assert world.tables.ledger[A].next == 30
    assert world.offsets(A) == list(range(30))


async def test_a_rebalance_forgets_a_stop_that_is_not_stored_yet() -> None:
    """Earlier records are drained, and the next owner of the partition finds the stop again."""
    world = World()
    world.produce(A, 30)
    world.broker.append_damaged(A, 3)
    async with world.replica("one", policy(SMALL_AND_LATE)) as one, world.replica("two") as two:
        await one.own(A)
        await world.changes.until(lambda: one.pipeline._claimer.stopped == {A})
        await one.source.revoke()
        assert (world.tables.ledger[A].next, world.tables.ledger[A].stop) == (30, None)
        two.source.assign(A)
        await world.changes.until(lambda: two.telemetry.count("stopped"))
        await time_passes(LONG)
        assert one.telemetry.count("stopped") == 0
    assert world.tables.ledger[A].next == 30


async def test_a_decision_while_a_stop_waits_loses_nothing() -> None:
    """A person decides to continue at the ledger's offset. Records in flight are discarded and read again, and the stop
    is found again.
    """
    world = World()
    world.produce(A, 30)
    world.broker.append_damaged(A, 3)
    async with world.replica() as replica:
        replica.store.gate.clear()
        await replica.own(A)
        await world.changes.until(lambda: replica.pipeline._claimer.stopped == {A})
        world.tables.confirm(A)
        await time_passes(SECONDS)
        replica.store.gate.set()
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        assert world.tables.ledger[A].next == 30
    assert world.offsets(A) == list(range(30))


async def test_the_limit_comes_before_a_stop_that_waits() -> None:
    """The ledger stores the stop of the limit, and only this one is reported. The other one is found again after the
    decision.
    """
    world = World()
    world.produce(A, 30, BAD)
    world.broker.append_damaged(A, 3)
    world.produce(A, 5)
    async with world.replica() as replica:
        replica.store.stops = lambda written: {A: TOO_MANY} if written.dead_letters else {}
        await replica.own(A)
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        await time_passes(LONG)
        assert replica.telemetry.all("stopped") == [(A, TOO_MANY)]
        world.tables.settle(A)
        await world.changes.until(lambda: replica.telemetry.count("stopped") == 2)
        world.tables.settle(A)
        await world.caught_up(A)
    assert world.offsets(A) == list(range(33, 38))
