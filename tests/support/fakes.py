"""The ports in memory: exact about claims, epochs, fencing and gaps, and controlled by the test.

:class:`FakeSource` and its :class:`FakeBroker` are in :mod:`tests.support.fake_kafka`; :class:`FakeStore`,
    :class:`FakeTelemetry` and the clocks are here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from consumer.decode.rows import Row
from consumer.decode.spans import SpanFacts
from consumer.events.kind import Kind
from consumer.events.otlp.kinds import SPAN
from consumer.events.record import Partition, Record
from consumer.events.rejection import Reason, Rejected
from consumer.ingest.batch import Batch, DeadLetter
from consumer.ingest.offsets import Claim, Span, StopReason
from consumer.ingest.ports import Bounds, Fenced, Holder, Turn, Written
from consumer.postgres.spans import results_of
from consumer.postgres.staging import Outcome
from tests.support.fake_kafka import Changes, FakeBroker, FakeSource, Log

__all__ = ["Changes", "FakeBroker", "FakeSource", "FakeStore", "FakeTelemetry", "LedgerRow", "Log", "LoopClock"]
__all__ += ["ManualClock", "Tables", "aside_in_virtual_time", "partition_of"]

WALL_START = 1_767_225_600.0


class LoopClock:
    """The clock of the running loop, which is virtual in these tests."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return WALL_START + self.monotonic()


ASIDE_SECONDS = 0.7


async def aside_in_virtual_time(work: Callable[[], Any]) -> Any:
    """Do the work after a long virtual time; see :class:`consumer.ingest.ports.Aside`."""
    await asyncio.sleep(ASIDE_SECONDS)
    return work()


@dataclass
class ManualClock:
    """A clock that moves only when a test moves it."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return WALL_START + self.now


@dataclass(slots=True)
class LedgerRow:
    """One row of ingest_ledger."""

    start: int
    next: int
    epoch: int = 0
    owner: str | None = None
    topic_id: UUID | None = None
    stop: StopReason | None = None
    leader_epoch: int | None = None
    inserted: int = 0
    duplicates: int = 0
    amended: int = 0
    dead_lettered: int = 0
    ignored: int = 0
    gaps: int = 0

    @property
    def is_balanced(self) -> bool:
        """Return whether the ledger's equation holds."""
        accounted = self.inserted + self.duplicates + self.amended + self.dead_lettered + self.ignored + self.gaps
        return self.next - self.start == accounted and min(self.inserted, self.gaps) >= 0


class Tables:
    """The committed content of the database that all stores share."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self.ledger: dict[Partition, LedgerRow] = {}
        self.rows: dict[tuple[str, bytes], Row] = {}
        self.dead_letters: dict[tuple[Partition, int, int], DeadLetter] = {}

    def claim(
        self,
        partition: Partition,
        first: int,
        owner: str,
        topic_id: UUID | None = None,
        leader_epoch: int | None = None,
    ) -> Claim:
        """Claim a partition; the previous claim can no longer move the ledger."""
        row = self.ledger.setdefault(partition, LedgerRow(first, first))
        row.epoch, row.owner, row.topic_id = row.epoch + 1, owner, row.topic_id or topic_id
        row.leader_epoch = leader_epoch if row.leader_epoch is None else row.leader_epoch
        return Claim(partition, row.epoch, row.next, row.topic_id, row.stop, row.leader_epoch)

    def decide(self, partition: Partition, offset: int, topic_id: UUID | None = None) -> None:
        """Store a decision: new books begin, and the claim is free."""
        row = self.ledger[partition]
        self.ledger[partition] = LedgerRow(offset, offset, row.epoch + 1, None, topic_id or row.topic_id)
        self._changes.notify()

    def settle(self, partition: Partition) -> None:
        """Follow the advice of a stop, as a person does; it must not give up readable offsets."""
        row = self.ledger[partition]
        assert row.stop is not None
        if row.stop.unreadable_until is not None:
            assert row.next == row.stop.unreadable_from, "the records before the stop are not committed"
            row.gaps += row.stop.unreadable_until - row.next
            row.next = row.stop.unreadable_until
        self.confirm(partition)

    def confirm(self, partition: Partition) -> None:
        """Confirm the offset of the ledger, as a person does; the claim is free."""
        row = self.ledger[partition]
        row.epoch, row.owner, row.stop = row.epoch + 1, None, None
        self._changes.notify()

    def commit(self, batch: Batch, refuses: Callable[[Row], str | None]) -> Written:
        """Commit the whole batch or nothing."""
        moved = [span for span in batch.spans.values() if span.moved]
        _assert_accounted(batch, moved)
        lost = [span.partition for span in moved if not self._stands_at(span)]
        if lost:
            raise Fenced(lost)
        written = self._insert(batch, refuses)
        self._move(moved, written)
        self._changes.notify()
        return written

    def _stands_at(self, span: Span) -> bool:
        row = self.ledger[span.partition]
        return (row.epoch, row.next) == (span.epoch, span.start)

    def _insert(self, batch: Batch, refuses: Callable[[Row], str | None]) -> Written:
        inserted: dict[Kind, Sequence[Row]] = {}
        amended: dict[Kind, Sequence[Row]] = {}
        duplicates: list[Row] = []
        dead_letters = list(batch.dead_letters)
        for kind, rows in batch.rows.items():
            new, changes = list[Row](), list[Row]()
            inserted[kind], amended[kind] = new, changes
            for row in rows:
                if sqlstate := refuses(row):
                    dead_letters.append(_refusal(row, sqlstate))
                elif kind.amends:
                    changes.append(row)
                elif (kind.table, row.id) in self.rows:
                    duplicates.append(row)
                else:
                    self.rows[kind.table, row.id] = row
                    new.append(row)
        spans = results_of(batch.span_records, Outcome(inserted.pop(SPAN, ()), self._take_spans(duplicates)))
        if batch.span_records:
            inserted[SPAN] = spans.inserted
        duplicates += spans.duplicates
        for letter in dead_letters:
            key = (partition_of(letter.record), letter.record.offset, letter.record.timestamp)
            self.dead_letters.setdefault(key, letter)
        ignored, staged = spans.ignored, spans.spans
        return Written(batch, inserted, duplicates, dead_letters, amended, news=amended, ignored=ignored, staged=staged)

    def _take_spans(self, duplicates: list[Row]) -> list[Row]:
        """Remove the spans from the duplicates and return them. Their records count, not the spans."""
        spans = [row for row in duplicates if isinstance(row.facts, SpanFacts)]
        duplicates[:] = [row for row in duplicates if not isinstance(row.facts, SpanFacts)]
        return spans

    def _move(self, moved: Sequence[Span], written: Written) -> None:
        duplicates = Counter(partition_of(row.record) for row in written.duplicates)
        amended = Counter(partition_of(row.record) for rows in written.amended.values() for row in rows)
        dead = Counter(partition_of(letter.record) for letter in written.dead_letters)
        ignored = Counter(partition_of(row.record) for row in written.ignored)
        for span in moved:
            row = self.ledger[span.partition]
            row.next, row.leader_epoch = span.next, span.leader_epoch
            row.duplicates += duplicates[span.partition]
            row.amended += amended[span.partition]
            row.dead_lettered += dead[span.partition]
            row.ignored += ignored[span.partition]
            others = (duplicates, amended, dead, ignored)
            row.inserted += span.records - sum(counted[span.partition] for counted in others)
            row.gaps += span.gaps
            assert row.is_balanced, row


def partition_of(record: Record) -> Partition:
    """Return the partition of a record."""
    return Partition(record.topic, record.partition)


def _assert_accounted(batch: Batch, moved: Sequence[Span]) -> None:
    """Assert that the spans of a batch count exactly its content."""
    rows = [row.record for kind, rows in batch.rows.items() if kind is not SPAN for row in rows]
    rows += [record.record for record in batch.span_records]
    held = Counter(partition_of(record) for record in [*rows, *(letter.record for letter in batch.dead_letters)])
    assert held == Counter({span.partition: span.records for span in moved if span.records})
    assert sum(held.values()) == batch.records


def _refusal(row: Row, sqlstate: str) -> DeadLetter:
    rejected = Rejected.whole(Reason.REFUSED_BY_DATABASE, "the database refuses this row")
    return DeadLetter(row.record, Rejected(rejected.reason, rejected.faults, sqlstate=sqlstate))


class FakeStore:
    """The store of one replica."""

    def __init__(self, tables: Tables, changes: Changes, owner: str = "one") -> None:
        self._tables, self._changes, self._owner = tables, changes, owner
        self.gate = asyncio.Event()
        self.gate.set()
        self.write_seconds: Callable[[], float] = lambda: 0.0
        self.answer_seconds: Callable[[], float] = lambda: 0.0
        self.refuses: Callable[[Row], str | None] = lambda row: None
        self.stops: Callable[[Written], Mapping[Partition, StopReason]] = lambda written: {}
        self.claim_errors: list[Exception] = []
        self.question_errors: list[Exception] = []
        self.stop_errors: list[Exception] = []
        self.locked: set[Partition] = set()
        self.claims: list[Claim] = []
        self.tried: list[Batch] = []
        self.times: list[float] = []

    async def claim(self, bounds: Mapping[Partition, Bounds]) -> Sequence[Claim]:
        await asyncio.sleep(self.answer_seconds())
        if self.claim_errors:
            raise self.claim_errors.pop(0)
        claims = [
            self._tables.claim(partition, held.first, self._owner, held.topic_id, held.leader_epoch)
            for partition, held in sorted(bounds.items())
            if partition not in self.locked
        ]
        self.claims += claims
        self._changes.notify()
        return claims

    async def stop(self, claim: Claim, offset: int, reason: StopReason) -> StopReason | None:
        await asyncio.sleep(self.answer_seconds())
        if self.stop_errors:
            raise self.stop_errors.pop(0)
        row = self._tables.ledger[claim.partition]
        if (row.epoch, row.next) != (claim.epoch, offset):
            return None
        row.stop = row.stop or reason
        self._changes.notify()
        return row.stop

    async def holders(self, partitions: Collection[Partition]) -> Mapping[Partition, Holder]:
        await asyncio.sleep(self.answer_seconds())
        if self.question_errors:
            raise self.question_errors.pop(0)
        rows = {p: self._tables.ledger[p] for p in partitions if p in self._tables.ledger}
        return {partition: Holder(row.epoch, row.owner is None) for partition, row in rows.items()}

    async def write(self, batch: Batch, turn: Turn) -> Written:
        """Write a batch: wait while the gate is closed, as in an outage, and commit in turn."""
        self.tried.append(batch)
        self.times.append(asyncio.get_running_loop().time())
        self._changes.notify()
        await self.gate.wait()
        await asyncio.sleep(self.write_seconds())
        await turn.wait_turn()
        written = self._tables.commit(batch, self.refuses)
        written = replace(written, stopped=self.stops(written))
        for partition, reason in written.stopped.items():
            self._tables.ledger[partition].stop = self._tables.ledger[partition].stop or reason
        await asyncio.sleep(self.answer_seconds())
        return written


class FakeTelemetry:
    """Records all reports."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def all(self, name: str) -> list[tuple[Any, ...]]:
        """Return the arguments of every call with this name."""
        return [arguments for called, arguments in self.calls if called == name]

    def count(self, name: str) -> int:
        """Return the number of calls with this name."""
        return len(self.all(name))

    def _record(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, arguments))
        self._changes.notify()

    def written(self, written: Written, seconds: float) -> None:
        self._record("written", written, seconds)

    def fenced(self, fenced: Fenced) -> None:
        self._record("fenced", fenced)

    def assigned(self, partitions: Collection[Partition]) -> None:
        self._record("assigned", set(partitions))

    def revoked(self, partitions: Collection[Partition]) -> None:
        self._record("revoked", set(partitions))

    def claimed(self, claims: Collection[Claim]) -> None:
        self._record("claimed", list(claims))

    def overtaken(self, partitions: Collection[Partition]) -> None:
        self._record("overtaken", set(partitions))

    def ledger_locked(self, partitions: Collection[Partition]) -> None:
        self._record("ledger_locked", sorted(partitions))

    def retried(self, cause: str) -> None:
        self._record("retried", cause)

    def unavailable(self, cause: str, message: str) -> None:
        self._record("unavailable", cause, message)

    def available(self) -> None:
        self._record("available")

    def silent(self, cause: str, message: str) -> None:
        self._record("silent", cause, message)

    def answered(self) -> None:
        self._record("answered")

    def kafka_unavailable(self, error: Exception) -> None:
        self._record("kafka_unavailable", error)

    def kafka_available(self) -> None:
        self._record("kafka_available")

    def unanswered(self, asked: Collection[Partition], why: Mapping[Partition, str]) -> None:
        self._record("unanswered", set(asked), dict(why))

    def set_aside(self, table: str, sqlstate: str) -> None:
        self._record("set_aside", table, sqlstate)

    def split(self, writes: int) -> None:
        self._record("split", writes)

    def stopped(self, partition: Partition, reason: StopReason) -> None:
        self._record("stopped", partition, reason)

    def drain_timed_out(self, seconds: float) -> None:
        self._record("drain_timed_out", seconds)

    def backpressure(self, seconds: float) -> None:
        self._record("backpressure", seconds)

    def lag(self, partition: Partition, records: int, seconds: float) -> None:
        self._record("lag", partition, records, seconds)

    def held_back(self, partition: Partition, records: int, seconds: float) -> None:
        self._record("held_back", partition, records, seconds)
