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
from tests.support.virtual_time import passes
from tests.support.world import A, B, C

DELAY = 10.0


class Office:
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
        await passes(seconds)
        return {claim.partition: claim for claim in self.claimer.granted()}


class Deaf:
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
async def at_work() -> AsyncIterator[Office]:
    """Run an office's claimer during the context."""
    office = Office()
    running = asyncio.create_task(office.claimer.run())
    yield office
    assert not running.done()
    running.cancel()


async def test_assigned_partitions_are_claimed() -> None:
    """The claim has the ledger's position and a new epoch. It is reported once."""
    async with at_work() as office:
        office.broker.append_gap(B, 50)
        office.tables.claim(B, 7, "somebody before")
        office.claimer.assign([A, B])
        assert not office.claimer.is_settled
        assert await office.granted() == {A: Claim(A, 1, 0), B: Claim(B, 2, 7)}
        assert office.claimer.is_settled
        assert office.claimer.granted() == []
        assert office.telemetry.count("claimed") == 1


async def test_a_locked_row_of_the_ledger_delays_no_other_partition() -> None:
    """The row is reported if it stays locked for some seconds. Its partition is claimed as soon as the row is free."""
    async with at_work() as office:
        office.store.locked = {B}
        office.claimer.assign([A, B, C])
        assert (await office.granted()).keys() == {A, C}
        assert not office.claimer.is_settled
        assert not any(locked for (locked,) in office.telemetry.all("ledger_locked"))
        await passes(3)
        assert office.telemetry.all("ledger_locked")[-1] == ([B],)
        office.store.locked = set()
        assert (await office.granted(2)).keys() == {B}
        assert office.claimer.is_settled
        assert office.telemetry.all("ledger_locked")[-1] == ([],)


async def test_a_locked_row_of_a_revoked_partition_is_not_reported() -> None:
    """The group has assigned the partition to another replica."""
    async with at_work() as office:
        office.store.locked = {B}
        office.claimer.assign([A, B])
        await passes(3)
        assert office.telemetry.all("ledger_locked")[-1] == ([B],)
        office.claimer.assign([A])
        await passes(1)
        assert office.telemetry.all("ledger_locked")[-1] == ([],)


async def test_a_partition_seen_for_the_first_time_begins_at_its_bounds() -> None:
    """It begins at the first offset that retention has left."""
    async with at_work() as office:
        office.broker.append_gap(A, 50)
        office.broker.delete_before(A, 20)
        office.claimer.assign([A])
        assert (await office.granted())[A].next_offset == 20


async def test_an_assignment_of_nothing_is_settled() -> None:
    """There are more replicas than partitions, so the group assigns nothing to this one."""
    async with at_work() as office:
        assert not office.claimer.is_assigned
        office.claimer.assign([])
        assert (office.claimer.is_assigned, office.claimer.is_settled) == (True, True)
        assert await office.granted() == {}


async def test_a_revoke_takes_back_granted_claims_that_were_not_begun() -> None:
    """The next owner will have a newer epoch."""
    async with at_work() as office:
        office.claimer.assign([A])
        await passes(1)
        office.claimer.revoke()
        assert await office.granted() == {}
        assert (office.claimer.is_assigned, office.claimer.is_settled) == (False, False)


async def test_a_new_assignment_replaces_the_old_one() -> None:
    """A partition that was revoked is not granted, even if its claim is answered later."""
    async with at_work() as office:
        office.store.answer_seconds = lambda: 2.0
        office.claimer.assign([A, B])
        await passes(1)
        office.claimer.revoke()
        office.claimer.assign([B, C])
        granted = await office.granted(10)
        assert granted.keys() == {B, C}
        assert granted[B].epoch == office.tables.ledger[B].epoch


async def test_partitions_are_claimed_again_at_once() -> None:
    """The fenced partition is the exception: another replica has it, so its claim waits."""
    async with at_work() as office:
        office.claimer.assign([A, B])
        await office.granted()
        office.claimer.claim_again([A, B], [A])
        assert await office.granted() == {B: Claim(B, 2, 0)}
        assert await office.granted(DELAY - 1) == {}
        assert await office.granted(1) == {A: Claim(A, 2, 0)}


async def test_a_revoked_partition_is_not_claimed_again() -> None:
    """The group has taken the fenced partition away since the fence."""
    async with at_work() as office:
        office.claimer.assign([A, B])
        await office.granted()
        office.claimer.claim_again([B], [B])
        office.claimer.revoke()
        office.claimer.assign([A])
        assert (await office.granted(DELAY * 3)).keys() == {A}


async def test_after_a_revoke_nothing_is_claimed_again() -> None:
    """A batch may turn out to be fenced during a revoke. A new claim would take the partition from its next owner."""
    async with at_work() as office:
        office.claimer.assign([A])
        await office.granted()
        office.claimer.revoke()
        office.claimer.claim_again([A], [])
        assert await office.granted(DELAY * 3) == {}
        assert office.tables.ledger[A].epoch == 1


async def test_an_old_delay_does_not_outlive_its_assignment() -> None:
    """Claiming a claimed partition again would fence this replica's own batches."""
    async with at_work() as office:
        office.claimer.assign([A])
        await office.granted()
        office.claimer.claim_again([A], [A])
        office.claimer.revoke()
        office.claimer.claim_again([A], [A])
        office.claimer.assign([A])
        assert (await office.granted())[A].epoch == 2
        assert await office.granted(DELAY * 3) == {}


async def test_an_outage_is_waited_out() -> None:
    """Kafka and the database are both unavailable. The claimer tries until both answer."""
    async with at_work() as office:
        office.broker.is_down = True
        office.store.claim_errors = [Unavailable("locked", Cause.LOCK) for _ in range(3)]
        office.claimer.assign([A])
        assert await office.granted(30) == {}
        office.broker.is_down = False
        assert await office.granted(30) == {A: Claim(A, 1, 0)}


async def test_an_outage_while_claiming_is_reported() -> None:
    """Claims are the first operation that an outage stops, so its cause is reported there."""
    async with at_work() as office:
        office.store.claim_errors = [Unavailable("locked", Cause.LOCK)]
        office.claimer.assign([A])
        await office.granted(5)
        assert office.telemetry.all("unavailable") == [("lock", "locked")]
        assert office.telemetry.count("available") == 1


async def test_partitions_that_cannot_be_read_are_reported_and_not_granted() -> None:
    """The ledger's offset is before the first one or after the last one. The claimer is settled, because waiting would
    not help.
    """
    async with at_work() as office:
        for partition in (A, B, C):
            office.broker.append_gap(partition, 20)
        office.broker.delete_before(A, 10)
        office.tables.claim(A, 4, "somebody before")
        office.tables.claim(B, 21, "somebody before")
        office.claimer.assign([A, B, C])
        assert (await office.granted()).keys() == {C}
        assert office.claimer.is_settled
        assert office.claimer.stopped == {A, B}
        said = {partition: reason.problem for partition, reason in office.telemetry.all("stopped")}
        assert "6 offsets were deleted by retention" in said[A]
        assert "the topic was deleted and recreated" in said[B]


async def test_a_stop_stays_although_its_cause_is_gone() -> None:
    """The ledger stores the stop. A topic that lost records may soon be long enough again, and would hide the loss."""
    async with at_work() as office:
        office.tables.claim(A, 21, "somebody before")
        office.claimer.assign([A])
        await office.granted(2)
        stop = office.tables.ledger[A].stop
        assert stop is not None
        assert "partition ends at 0" in stop.problem
        office.broker.append_gap(A, 50)
        office.claimer.revoke()
        office.claimer.assign([A])
        assert await office.granted(60) == {}
        assert office.claimer.stopped == {A}
        (_, first), (_, second) = office.telemetry.all("stopped")
        assert first == second


async def test_a_stop_that_the_database_refuses_is_reported_and_tried_again() -> None:
    """Meanwhile the partition is not read, and the other steps run."""
    async with at_work() as office:
        office.store.stop_errors = [Unavailable("a rule of yours", Cause.REFUSED)] * 2
        office.claimer.assign([A, B])
        await office.granted()
        office.claimer.stop(A, StopReason("damaged"))
        await passes(CHECK_SECONDS)
        assert office.telemetry.all("unavailable") == [(Cause.REFUSED, "a rule of yours")] * 2
        assert [partition for partition, _ in office.telemetry.all("stopped")] == [A]
        assert (office.claimer.held, office.claimer.stopped) == ({B}, {A})


async def test_a_topic_recreated_stops_however_long_it_is() -> None:
    """The topic's id shows it. Offsets would not show it if the new topic is longer than the old one."""
    async with at_work() as office:
        office.broker.make_anew(A.topic)
        office.broker.append_gap(A, 10)
        office.claimer.assign([A])
        await office.granted()
        office.claimer.revoke()
        office.broker.make_anew(A.topic)
        office.broker.append_gap(A, 50)
        office.claimer.assign([A])
        assert await office.granted() == {}
        ((stopped, reason),) = office.telemetry.all("stopped")
        assert (stopped, "recreated" in reason.problem) == (A, True)


async def test_a_topic_recreated_under_a_running_reader_stops_too() -> None:
    """The regular check of the topics notices it. The partition is not fetched any more, and the ledger stores the
    stop.
    """
    async with at_work() as office:
        office.broker.make_anew(A.topic)
        office.source.reader = Deaf()
        office.source.assign(A)
        office.claimer.assign([A])
        office.source.seek({claim.partition: 0 for claim in (await office.granted()).values()})
        office.broker.make_anew(A.topic)
        await passes(CHECK_SECONDS + 1)
        assert (office.claimer.held, office.claimer.stopped) == (set(), {A})
        assert A in office.source.paused
        await passes(CHECK_SECONDS)
        stop = office.tables.ledger[A].stop
        assert stop is not None
        assert "recreated" in stop.problem


async def test_a_topic_without_a_stored_id_is_accepted_as_it_is() -> None:
    """The broker or the ledger's row is from an older version. The first claim that knows the id stores it."""
    async with at_work() as office:
        office.tables.claim(A, 0, "somebody before")
        office.broker.make_anew(A.topic)
        office.claimer.assign([A])
        assert (await office.granted()).keys() == {A}
        assert office.tables.ledger[A].topic_id == office.broker.topic_ids[A.topic]


async def test_after_a_decision_a_stopped_partition_is_claimed_without_a_restart() -> None:
    """It is claimed within seconds, at the offset of the decision."""
    async with at_work() as office:
        office.broker.append_gap(A, 50)
        office.broker.delete_before(A, 20)
        office.tables.claim(A, 4, "somebody before")
        office.claimer.assign([A])
        assert await office.granted() == {}
        office.tables.decide(A, 30)
        granted = await office.granted(CHECK_SECONDS + 1)
        assert granted[A].next_offset == 30
        assert office.claimer.stopped == set()


async def test_a_decision_about_a_partition_that_is_read_is_noticed_without_a_write() -> None:
    """Otherwise an idle replica would continue from its old offset and never see the decision."""
    async with at_work() as office:
        office.broker.append_gap(A, 50)
        office.claimer.assign([A, B])
        await office.granted()
        office.tables.decide(A, 30)
        granted = await office.granted(CHECK_SECONDS + 1)
        assert office.lost == [({A}, set())]
        assert office.telemetry.all("overtaken") == [({A},)]
        assert granted == {A: Claim(A, 3, 30)}


async def test_a_claim_lost_to_another_reader_is_noticed_without_a_write() -> None:
    """The claimer waits for as long as the group needs to notice that one of the two replicas is gone."""
    async with at_work() as office:
        office.claimer.assign([A])
        await office.granted()
        office.tables.claim(A, 0, "another")
        assert await office.granted(CHECK_SECONDS + DELAY - 1) == {}
        assert office.lost == [({A}, {A})]
        assert (await office.granted(CHECK_SECONDS)).keys() == {A}


async def test_a_decision_ends_the_waiting_for_another_reader() -> None:
    """After a decision the row has no claim owner. The first replica that sees this claims it once."""
    async with at_work() as office:
        office.claimer.assign([A])
        await office.granted()
        office.claimer.claim_again([A], [A])
        office.tables.decide(A, 0)
        assert (await office.granted(CHECK_SECONDS + 1)).keys() == {A}
        assert await office.granted(DELAY * 3) == {}


async def test_a_ledger_row_that_somebody_has_deleted_is_recreated() -> None:
    """It is created like the row of a new partition."""
    async with at_work() as office:
        office.claimer.assign([A])
        await office.granted()
        del office.tables.ledger[A]
        assert (await office.granted(CHECK_SECONDS + 1)).keys() == {A}


async def test_a_database_that_does_not_answer_queries_is_reported() -> None:
    """It refuses queries or is frozen. The claimer reports this within seconds, whatever the time limits of writes are,
    and reports the end too.
    """
    async with at_work() as office:
        office.claimer.assign([A])
        await office.granted()
        office.store.question_errors = [Unavailable("gone", Cause.CONNECTION)]
        await passes(CHECK_SECONDS + 1)
        assert office.telemetry.all("silent") == [("connection", "gone")]
        office.store.answer_seconds = lambda: 3600.0
        await passes(CHECK_SECONDS + ANSWER_SECONDS + 1)
        assert office.telemetry.count("silent") == 2
        assert office.telemetry.all("silent")[1][0] == "timeout"
        office.store.answer_seconds = lambda: 0.0
        before = office.telemetry.count("answered")
        await passes(ANSWER_SECONDS + CHECK_SECONDS)
        assert office.telemetry.count("answered") > before


async def test_a_replica_without_partitions_notices_the_end_of_an_outage() -> None:
    """It has no claim and no write that would report the end, and would otherwise stay not ready for ever."""
    async with at_work() as office:
        office.store.claim_errors = [Unavailable("down", Cause.CONNECTION)]
        office.claimer.assign([A])
        await passes(0.5)
        office.claimer.revoke()
        office.claimer.assign([])
        office.telemetry.told.clear()
        await passes(2 * CHECK_SECONDS)
        told = {name for name, _ in office.telemetry.told}
        assert told >= {"available", "answered", "kafka_available"}


async def test_an_outage_of_kafka_is_reported() -> None:
    """A replica that only keeps its claims reports it."""
    async with at_work() as office:
        office.broker.make_anew(A.topic)
        office.claimer.assign([A])
        await office.granted()
        office.broker.is_down = True
        await passes(CHECK_SECONDS + 1)
        assert office.telemetry.count("kafka_unavailable") > 0
        office.broker.is_down = False
        before = office.telemetry.count("kafka_available")
        await passes(CHECK_SECONDS + 1)
        assert office.telemetry.count("kafka_available") > before


def test_errors_say_what_the_caller_does_next() -> None:
    """An outage of the store is a StoreError; an error of Kafka is not."""
    assert issubclass(Unavailable, StoreError)
    assert not issubclass(SourceError, StoreError)
