"""Offsets: which records of a partition were read, and which offset is next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from uuid import UUID

from consumer.events.record import Partition, Record

_TIMESTAMP = attrgetter("timestamp")


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why a partition has stopped until a person decides.

    :param problem: a sentence for that person
    :param resume_from: the value of `--from` in the command that the product recommends
    :param unreadable_from: the first unreadable offset; None if the stop has another reason
    :param unreadable_until: one past the last unreadable offset
    :param diverges_at: from this offset on the topic may hold other records than those that were read
    """

    problem: str
    resume_from: str = "earliest"
    unreadable_from: int | None = None
    unreadable_until: int | None = None
    diverges_at: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write for a partition. The ledger grants it.

    :param epoch: grows by one with every claim; only the holder of the newest may move the ledger
    :param next_offset: the offset at which reading continues
    :param topic_id: the id of the topic that was read; None if no broker has reported it
    :param stop: the reason why a person has to decide first; None if the partition can be read
    :param leader_epoch: the newest leader epoch under which the log is known to contain the records that were read;
        None if unknown
    """

    partition: Partition
    epoch: int
    next_offset: int
    topic_id: UUID | None = None
    stop: StopReason | None = None
    leader_epoch: int | None = None


@dataclass(slots=True)
class Span:
    """A range of offsets of one partition, from `start` up to but not including `next`, and its number of records.

    An offset in the range without a record is a gap: a transaction marker, or an aborted or compacted record.

    :param leader_epoch: as in :class:`Claim`
    """

    partition: Partition
    epoch: int
    start: int
    next: int
    records: int = 0
    newest_timestamp: int = -1
    leader_epoch: int | None = None

    @classmethod
    def begin(cls, claim: Claim) -> Span:
        """An empty span at the claim's position."""
        offset = claim.next_offset
        return cls(claim.partition, claim.epoch, offset, offset, leader_epoch=claim.leader_epoch)

    def next_span(self) -> Span:
        """An empty span that begins where this one ends."""
        return Span(self.partition, self.epoch, self.next, self.next, leader_epoch=self.leader_epoch)

    def is_known_log(self, leader_epoch: int | None) -> bool:
        """Whether records of this leader epoch are known to follow the records that were read."""
        return self.leader_epoch is None or leader_epoch is None or leader_epoch <= self.leader_epoch

    def fresh(self, records: Sequence[Record]) -> Sequence[Record]:
        """The records, in offset order, without those that were read before."""
        if records and records[0].offset < self.next:
            return [record for record in records if record.offset >= self.next]
        return records

    def take(self, records: Sequence[Record]) -> Sequence[Record]:
        """Move over records, in offset order.

        :returns: the records without those that were read before
        """
        records = self.fresh(records)
        if records:
            self.next = records[-1].offset + 1
            self.records += len(records)
            self.newest_timestamp = max(self.newest_timestamp, max(map(_TIMESTAMP, records)))
        return records

    def skip_to(self, position: int) -> None:
        """Move to the source's position; the offsets between are gaps."""
        self.next = max(self.next, position)

    @property
    def gaps(self) -> int:
        """The number of offsets without a record."""
        return self.next - self.start - self.records

    @property
    def moved(self) -> bool:
        """Whether the span contains any offset, so that the ledger moves."""
        return self.next > self.start
