"""Reads a batch, in the format in which Kafka stores it, record by record.

aiokafka stops at the first record that it cannot unpack, such as one with a header whose name is not UTF-8, and loses
the rest of the batch. This module first cuts out each record by its length, and then unpacks it. A record that it
cannot unpack becomes an `UnreadableRecord`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import UnsupportedCodecError
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.util import decode_varint

from consumer.events.record import Partition, StoredRecord, UnreadableRecord

_MAGIC = slice(16, 17)
_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
_WRONG_NAME = "the name of one of its headers is not UTF-8"
_WRONG_FORM = "key, value and headers cannot be separated; the value kept here is the whole record as Kafka stores it"
_INDIVISIBLE = "the boundary between two records cannot be found"


class UnreadableBatch(Exception):
    """The rest of a batch cannot be divided into records. The message gives the reason, and quotes no content."""


def records_of(raw: bytes, partition: Partition) -> Iterator[StoredRecord | UnreadableRecord]:
    """Yield every record of the batch, in the order of their offsets.

    :raises UnreadableBatch: the rest of it cannot be read
    """
    batch = _opened(raw)
    place, offset = batch._pos, batch.base_offset
    for number in range(batch._num_records):
        body, place = _body(batch._buffer, place)
        head = _head(batch, body, number, offset)
        yield _record(partition, head, body)
        offset = head.offset + 1
    if place < len(batch._buffer) and offset < batch.next_offset:
        raise UnreadableBatch(_INDIVISIBLE)


def _opened(raw: bytes) -> Any:
    """Check the checksum of the batch, and decompress it."""
    if raw[_MAGIC] != b"\x02" or len(raw) < _DefaultRecordBatchPy.HEADER_STRUCT.size:
        raise UnreadableBatch(f"the client cannot unpack its format (magic 0x{raw[_MAGIC].hex()})")
    batch = _DefaultRecordBatchPy(raw)
    if not batch.validate_crc():
        raise UnreadableBatch("its checksum does not match, so its bytes are not those that were written")
    if batch.is_control_batch:
        raise UnreadableBatch("it marks the end of a transaction, but in a form that the client does not know")
    try:
        batch._maybe_uncompress()
    except UnsupportedCodecError:
        raise UnreadableBatch(f"its compression codec (number {batch.compression_type}) is not known") from None
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - each codec has its own errors, which may quote content
        raise UnreadableBatch(f"it cannot be decompressed ({_CODECS[batch.compression_type]})") from None
    return batch


def _body(buffer: bytearray, place: int) -> tuple[bytearray, int]:
    """Return the record that begins at `place`, without its length, and the place after it."""
    try:
        length, begin = decode_varint(buffer, place)
    except (ValueError, IndexError):
        raise UnreadableBatch(_INDIVISIBLE) from None
    if length < 0 or begin + length > len(buffer):
        raise UnreadableBatch(_INDIVISIBLE)
    return buffer[begin : begin + length], begin + length


@dataclass(frozen=True, slots=True)
class _Head:
    """Offset and timestamp of a record, and the place of its key; `key_at` is None if they cannot be read."""

    offset: int
    timestamp: int
    key_at: int | None


def _head(batch: Any, body: bytearray, number: int, least: int) -> _Head:
    """Read offset and timestamp. If no record was compacted away, the position in the batch gives the offset too."""
    is_complete = batch._num_records == batch.last_offset_delta + 1
    logged = batch.max_timestamp if batch.timestamp_type else None
    try:
        later, place = decode_varint(body, 1)  # after the attributes, one byte that Kafka does not use yet
        further, place = decode_varint(body, place)
        offset = batch.base_offset + further
        if offset == batch.base_offset + number if is_complete else least <= offset < batch.next_offset:
            return _Head(offset, batch.first_timestamp + later if logged is None else logged, place)
    except (ValueError, IndexError):
        pass
    if not is_complete:
        raise UnreadableBatch(_INDIVISIBLE)
    return _Head(batch.base_offset + number, batch.first_timestamp if logged is None else logged, None)


def _record(partition: Partition, head: _Head, body: bytearray) -> StoredRecord | UnreadableRecord:
    if head.key_at is None:
        return UnreadableRecord(*partition, head.offset, head.timestamp, None, bytes(body), (), _WRONG_FORM)
    try:
        key, place = _nullable(body, head.key_at)
        value, place = _nullable(body, place)
        headers = tuple(_headers(body, place))
    except (ValueError, IndexError):
        return UnreadableRecord(*partition, head.offset, head.timestamp, None, bytes(body), (), _WRONG_FORM)
    if any(_is_escaped(name) for name, _ in headers):
        return UnreadableRecord(*partition, head.offset, head.timestamp, key, value, headers, _WRONG_NAME)
    return StoredRecord(*partition, head.offset, head.timestamp, key, value, headers)


def _headers(body: bytearray, place: int) -> Iterator[tuple[str, bytes | None]]:
    count, place = decode_varint(body, place)
    if count < 0:
        raise ValueError
    for _ in range(count):
        name, place = _nullable(body, place)
        if name is None:
            raise ValueError
        value, place = _nullable(body, place)
        yield name.decode("utf-8", "surrogateescape"), value
    if place != len(body):
        raise ValueError


def _nullable(body: bytearray, place: int) -> tuple[bytes | None, int]:
    length, begin = decode_varint(body, place)
    if begin + length > len(body):
        raise ValueError
    return (None, begin) if length < 0 else (bytes(body[begin : begin + length]), begin + length)


def _is_escaped(name: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in name)
