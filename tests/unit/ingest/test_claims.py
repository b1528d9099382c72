"""Tests claims: which partitions the group has assigned, and for which of them the ledger lets the replica write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from consumer.events.record import Partition
from consumer.ingest.claims import ANSWER_SECONDS, CHECK_SECONDS, Claimer
from consumer.ingest.offsets import Claim, StopReason
from consumer.ingest.ports import Cause, SourceError, StoreError, Unavailable
from tests.support.fakes import Changes, FakeBroker, FakeSource, FakeStore, FakeTelemetry, Tables
from tests.support.virtual_time import time_passes
from tests.support.world import A, B, C

DELAY = 10.0


class ClaimerSetup:
    """A claimer between a fake Kafka and a fake database."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.broker = FakeBroker(self.changes)
        for partition in (A, B, C):
            self.broker.create(partition)
        self.tables = Tables(self.changes)
        self.source = FakeSource(self.broker)
        self.store = FakeStore(self.tables, self.changes)
        self.telemetry = FakeTelemetry(self.changes)
        self.lost: list[tuple[set[Partition], set[Partition]]] = []
        self.claimer = Claimer(
            self.source, self.store, self.telemetry, DELAY, self._lose, lambda claim: claim.next_offset
        )

    def _lose(self, lost: Collection[Partition], taken: Collection[Partition]) -> None:
        self.lost.append((set(lost), set(taken)))
        self.claimer.claim_again(lost, taken)

    async def granted(self, seconds: float = 0.5) -> dict[Partition, Claim]:
        """Return the claims that are granted after a while."""
        await time_passes(seconds)
        return {claim.partition: claim for claim in self.claimer.granted()}


class UnresponsiveListener:
    """A rebalance listener that ignores all decisions of the group."""

    def on_assigned(self, partitions: Collection[Partition]) -> None:
        return

    async def on_revoked(self, partitions: Collection[Partition]) -> None:
        return

    def on_position_lost(self, partitions: Collection[Partition]) -> None:
        return

    def on_unreadable(self, partition: Partition, first: int, reason: StopReason) -> None:
        return


@asynccontextmanager
async def running_claimer() -> AsyncIterator[ClaimerSetup]:
    """Run a claimer during the context."""
    setup = ClaimerSetup()
    running = asyncio.create_task(setup.claimer.run())
    yield setup
    assert not running.done()
    running.cancel()


async def test_assigned_partitions_are_claimed() -> None:
    """The claim has the ledger's position and a new epoch. It is reported once."""
    async with running_claimer() as setup:
        setup.broker.append_gap(B, 50)
        setup.tables.claim(B, 7, "somebody before")
        setup.claimer.assign([A, B])
        assert not setup.claimer.is_settled
        assert await setup.granted() == {A: Claim(A, 1, 0), B: Claim(B, 2, 7)}
        assert setup.claimer.is_settled
        assert setup.claimer.granted() == []
        assert setup.telemetry.count("claimed") == 1


async def test_a_locked_row_of_the_ledger_delays_no_other_partition() -> None:
    """The row is reported if it stays locked for some seconds. Its partition is claimed as soon as the row is free."""
    async with running_claimer() as setup:
        setup.store.locked = {B}
        setup.claimer.assign([A, B, C])
        assert (await setup.granted()).keys() == {A, C}
        assert not setup.claimer.is_settled
        assert not any(locked for (locked,) in setup.telemetry.all("ledger_locked"))
        await time_passes(3)
        assert setup.telemetry.all("ledger_locked")[-1] == ([B],)
        setup.store.locked = set()
        assert (await setup.granted(2)).keys() == {B}
        assert setup.claimer.is_settled
        assert setup.telemetry.all("ledger_locked")[-1] == ([],)


async def test_a_locked_row_of_a_revoked_partition_is_not_reported() -> None:
    """The group has assigned the partition to another replica."""
    async with running_claimer() as setup:
        setup.store.locked = {B}
        setup.claimer.assign([A, B])
        await time_passes(3)
        assert setup.telemetry.all("ledger_locked")[-1] == ([B],)
        setup.claimer.assign([A])
        await time_passes(1)
        assert setup.telemetry.all("ledger_locked")[-1] == ([],)


async def test_a_partition_seen_for_the_first_time_begins_at_its_bounds() -> None:
    """It begins at the first offset that retention has left."""
    async with running_claimer() as setup:
        setup.broker.append_gap(A, 50)
        setup.broker.delete_before(A, 20)
        setup.claimer.assign([A])
        assert (await setup.granted())[A].next_offset == 20


async def test_an_assignment_of_nothing_is_settled() -> None:
    """There are more replicas than partitions, so the group assigns nothing to this one."""
    async with running_claimer() as setup:
        assert not setup.claimer.is_assigned
        setup.claimer.assign([])
        assert (setup.claimer.is_assigned, setup.claimer.is_settled) == (True, True)
        assert await setup.granted() == {}


async def test_a_revoke_takes_back_granted_claims_that_were_not_begun() -> None:
    """The next owner will have a newer epoch."""
    async with running_claimer() as setup:
        setup.claimer.assign([A])
        await time_passes(1)
        setup.claimer.revoke()
        assert await setup.granted() == {}
        assert (setup.claimer.is_assigned, setup.claimer.is_settled) == (False, False)


async def test_a_new_assignment_replaces_the_old_one() -> None:
    """A partition that was revoked is not granted, even if its claim is answered later."""
    async with running_claimer() as setup:
        setup.store.answer_seconds = lambda: 2.0
        setup.claimer.assign([A, B])
        await time_passes(1)
        setup.claimer.revoke()
        setup.claimer.assign([B, C])
        granted = await setup.granted(10)
        assert granted.keys() == {B, C}
        assert granted[B].epoch == setup.tables.ledger[B].epoch


async def test_partitions_are_claimed_again_at_once() -> None:
    """The fenced partition is the exception: another replica has it, so its claim waits."""
    async with running_claimer() as setup:
        setup.claimer.assign([A, B])
        await setup.granted()
        setup.claimer.claim_again([A, B], [A])
        assert await setup.granted() == {B: Claim(B, 2, 0)}
        assert await setup.granted(DELAY - 1) == {}
        assert await setup.granted(1) == {A: Claim(A, 2, 0)}


async def test_a_revoked_partition_is_not_claimed_again() -> None:
    """The group has revoked the fenced partition since the fence."""
    async with running_claimer() as setup:
        setup.claimer.assign([A, B])
        await setup.granted()
        setup.claimer.claim_again([B], [B])
        setup.claimer.revoke()
        setup.claimer.assign([A])
        assert (await setup.granted(DELAY * 3)).keys() == {A}


async def test_after_a_revoke_nothing_is_claimed_again() -> None:
    """A batch may turn out to be fenced during a revoke. A new claim would take the partition from its next owner."""
    async with running_claimer() as setup:
        setup.claimer.assign([A])
        await setup.granted()
        setup.claimer.revoke()
        setup.claimer.claim_again([A], [])
        assert await setup.granted(DELAY * 3) == {}
        assert setup.tables.ledger[A].epoch == 1


async def test_a_delay_ends_with_its_assignment() -> None:
    """Claiming a claimed partition again would fence this replica's own batches."""
    async with running_claimer() as setup:
        setup.claimer.assign([A])
        await setup.granted()
        setup.claimer.claim_again([A], [A])
        setup.claimer.revoke()
        setup.claimer.claim_again([A], [A])
        setup.claimer.assign([A])
        assert (await setup.granted())[A].epoch == 2
        assert await setup.granted(DELAY * 3) == {}


async def test_an_outage_is_waited_out() -> None:
    """Kafka and the database are both unavailable. The claimer tries until both answer."""
    async with running_claimer() as setup:
        setup.broker.is_down = True
        setup.store.claim_errors = [Unavailable("locked", Cause.LOCK) for _ in range(3)]
        setup.claimer.assign([A])
        assert await setup.granted(30) == {}
        setup.broker.is_down = False
        assert await setup.granted(30) == {A: Claim(A, 1, 0)}


async def test_an_outage_while_claiming_is_reported() -> None:
    """Claims are the first operation that an outage stops, so its cause is reported there."""
    async with running_claimer() as setup:
        setup.store.claim_errors = [Unavailable("locked", Cause.LOCK)]
        setup.claimer.assign([A])
        await setup.granted(5)
        assert setup.telemetry.all("unavailable") == [("lock", "locked")]
        assert setup.telemetry.count("available") == 1


async def test_partitions_that_cannot_be_read_are_reported_and_not_granted() -> None:
    """The ledger's offset is before the first one or after the last one. The claimer is settled, because waiting would
    not help.
    """
    async with running_claimer() as setup:
        for partition in (A, B, C):
            setup.broker.append_gap(partition, 20)
        setup.broker.delete_before(A, 10)
        setup.tables.claim(A, 4, "somebody before")
        setup.tables.claim(B, 21, "somebody before")
        setup.claimer.assign([A, B, C])
        assert (await setup.granted()).keys() == {C}
        assert setup.claimer.is_settled
        assert setup.claimer.stopped == {A, B}
        said = {partition: reason.problem for partition, reason in setup.telemetry.all("stopped")}
        assert "6 offsets were deleted by retention" in said[A]
        assert "the topic was deleted and recreated" in said[B]


async def test_a_stop_stays_although_its_cause_is_gone() -> None:
    """The ledger stores the stop. A topic that lost records may soon be long enough again, and would hide the loss."""
    async with running_claimer() as setup:
        setup.tables.claim(A, 21, "somebody before")
        setup.claimer.assign([A])
        await setup.granted(2)
        stop = setup.tables.ledger[A].stop
        assert stop is not None
        assert "partition ends at 0" in stop.problem
        setup.broker.append_gap(A, 50)
        setup.claimer.revoke()
        setup.claimer.assign([A])
        assert await setup.granted(60) == {}
        assert setup.claimer.stopped == {A}
        (_, first), (_, second) = setup.telemetry.all("stopped")
        assert first == second


async def test_a_stop_that_the_database_refuses_is_reported_and_tried_again() -> None:
    """Meanwhile the partition is not read, and the other steps run."""
    async with running_claimer() as setup:
        setup.store.stop_errors = [Unavailable("a rule of yours", Cause.REFUSED)] * 2
        setup.claimer.assign([A, B])
        await setup.granted()
        setup.claimer.stop(A, StopReason("damaged"))
        await time_passes(CHECK_SECONDS)
        assert setup.telemetry.all("unavailable") == [(Cause.REFUSED, "a rule of yours")] * 2
        assert [partition for partition, _ in setup.telemetry.all("stopped")] == [A]
        assert (setup.claimer.held, setup.claimer.stopped) == ({B}, {A})


async def test_a_recreated_topic_stops_however_long_it_is() -> None:
    """The topic's id shows it. Offsets would not show it if the new topic is longer than the old one."""
    async with running_claimer() as setup:
        setup.broker.recreate(A.topic)
        setup.broker.append_gap(A, 10)
        setup.claimer.assign([A])
        await setup.granted()
        setup.claimer.revoke()
        setup.broker.recreate(A.topic)
        setup.broker.append_gap(A, 50)
        setup.claimer.assign([A])
        assert await setup.granted() == {}
        ((stopped, reason),) = setup.telemetry.all("stopped")
        assert (stopped, "recreated" in reason.problem) == (A, True)


async def test_a_topic_that_is_recreated_during_reading_stops_too() -> None:
    """The regular check of the topics notices it. The partition is not fetched any more, and the ledger stores the
    stop.
    """
    async with running_claimer() as setup:
        setup.broker.recreate(A.topic)
        setup.source.listener = UnresponsiveListener()
        setup.source.assign(A)
        setup.claimer.assign([A])
        setup.source.seek({claim.partition: 0 for claim in (await setup.granted()).values()})
        setup.broker.recreate(A.topic)
        await time_passes(CHECK_SECONDS + 1)
        assert (setup.claimer.held, setup.claimer.stopped) == (set(), {A})
        assert A in setup.source.paused
        await time_passes(CHECK_SECONDS)
        stop = setup.tables.ledger[A].stop
        assert stop is not None
        assert "recreated" in stop.problem


async def test_a_topic_without_a_stored_id_is_accepted_as_it_is() -> None:
    """The broker or the ledger's row is from an older version. The first claim that knows the id stores it."""
    async with running_claimer() as setup:
        setup.tables.claim(A, 0, "somebody before")
        setup.broker.recreate(A.topic)
        setup.claimer.assign([A])
        assert (await setup.granted()).keys() == {A}
        assert setup.tables.ledger[A].topic_id == setup.broker.topic_ids[A.topic]


async def test_after_a_decision_a_stopped_partition_is_claimed_without_a_restart() -> None:
    """It is claimed within seconds, at the offset of the decision."""
    async with running_claimer() as setup:
        setup.broker.append_gap(A, 50)
        setup.broker.delete_before(A, 20)
        setup.tables.claim(A, 4, "somebody before")
        setup.claimer.assign([A])
        assert await setup.granted() == {}
        setup.tables.decide(A, 30)
        granted = await setup.granted(CHECK_SECONDS + 1)
        assert granted[A].next_offset == 30
        assert setup.claimer.stopped == set()


async def test_a_decision_about_a_partition_that_is_read_is_noticed_without_a_write() -> None:
    """Otherwise an idle replica would continue from its old offset and never see the decision."""
    async with running_claimer() as setup:
        setup.broker.append_gap(A, 50)
        setup.claimer.assign([A, B])
        await setup.granted()
        setup.tables.decide(A, 30)
        granted = await setup.granted(CHECK_SECONDS + 1)
        assert setup.lost == [({A}, set())]
        assert setup.telemetry.all("overtaken") == [({A},)]
        assert granted == {A: Claim(A, 3, 30)}


async def test_a_claim_lost_to_another_replica_is_noticed_without_a_write() -> None:
    """The claimer waits for as long as the group needs to notice that one of the two replicas is gone."""
    async with running_claimer() as setup:
        setup.claimer.assign([A])
        await setup.granted()
        setup.tables.claim(A, 0, "another")
        assert await setup.granted(CHECK_SECONDS + DELAY - 1) == {}
        assert setup.lost == [({A}, {A})]
        assert (await setup.granted(CHECK_SECONDS)).keys() == {A}


async def test_a_decision_ends_the_waiting_for_another_replica() -> None:
    """After a decision the row has no claim owner. The first replica that sees this claims it once."""
    async with running_claimer() as setup:
        setup.claimer.assign([A])
        await setup.granted()
        setup.claimer.claim_again([A], [A])
        setup.tables.decide(A, 0)
        assert (await setup.granted(CHECK_SECONDS + 1)).keys() == {A}
        assert await setup.granted(DELAY * 3) == {}


async def test_a_ledger_row_that_somebody_has_deleted_is_recreated() -> None:
    """It is created like the row of a new partition."""
    async with running_claimer() as setup:
        setup.claimer.assign([A])
        await setup.granted()
        del setup.tables.ledger[A]
        assert (await setup.granted(CHECK_SECONDS + 1)).keys() == {A}


async def test_a_database_that_does_not_answer_queries_is_reported() -> None:
    """It refuses queries or is frozen. The claimer reports this within seconds, whatever the time limits of writes are,
    and reports the end too.
    """
    async with running_claimer() as setup:
        setup.claimer.assign([A])
        await setup.granted()
        setup.store.question_errors = [Unavailable("gone", Cause.CONNECTION)]
        await time_passes(CHECK_SECONDS + 1)
        assert setup.telemetry.all("silent") == [("connection", "gone")]
        setup.store.answer_seconds = lambda: 3600.0
        await time_passes(CHECK_SECONDS + ANSWER_SECONDS + 1)
        assert setup.telemetry.count("silent") == 2
        assert setup.telemetry.all("silent")[1][0] == "timeout"
        setup.store.answer_seconds = lambda: 0.0
        before = setup.telemetry.count("answered")
        await time_passes(ANSWER_SECONDS + CHECK_SECONDS)
        assert setup.telemetry.count("answered") > before


async def test_a_replica_without_partitions_notices_the_end_of_an_outage() -> None:
    """It has no claim and no write that would report the end, and would otherwise stay not ready for ever."""
    async with running_claimer() as setup:
        setup.store.claim_errors = [Unavailable("down", Cause.CONNECTION)]
        setup.claimer.assign([A])
        await time_passes(0.5)
        setup.claimer.revoke()
        setup.claimer.assign([])
        setup.telemetry.calls.clear()
        await time_passes(2 * CHECK_SECONDS)
        reported = {name for name, _ in setup.telemetry.calls}
        assert reported >= {"available", "answered", "kafka_available"}


async def test_an_outage_of_kafka_is_reported() -> None:
    """A replica that only keeps its claims reports it."""
    async with running_claimer() as setup:
        setup.broker.recreate(A.topic)
        setup.claimer.assign([A])
        await setup.granted()
        setup.broker.is_down = True
        await time_passes(CHECK_SECONDS + 1)
        assert setup.telemetry.count("kafka_unavailable") > 0
        setup.broker.is_down = False
        before = setup.telemetry.count("kafka_available")
        await time_passes(CHECK_SECONDS + 1)
        assert setup.telemetry.count("kafka_available") > before


def test_an_outage_of_the_store_is_not_an_error_of_kafka() -> None:
    """An outage of the store is a StoreError; an error of Kafka is not."""
    assert issubclass(Unavailable, StoreError)
    assert not issubclass(SourceError, StoreError)
