"""Offsets: what has been read of a partition and what comes next. The only place that adds one to an offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from uuid import UUID

from consumer.events.record import Partition, Record

_TIMESTAMP = attrgetter("timestamp")


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why a partition cannot be read on, until a person decides.

    :param problem: in words
    :param resume_from: where the command that is advised goes on, as its `--from` takes it
    :param unreadable_from: the first offset that cannot be read; None where the stop is about something else
    :param unreadable_until: the offset behind the last one
    :param diverges_at: from this offset on the topic may hold other records than those that were read
    """

    problem: str
    resume_from: str = "earliest"
    unreadable_from: int | None = None
    unreadable_until: int | None = None
    diverges_at: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write for a partition, as the ledger granted it.

    :param epoch: goes up with every claim; only the newest may move the ledger
    :param next_offset: the offset reading goes on from
    :param topic_id: the topic that the ledger answers for; None where no broker has told
    :param stop: why a person has to decide first; None where nobody has to
    :param leader_epoch: the newest leader epoch under which the log is known to hold what was read; None: not known
    """

    partition: Partition
    epoch: int
    next_offset: int
    topic_id: UUID | None = None
    stop: StopReason | None = None
    leader_epoch: int | None = None


@dataclass(slots=True)
class Span:
    """A stretch of one partition, from `start` up to but not including `next`, and how many records it held.

    What lies between without a record is a gap: transaction markers, records of aborted transactions, compacted ones.

    :param leader_epoch: the newest leader epoch under which the log is known to hold what was read; None: not known
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
        """The empty span that begins where this one ends."""
        return Span(self.partition, self.epoch, self.next, self.next, leader_epoch=self.leader_epoch)

    def is_known_log(self, leader_epoch: int | None) -> bool:
        """Whether what was written under this leader epoch is known to follow what was read."""
        return self.leader_epoch is None or leader_epoch is None or leader_epoch <= self.leader_epoch

    def fresh(self, records: Sequence[Record]) -> Sequence[Record]:
        """Those of the records, which come in the order of their offsets, that were not read before."""
        if records and records[0].offset < self.next:
            return [record for record in records if record.offset >= self.next]
        return records

    def take(self, records: Sequence[Record]) -> Sequence[Record]:
        """Count records in, which come in the order of their offsets.

        :returns: those that count: what lies before the position was read already
        """
        records = self.fresh(records)
        if records:
            self.next = records[-1].offset + 1
            self.records += len(records)
            self.newest_timestamp = max(self.newest_timestamp, max(map(_TIMESTAMP, records)))
        return records

    def skip_to(self, position: int) -> None:
        """Move to the reader's position: what lies between is a gap."""
        self.next = max(self.next, position)

    @property
    def gaps(self) -> int:
        """Offsets that held no record for us."""
        return self.next - self.start - self.records

    @property
    def moved(self) -> bool:
        """Whether there is anything for the ledger."""
        return self.next > self.start
