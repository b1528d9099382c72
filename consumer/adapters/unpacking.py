"""aiokafka's unpacking of what it has fetched, without losing what can be read.

At a record that it cannot unpack aiokafka raises, again and again, and a batch is always fetched from its beginning: so
no offset inside of the batch leads past that record. Where aiokafka fails, the batch is read again record by record
(:mod:`consumer.adapters.record_batches`). A record that cannot be unpacked comes as an `UnreadableRecord`. Where the
records cannot be told apart, an :class:`UnreadableRange` comes last, in the place of a record.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords

from consumer.adapters.record_batches import UnreadableBatch, records_of
from consumer.events.record import Partition

_LENGTH_AT, _OVERHEAD, _EPOCH_AT, _MAGIC_AT = 8, 12, 12, 16
_NEWEST_MAGIC = b"\x02"
_LAST_DELTA_AT, _COUNT_AT = 23, 57


@dataclass(frozen=True, slots=True)
class UnreadableRange:
    """The offsets `first` to `last`, of one batch, cannot be read; `why`, without a word of what is in there."""

    partition: Partition
    first: int
    last: int
    why: str


class Batches:
    """What a fetch returned of one partition: aiokafka's `MemoryRecords`, which tell where the newest batch lies."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._records = raw, MemoryRecords(raw)
        self._begin = self._end = 0
        self.earlier_leader_epoch: int | None = None

    def has_next(self) -> bool:
        """Whether another batch is there as a whole."""
        return bool(self._records.has_next())

    def size_in_bytes(self) -> int:
        """Bytes of everything."""
        return int(self._records.size_in_bytes())

    def next_batch(self) -> Any:
        """The next batch, as aiokafka unpacks it."""
        self.earlier_leader_epoch = self.newest_leader_epoch
        (length,) = struct.unpack_from(">i", self._raw, self._end + _LENGTH_AT)
        self._begin, self._end = self._end, self._end + _OVERHEAD + length
        if self._raw[self._begin + _MAGIC_AT : self._begin + _MAGIC_AT + 1] > _NEWEST_MAGIC:
            raise UnreadableBatch("aiokafka takes whatever is newer for the newest that it knows")
        return self._records.next_batch()

    @property
    def newest_leader_epoch(self) -> int | None:
        """Under which leader epoch the newest batch was written; None where its format does not tell."""
        if self.newest[_MAGIC_AT : _MAGIC_AT + 1] != _NEWEST_MAGIC:
            return None
        (epoch,) = struct.unpack_from(">i", self.newest, _EPOCH_AT)
        return int(epoch) if epoch >= 0 else None

    @property
    def newest(self) -> bytes:
        """The bytes of the newest batch."""
        return self._raw[self._begin : self._end]

    def newest_end(self, position: int) -> int:
        """The offset behind the newest batch. Its header may be damaged too: of what is told by its last offset, by its
        count, and by the batch behind it, what two agree on counts, else the least; so nothing behind it is given up.

        :param position: an offset in it
        """
        told: list[int] = [
            self._base(self._begin) + struct.unpack_from(">i", self.newest, at)[0] + more for at, more in self._said()
        ]
        if self._end + _LENGTH_AT <= len(self._raw):
            told.append(self._base(self._end))
        ends = [end for end in told if end > position]
        return min([end for end in ends if ends.count(end) > 1] or ends or [position + 1])

    def _said(self) -> Iterator[tuple[int, int]]:
        yield from ((at, more) for at, more in ((_LAST_DELTA_AT, 1), (_COUNT_AT, 0)) if len(self.newest) >= at + 4)

    def _base(self, begin: int) -> int:
        (base,) = struct.unpack_from(">q", self._raw, begin)
        return int(base)

    @property
    def newest_base(self) -> int:
        """The offset with which the newest batch begins."""
        return self._base(self._begin)


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one partition, as far as they can be read."""

    next_fetch_offset: int

    _is_damaged = False

    @property
    def leader_epoch(self) -> int | None:
        """Of the newest batch of which anything could be read; None where it is not known."""
        records: Batches = self._records
        return records.earlier_leader_epoch if self._is_damaged else records.newest_leader_epoch

    def _unpack_records(self) -> Generator[Any, None, None]:
        while True:
            try:
                yield from super()._unpack_records()
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001 - whatever is wrong with a batch, each kind has an error of its own
                if not (yield from self._unpack_apart()):
                    return
            else:
                return

    def _unpack_apart(self) -> Generator[Any, None, bool]:
        """The rest of the newest batch, record by record; whether reading can go on behind it."""
        self._is_damaged = True
        try:
            for record in records_of(self._records.newest, self._tp):
                self._is_damaged = False
                if record.offset >= self.next_fetch_offset:
                    self.next_fetch_offset = record.offset + 1
                    yield record
        except UnreadableBatch as error:
            yield self._unreadable_rest(str(error))
            return False
        self.next_fetch_offset = self._records.newest_end(self.next_fetch_offset - 1)
        return True

    def _unreadable_rest(self, why: str) -> UnreadableRange:
        """Reading stands before it now: what lies between holds no record."""
        self.next_fetch_offset = max(self.next_fetch_offset, self._records.newest_base)
        end = self._records.newest_end(self.next_fetch_offset)
        return UnreadableRange(Partition(*self._tp), self.next_fetch_offset, end - 1, why)


class FetchResult(fetcher.FetchResult):  # type: ignore[misc]
    """What a fetch returned of one partition: moves its position, and keeps beside it which leader epoch it is of."""

    def _update_position(self) -> None:
        super()._update_position()
        self._assignment.state_value(self._topic_partition).leader_epoch = self._partition_records.leader_epoch


def patch_unpacking() -> None:
    """Have every consumer of this process unpack like this; aiokafka has no setting for it."""
    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = PartitionRecords
    fetcher.FetchResult = FetchResult
