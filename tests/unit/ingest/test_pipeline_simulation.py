"""Tests two replicas on one database, with every possible event in any order: at the end the books are correct.

Time is virtual and every choice comes from the seed, so a failure can be repeated.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

import pytest

from consumer.ingest.batch import BatchLimits
from consumer.ingest.offsets import StopReason
from consumer.ingest.ports import Cause, Unavailable
from tests.support.builders import dialogue, encode
from tests.support.fakes import partition_of
from tests.support.virtual_time import time_passes
from tests.support.world import BAD, GOOD, A, B, C, Replica, World, policy

STEPS = 60
TOO_BAD = StopReason("bad", "here")
LIMITS = BatchLimits(max_rows=50, max_bytes=20_000, max_delay=0.2)
OWN_IDS = [str(UUID(int=number, version=4)) for number in range(5)]


class Simulation:
    """Two replicas, and random faults."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = World()
        self.replicas = [self._new_replica(), self._new_replica()]
        self.rebalance: asyncio.Task[None] | None = None

    def _new_replica(self) -> Replica:
        changes = {
            "poll_records": self.random.choice((20, 500)),
            "slice_records": self.random.choice((5, 250)),
            "slice_bytes": self.random.choice((100, 524_288)),  # with 100, records are decoded outside the loop
        }
        replica = self.world.replica(
            f"replica {self.random.random():.3f}", policy(LIMITS, drain_timeout=5.0, **changes)
        )
        replica.start()
        return replica

    async def run(self) -> None:
        """Do random steps, then let all work finish."""
        likely: Mapping[Callable[[], Awaitable[None]], int] = {
            self.produce: 8,
            self.leave_a_gap: 2,
            self.damage_a_batch: 3,
            self.let_time_pass: 6,
            self.elect_another_leader: 2,
            self.lose_or_find_a_leader: 2,
            self.rebalance_all: 4,
            self.let_one_miss_a_rebalance: 2,
            self.claim_from_outside: 1,
            self.decide_from_outside: 1,
            self.stop_at_bad_ones: 2,
            self.settle_stops: 4,
            self.slow_down: 3,
            self.close_the_database: 2,
            self.open_the_database: 3,
            self.fail_claims: 1,
            self.kill_one: 1,
            self.restart_one: 1,
        }
        await self.rebalance_all()
        for _ in range(STEPS):
            (step,) = self.random.choices(list(likely), list(likely.values()))
            await step()
        await self.catch_up()

    async def catch_up(self) -> None:
        """End all faults. Every produced record must arrive."""
        await self.open_the_database()
        self.world.broker.leaderless.clear()
        for replica in self.replicas:
            replica.store.write_seconds = replica.store.answer_seconds = lambda: 0.0
        if self.rebalance:
            await self.rebalance
        await self._rebalance({partition: self.random.choice(self.replicas) for partition in (A, B, C)})
        while not self.world.is_caught_up(A, B, C):
            await self.settle_stops()
            await time_passes(1)
        for replica in self.replicas:
            await replica.stop()

    # ── steps ──

    async def produce(self) -> None:
        """Produce good records, bad ones, and events that are sent more than once."""
        count, partition = self.random.randint(1, self.random.choice((120, 900))), self.random.choice((A, B, C))
        repeated = partial(self.random.choice, [dialogue(id=own) for own in OWN_IDS])
        events = [self.random.choices((GOOD, BAD, repeated()), (20, 1, 1))[0] for _ in range(count)]
        self.world.broker.append(partition, *events)

    async def leave_a_gap(self) -> None:
        """Add offsets without a record, as a marker, aborted records or compacted records leave them."""
        self.world.broker.append_gap(self.random.choice((A, B, C)), self.random.randint(1, 5))

    async def damage_a_batch(self) -> None:
        """Add a batch whose records cannot be separated. Its partition stops before it, until a person gives it up."""
        self.world.broker.append_damaged(self.random.choice((A, B, C)), self.random.randint(1, 40))

    async def elect_another_leader(self) -> None:
        """Elect a leader that was in sync: every read record stays in the log."""
        self.world.broker.elect(self.random.choice((A, B, C)))

    async def lose_or_find_a_leader(self) -> None:
        """Remove or restore a partition's leader. Other partitions must not be affected."""
        leaderless, partition = self.world.broker.leaderless, self.random.choice((A, B, C))
        if leaderless.pop(partition, None) is None:
            leaderless[partition] = "it has no leader"

    async def let_time_pass(self) -> None:
        """Wait for no time, a moment or a long time."""
        await time_passes(self.random.choice((0.0, 0.01, 0.2, 1.0, 3.0, 15.0)))

    async def rebalance_all(self) -> None:
        """Let the group assign all partitions again, while all other work continues."""
        if self.rebalance is None or self.rebalance.done():
            owners = {partition: self.random.choice([*self.replicas, None]) for partition in (A, B, C)}
            self.rebalance = asyncio.create_task(self._rebalance(owners))
            await time_passes(0)

    async def _rebalance(self, owners: Mapping[Any, Replica | None]) -> None:
        await asyncio.gather(*(replica.source.revoke() for replica in self.replicas))
        for replica in self.replicas:
            replica.source.assign(*(partition for partition, owner in owners.items() if owner is replica))

    async def let_one_miss_a_rebalance(self) -> None:
        """Let the group remove one replica and assign everything to the other one. The first one does not notice."""
        if self.rebalance and not self.rebalance.done():
            return
        (other,) = self.random.sample(self.replicas, 1)
        await other.source.revoke()
        other.source.assign(A, B, C)

    async def claim_from_outside(self) -> None:
        """Let another process claim a partition and do nothing with it."""
        self.world.tables.claim(self.random.choice((A, B, C)), 0, "passer-by")

    async def decide_from_outside(self) -> None:
        """Let a person decide, without need, that a partition continues at the ledger's offset."""
        if self.world.tables.ledger:
            self.world.tables.confirm(self.random.choice(list(self.world.tables.ledger)))

    async def stop_at_bad_ones(self) -> None:
        """Set a limit on dead letters: a partition stops with the batch that holds one, until a person decides."""
        for replica in self.replicas:
            replica.store.stops = lambda written: {
                partition_of(letter.record): TOO_BAD for letter in written.dead_letters
            }

    async def settle_stops(self) -> None:
        """Let a person fix the producer and follow the advice of every stop."""
        for replica in self.replicas:
            replica.store.stops = lambda _: {}
        for partition, row in self.world.tables.ledger.items():
            if row.stop:
                self.world.tables.settle(partition)

    async def slow_down(self) -> None:
        """Make one replica's database slow to write, and slow to answer after the commit."""
        store = self.random.choice(self.replicas).store
        store.write_seconds = partial(self.random.choice, (0.0, 0.1, 4.0))
        store.answer_seconds = partial(self.random.choice, (0.0, 0.05, 2.0))

    async def close_the_database(self) -> None:
        """Begin an outage for one replica."""
        self.random.choice(self.replicas).store.gate.clear()

    async def open_the_database(self) -> None:
        """End every outage."""
        for replica in self.replicas:
            replica.store.gate.set()

    async def fail_claims(self) -> None:
        """Let the next claims of one replica fail."""
        errors = [Unavailable("down", Cause.CONNECTION) for _ in range(self.random.randint(1, 3))]
        self.random.choice(self.replicas).store.claim_errors = list[Exception](errors)

    async def kill_one(self) -> None:
        """Kill a replica. Another one takes its place at the next rebalance."""
        await self._replace(self.random.randrange(2), gently=False)

    async def restart_one(self) -> None:
        """Stop a replica in order. Another one takes its place."""
        await self._replace(self.random.randrange(2), gently=True)

    async def _replace(self, place: int, *, gently: bool) -> None:
        if self.rebalance:
            await self.rebalance
        old = self.replicas[place]
        await (old.stop() if gently else old.kill())
        self.replicas[place] = self._new_replica()
        self.replicas[place].source.assign()

    # ── afterwards ──

    def check(self) -> None:
        """Assert that every record is stored once, and that the ledger agrees."""
        tables, records = self.world.tables, self.world.broker.all_records()
        kinds = Counter(
            "good" if one.value == encode(GOOD) else "bad" if one.value == BAD else "own" for one in records
        )
        own = {one.value for one in records if one.value not in (encode(GOOD), BAD)}
        rows = [row.record for row in tables.rows.values()]
        good = [(*partition_of(one), one.offset) for one in rows if one.value == encode(GOOD)]
        assert len(good) == len(set(good)) == kinds["good"]
        assert len(rows) == kinds["good"] + len(own)
        assert len(tables.dead_letters) == kinds["bad"]
        assert sum(row.inserted for row in tables.ledger.values()) == len(rows)
        assert sum(row.duplicates for row in tables.ledger.values()) == kinds["own"] - len(own)
        assert sum(row.dead_lettered for row in tables.ledger.values()) == kinds["bad"]
        assert sum(row.next for row in tables.ledger.values()) == len(records) + sum(
            row.gaps for row in tables.ledger.values()
        )
        assert all(row.is_balanced for row in tables.ledger.values())
        assert self.world.is_caught_up(A, B, C)
        assert not any("contains the read records" in reason.problem for reason in self.stops())

    def stops(self) -> Sequence[StopReason]:
        """Return the stop reasons that the present replicas have reported."""
        return [reason for replica in self.replicas for _, reason in replica.telemetry.all("stopped")]


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [*range(20), 224])
async def test_in_any_order_every_record_is_stored_once(seed: int) -> None:
    """Deliveries, gaps, rebalances, frozen replicas, fences, slow writes, outages and kills lose and duplicate no
    record.
    """
    simulation = Simulation(seed)
    await simulation.run()
    simulation.check()
