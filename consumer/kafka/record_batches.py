"""A batch of records as Kafka stores it, read record by record: what can be read is, and the rest is told apart.

aiokafka unpacks a batch as a whole: at the first record that it cannot unpack, such as one with a header whose name is
not UTF-8, it loses every record behind it. Here each record is sliced out by its length first and unpacked second.
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
_WRONG_FORM = "key, value and headers cannot be told apart; the value kept here is the whole record as Kafka stores it"
_INDIVISIBLE = "it cannot be told where one record ends and the next one begins"


class UnreadableBatch(Exception):
    """The records of a batch cannot be told apart from here on; why, without a word of them."""


def records_of(raw: bytes, partition: Partition) -> Iterator[StoredRecord | UnreadableRecord]:
    """Every record of the batch, in the order of their offsets.

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
    """The batch, decompressed, once it is sure that its bytes are those that were written."""
    if raw[_MAGIC] != b"\x02" or len(raw) < _DefaultRecordBatchPy.HEADER_STRUCT.size:
        raise UnreadableBatch(f"the client cannot unpack its format (magic 0x{raw[_MAGIC].hex()})")
    batch = _DefaultRecordBatchPy(raw)
    if not batch.validate_crc():
        raise UnreadableBatch("its checksum does not match, so its bytes are not those that were written")
    if batch.is_control_batch:
        raise UnreadableBatch("it marks the end of a transaction, but not in a form that the client knows")
    try:
        batch._maybe_uncompress()
    except UnsupportedCodecError:
        raise UnreadableBatch(f"its compression codec (number {batch.compression_type}) is not known") from None
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - each codec has errors of its own, which may quote what they read
        raise UnreadableBatch(f"it cannot be decompressed ({_CODECS[batch.compression_type]})") from None
    return batch


def _body(buffer: bytearray, place: int) -> tuple[bytearray, int]:
    """The record that begins here, without its length, and where it ends."""
    try:
        length, begin = decode_varint(buffer, place)
    except (ValueError, IndexError):
        raise UnreadableBatch(_INDIVISIBLE) from None
    if length < 0 or begin + length > len(buffer):
        raise UnreadableBatch(_INDIVISIBLE)
    return buffer[begin : begin + length], begin + length


@dataclass(frozen=True, slots=True)
class _Head:
    """Offset and timestamp of a record, and where its key begins; None where even these cannot be read."""

    offset: int
    timestamp: int
    key_at: int | None


def _head(batch: Any, body: bytearray, number: int, least: int) -> _Head:
    """What says which record this is. Without compaction its place in the batch tells its offset too."""
    is_complete = batch._num_records == batch.last_offset_delta + 1
    logged = batch.max_timestamp if batch.timestamp_type else None
    try:
        later, place = decode_varint(body, 1)  # behind the attributes, which are one byte without a meaning so far
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
