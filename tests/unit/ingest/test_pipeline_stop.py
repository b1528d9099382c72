"""Tests how the service stops in order, and which errors end it."""

from __future__ import annotations

import asyncio

import pytest

from consumer.ingest.batch import Batch
from consumer.ingest.ports import Turn, Written
from tests.support.virtual_time import time_passes
from tests.support.world import A, B, World


async def test_stop_writes_held_records_and_commits() -> None:
    """It does not wait for the delay, and commits to Kafka before it leaves the group."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A)
        world.produce(A, 5)
        await world.changes.until(lambda: replica.source.returned == 5)
    world.assert_exactly_once(replica)
    assert world.broker.committed == {A: 5}


async def test_stop_waits_for_the_database() -> None:
    """The end waits until the outage is over, and held records are written then."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A)
        replica.store.gate.clear()
        world.produce(A, 5000)
        await world.changes.until(lambda: replica.source.paused)
        replica.stopping.set()
        await time_passes(60)
        assert replica.running
        assert not replica.running.done()
        replica.store.gate.set()
        await replica.running
    held = world.tables.ledger[A].next
    assert world.offsets(A) == list(range(held))
    assert world.broker.committed == {A: held}


async def test_stop_does_not_wait_for_a_rebalance() -> None:
    """A poll that waits for the rebalance is cancelled."""
    world = World()
    async with world.replica() as replica:
        await replica.own(A)
        world.produce(A, 3)
        await world.caught_up(A)
        await replica.source.revoke()
        await time_passes(1)
        replica.stopping.set()
        async with asyncio.timeout(5):
            assert replica.running
            await replica.running


async def test_stop_before_anything_is_assigned() -> None:
    """There is nothing to write, and nothing to wait for."""
    world = World()
    async with world.replica() as replica:
        assert not replica.pipeline.is_assigned
    assert world.tables.ledger == {}


async def test_stop_while_a_batch_is_fenced_loses_nothing() -> None:
    """The next replica continues at the ledger's offset."""
    world = World()
    async with world.replica() as first:
        await first.own(A)
        first.store.gate.clear()
        world.produce(A, 250)
        await world.changes.until(lambda: first.store.tried)
        world.tables.claim(A, 0, "another")
    async with world.replica("two") as second:
        await second.own(A)
        await world.caught_up(A)
    world.assert_exactly_once()


async def test_records_that_a_killed_replica_held_are_read_again() -> None:
    """The next replica reads every uncommitted record."""
    world = World()
    async with world.replica() as first:
        await first.own(A)
        first.store.write_seconds = lambda: 1.0
        world.produce(A, 1000)
        await world.changes.until(lambda: world.tables.rows)
        await first.kill()
    async with world.replica("two") as second:
        await second.own(A)
        await world.caught_up(A)
    world.assert_exactly_once()


async def test_readiness_follows_the_group_and_the_ledger() -> None:
    """`is_assigned` means that the group has decided, even if it assigned no partition. `is_claimed` means that every
    claim is settled.
    """
    world = World()
    async with world.replica() as replica:
        assert (replica.pipeline.is_assigned, replica.pipeline.is_claimed) == (False, False)
        replica.source.assign()
        assert (replica.pipeline.is_assigned, replica.pipeline.is_claimed) == (True, True)
        replica.source.assign(A, B)
        assert (replica.pipeline.is_assigned, replica.pipeline.is_claimed) == (True, False)
        await world.changes.until(lambda: replica.pipeline.is_claimed)
        await replica.source.revoke()
        assert (replica.pipeline.is_assigned, replica.pipeline.is_claimed) == (False, False)


async def test_a_source_that_fails_ends_the_service() -> None:
    """The error is raised, so that the supervisor starts the service again. Committed rows stay."""
    world = World()
    replica = world.replica()
    replica.start()
    await replica.own(A)
    world.produce(A, 3)
    await world.caught_up(A)
    replica.source.failure = ValueError("a bug")
    assert replica.running
    with pytest.raises(ExceptionGroup) as caught:
        await replica.running
    assert caught.group_contains(ValueError, match="a bug")


async def test_a_store_that_fails_ends_the_service() -> None:
    """An error that is neither an outage nor a fence is a bug of ours. No record is discarded in silence."""
    world = World()
    replica = world.replica()

    async def fail(batch: Batch, turn: Turn) -> Written:
        raise ValueError("a bug")

    replica.store.write = fail  # type: ignore[method-assign]
    replica.start()
    await replica.own(A)
    world.produce(A, 3)
    assert replica.running
    with pytest.raises(ExceptionGroup) as caught:
        await replica.running
    assert caught.group_contains(ValueError, match="a bug")
    assert world.tables.ledger[A].next == 0
