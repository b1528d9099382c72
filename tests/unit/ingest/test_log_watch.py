"""A log that was cut off, and has grown again or not: the reader stops, with both offsets, and passes over nothing."""

from __future__ import annotations

import pytest

from consumer.events.record import Partition
from consumer.ingest.batch import BatchLimits
from consumer.ingest.claims import CHECK_SECONDS, RETRY_SECONDS
from consumer.ingest.offsets import StopReason
from consumer.ingest.ports import Cause, Unavailable
from tests.support.virtual_time import passes
from tests.support.world import A, B, Reader, World, policy
from tests.unit.ingest.test_claims import at_work

LONG = 600.0
SMALL_AND_LATE = BatchLimits(max_rows=100, max_bytes=1_000_000, max_delay=30.0)


def world_with_epochs() -> World:
    """Whose brokers keep leader epochs."""
    world = World()
    for partition in world.broker.logs:
        world.broker.elect(partition)
    return world


async def read(world: World, reader: Reader, count: int, partition: Partition = A) -> None:
    """Produce and have it written."""
    world.produce(partition, count)
    await world.caught_up(partition)


def stop_of(world: World, partition: Partition = A) -> StopReason:
    """What the ledger keeps."""
    stop = world.tables.ledger[partition].stop
    assert stop is not None
    return stop


async def test_a_log_that_was_cut_and_grew_while_nobody_read_stops() -> None:
    """Every offset is there: only the epoch tells."""
    world = world_with_epochs()
    async with world.reader() as reader:
        await reader.own(A, B)
        await read(world, reader, 100)
    world.broker.elect(A, cut_to=80)
    world.produce(A, 40)
    async with world.reader() as reader:
        reader.source.assign(A, B)
        await read(world, reader, 20, B)
        await assert_stopped(world, reader)
        await assert_goes_on_at_the_cut(world, 120)


async def assert_stopped(world: World, reader: Reader) -> None:
    """With both offsets; nothing behind the cut was read."""
    await world.changes.until(lambda: reader.telemetry.count("stopped"))
    await passes(LONG)
    stop = stop_of(world)
    assert (stop.diverges_at, stop.resume_from) == (80, "80")
    assert "up to offset 100" in stop.problem
    assert "only up to offset 80" in stop.problem
    assert world.offsets(A) == list(range(100))


async def assert_goes_on_at_the_cut(world: World, end: int) -> None:
    """Where the stop advises to go on, every record of the log as it is now is read."""
    world.tables.rows.clear()  # else the same offsets would give the same ids, as all records here are of one moment
    world.tables.decide(A, 80)
    await world.caught_up(A)
    assert world.offsets(A) == list(range(80, end))


async def test_a_log_that_is_cut_and_grows_under_a_reader_stops() -> None:
    """Records of another leader are not taken in before the log is compared; those in flight are written."""
    world = world_with_epochs()
    async with world.reader(policy=policy(SMALL_AND_LATE)) as reader:
        await reader.own(A)
        world.produce(A, 100)
        await world.changes.until(lambda: reader.source.returned == 100)
        world.broker.logs[A].cut(80)
        world.broker.logs[A].epochs.append((1, 80))
        world.produce(A, 40)
        await assert_stopped(world, reader)
        assert [claim.partition for claim in reader.store.claims] == [A], "no new claim"
        await assert_goes_on_at_the_cut(world, 120)


async def test_a_log_that_is_cut_under_an_idle_reader_stops() -> None:
    """Its position is gone, and it is said up to where the log is the one that was read."""
    world = world_with_epochs()
    async with world.reader() as reader:
        await reader.own(A)
        await read(world, reader, 100)
        world.broker.elect(A, cut_to=80)
        await assert_stopped(world, reader)


async def test_offsets_without_a_record_of_another_leader_are_compared_too() -> None:
    """A marker at the end, behind a cut: passing over it would hide what lies before it."""
    world = world_with_epochs()
    async with world.reader() as reader:
        await reader.own(A)
        await read(world, reader, 100)
        world.broker.logs[A].cut(80)
        world.broker.logs[A].epochs.append((1, 80))
        world.broker.append_gap(A, 21)
        await assert_stopped(world, reader)
    assert world.tables.ledger[A].next == 100


async def test_leaders_that_move_without_a_loss_are_not_talked_about() -> None:
    """Nothing is lost, read twice, or said; the ledger follows, also over what holds no record."""
    world = world_with_epochs()
    async with world.reader() as reader:
        await reader.own(A)
        for epoch in range(1, 20):
            await read(world, reader, 10)
            world.broker.elect(A)
            world.broker.append_gap(A, epoch % 3)
            await passes(1)
        await read(world, reader, 10)
        assert world.tables.ledger[A].leader_epoch == 19
        assert reader.telemetry.count("claimed") == 1
    async with world.reader("two") as successor:
        await successor.own(A)
        await read(world, successor, 10)
    assert reader.telemetry.count("stopped") + successor.telemetry.count("stopped") == 0
    assert not any(why for _, why in reader.telemetry.all("unanswered"))
    world.assert_exactly_once(reader, successor)


async def test_what_was_read_under_an_epoch_that_wrote_nothing_more_is_known() -> None:
    """The leader in between has left no trace in the log: the ledger knows its epoch, and the log ends before it."""
    world = world_with_epochs()
    async with world.reader() as reader:
        await reader.own(A)
        await read(world, reader, 10)
    world.broker.elect(A)
    async with world.reader("two") as successor:
        await successor.own(A)
        world.broker.logs[A].epochs = [(0, 0), (2, 10)]
        await read(world, successor, 10)
    world.assert_exactly_once(reader, successor)


async def test_a_ledger_from_before_the_migration_takes_the_log_for_what_it_is() -> None:
    """Nothing is known that could be compared; from then on it is."""
    world = world_with_epochs()
    world.broker.elect(A, cut_to=0)
    world.produce(A, 100)
    world.tables.claim(A, 0, "a version that knows of no epochs")
    async with world.reader() as reader:
        await reader.own(A)
        await world.caught_up(A)
        assert world.tables.ledger[A].leader_epoch == 1
        world.broker.elect(A, cut_to=80)
        await assert_stopped(world, reader)


async def test_a_ledger_from_before_the_migration_that_is_beyond_the_end_says_no_more_than_it_knows() -> None:
    """The epoch was not known when the log was cut, so it may be another one from its beginning on."""
    world = world_with_epochs()
    world.produce(A, 80)
    world.tables.claim(A, 100, "a version that knows of no epochs")
    async with world.reader() as reader:
        reader.source.assign(A)
        await world.changes.until(lambda: reader.telemetry.count("stopped"))
        await passes(5)
    assert "partition ends at 80" in stop_of(world).problem
    assert (stop_of(world).diverges_at, stop_of(world).resume_from) == (0, "earliest")


async def test_brokers_that_keep_no_epochs_are_read_as_before() -> None:
    """A claim and records without an epoch; a position that is gone stops, and nobody knows from where on."""
    world = World()
    async with world.reader() as reader:
        await reader.own(A)
        await read(world, reader, 100)
        world.broker.logs[A].cut(80)
        await world.changes.until(lambda: reader.telemetry.count("stopped"))
        await passes(5)
    stop = stop_of(world)
    assert (stop.diverges_at, stop.resume_from) == (0, "earliest")


async def test_a_log_whose_first_offsets_are_gone_too_is_read_from_its_beginning() -> None:
    """The cut lies before what retention has left, so there is nowhere else to go on."""
    world = world_with_epochs()
    async with world.reader() as reader:
        await reader.own(A)
        await read(world, reader, 100)
    world.broker.elect(A, cut_to=80)
    world.produce(A, 40)
    world.broker.delete_before(A, 90)
    async with world.reader() as reader:
        reader.source.assign(A)
        await world.changes.until(lambda: reader.telemetry.count("stopped"))
        await passes(5)
    assert (stop_of(world).diverges_at, stop_of(world).resume_from) == (80, "earliest")


async def test_retention_alone_is_no_divergence() -> None:
    """Told with the number of offsets that are gone, also where a running reader finds out."""
    world = world_with_epochs()
    async with world.reader() as reader:
        await reader.own(A)
        await read(world, reader, 100)
        reader.source.pause([A])
        world.produce(A, 40)
        world.broker.delete_before(A, 120)
        reader.source.resume([A])
        await world.changes.until(lambda: reader.telemetry.count("stopped"))
        await passes(5)
    assert "20 offsets were deleted by retention" in stop_of(world).problem
    assert stop_of(world).diverges_at is None


async def test_a_leader_that_is_out_of_date_is_not_believed() -> None:
    """It was deposed and does not know it: whatever its log holds, the partition waits for the one that leads."""
    world = world_with_epochs()
    async with world.reader() as reader:
        await reader.own(A, B)
        world.broker.elect(A)
        await read(world, reader, 100)
        assert world.tables.ledger[A].leader_epoch == 1
    log = world.broker.logs[A]
    real, log.epochs, log.end = log.epochs, [(0, 0)], 60
    async with world.reader() as successor:
        successor.source.assign(A, B)
        await passes(LONG)
        assert successor.telemetry.count("stopped") == 0
        assert successor.pipeline.unanswered == {A}
        assert successor.pipeline.is_claimed
        log.epochs, log.end = real, 100
        await read(world, successor, 10)
    world.assert_exactly_once(reader, successor)


# ── partitions without a leader ──────────────────────────────────────────────────────────────────────────────────


async def test_a_partition_without_a_leader_holds_up_no_other() -> None:
    """Whether it was claimed before or not; it is named, counts as settled, and is read once it has a leader."""
    world = world_with_epochs()
    world.produce(A, 10)
    world.broker.leaderless[A] = "it has no leader"
    async with world.reader() as reader:
        reader.source.assign(A, B)
        await read(world, reader, 10, B)
        await passes(LONG)
        assert reader.pipeline.unanswered == {A}
        assert reader.pipeline.is_claimed
        assert reader.telemetry.all("unanswered")[-1][1] == {A: "it has no leader"}
        assert len(reader.store.claims) == 1, "claimed once, and not again with each question"
        world.broker.leaderless.clear()
        await world.caught_up(A)
        assert reader.pipeline.unanswered == set()
    world.assert_exactly_once(reader)


async def test_a_leader_that_goes_between_claim_and_comparison_is_waited_for() -> None:
    """The claim is kept, and not made again."""
    async with at_work() as office:
        office.store.answer_seconds = lambda: 1.0
        office.claimer.assign([A])
        await passes(1.5)  # one for the look at the ledger
        office.broker.leaderless[A] = "it has no leader"
        assert await office.granted(LONG) == {}
        assert office.claimer.unanswered == {A}
        assert office.tables.ledger[A].epoch == 1
        office.broker.leaderless.clear()
        granted = await office.granted(2 * RETRY_SECONDS + 5)
        assert granted.keys() == {A}
        assert office.tables.ledger[A].epoch == 1


@pytest.mark.parametrize("trouble", ["database", "leader"])
async def test_a_stop_is_kept_while_a_claim_fails(trouble: str) -> None:
    """And the topics are looked at: what one partition waits for keeps nothing else from being done."""
    async with at_work() as office:
        office.broker.make_anew(A.topic)
        office.claimer.assign([A, B])
        await office.granted()
        if trouble == "database":
            office.store.claim_errors = [Unavailable("locked", Cause.LOCK) for _ in range(1000)]
        else:
            office.broker.leaderless[B] = "it has no leader"
        office.claimer.claim_again([B], [])
        office.claimer.stop(A, StopReason("because a test says so"))
        await passes(CHECK_SECONDS)
        assert office.tables.ledger[A].stop == StopReason("because a test says so")
        office.tables.confirm(A)
        await passes(2 * CHECK_SECONDS)
        office.store.claim_errors.clear()
        assert await office.granted(LONG) != {}
