"""Tests a log that was truncated, and may have grown again: the partition stops with both offsets, and no record is
skipped.
"""

from __future__ import annotations

import pytest

from consumer.events.record import Partition
from consumer.ingest.batch import BatchLimits
from consumer.ingest.claims import CHECK_SECONDS, RETRY_SECONDS
from consumer.ingest.offsets import StopReason
from consumer.ingest.ports import Cause, Unavailable
from tests.support.virtual_time import time_passes
from tests.support.world import A, B, Replica, World, policy
from tests.unit.ingest.test_claims import running_claimer

LONG = 600.0
SMALL_LATE_BATCHES = BatchLimits(max_rows=100, max_bytes=1_000_000, max_delay=30.0)


def world_with_epochs() -> World:
    """Return a world whose brokers store leader epochs."""
    world = World()
    for partition in world.broker.logs:
        world.broker.elect(partition)
    return world


async def read(world: World, replica: Replica, count: int, partition: Partition = A) -> None:
    """Produce records, and wait until they are written."""
    world.produce(partition, count)
    await world.caught_up(partition)


def stop_of(world: World, partition: Partition = A) -> StopReason:
    """Return the stop in the ledger."""
    stop = world.tables.ledger[partition].stop
    assert stop is not None
    return stop


async def test_a_log_that_was_cut_and_grew_between_two_replicas_stops() -> None:
    """Every offset exists, so only the leader epoch shows the truncation."""
    world = world_with_epochs()
    async with world.replica() as replica:
        await replica.own(A, B)
        await read(world, replica, 100)
    world.broker.elect(A, cut_to=80)
    world.produce(A, 40)
    async with world.replica() as replica:
        replica.source.assign(A, B)
        await read(world, replica, 20, B)
        await assert_stopped(world, replica)
        await assert_continues_at_the_cut(world, 120)


async def assert_stopped(world: World, replica: Replica) -> None:
    """Assert that the stop has both offsets, and that no record after the cut was read."""
    await world.changes.until(lambda: replica.telemetry.count("stopped"))
    await time_passes(LONG)
    stop = stop_of(world)
    assert (stop.diverges_at, stop.resume_from) == (80, "80")
    assert "up to offset 100" in stop.problem
    assert "only up to offset 80" in stop.problem
    assert world.offsets(A) == list(range(100))


async def assert_continues_at_the_cut(world: World, end: int) -> None:
    """Continue at the offset that the stop advises, and assert that every record of the present log is read."""
    world.tables.rows.clear()  # the timestamps are equal: equal offsets would give equal ids
    world.tables.decide(A, 80)
    await world.caught_up(A)
    assert world.offsets(A) == list(range(80, end))


async def test_a_log_that_is_cut_and_grows_during_reading_stops() -> None:
    """Records of another leader wait until the logs are compared. Records in flight are written."""
    world = world_with_epochs()
    async with world.replica(policy=policy(SMALL_LATE_BATCHES)) as replica:
        await replica.own(A)
        world.produce(A, 100)
        await world.changes.until(lambda: replica.source.returned == 100)
        world.broker.logs[A].cut(80)
        world.broker.logs[A].epochs.append((1, 80))
        world.produce(A, 40)
        await assert_stopped(world, replica)
        assert [claim.partition for claim in replica.store.claims] == [A], "no new claim"
        await assert_continues_at_the_cut(world, 120)


async def test_a_log_that_is_cut_while_a_replica_is_idle_stops() -> None:
    """Its position no longer exists. The stop names the offset up to which the log is the one that was read."""
    world = world_with_epochs()
    async with world.replica() as replica:
        await replica.own(A)
        await read(world, replica, 100)
        world.broker.elect(A, cut_to=80)
        await assert_stopped(world, replica)


async def test_offsets_without_a_record_of_another_leader_are_compared_too() -> None:
    """A marker is the last record, after the cut. Without the comparison, it would hide the records before it."""
    world = world_with_epochs()
    async with world.replica() as replica:
        await replica.own(A)
        await read(world, replica, 100)
        world.broker.logs[A].cut(80)
        world.broker.logs[A].epochs.append((1, 80))
        world.broker.append_gap(A, 21)
        await assert_stopped(world, replica)
    assert world.tables.ledger[A].next == 100


async def test_leaders_that_move_without_a_loss_are_not_reported() -> None:
    """No record is lost or read twice, and nothing is reported. The ledger's leader epoch follows, also over gaps."""
    world = world_with_epochs()
    async with world.replica() as replica:
        await replica.own(A)
        for epoch in range(1, 20):
            await read(world, replica, 10)
            world.broker.elect(A)
            world.broker.append_gap(A, epoch % 3)
            await time_passes(1)
        await read(world, replica, 10)
        assert world.tables.ledger[A].leader_epoch == 19
        assert replica.telemetry.count("claimed") == 1
    async with world.replica("two") as successor:
        await successor.own(A)
        await read(world, successor, 10)
    assert replica.telemetry.count("stopped") + successor.telemetry.count("stopped") == 0
    assert not any(why for _, why in replica.telemetry.all("unanswered"))
    world.assert_exactly_once(replica, successor)


async def test_an_epoch_without_records_is_not_a_divergence() -> None:
    """A leader wrote no record, so the log does not contain its epoch. The ledger has this epoch, and the log ends
    before it.
    """
    world = world_with_epochs()
    async with world.replica() as replica:
        await replica.own(A)
        await read(world, replica, 10)
    world.broker.elect(A)
    async with world.replica("two") as successor:
        await successor.own(A)
        world.broker.logs[A].epochs = [(0, 0), (2, 10)]
        await read(world, successor, 10)
    world.assert_exactly_once(replica, successor)


async def test_a_ledger_from_before_the_migration_accepts_the_present_log() -> None:
    """There is no stored epoch to compare. After the first read, there is one."""
    world = world_with_epochs()
    world.broker.elect(A, cut_to=0)
    world.produce(A, 100)
    world.tables.claim(A, 0, "a version that knows of no epochs")
    async with world.replica() as replica:
        await replica.own(A)
        await world.caught_up(A)
        assert world.tables.ledger[A].leader_epoch == 1
        world.broker.elect(A, cut_to=80)
        await assert_stopped(world, replica)


async def test_a_ledger_without_an_epoch_that_is_beyond_the_end_stops_from_the_beginning() -> None:
    """The epoch was not stored when the log was truncated, so the log may differ from its beginning."""
    world = world_with_epochs()
    world.produce(A, 80)
    world.tables.claim(A, 100, "a version that knows of no epochs")
    async with world.replica() as replica:
        replica.source.assign(A)
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        await time_passes(5)
    assert "partition ends at 80" in stop_of(world).problem
    assert (stop_of(world).diverges_at, stop_of(world).resume_from) == (0, "earliest")


async def test_a_log_without_epochs_is_read_as_before() -> None:
    """Claims and records have no epoch. If the position no longer exists, the partition stops, and the start of the
    divergence is unknown.
    """
    world = World()
    async with world.replica() as replica:
        await replica.own(A)
        await read(world, replica, 100)
        world.broker.logs[A].cut(80)
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        await time_passes(5)
    stop = stop_of(world)
    assert (stop.diverges_at, stop.resume_from) == (0, "earliest")


async def test_a_log_whose_first_offsets_are_gone_too_is_read_from_its_beginning() -> None:
    """The cut is before the first offset that retention has left, so the log is read from its first offset."""
    world = world_with_epochs()
    async with world.replica() as replica:
        await replica.own(A)
        await read(world, replica, 100)
    world.broker.elect(A, cut_to=80)
    world.produce(A, 40)
    world.broker.delete_before(A, 90)
    async with world.replica() as replica:
        replica.source.assign(A)
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        await time_passes(5)
    assert (stop_of(world).diverges_at, stop_of(world).resume_from) == (80, "earliest")


async def test_retention_alone_is_not_a_divergence() -> None:
    """The stop has the number of deleted offsets, also if a running replica finds it."""
    world = world_with_epochs()
    async with world.replica() as replica:
        await replica.own(A)
        await read(world, replica, 100)
        replica.source.pause([A])
        world.produce(A, 40)
        world.broker.delete_before(A, 120)
        replica.source.resume([A])
        await world.changes.until(lambda: replica.telemetry.count("stopped"))
        await time_passes(5)
    assert "20 offsets were deleted by retention" in stop_of(world).problem
    assert stop_of(world).diverges_at is None


async def test_an_outdated_leader_is_not_believed() -> None:
    """It lost its leadership and does not know it. The partition waits for the present leader, whatever the old log
    contains.
    """
    world = world_with_epochs()
    async with world.replica() as replica:
        await replica.own(A, B)
        world.broker.elect(A)
        await read(world, replica, 100)
        assert world.tables.ledger[A].leader_epoch == 1
    log = world.broker.logs[A]
    real, log.epochs, log.end = log.epochs, [(0, 0)], 60
    async with world.replica() as successor:
        successor.source.assign(A, B)
        await time_passes(LONG)
        assert successor.telemetry.count("stopped") == 0
        assert successor.pipeline.unanswered == {A}
        assert successor.pipeline.is_claimed
        log.epochs, log.end = real, 100
        await read(world, successor, 10)
    world.assert_exactly_once(replica, successor)


# ── partitions without a leader ──────────────────────────────────────────────────────────────────────────────────


async def test_a_partition_without_a_leader_delays_no_other() -> None:
    """It does not matter whether the partition was claimed before. It is named, counts as settled, and is read when it
    has a leader.
    """
    world = world_with_epochs()
    world.produce(A, 10)
    world.broker.leaderless[A] = "it has no leader"
    async with world.replica() as replica:
        replica.source.assign(A, B)
        await read(world, replica, 10, B)
        await time_passes(LONG)
        assert replica.pipeline.unanswered == {A}
        assert replica.pipeline.is_claimed
        assert replica.telemetry.all("unanswered")[-1][1] == {A: "it has no leader"}
        assert len(replica.store.claims) == 1, "claimed once, and not again with each question"
        world.broker.leaderless.clear()
        await world.caught_up(A)
        assert replica.pipeline.unanswered == set()
    world.assert_exactly_once(replica)


async def test_a_leader_that_is_lost_between_claim_and_comparison_is_waited_for() -> None:
    """The claim is kept, and the partition is not claimed again."""
    async with running_claimer() as setup:
        setup.store.answer_seconds = lambda: 1.0
        setup.claimer.assign([A])
        await time_passes(1.5)  # one for the query of the ledger
        setup.broker.leaderless[A] = "it has no leader"
        assert await setup.granted(LONG) == {}
        assert setup.claimer.unanswered == {A}
        assert setup.tables.ledger[A].epoch == 1
        setup.broker.leaderless.clear()
        granted = await setup.granted(2 * RETRY_SECONDS + 5)
        assert granted.keys() == {A}
        assert setup.tables.ledger[A].epoch == 1


@pytest.mark.parametrize("trouble", ["database", "leader"])
async def test_a_stop_is_kept_while_a_claim_fails(trouble: str) -> None:
    """The topics are still checked too. A partition that waits delays no other work."""
    async with running_claimer() as setup:
        setup.broker.recreate(A.topic)
        setup.claimer.assign([A, B])
        await setup.granted()
        if trouble == "database":
            setup.store.claim_errors = [Unavailable("locked", Cause.LOCK) for _ in range(1000)]
        else:
            setup.broker.leaderless[B] = "it has no leader"
        setup.claimer.claim_again([B], [])
        setup.claimer.stop(A, StopReason("because a test says so"))
        await time_passes(CHECK_SECONDS)
        assert setup.tables.ledger[A].stop == StopReason("because a test says so")
        setup.tables.confirm(A)
        await time_passes(2 * CHECK_SECONDS)
        setup.store.claim_errors.clear()
        assert await setup.granted(LONG) != {}
