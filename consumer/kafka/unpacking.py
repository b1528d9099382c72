"""Unpacks fetched batches with aiokafka, and keeps every record that can be read. :mod:`consumer.kafka.client_patches`
makes every consumer of this process use these classes.

aiokafka raises at each attempt to unpack a bad record. Kafka always returns a batch from its beginning, so a seek to an
offset inside the batch does not help. If aiokafka fails, the batch is read again record by record
(:mod:`consumer.kafka.record_batches`). A record that cannot be unpacked becomes an `UnreadableRecord`. If the batch
cannot be divided into records, the last element is an :class:`UnreadableRange` instead of a record.
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
_LEAST_LENGTH = 14  # the smallest batch of the oldest format, without its offset and length
_NEWEST_MAGIC = b"\x02"
_LAST_DELTA_AT, _COUNT_AT = 23, 57
DISPLACED = "its first offset, which no checksum covers, is wrong: the batch would overlap another one"


@dataclass(frozen=True, slots=True)
class UnreadableRange:
    """The offsets `first` to `last` of one batch cannot be read. `why` gives the reason, and quotes no content."""

    partition: Partition
    first: int
    last: int
    why: str
    value: None = None


class Batches:
    """The batches that a fetch returned for one partition. Wraps aiokafka's `MemoryRecords`, and tracks their places.

    The newest batch is the one that `next_batch` has returned or rejected last.

    :ivar position: the next offset; None if it is unknown
    :ivar is_displaced: whether the first offset of the newest batch is wrong
    """

    def __init__(self, raw: bytes) -> None:
        self._raw, self._records = raw, MemoryRecords(raw)
        self._begin = self._end = 0
        self.earlier_leader_epoch: int | None = None
        self.position: int | None = None
        self.is_displaced = False

    def has_next(self) -> bool:
        """Whether another complete batch follows. An impossible length ends the data, and the rest is fetched again."""
        return bool(self._records.has_next()) and self._next_length() >= _LEAST_LENGTH

    def size_in_bytes(self) -> int:
        """The size of the data; 0 if there is no complete batch, because aiokafka would skip an offset and fail."""
        return int(self._records.size_in_bytes()) if self.has_next() else 0

    def _next_length(self) -> int:
        (length,) = struct.unpack_from(">i", self._raw, self._end + _LENGTH_AT)
        return int(length)

    def next_batch(self) -> Any:
        """Return the next batch as aiokafka unpacks it.

        :raises UnreadableBatch: aiokafka would misinterpret the batch
        """
        while not self._is_next_in_place():
            before = self.position
            is_passed = before is not None and self.next_base(before + 1) <= before  # read already
            if is_passed:
                self._records.next_batch()
            if not is_passed or not self.has_next():
                raise UnreadableBatch(DISPLACED)
        return self._records.next_batch()

    def _is_next_in_place(self) -> bool:
        """Move to the next batch, and check its header. False if it is displaced; then the position does not change.

        :raises UnreadableBatch: aiokafka would misinterpret the batch
        """
        self.earlier_leader_epoch = self.newest_leader_epoch
        self._begin, self._end = self._end, self._end + _OVERHEAD + self._next_length()
        if self._raw[self._begin + _MAGIC_AT : self._begin + _MAGIC_AT + 1] > _NEWEST_MAGIC:
            raise UnreadableBatch("its format is newer than the newest one that aiokafka knows")
        before = self.position
        self.is_displaced = self._overlaps()
        if self.is_displaced:
            self.position = before
        return not self.is_displaced

    def _overlaps(self) -> bool:
        """Whether the first offset of the newest batch, which no checksum covers, overlaps another batch.

        A batch that begins at the end of the previous batch is in the right place, even if the next one overlaps it. A
        batch with a wrong checksum does not count as displaced.
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
        """The first offset of the next batch according to its header; `default` if there is no next batch."""
        return self._base(self._end) if self._end + _LENGTH_AT <= len(self._raw) else default

    @property
    def newest_leader_epoch(self) -> int | None:
        """The leader epoch under which the newest batch was written; None if its format has none, or if it is wrong: no
        checksum covers it, and it is higher than the epoch of the next batch.
        """
        if self._begin == self._end:  # no batch yet
            return None
        epoch, following = self._leader_epoch(self._begin), self._leader_epoch(self._end)
        is_wrong = epoch is not None and following is not None and following < epoch
        return None if is_wrong else epoch

    def _leader_epoch(self, begin: int) -> int | None:
        if self._raw[begin + _MAGIC_AT : begin + _MAGIC_AT + 1] != _NEWEST_MAGIC:
            return None
        (epoch,) = struct.unpack_from(">i", self._raw, begin + _EPOCH_AT)
        return int(epoch) if epoch >= 0 else None

    def _has_newest_format(self, least: int) -> bool:
        """Whether the newest batch has the newest format, and at least this many bytes.

        The header is read in place; a copy of the batch for each check would copy all fetched data several times.
        """
        magic_at = self._begin + _MAGIC_AT
        return self._end - self._begin >= least and self._raw[magic_at : magic_at + 1] == _NEWEST_MAGIC

    @property
    def newest(self) -> bytes:
        """The bytes of the newest batch."""
        return self._raw[self._begin : self._end]

    def newest_records(self, place: Any) -> Iterator[Any]:
        """Yield the records of the newest batch one by one.

        :raises UnreadableBatch: the rest of the batch cannot be read
        """
        if self.is_displaced:
            raise UnreadableBatch(DISPLACED)
        yield from records_of(self.newest, place)

    def newest_end(self, position: int) -> int:
        """The offset after the newest batch.

        The header may be damaged too, so there are three candidates: by the last offset, by the record count, and by
        the first offset of the next batch. If two of them are equal, their value counts. Otherwise the lowest one
        counts, so that no record after the batch is lost.

        :param position: an offset in the batch
        """
        fields = () if self.is_displaced else self._end_fields()
        candidates: list[int] = [
            self._base(self._begin) + struct.unpack_from(">i", self.newest, at)[0] + more for at, more in fields
        ]
        if self._end + _LENGTH_AT <= len(self._raw):
            candidates.append(self._base(self._end))
        ends = [end for end in candidates if end > position]
        return min([end for end in ends if ends.count(end) > 1] or ends or [position + 1])

    def _end_fields(self) -> Iterator[tuple[int, int]]:
        yield from ((at, more) for at, more in ((_LAST_DELTA_AT, 1), (_COUNT_AT, 0)) if len(self.newest) >= at + 4)

    def _base(self, begin: int) -> int:
        (base,) = struct.unpack_from(">q", self._raw, begin)
        return int(base)

    @property
    def newest_base(self) -> int:
        """The first offset of the newest batch according to its header."""
        return self._base(self._begin)

    def newest_begin(self, position: int) -> int:
        """The first offset of the newest batch, or `position` if that is later. There is no record between the two."""
        return position if self.is_displaced else max(position, self.newest_base)


class PartitionUnpacker(fetcher.PartitionRecords):  # type: ignore[misc]
    """Unpacks the records of one partition, and recovers the readable ones of a bad batch."""

    next_fetch_offset: int

    _is_damaged = False

    def __init__(self, place: Any, records: Batches, aborted: Any, position: int, *more: Any) -> None:
        records.position = position
        super().__init__(place, records, aborted, position, *more)

    @property
    def leader_epoch(self) -> int | None:
        """The leader epoch of the newest batch from which a record could be read; None if it is unknown."""
        records: Batches = self._records
        return records.earlier_leader_epoch if self._is_damaged else records.newest_leader_epoch

    def _unpack_records(self) -> Generator[Any, None, None]:
        while True:
            try:
                yield from super()._unpack_records()
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001 - each kind of damage has its own error
                if not (yield from self._unpack_apart()):
                    return
            else:
                return

    def _unpack_apart(self) -> Generator[Any, None, bool]:
        """Yield the rest of the newest batch record by record. Returns whether the next batch can be read."""
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
        """Return the rest of the batch as an unreadable range, and set the position to its beginning."""
        self.next_fetch_offset = self._records.newest_begin(self.next_fetch_offset)
        end = self._records.newest_end(self.next_fetch_offset)
        return UnreadableRange(Partition(*self._tp), self.next_fetch_offset, end - 1, f"their batch is damaged: {why}")


class FetchResult(fetcher.FetchResult):  # type: ignore[misc]
    """The records that a fetch returned for one partition.

    They are returned in parts of limited size, because unpacking blocks the event loop. Well compressed records may
    unpack to a thousand times the fetched bytes.
    """

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Any]:
        """Return the next records, up to the one with which their values reach `MOST_BYTES`."""
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
        """Keep the leader epoch of the returned records with the position."""
        super()._update_position()
        self._assignment.state_value(self._topic_partition).leader_epoch = self._partition_records.leader_epoch


def _has_its_checksum(batch: bytes) -> bool:
    return bool(DefaultRecordBatch(batch).validate_crc())
