"""The ledger in PostgreSQL: for each partition, the process that may write for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple
from itertools import chain
from operator import attrgetter
from typing import Any

from consumer.events.record import Partition
from consumer.ingest.batch import Batch
from consumer.ingest.offsets import Claim, Span, StopReason
from consumer.ingest.ports import Bounds, Fenced, Holder, LedgerLocked, Written
from consumer.ingest.stop_reasons import kept_reason
from consumer.postgres.client import Database, Transaction
from consumer.postgres.queries import load

# The partition of a row or a dead letter, as a tuple. It is not a Python function, because it runs for every record.
_PARTITION = attrgetter("record.topic", "record.partition")


class PostgresLedger:
    """See :class:`consumer.ingest.ports.Claims`; also moves the ledger in the transaction that writes a batch."""

    def __init__(self, database: Database, *, group: str, owner: str, begin_at_end: bool) -> None:
        self._database, self.group = database, group
        self._owner, self._begin_at_end = owner, begin_at_end

    async def claim(self, bounds: Mapping[Partition, Bounds]) -> Sequence[Claim]:
        """See :meth:`consumer.ingest.ports.Claims.claim`."""
        partitions = sorted(bounds)
        begin = [bounds[p].end if self._begin_at_end else bounds[p].first for p in partitions]
        ids = [bounds[p].topic_id for p in partitions]
        epochs = [bounds[p].leader_epoch for p in partitions]
        async with self._database.transaction() as transaction:
            arguments = (self.group, self._owner, *columns(partitions), begin, ids, epochs)
            rows = await transaction.fetch(load("claim"), *arguments)
        return [_claim(row) for row in rows]

    async def stop(self, claim: Claim, offset: int, reason: StopReason) -> StopReason | None:
        """See :meth:`consumer.ingest.ports.Claims.stop`."""
        async with self._database.transaction() as transaction:
            return await self.stop_within(transaction, claim.partition, claim.epoch, offset, reason)

    async def stop_within(
        self, transaction: Transaction, partition: Partition, epoch: int, offset: int, reason: StopReason
    ) -> StopReason | None:
        """Record a stop within a transaction, under the epoch of a claim."""
        rows = await transaction.fetch(load("stop_partition"), self.group, *partition, epoch, offset, *astuple(reason))
        return kept_reason(rows[0]) if rows else None

    async def holders(self, partitions: Collection[Partition]) -> Mapping[Partition, Holder]:
        """See :meth:`consumer.ingest.ports.Claims.holders`."""
        rows = await self._read(partitions)
        return {partition: Holder(row["epoch"], row["owner"] is None) for partition, row in rows.items()}

    async def move(self, transaction: Transaction, written: Written) -> None:
        """Move the ledger to the end of the batch, and add the outcomes of its records.

        :raises Fenced: the ledger is not at the beginning of the batch, or has another epoch
        """
        spans = _moved_spans(written.batch)
        moved = await transaction.fetch(load("move_ledger"), self.group, *_move_columns(spans, written))
        held = {Partition(row["topic"], row["partition"]) for row in moved}
        lost = [span.partition for span in spans if span.partition not in held]
        if lost:
            raise Fenced(lost)

    async def demand_unlocked(self, batch: Batch) -> None:
        """Check that no transaction holds the rows that the batch moves.

        :raises LedgerLocked: another transaction does
        :raises Unavailable: not now
        """
        partitions = [span.partition for span in _moved_spans(batch)]
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(load("free_in_ledger"), self.group, *columns(partitions))
        if locked := set(partitions) - {Partition(row["topic"], row["partition"]) for row in rows}:
            raise LedgerLocked(locked)

    async def is_moved_by(self, batch: Batch) -> bool:
        """Whether the ledger is at the end of this batch, under our epoch. Then the batch was committed."""
        spans = {span.partition: span for span in _moved_spans(batch)}
        rows = await self._read(spans)
        found = {partition: (row["epoch"], row["next_offset"]) for partition, row in rows.items()}
        return found == {partition: (span.epoch, span.next) for partition, span in spans.items()}

    async def _read(self, partitions: Collection[Partition]) -> Mapping[Partition, Any]:
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(load("read_ledger"), self.group, *columns(partitions))
        return {Partition(row["topic"], row["partition"]): row for row in rows}


def columns(partitions: Collection[Partition]) -> tuple[list[str], list[int]]:
    """The partitions as two columns of a statement."""
    return [p.topic for p in partitions], [p.partition for p in partitions]


def _claim(row: Any) -> Claim:
    partition = Partition(row["topic"], row["partition"])
    return Claim(partition, row["epoch"], row["next_offset"], row["topic_id"], kept_reason(row), row["leader_epoch"])


def partition_of(item: Any) -> Partition:
    """The partition of a row or a dead letter."""
    return Partition._make(_PARTITION(item))


def _moved_spans(batch: Batch) -> list[Span]:
    """The spans that move, in sorted order, so that two replicas lock the ledger's rows in the same order."""
    return sorted((span for span in batch.spans.values() if span.moved), key=lambda span: span.partition)


def _move_columns(spans: Sequence[Span], written: Written) -> list[list[Any]]:
    """Arguments of move_ledger. Each outcome is counted by itself. None is computed as the rest, so their sum is a
    proof.
    """
    inserted = _count(chain.from_iterable(written.inserted.values()))
    amended = _count(chain.from_iterable(written.amended.values()))
    duplicates, dead_lettered = _count(written.duplicates), _count(written.dead_letters)
    ignored = _count(written.ignored)
    rows = [
        (
            *span.partition,
            span.epoch,
            span.start,
            span.next,
            inserted[span.partition],
            duplicates[span.partition],
            amended[span.partition],
            dead_lettered[span.partition],
            ignored[span.partition],
            span.gaps,
            span.leader_epoch,
        )
        for span in spans
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _count(items: Iterable[Any]) -> Counter[Any]:
    return Counter(map(_PARTITION, items))
