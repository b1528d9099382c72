"""Kafka in memory: partitions with gaps, and one member of a consumer group as a :class:`Source`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from consumer.events.record import Partition, Record, StoredRecord
from consumer.ingest.offsets import StopReason
from consumer.ingest.ports import Answers, Bounds, End, EpochQuestion, PartitionRecords, Position, Refusal, SourceError
from consumer.ingest.stop_reasons import batch_unreadable
from tests.support.builders import TIMESTAMP, encode

LATENCY_SECONDS = 0.01
MOST_POLLS_AT_ONCE = 2000


class Changes:
    """Wakes all tasks that wait for a condition."""

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []
        self.failure: BaseException | None = None

    def notify(self) -> None:
        """Report a change."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def next(self) -> None:
        """Wait for the next change."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    async def until(self, holds: Any, seconds: float = 120.0) -> None:
        """Wait until `holds()` is true.

        :raises AssertionError: a replica has failed meanwhile
        """
        async with asyncio.timeout(seconds):
            while not holds():
                if self.failure is not None:
                    raise AssertionError("a replica has failed") from self.failure
                await self.next()


class SourceListener(Protocol):
    """Receives the decisions of the group: the pipeline."""

    def on_assigned(self, partitions: Collection[Partition]) -> None: ...
    async def on_revoked(self, partitions: Collection[Partition]) -> None: ...
    def on_position_lost(self, partitions: Collection[Partition]) -> None: ...
    def on_unreadable(self, partition: Partition, first: int, reason: StopReason) -> None: ...


@dataclass(slots=True)
class Log:
    """One partition: its records by offset, the first offset it still holds, and the offset after its last one.

    `held_back` offsets wait behind an open transaction. `damaged` lists batches whose records cannot be separated, by
    first and last offset. `epochs` lists the leaders' epochs, each with the offset at which it began; if it is empty,
    the partition has no epochs.
    """

    records: dict[int, Record] = field(default_factory=dict)
    damaged: list[tuple[int, int]] = field(default_factory=list)
    first: int = 0
    end: int = 0
    held_back: int = 0
    epochs: list[tuple[int, int]] = field(default_factory=list)

    @property
    def leader_epoch(self) -> int | None:
        """The leader epoch of new records."""
        return self.epochs[-1][0] if self.epochs else None

    def epoch_at(self, offset: int) -> int | None:
        """Return the leader epoch of an offset."""
        return max((epoch for epoch, start in self.epochs if start <= offset), default=None)

    def epoch_end(self, epoch: int) -> int | None:
        """Return the end offset of this epoch and all earlier ones."""
        if not self.epochs or epoch > self.epochs[-1][0]:
            return None
        return next((start for later, start in self.epochs if later > epoch), self.end)

    def cut(self, end: int) -> None:
        """Remove all records from this offset on."""
        self.records = {offset: record for offset, record in self.records.items() if offset < end}
        self.epochs = [(epoch, start) for epoch, start in self.epochs if start < end]
        self.end = end


class FakeBroker:
    """Partitions, and the offsets that the group has committed."""

    def __init__(self, changes: Changes) -> None:
        self.changes = changes
        self.logs: dict[Partition, Log] = {}
        self.committed: dict[Partition, int] = {}
        self.topic_ids: dict[str, UUID] = {}
        self.is_down = False
        self.leaderless: dict[Partition, str] = {}
        self.answers_new_client = False
        self._made = 0

    def create(self, partition: Partition, first: int = 0) -> None:
        """Create a partition without records, which begins at `first`."""
        self.logs[partition] = Log(first=first, end=first)

    def recreate(self, topic: str) -> None:
        """Delete the topic and create it again with the same name: its partitions are empty."""
        self._made += 1
        self.topic_ids[topic] = UUID(int=self._made)
        for partition in [partition for partition in self.logs if partition.topic == topic]:
            self.create(partition)

    def elect(self, partition: Partition, cut_to: int | None = None) -> None:
        """Elect another leader; one that was not in sync truncates the log at an offset."""
        log = self.logs[partition]
        newest = -1 if log.leader_epoch is None else log.leader_epoch
        if cut_to is not None:
            log.cut(cut_to)
        log.epochs.append((newest + 1, log.end))
        self.changes.notify()

    def append(self, partition: Partition, *events: Any, timestamp: int = TIMESTAMP) -> Sequence[Record]:
        """Produce one record for each event: a mapping as JSON, bytes unchanged, None as a tombstone."""
        log, made = self.logs[partition], []
        for event in events:
            value = encode(event) if isinstance(event, Mapping) else event
            made.append(StoredRecord(*partition, log.end, timestamp, None, value))
            log.records[log.end] = made[-1]
            log.end += 1
        self.changes.notify()
        return made

    def append_gap(self, partition: Partition, offsets: int = 1) -> None:
        """Append offsets that hold no record: transaction markers, aborted or compacted records."""
        self.logs[partition].end += offsets
        self.changes.notify()

    def append_damaged(self, partition: Partition, offsets: int) -> None:
        """Append a batch whose records cannot be separated."""
        log = self.logs[partition]
        log.damaged.append((log.end, log.end + offsets - 1))
        self.append_gap(partition, offsets)

    def delete_before(self, partition: Partition, offset: int) -> None:
        """Delete records before an offset, as retention does."""
        log = self.logs[partition]
        log.first = offset
        log.records = {at: record for at, record in log.records.items() if at >= offset}

    def all_records(self) -> Sequence[Record]:
        """Return every record of every partition."""
        return [record for log in self.logs.values() for record in log.records.values()]


class FakeSource:
    """A member of the group. Like aiokafka's consumer, it returns prefetched records without letting the event loop
    run, holds a poll during a rebalance, and begins a partition paused, at the group's committed offset.
    """

    def __init__(self, broker: FakeBroker) -> None:
        self._broker, self._changes = broker, broker.changes
        self.listener: SourceListener | None = None
        self.assigned: dict[Partition, int | None] = {}
        self.paused: set[Partition] = set()
        self.rebalancing = False
        self.failure: Exception | None = None
        self.refuses_commits = False
        self.refused: list[Refusal] = []
        self.polls: list[float] = []
        self.returned = 0
        self.lost = 0
        self.seeks: list[Mapping[Partition, int]] = []
        self.extra: list[PartitionRecords] = []
        self._last_poll, self._polls_at_once = -1.0, 0

    # ── the group ──

    def assign(self, *partitions: Partition) -> None:
        """Assign these partitions to the member."""
        assert self.listener is not None
        self.rebalancing = False
        self.assigned = {partition: self._broker.committed.get(partition) for partition in partitions}
        self.paused = set(partitions)
        self.listener.on_assigned(partitions)
        self._changes.notify()

    async def revoke(self) -> None:
        """Revoke all partitions, and wait until the member has released them."""
        assert self.listener is not None
        self.rebalancing = True
        await self.listener.on_revoked(list(self.assigned))
        self.assigned = {}

    def deliver(self, partition: Partition, records: Sequence[Record]) -> None:
        """Make the next poll return these records."""
        self.extra.append(PartitionRecords(partition, records))
        self._changes.notify()

    # ── the port ──

    async def poll(self, timeout: float, max_records: int) -> Sequence[PartitionRecords]:
        self._count_poll(timeout)
        if self.failure is not None:
            raise self.failure
        while self.rebalancing:
            await self._changes.next()
        fetched = await self._fetch(max_records)
        if not fetched and timeout > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._changes.next()
            fetched = await self._fetch(max_records)
        self.returned += sum(len(one.records) for one in fetched)
        return fetched

    def _count_poll(self, timeout: float) -> None:
        now = asyncio.get_running_loop().time()
        self._polls_at_once = self._polls_at_once + 1 if now == self._last_poll else 0
        self._last_poll = now
        assert self._polls_at_once < MOST_POLLS_AT_ONCE, "the pipeline polls without end while no time passes"
        self.polls.append(timeout)

    async def _fetch(self, max_records: int) -> list[PartitionRecords]:
        fetched, self.extra = self.extra, []
        for partition, position in list(self.assigned.items()):
            if partition in self.paused or position is None or self.rebalancing or partition in self._broker.leaderless:
                continue
            log = self._broker.logs[partition]
            if not log.first <= position <= log.end:
                return await self._lose_position(partition)
            room = max_records - sum(len(one.records) for one in fetched)
            fetched += self._read(partition, position, log, room)
        return fetched

    async def _lose_position(self, partition: Partition) -> list[PartitionRecords]:
        """Report that the broker does not hold this offset."""
        assert self.listener is not None
        await asyncio.sleep(LATENCY_SECONDS)
        self.lost += 1
        self.listener.on_position_lost([partition])
        return []

    def _read(self, partition: Partition, position: int, log: Log, room: int) -> list[PartitionRecords]:
        """Read records. A gap at the end is passed only by a fetch without records."""
        if room <= 0:
            return []
        end = min((max(first, position) for first, last in log.damaged if last >= position), default=log.end)
        if end == position < log.end:
            self._report_damage(partition, position, log)
            return []
        offsets = (offset for offset in range(position, end) if offset in log.records)
        records = [log.records[offset] for offset, _ in zip(offsets, range(room), strict=False)]
        self.assigned[partition] = behind = records[-1].offset + 1 if records else end
        return [PartitionRecords(partition, records, log.epoch_at(behind - 1))] if records else []

    def _report_damage(self, partition: Partition, position: int, log: Log) -> None:
        assert self.listener is not None
        self.pause([partition])
        last = next(last for _, last in log.damaged if last >= position)
        self.listener.on_unreadable(partition, position, batch_unreadable(position, last, "why"))

    def positions(self, partitions: Collection[Partition]) -> Mapping[Partition, Position]:
        known = ((partition, self.assigned.get(partition)) for partition in partitions)
        return {
            partition: Position(position, self._broker.logs[partition].epoch_at(position - 1))
            for partition, position in known
            if position is not None
        }

    def ends(self, partitions: Collection[Partition]) -> Mapping[Partition, End]:
        logs = {partition: self._broker.logs[partition] for partition in partitions if partition in self.assigned}
        return {partition: End(log.end, log.end + log.held_back) for partition, log in logs.items()}

    def refusals(self) -> Collection[Refusal]:
        return self.refused

    async def bounds(self, partitions: Collection[Partition]) -> Answers[Bounds]:
        led = await self._led(partitions)
        ids = self._broker.topic_ids
        return Answers(
            {
                partition: Bounds(log.first, log.end, ids.get(partition.topic), log.held_back, log.leader_epoch)
                for partition, log in led.items()
            },
            led.unanswered,
        )

    async def epoch_ends(self, questions: Mapping[Partition, EpochQuestion]) -> Answers[int | None]:
        led = await self._led(questions.keys())
        moved = {p: "another epoch" for p, log in led.items() if log.leader_epoch != questions[p].asked_of}
        ends = {p: log.epoch_end(questions[p].leader_epoch) for p, log in led.items() if p not in moved}
        return Answers(ends, {**led.unanswered, **moved})

    async def _led(self, partitions: Collection[Partition]) -> Answers[Log]:
        await asyncio.sleep(LATENCY_SECONDS)
        if self._broker.is_down:
            raise SourceError("no broker answers")
        leaderless = {p: why for p, why in self._broker.leaderless.items() if p in partitions}
        return Answers({p: self._broker.logs[p] for p in partitions if p not in leaderless}, leaderless)

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, UUID]:
        await asyncio.sleep(LATENCY_SECONDS)
        if self._broker.is_down:
            raise SourceError("no broker answers")
        return {topic: found for topic, found in self._broker.topic_ids.items() if topic in topics}

    def seek(self, positions: Mapping[Partition, int]) -> None:
        self.seeks.append(positions)
        self.assigned |= {partition: offset for partition, offset in positions.items() if partition in self.assigned}
        self.resume(positions.keys())

    async def answers_new_client(self, partitions: Collection[Partition]) -> bool:
        await asyncio.sleep(LATENCY_SECONDS)
        return self._broker.answers_new_client

    def pause(self, partitions: Collection[Partition] | None = None) -> None:
        self.paused |= self.assigned.keys() if partitions is None else self.assigned.keys() & set(partitions)
        self._changes.notify()

    def resume(self, partitions: Collection[Partition]) -> None:
        self.paused -= set(partitions)
        self._changes.notify()

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        if self.refuses_commits:
            return False
        ours = {partition: offset for partition, offset in offsets.items() if partition in self.assigned}
        self._broker.committed |= ours
        self._changes.notify()
        return True
