"""Tests how the service stops in order, and which errors end it."""

from __future__ import annotations

import asyncio

import pytest

from consumer.ingest.batch import Batch
from consumer.ingest.ports import Turn, Written
from tests.support.virtual_time import passes
from tests.support.world import A, B, World


async def test_stop_writes_held_records_and_commits() -> None:
    """It does not wait for the delay, and commits to Kafka before it leaves the group."""
    world = World()
    async with world.reader() as reader:
        await reader.own(A)
        world.produce(A, 5)
        await world.changes.until(lambda: reader.source.returned == 5)
    world.assert_exactly_once(reader)
    assert world.broker.committed == {A: 5}


async def test_stop_waits_for_the_database() -> None:
    """The end waits until the outage is over, and held records are written then."""
    world = World()
    async with world.reader() as reader:
        await reader.own(A)
        reader.store.gate.clear()
        world.produce(A, 5000)
        await world.changes.until(lambda: reader.source.paused)
        reader.stopping.set()
        await passes(60)
        assert reader.running
        assert not reader.running.done()
        reader.store.gate.set()
        await reader.running
    held = world.tables.ledger[A].next
    assert world.offsets(A) == list(range(held))
    assert world.broker.committed == {A: held}


async def test_stop_does_not_wait_for_a_rebalance() -> None:
    """A poll that waits for the rebalance is cancelled."""
    world = World()
    async with world.reader() as reader:
        await reader.own(A)
        world.produce(A, 3)
        await world.caught_up(A)
        await reader.source.revoke()
        await passes(1)
        reader.stopping.set()
        async with asyncio.timeout(5):
            assert reader.running
            await reader.running


async def test_stop_before_anything_is_assigned() -> None:
    """There is nothing to write, and nothing to wait for."""
    world = World()
    async with world.reader() as reader:
        assert not reader.pipeline.is_assigned
    assert world.tables.ledger == {}


async def test_stop_while_a_batch_is_fenced_loses_nothing() -> None:
    """The next replica continues at the ledger's offset."""
    world = World()
    async with world.reader() as first:
        await first.own(A)
        first.store.gate.clear()
        world.produce(A, 250)
        await world.changes.until(lambda: first.store.tried)
        world.tables.claim(A, 0, "another")
    async with world.reader("two") as second:
        await second.own(A)
        await world.caught_up(A)
    world.assert_exactly_once()


async def test_records_that_a_killed_replica_held_are_read_again() -> None:
    """The next replica reads every uncommitted record."""
    world = World()
    async with world.reader() as first:
        await first.own(A)
        first.store.write_seconds = lambda: 1.0
        world.produce(A, 1000)
        await world.changes.until(lambda: world.tables.rows)
        await first.kill()
    async with world.reader("two") as second:
        await second.own(A)
        await world.caught_up(A)
    world.assert_exactly_once()


async def test_readiness_follows_the_group_and_the_ledger() -> None:
    """`is_assigned` means that the group has decided, even if it assigned no partition. `is_claimed` means that every
    claim is settled.
    """
    world = World()
    async with world.reader() as reader:
        assert (reader.pipeline.is_assigned, reader.pipeline.is_claimed) == (False, False)
        reader.source.assign()
        assert (reader.pipeline.is_assigned, reader.pipeline.is_claimed) == (True, True)
        reader.source.assign(A, B)
        assert (reader.pipeline.is_assigned, reader.pipeline.is_claimed) == (True, False)
        await world.changes.until(lambda: reader.pipeline.is_claimed)
        await reader.source.revoke()
        assert (reader.pipeline.is_assigned, reader.pipeline.is_claimed) == (False, False)


async def test_a_source_that_fails_ends_the_service() -> None:
    """The error is raised, so that the supervisor starts the service again. Committed rows stay."""
    world = World()
    reader = world.reader()
    reader.start()
    await reader.own(A)
    world.produce(A, 3)
    await world.caught_up(A)
    reader.source.failure = ValueError("a bug")
    assert reader.running
    with pytest.raises(ExceptionGroup) as caught:
        await reader.running
    assert caught.group_contains(ValueError, match="a bug")


async def test_a_store_that_fails_ends_the_service() -> None:
    """An error that is neither an outage nor a fence is a bug of ours. No record is discarded in silence."""
    world = World()
    reader = world.reader()

    async def fail(batch: Batch, turn: Turn) -> Written:
        raise ValueError("a bug")

    reader.store.write = fail  # type: ignore[method-assign]
    reader.start()
    await reader.own(A)
    world.produce(A, 3)
    assert reader.running
    with pytest.raises(ExceptionGroup) as caught:
        await reader.running
    assert caught.group_contains(ValueError, match="a bug")
    assert world.tables.ledger[A].next == 0
