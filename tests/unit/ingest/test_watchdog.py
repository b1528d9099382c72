"""Tests that the watchdog distinguishes a stall from every state that only looks like one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from consumer.events.record import Partition
from consumer.ingest.ports import Refusal
from consumer.ingest.watchdog import ProgressSnapshot, ProgressWatch, Stalled, Watchdog, WatchPolicy
from tests.support.fakes import LoopClock
from tests.support.virtual_time import time_passes
from tests.support.world import A, B, Replica, World

POLICY = WatchPolicy(stall=60.0, statement=30.0, rebalance=20.0, check=5.0)
QUIET = ProgressSnapshot(
    now=0.0,
    ends={A: 10, B: 10},
    positions={A: 10, B: 10},
    seconds_waited=0.0,
    is_writing=False,
    is_assigned=True,
    is_claimed=True,
    steps=0,
    is_database_away=False,
)
BEHIND = replace(QUIET, positions={A: 3, B: 10})


class Watched:
    """A watch that sees the same state every few seconds."""

    def __init__(self) -> None:
        self.watch = ProgressWatch(POLICY)
        self.now = 0.0

    def first_problem(self, seen: ProgressSnapshot, seconds: float) -> tuple[float, str] | None:
        """Return the first problem and the seconds until it; None if there is none within so many seconds."""
        since = self.now
        while self.now - since < seconds:
            problem = self.watch.problem(replace(seen, now=self.now))
            if problem:
                return self.now - since, problem
            self.now += POLICY.check
        return None


@pytest.fixture
def watched() -> Watched:
    """Return a watch that has seen nothing yet."""
    return Watched()


# ── reading ──


def test_a_partition_with_records_that_is_not_read_is_a_stall(watched: Watched) -> None:
    """It is a stall even if other partitions are read, and its name is in the problem."""
    found = watched.first_problem(BEHIND, 1000)
    assert found is not None
    seconds, problem = found
    assert seconds == POLICY.stall
    assert str(A) in problem
    assert str(B) not in problem


def test_without_waiting_records_nothing_has_to_be_read(watched: Watched) -> None:
    """An idle replica is never a stall."""
    assert watched.first_problem(QUIET, 100_000) is None


def test_slow_reading_is_not_a_stall(watched: Watched) -> None:
    """It does not matter how far behind it is."""
    for position in range(100):
        seen = replace(QUIET, positions={A: position, B: 10}, ends={A: 10_000, B: 10})
        assert watched.first_problem(seen, POLICY.stall) is None


def test_the_time_begins_when_records_wait(watched: Watched) -> None:
    """It does not begin with the last record, which may be hours ago."""
    assert watched.first_problem(QUIET, 10_000) is None
    found = watched.first_problem(BEHIND, 1000)
    assert found is not None
    assert found[0] >= POLICY.stall - POLICY.check


def test_a_replica_that_waits_for_the_writer_is_not_a_stall(watched: Watched) -> None:
    """With a slow database, waiting is normal."""
    for _ in range(1000):
        assert watched.first_problem(replace(BEHIND, seconds_waited=watched.now), POLICY.check) is None


def test_only_the_time_in_which_a_replica_does_not_wait_counts(watched: Watched) -> None:
    """If it waits half of the time, a stall is detected after twice the time."""
    found = None
    while found is None:
        found = watched.first_problem(replace(BEHIND, seconds_waited=watched.now / 2), POLICY.check)
        assert watched.now < 1000
    assert watched.now == 2 * POLICY.stall


def test_a_partition_whose_reading_has_not_begun_is_watched_too(watched: Watched) -> None:
    """The partition was claimed, but reading did not start."""
    assert watched.first_problem(replace(QUIET, positions={A: -1}, ends={A: 0}), 1000) is not None


def test_a_lost_partition_is_forgotten(watched: Watched) -> None:
    """When the partition comes back, the time begins again."""
    assert watched.first_problem(BEHIND, POLICY.stall - POLICY.check) is None
    assert watched.first_problem(replace(QUIET, positions={B: 10}), 2 * POLICY.check) is None
    assert watched.first_problem(BEHIND, POLICY.stall - POLICY.check) is None


def test_seconds_in_which_the_brokers_do_not_answer_do_not_count(watched: Watched) -> None:
    """During that time it is unknown whether records wait."""
    assert watched.first_problem(replace(BEHIND, ends=None), 10_000) is None


def test_seconds_for_which_the_process_was_frozen_do_not_count(watched: Watched) -> None:
    """The process could not read during that time."""
    assert watched.first_problem(BEHIND, 2 * POLICY.check) is None
    watched.now += 100_000
    assert watched.first_problem(BEHIND, 2 * POLICY.check) is None


# ── fences ──


def test_fences_without_a_commit_between_them_are_a_stall(watched: Watched) -> None:
    """The same records are read again and again, and none is written."""
    found = None
    for cycle in range(100):
        seen = replace(BEHIND, positions={A: cycle % 3, B: 10}, fences=cycle)
        found = found or watched.first_problem(seen, 10.0)
    assert found is not None
    assert "thrown away" in found[1]
    assert POLICY.stall <= watched.now


@pytest.mark.parametrize("commits_every", [1, 5])
def test_fences_between_commits_are_not_a_stall(watched: Watched, commits_every: int) -> None:
    """The replica makes progress."""
    for cycle in range(100):
        seen = replace(QUIET, fences=cycle, commits=cycle // commits_every)
        assert watched.first_problem(seen, 10.0) is None


def test_a_single_fence_is_not_a_stall_however_long_the_next_batch_takes(watched: Watched) -> None:
    """The fence was right, because another replica had the partition. A slow write is checked separately."""
    assert watched.first_problem(QUIET, 10.0) is None
    for step in range(100):
        seen = replace(QUIET, fences=2, is_writing=True, steps=step)
        assert watched.first_problem(seen, POLICY.statement) is None


def test_fences_long_apart_with_no_records_between_them_are_not_a_stall(watched: Watched) -> None:
    """For example, a partition moves every hour, and another replica reads all its records."""
    for fences in range(20):
        assert watched.first_problem(replace(QUIET, fences=fences), 3600.0) is None


def test_fences_before_and_after_the_process_was_frozen_are_not_a_stall(watched: Watched) -> None:
    """The process could not write during that time."""
    for fences in range(3):
        assert watched.first_problem(replace(QUIET, fences=fences), 10.0) is None
        watched.now += POLICY.stall + 1


# ── writing ──


def test_a_write_without_an_answer_is_a_stall(watched: Watched) -> None:
    """It is one only after the write's own time limit should have ended it."""
    found = watched.first_problem(replace(QUIET, is_writing=True), 1000)
    assert found is not None
    assert found[0] == POLICY.stall + POLICY.statement
    assert "write" in found[1]


def test_a_long_write_that_makes_progress_is_not_a_stall(watched: Watched) -> None:
    """Each of its statements ends within the time limit."""
    for step in range(100):
        assert watched.first_problem(replace(QUIET, is_writing=True, steps=step), POLICY.statement) is None


def test_an_outage_of_the_database_is_not_a_stall(watched: Watched) -> None:
    """It excuses reading, writing and claiming, because a new process would not help."""
    outage = replace(BEHIND, is_writing=True, is_claimed=False, is_database_away=True)
    assert watched.first_problem(outage, 100_000) is None


def test_after_an_outage_the_time_begins_again(watched: Watched) -> None:
    """The first write after an outage comes a moment later."""
    assert watched.first_problem(BEHIND, POLICY.stall - POLICY.check) is None
    assert watched.first_problem(replace(BEHIND, is_database_away=True), 2 * POLICY.check) is None
    assert watched.first_problem(BEHIND, POLICY.stall - POLICY.check) is None


# ── the group ──


def test_a_group_that_assigns_nothing_is_a_stall(watched: Watched) -> None:
    """This takes longer than any rebalance may take, while the brokers answer."""
    found = watched.first_problem(replace(QUIET, positions={}, ends={}, is_assigned=False), 1000)
    assert found is not None
    assert found[0] == POLICY.stall + POLICY.rebalance
    assert "group" in found[1]


def test_a_replica_without_partitions_is_not_a_stall(watched: Watched) -> None:
    """There are more replicas than partitions, so the group assigns nothing to this one."""
    assert watched.first_problem(replace(QUIET, positions={}, ends={}), 100_000) is None


def test_missing_claims_are_a_stall(watched: Watched) -> None:
    """Kafka and the database answer, but the replica does not claim."""
    found = watched.first_problem(replace(QUIET, positions={}, ends={}, is_claimed=False), 1000)
    assert found is not None
    assert "claimed" in found[1]


def test_an_outage_of_kafka_is_not_a_stall_of_the_group(watched: Watched) -> None:
    """No partition can be assigned or claimed meanwhile."""
    for seen in (replace(QUIET, is_assigned=False), replace(QUIET, is_claimed=False)):
        assert watched.first_problem(replace(seen, ends=None), 100_000) is None


def test_a_group_that_refuses_the_replica_is_not_a_stall(watched: Watched) -> None:
    """The group would refuse a new process too. A missing right to a topic does not excuse it."""
    joining = replace(QUIET, is_assigned=False, ends={}, positions={})
    assert watched.first_problem(replace(joining, refused=frozenset({"group"})), 10_000) is None
    assert watched.first_problem(replace(joining, refused=frozenset({"topic"})), 1000) is not None


def test_a_claim_of_a_topic_without_the_right_to_read_is_not_a_stall(watched: Watched) -> None:
    """Without the right, the brokers do not return the bounds of the partition."""
    claiming = replace(QUIET, is_claimed=False)
    assert watched.first_problem(replace(claiming, refused=frozenset({"topic"})), 10_000) is None
    assert watched.first_problem(claiming, 1000) is not None


# ── the watchdog ──


@asynccontextmanager
async def watching(world: World, replica: Replica) -> AsyncIterator[asyncio.Task[None]]:
    """Run a watchdog for a replica during the context."""
    problems: list[str] = []
    watchdog = Watchdog(
        replica.pipeline,
        replica.source,
        LoopClock(),
        POLICY,
        topics=[A.topic],
        steps=lambda: len(replica.store.times),
        is_database_away=lambda: not replica.store.gate.is_set(),
        on_stall=problems.append,
    )
    running = asyncio.create_task(watchdog.run())
    yield running
    if running.done():
        assert problems == [str(running.exception())] == [watchdog.problem]
    running.cancel()


def freeze(replica: Replica, partition: Partition) -> None:
    """Let the source fetch no more records of a partition, without an error."""
    replica.source.paused.add(partition)


async def test_a_source_that_silently_stops_fetching_ends_the_work() -> None:
    """One of two partitions is affected. It is reported by name before any work is cancelled."""
    world = World()
    async with world.replica() as replica, watching(world, replica) as watchdog:
        await replica.own(A, B)
        freeze(replica, A)
        await time_passes(1000)
        assert not watchdog.done(), "no record waits yet"
        world.produce(A, 10)
        for _ in range(30):
            world.produce(B, 10)
            await time_passes(5)
        with pytest.raises(Stalled, match=str(A)):
            await watchdog
    assert world.is_caught_up(B)


async def test_an_outage_and_a_stopped_partition_do_not_trigger_the_watchdog() -> None:
    """A new process would help with neither."""
    world = World()
    world.produce(B, 10)
    world.tables.claim(B, 99, "somebody before")
    async with world.replica() as replica, watching(world, replica) as watchdog:
        replica.source.assign(A, B)
        await world.changes.until(lambda: A in replica.sought())
        replica.store.gate.clear()
        world.produce(A, 5000)
        await time_passes(2_000)
        world.broker.is_down = True
        await time_passes(2_000)
        assert not watchdog.done()


async def test_a_client_that_gets_no_answer_while_others_do_ends_the_work() -> None:
    """Its addresses may be outdated. If no client gets an answer, it is an outage."""
    world = World()
    async with world.replica() as replica, watching(world, replica) as watchdog:
        await replica.own(A)
        world.broker.is_down = True
        await time_passes(2_000)
        assert not watchdog.done()
        world.broker.answers_new_client = True
        await time_passes(2 * POLICY.check)
        with pytest.raises(Stalled, match="new client"):
            await watchdog


@pytest.mark.parametrize("is_claimed", [True, False])
async def test_a_partition_without_a_leader_does_not_trigger_the_watchdog(is_claimed: bool) -> None:
    """It does not matter whether it had a leader when it was claimed. It is a stall only if a new client gets an answer
    and this one does not.
    """
    world = World()
    async with world.replica() as replica, watching(world, replica) as watchdog:
        if is_claimed:
            await replica.own(A, B)
        world.broker.leaderless[A] = "it has no leader"
        if not is_claimed:
            replica.source.assign(A, B)
        await time_passes(2_000)
        assert not watchdog.done()
        world.broker.answers_new_client = True
        await time_passes(2 * POLICY.stall)
        with pytest.raises(Stalled, match="new client"):
            await watchdog


async def test_an_outdated_leader_does_not_trigger_the_watchdog() -> None:
    """The leader answers this client like any other client, but its answer is outdated."""
    world = World()
    world.broker.answers_new_client = True
    world.broker.elect(A)
    world.tables.claim(A, 0, "somebody before", None, 7)
    async with world.replica() as replica, watching(world, replica) as watchdog:
        replica.source.assign(A, B)
        await time_passes(2_000)
        assert not watchdog.done()
        assert replica.pipeline.unanswered == {A}


async def test_a_topic_without_the_right_to_read_does_not_trigger_the_watchdog() -> None:
    """Its records wait until the right is granted, and a new process could not read them either. Other partitions are
    watched.
    """
    world = World()
    async with world.replica() as replica, watching(world, replica) as watchdog:
        await replica.own(A, B)
        replica.source.refused = [Refusal("topic", A.topic, "not authorized", "grant it")]
        freeze(replica, A)
        world.produce(A, 10)
        await time_passes(1000)
        assert not watchdog.done()
        replica.source.refused = []
        await time_passes(2 * POLICY.stall)
        with pytest.raises(Stalled, match=str(A)):
            await watchdog


async def test_records_behind_an_open_transaction_do_not_trigger_the_watchdog() -> None:
    """No process can read them."""
    world = World()
    async with world.replica() as replica, watching(world, replica) as watchdog:
        await replica.own(A)
        world.broker.logs[A].held_back = 1000
        await time_passes(1000)
        assert not watchdog.done()
