"""aiokafka's unpacking of what it has fetched, without losing what can be read.

At a record that it cannot unpack aiokafka raises, again and again, and a batch is always fetched from its beginning: so
no offset inside of the batch leads past that record. Where aiokafka fails, the batch is read again record by record
(:mod:`consumer.kafka.record_batches`). A record that cannot be unpacked comes as an `UnreadableRecord`. Where the
records cannot be told apart, an :class:`UnreadableRange` comes last, in the place of a record.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords

from consumer.events.record import Partition
from consumer.kafka.record_batches import UnreadableBatch, records_of

MOST_BYTES = 4_194_304
_LENGTH_AT, _OVERHEAD, _EPOCH_AT, _MAGIC_AT = 8, 12, 12, 16
_LEAST_LENGTH = 14  # what follows the length in the smallest batch of the oldest format
_NEWEST_MAGIC = b"\x02"
_LAST_DELTA_AT, _COUNT_AT = 23, 57
DISPLACED = "its first offset, which no checksum covers, cannot be right: it would overlap another batch"


@dataclass(frozen=True, slots=True)
class UnreadableRange:
    """The offsets `first` to `last`, of one batch, cannot be read; `why`, without a word of what is in there."""

    partition: Partition
    first: int
    last: int
    why: str
    value: None = None


class Batches:
    """What a fetch returned of one partition: aiokafka's `MemoryRecords`, which tell where the newest batch lies.

    :ivar position: the offset that comes next; None if nobody has said
    :ivar is_displaced: whether the newest batch cannot lie where it says
    """

    def __init__(self, raw: bytes) -> None:
        self._raw, self._records = raw, MemoryRecords(raw)
        self._begin = self._end = 0
        self.earlier_leader_epoch: int | None = None
        self.position: int | None = None
        self.is_displaced = False

    def has_next(self) -> bool:
        """Whether another batch is there as a whole. With a length that cannot be, everything ends: from there on the
        broker is asked again.
        """
        return bool(self._records.has_next()) and self._next_length() >= _LEAST_LENGTH

    def size_in_bytes(self) -> int:
        """Bytes of everything; none, if there is no whole batch: aiokafka would step over an offset then, and fail."""
        return int(self._records.size_in_bytes()) if self.has_next() else 0

    def _next_length(self) -> int:
        (length,) = struct.unpack_from(">i", self._raw, self._end + _LENGTH_AT)
        return int(length)

    def next_batch(self) -> Any:
        """The next batch, as aiokafka unpacks it.

        :raises UnreadableBatch: aiokafka would take it for what it is not
        """
        while not self._is_next_in_place():
            before = self.position
            is_passed = before is not None and self.next_base(before + 1) <= before  # reading stands behind its place
            if is_passed:
                self._records.next_batch()
            if not is_passed or not self.has_next():
                raise UnreadableBatch(DISPLACED)
        return self._records.next_batch()

    def _is_next_in_place(self) -> bool:
        """Look at the header of the next batch, which is the newest one from now on; False if it is displaced, and
        then the position stays.

        :raises UnreadableBatch: aiokafka would take it for what it is not
        """
        self.earlier_leader_epoch = self.newest_leader_epoch
        self._begin, self._end = self._end, self._end + _OVERHEAD + self._next_length()
        if self._raw[self._begin + _MAGIC_AT : self._begin + _MAGIC_AT + 1] > _NEWEST_MAGIC:
            raise UnreadableBatch("aiokafka takes whatever is newer for the newest that it knows")
        before = self.position
        self.is_displaced = self._overlaps()
        if self.is_displaced:
            self.position = before
        return not self.is_displaced

    def _overlaps(self) -> bool:
        """Whether the newest batch cannot lie where it says, as no checksum covers its first offset. One that goes on
        where the one before has ended is right, whatever the one behind it says; what the checksum covers is not asked.
        """
        if not self._has_newest_format(_LAST_DELTA_AT + 4):
            return False
        base, before, is_first = self.newest_base, self.position, self._begin == 0
        (delta,) = struct.unpack_from(">i", self._raw, self._begin + _LAST_DELTA_AT)
        end = base + delta + 1
        self.position = end if before is None else max(before, end)
        if before is None or base == before or (is_first and base < before <= end):
            return False
        return (base < before or end > self.next_base(end)) and _has_its_checksum(self.newest)

    def next_base(self, default: int) -> int:
        """The offset with which the next batch begins, as it says; `default` if there is none."""
        return self._base(self._end) if self._end + _LENGTH_AT <= len(self._raw) else default

    @property
    def newest_leader_epoch(self) -> int | None:
        """Under which leader epoch the newest batch was written; None where its format does not tell."""
        if not self._has_newest_format(_MAGIC_AT + 1):
            return None
        (epoch,) = struct.unpack_from(">i", self._raw, self._begin + _EPOCH_AT)
        return int(epoch) if epoch >= 0 else None

    def _has_newest_format(self, least: int) -> bool:
        """Whether the newest batch has the format whose header is known here, and at least so many bytes.

        Read in place: copying the batch for each look at its header would copy all that is fetched several times.
        """
        magic_at = self._begin + _MAGIC_AT
        return self._end - self._begin >= least and self._raw[magic_at : magic_at + 1] == _NEWEST_MAGIC

    @property
    def newest(self) -> bytes:
        """The bytes of the newest batch."""
        return self._raw[self._begin : self._end]

    def newest_records(self, place: Any) -> Iterator[Any]:
        """The records of the newest batch, one by one.

        :raises UnreadableBatch: the rest of it cannot be read
        """
        if self.is_displaced:
            raise UnreadableBatch(DISPLACED)
        yield from records_of(self.newest, place)

    def newest_end(self, position: int) -> int:
        """The offset behind the newest batch. Its header may be damaged too: of what is told by its last offset, by its
        count, and by the batch behind it, what two agree on counts, else the least; so nothing behind it is given up.

        :param position: an offset in it
        """
        said = () if self.is_displaced else self._said()
        told: list[int] = [
            self._base(self._begin) + struct.unpack_from(">i", self.newest, at)[0] + more for at, more in said
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
        """The offset with which the newest batch begins, as it says."""
        return self._base(self._begin)

    def newest_begin(self, position: int) -> int:
        """The first offset of the newest batch from a position on; what lies between holds no record."""
        return position if self.is_displaced else max(position, self.newest_base)


class PartitionUnpacker(fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one partition, as far as they can be read."""

    next_fetch_offset: int

    _is_damaged = False

    def __init__(self, place: Any, records: Batches, aborted: Any, position: int, *more: Any) -> None:
        records.position = position
        super().__init__(place, records, aborted, position, *more)

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
            for record in self._records.newest_records(self._tp):
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
        """Reading stands before it now."""
        self.next_fetch_offset = self._records.newest_begin(self.next_fetch_offset)
        end = self._records.newest_end(self.next_fetch_offset)
        return UnreadableRange(Partition(*self._tp), self.next_fetch_offset, end - 1, f"their batch is damaged: {why}")


class FetchResult(fetcher.FetchResult):  # type: ignore[misc]
    """What a fetch returned of one partition: taken in parts of some bytes, as all of it is unpacked on the event loop.

    Records that compress well may be a thousand times as many bytes as were fetched.
    """

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Any]:
        """The next records; more than `MOST_BYTES` of values only in the last of them."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        found: list[Any] = []
        size = 0
        for record in self._partition_records:
            found.append(record)
            size += len(record.value or b"")
            if len(found) == max_records or size >= MOST_BYTES:
                self._update_position()
                return found
        self._update_position()
        self._partition_records = None
        return found

    def _update_position(self) -> None:
        """Keep the leader epoch of what was returned beside the position."""
        super()._update_position()
        self._assignment.state_value(self._topic_partition).leader_epoch = self._partition_records.leader_epoch


def _has_its_checksum(batch: bytes) -> bool:
    return bool(DefaultRecordBatch(batch).validate_crc())


def patch_unpacking() -> None:
    """Have every consumer of this process unpack like this; aiokafka has no setting for it."""
    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = PartitionUnpacker
    fetcher.FetchResult = FetchResult
