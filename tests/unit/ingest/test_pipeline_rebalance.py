"""Tests rebalances, fences and stopped partitions: no record is lost or duplicated."""

from __future__ import annotations

import asyncio

import pytest

from consumer.ingest.batch import BatchLimits
from consumer.ingest.offsets import StopReason
from consumer.ingest.ports import Cause, Unavailable
from tests.support.virtual_time import time_passes
from tests.support.world import BAD, A, B, C, Replica, World, policy


async def test_a_revoke_drains_before_it_returns() -> None:
    """When the revoke returns, every taken record is written, and Kafka has the offsets."""
    world = World()
    async with world.replica() as replica:
        replica.store.write_seconds = lambda: 1.0
        await replica.own(A)
        world.produce(A, 90)
        await world.changes.until(lambda: replica.source.returned == 90)
        await replica.source.revoke()
        assert world.is_caught_up(A)
        assert world.broker.committed == {A: 90}
        assert replica.telemetry.all("revoked") == [({A},)]
    world.assert_exactly_once(replica)


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.5, 0.7])
async def test_fetched_records_of_a_stopped_partition_are_not_a_gap_after_a_rebalance(delay: float) -> None:
    """A rebalance comes while the replica waits for the writer with another partition. The stopped partition is not
    read further.
    """
    world = World()
    roomy = BatchLimits(max_rows=600, max_bytes=10_000_000, max_delay=0.2)
    async with world.replica(policy=policy(roomy, slice_records=200)) as replica:
        replica.store.stops = lambda written: {A: StopReason("too many", "here")} if written.dead_letters else {}
        await replica.own(A, B)
        world.produce(A, 20, BAD)
        world.produce(A, 5480)
        replica.store.write_seconds = lambda: 0.3
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        await time_passes(3)
        stood = world.tables.ledger[A].next
        assert stood < (replica.source.assigned[A] or 0)
        world.produce(B, 6000)
        waited = replica.pipeline.seconds_waited
        await world.changes.until(lambda: replica.pipeline.seconds_waited > waited)
        await time_passes(delay)
        await replica.rebalanced_to(A, B)
        assert world.tables.ledger[A].next == stood
        replica.store.stops = lambda _: {}
        world.tables.confirm(A)
        await world.caught_up(A, B)
    world.assert_exactly_once(replica)


async def test_records_still_in_a_slice_are_dropped_after_a_revoke() -> None:
    """Records that are fetched but not taken belong to the next owner."""
    world = World()
    async with world.replica(policy=policy(slice_records=10)) as first, world.replica("two") as second:
        first.store.write_seconds = lambda: 0.5
        await first.own(A)
        world.produce(A, 500)
        await world.changes.until(lambda: first.store.tried)
        await first.rebalanced_to()
        after = world.tables.ledger[A].next
        assert after < 500
        await time_passes(5)
        assert world.tables.ledger[A].next == after
        await second.own(A)
        await world.caught_up(A)
    world.assert_exactly_once(first, second)


async def test_partitions_move_between_replicas() -> None:
    """They move back and forth while records arrive."""
    world = World()
    async with world.replica() as first, world.replica("two") as second:
        await first.own(A, B)
        await second.own(C)
        for turn in range(6):
            for partition in (A, B, C):
                world.produce(partition, 70)
            await asyncio.gather(first.source.revoke(), second.source.revoke())
            first.source.assign(*((A,) if turn % 2 else (B, C)))
            second.source.assign(*((B, C) if turn % 2 else (A,)))
            await time_passes(0.1 * turn)
        await world.caught_up(A, B, C)
    world.assert_exactly_once(first, second)


async def test_a_rebalance_waits_only_for_a_limited_time() -> None:
    """When the time limit is over, this is reported. Batches in flight are left to the fence."""
    world = World()
    async with world.replica() as first, world.replica("two") as second:
        await first.own(A)
        first.store.gate.clear()
        world.produce(A, 600)
        await world.changes.until(lambda: first.store.tried)
        before = asyncio.get_running_loop().time()
        await first.rebalanced_to()
        assert asyncio.get_running_loop().time() - before == pytest.approx(20.0)
        assert first.telemetry.all("drain_timed_out") == [(20.0,)]
        await second.own(A)
        await world.caught_up(A)
        first.store.gate.set()
        await world.changes.until(lambda: first.telemetry.count("fenced") >= 2)
    world.assert_exactly_once(second)


async def test_a_late_batch_counts_if_no_other_replica_has_claimed() -> None:
    """The partition returns to the same replica. Each record is stored once, whether the late batch or the new claim
    comes first.
    """
    world = World()
    async with world.replica() as replica:
        await replica.own(A)
        replica.store.gate.clear()
        world.produce(A, 250)
        await world.changes.until(lambda: replica.store.tried)
        await replica.rebalanced_to()
        replica.store.gate.set()
        replica.source.assign(A)
        await world.caught_up(A)
    world.assert_exactly_once(replica)


# ── fences ──


async def fence(replica: Replica, count: int) -> None:
    """Let another replica claim A while `replica` writes `count` records of A and B."""
    world = replica.world
    replica.store.gate.clear()
    world.produce(A, count)
    world.produce(B, count)
    await world.changes.until(lambda: replica.store.tried)
    await time_passes(1)
    world.tables.claim(A, 0, "another")
    replica.store.gate.set()


@pytest.mark.parametrize("count", [20, 100, 1000])
async def test_a_fenced_batch_is_discarded_and_read_again(count: int) -> None:
    """With or without batches behind it, every partition goes back to the offset of the ledger."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A, B)
        await fence(replica, count)
        await world.caught_up(A, B)
    assert replica.telemetry.count("fenced") >= 1
    world.assert_exactly_once(replica)


async def test_batches_behind_a_fenced_one_cause_no_further_claims() -> None:
    """Three batches of one claim are fenced, and everything is claimed again only once."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A, B)
        await fence(replica, 1000)
        await world.caught_up(A, B)
    assert replica.telemetry.count("fenced") == 3
    assert [claim.epoch for claim in replica.store.claims if claim.partition == B] == [1, 2]
    assert [claim.epoch for claim in replica.store.claims if claim.partition == A] == [1, 3]


async def test_a_fenced_partition_is_left_to_the_other_replica_for_a_while() -> None:
    """The others continue at once. The fenced one is claimed after the delay, if the group still assigns it to this
    replica.
    """
    world = World()
    async with world.replica() as replica:
        await replica.own(A, B)
        await fence(replica, 20)
        before = asyncio.get_running_loop().time()
        await world.caught_up(B)
        assert asyncio.get_running_loop().time() - before < 1
        assert world.tables.ledger[A].owner == "another"
        await world.caught_up(A)
        assert asyncio.get_running_loop().time() - before == pytest.approx(10, abs=0.5)


async def test_a_fenced_partition_that_was_revoked_is_not_claimed() -> None:
    """The other replica keeps it."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A, B)
        await fence(replica, 20)
        await world.caught_up(B)
        await replica.rebalanced_to(B)
        await time_passes(60)
    assert (world.tables.ledger[A].owner, world.tables.ledger[A].epoch) == ("another", 2)


async def test_a_replica_that_was_frozen_cannot_write_any_more() -> None:
    """It continues with batches in flight and records in memory, and does not know of the other replica."""
    world = World()
    async with world.replica() as frozen, world.replica("two") as other:
        await frozen.own(A)
        frozen.store.gate.clear()
        world.produce(A, 5000)
        await world.changes.until(lambda: frozen.source.paused)
        await other.own(A)
        await world.caught_up(A)
        frozen.store.gate.set()
        await time_passes(5)
        await frozen.rebalanced_to(B)
        world.produce(A, 50)
        world.produce(B, 50)
        await world.caught_up(A, B)
    assert frozen.telemetry.count("fenced") >= 1
    assert world.tables.ledger[A].owner == "two"
    world.assert_exactly_once(frozen, other)


# ── claims ──


async def test_a_claim_waits_out_every_outage() -> None:
    """The database and Kafka are unavailable. The claim succeeds as soon as both are back."""
    world = World()
    world.produce(A, 10)
    world.broker.is_down = True
    async with world.replica() as replica:
        replica.store.claim_errors = [Unavailable("down", Cause.CONNECTION) for _ in range(5)]
        replica.source.assign(A)
        await time_passes(10)
        assert world.tables.ledger == {}
        world.broker.is_down = False
        await world.caught_up(A)
    world.assert_exactly_once(replica)


async def test_a_claim_that_a_rebalance_has_overtaken_is_not_used() -> None:
    """The answer comes after the partition was assigned to another replica."""
    world = World()
    async with world.replica() as slow, world.replica("two") as other:
        slow.store.answer_seconds = lambda: 5.0
        slow.source.assign(A)
        await time_passes(1)
        await slow.rebalanced_to(B)
        await other.own(A)
        world.produce(A, 10)
        world.produce(B, 10)
        await world.caught_up(B)
        await time_passes(30)
        world.produce(A, 10)
        await world.caught_up(A)
        assert A not in slow.sought()
    world.assert_exactly_once(slow, other)


# ── partitions that cannot be read ──


@pytest.mark.parametrize(
    ("ledger", "first", "said"),
    [
        (3, 10, "the ledger stands at offset 3, but the partition now begins at 10: 7 offsets were deleted"),
        (99, 0, "the ledger stands at offset 99, but the partition ends at 20"),
    ],
)
async def test_a_ledger_out_of_bounds_stops_its_partition(ledger: int, first: int, said: str) -> None:
    """Retention has deleted offsets, or the topic was recreated. This is reported, no offset is skipped, and the other
    partition is read.
    """
    world = World()
    world.produce(A, 20)
    world.produce(B, 20)
    world.tables.claim(A, ledger, "somebody before")
    world.broker.delete_before(A, first)
    async with world.replica() as replica:
        replica.source.assign(A, B)
        await world.caught_up(B)
        await time_passes(30)
    ((stopped, reason),) = replica.telemetry.all("stopped")
    assert stopped == A
    assert reason.problem.startswith(said)
    assert (world.offsets(A), world.tables.ledger[A].next) == ([], ledger)


@pytest.mark.parametrize("ledger", [5, 20])
async def test_a_ledger_at_the_bounds_is_valid(ledger: int) -> None:
    """Both the first existing offset and the end of the partition are valid."""
    world = World()
    world.produce(A, 20)
    world.tables.claim(A, ledger, "somebody before")
    world.broker.delete_before(A, 5)
    async with world.replica() as replica:
        await replica.own(A)
        world.produce(A, 1)
        await world.caught_up(A)
    assert world.offsets(A) == list(range(ledger, 21))
    assert replica.telemetry.count("stopped") == 0


async def test_retention_that_deletes_unread_records_stops_their_partition() -> None:
    """The broker deletes the next records. The partition stops and is reported once; the other one is read."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A, B)
        world.produce(A, 20)
        await world.caught_up(A)
        world.produce(A, 20)
        world.broker.delete_before(A, 30)
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        world.produce(B, 300)
        await world.caught_up(B)
        await time_passes(30)
    assert [partition for partition, _ in replica.telemetry.all("stopped")] == [A]
    assert world.tables.ledger[A].next == 20
    assert len([claim for claim in replica.store.claims if claim.partition == B]) <= 2


async def test_after_a_fence_during_a_revoke_no_claim_is_left() -> None:
    """The partition returns and is claimed. No delayed claim takes it a second time."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A)
        replica.store.gate.clear()
        world.produce(A, 20)
        await world.changes.until(lambda: replica.store.tried)
        world.tables.claim(A, 0, "another")
        revoking = asyncio.create_task(replica.source.revoke())
        await time_passes(1)
        replica.store.gate.set()
        await revoking
        replica.source.assign(A)
        await world.caught_up(A)
        await time_passes(60)
        assert [claim.epoch for claim in replica.store.claims] == [1, 3]
    world.assert_exactly_once(replica)
