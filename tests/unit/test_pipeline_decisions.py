"""Partitions that stop and people's decisions about them, while the reader runs."""

from __future__ import annotations

from consumer.claims import LOOK_SECONDS
from consumer.ingest.batch import BatchLimits
from tests.unit.virtual_time import passes
from tests.unit.world import BAD, A, B, World, policy

SECONDS = LOOK_SECONDS + 1
LONG = 600.0
SMALL_AND_LATE = BatchLimits(max_rows=100, max_bytes=1_000_000, max_delay=30.0)


async def test_what_was_read_before_a_stop_is_written_and_nothing_after_it_is_passed_over() -> None:
    """The topic is made anew while records of the old one wait in the open batch, and the new one grows longer."""
    world = World()
    world.broker.make_anew(A.topic)
    async with world.reader(policy=policy(SMALL_AND_LATE)) as reader:
        await reader.own(A)
        world.produce(A, 20)
        await world.changes.until(lambda: reader.source.returned == 20)
        world.broker.make_anew(A.topic)
        world.broker.append_gap(A, 20)
        await world.changes.until(lambda: reader.telemetry.count("stopped"))
        world.broker.append_gap(A, 500)
        await passes(LONG)
    assert world.offsets(A) == list(range(20))
    row = world.tables.ledger[A]
    assert (row.next, row.gaps) == (20, 0)
    assert "made anew" in row.stopped_because


async def test_records_that_the_reader_holds_when_a_partition_stops_are_no_gaps() -> None:
    """The source is ahead of what was taken in: what lies between was neither read nor absent."""
    world = World()
    async with world.reader() as reader:
        await reader.own(A)
        world.produce(A, 20)
        await world.caught_up(A)
        made = world.produce(A, 30)
        reader.pipeline._claimer.stop(A, "because a test says so")
        reader.source.assigned[A] = 50
        reader.source.deliver(A, made)
        await passes(SECONDS)
        assert world.tables.ledger[A].next == 20
        world.tables.confirm(A)
        await world.caught_up(A)
    assert world.offsets(A) == list(range(50))
    assert world.tables.ledger[A].gaps == 0


async def test_after_a_decision_the_reader_goes_on_where_it_says() -> None:
    """Stopped by retention; told to go on further ahead; no restart, and the others were never held up."""
    world = World()
    world.produce(A, 50)
    world.tables.claim(A, 4, "somebody before")
    world.broker.delete_before(A, 20)
    async with world.reader() as reader:
        reader.source.assign(A, B)
        await world.changes.until(lambda: reader.telemetry.count("stopped"))
        await passes(LONG)
        world.tables.decide(A, 30)
        await world.caught_up(A)
    assert world.offsets(A) == list(range(30, 50))
    assert reader.telemetry.count("stopped") == 1


async def test_a_decision_reaches_a_reader_that_holds_records() -> None:
    """They are thrown away, unwritten, and reading goes on where the decision says; nothing twice in the new books."""
    world = World()
    async with world.reader(policy=policy(SMALL_AND_LATE)) as reader:
        await reader.own(A, B)
        world.produce(A, 20)
        world.produce(B, 20)
        await world.changes.until(lambda: reader.source.returned == 40)
        world.tables.decide(A, 10)
        await passes(SECONDS)
        world.produce(A, 100)
        world.produce(B, 100)
        await world.caught_up(A, B)
    assert world.offsets(A) == list(range(10, 120))
    assert world.offsets(B) == list(range(120))
    assert (world.tables.ledger[A].inserted, world.tables.ledger[A].duplicates) == (110, 0)


async def test_going_back_counts_what_is_there_already_as_duplicates() -> None:
    """An idle reader notices by itself."""
    world = World()
    async with world.reader() as reader:
        await reader.own(A)
        world.produce(A, 50)
        await world.caught_up(A)
        world.tables.decide(A, 0)
        await world.caught_up(A)
        await passes(LONG)
    row = world.tables.ledger[A]
    assert (row.start, row.next, row.inserted, row.duplicates) == (0, 50, 0, 50)


async def test_a_decision_about_one_partition_holds_up_no_other() -> None:
    """They are claimed again at once and read on."""
    world = World()
    async with world.reader() as reader:
        await reader.own(A, B)
        world.tables.decide(A, 0)
        await world.changes.until(lambda: reader.telemetry.count("overtaken"))
        world.produce(B, 20)
        await world.caught_up(B)
        await passes(LONG)
        assert len([claim for claim in reader.store.claims if claim.partition == B]) <= 2
    assert reader.telemetry.count("fenced") == 0


async def test_a_batch_can_stop_its_partition_for_every_reader_to_come() -> None:
    """As the limit on dead letters does: no more is read of it, through a restart, until a person decides."""
    world = World()
    async with world.reader() as reader:
        reader.store.stops = lambda written: {A: "too many"} if written.dead_letters else {}
        await reader.own(A, B)
        world.produce(A, 20, BAD)
        await world.changes.until(lambda: reader.telemetry.count("stopped"))
        world.produce(A, 300)
        world.produce(B, 300)
        await world.caught_up(B)
        await passes(LONG)
        assert reader.telemetry.all("stopped") == [(A, "too many")]
    stood = world.tables.ledger[A].next
    assert stood < 320
    async with world.reader() as successor:
        successor.source.assign(A, B)
        await world.changes.until(lambda: successor.telemetry.count("stopped"))
        await passes(LONG)
        assert world.tables.ledger[A].next == stood
        world.tables.confirm(A)
        await world.caught_up(A)
    world.assert_exactly_once(reader, successor)


async def test_a_batch_that_is_thrown_away_before_it_is_written_is_fenced_too() -> None:
    """Another reader has the partition: whether a write or a look finds out first makes no difference."""
    world = World()
    async with world.reader(policy=policy(SMALL_AND_LATE)) as reader:
        await reader.own(A)
        world.produce(A, 20)
        await world.changes.until(lambda: reader.source.returned == 20)
        world.tables.claim(A, 0, "another")
        await passes(SECONDS)
        assert reader.telemetry.count("fenced") == 1
        assert (reader.store.tried, world.offsets(A)) == ([], [])
        await world.caught_up(A)
    world.assert_exactly_once(reader)
