"""Record batches that no correct client sends, and batches that a disk has damaged."""

import asyncio
import struct
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
BAD_NAME = b"geheim \xff"
KEY = b"key \xff\x00"


class NoUtf8(str):
    """A name that other clients would send unchanged."""

    def encode(self, *_arguments: str) -> bytes:
        return BAD_NAME


def headers(is_bad: bool) -> list[tuple[str, bytes | None]]:
    """Return the headers of a record; a bad record has a name that is not UTF-8."""
    return [("sound", b"1"), (NoUtf8("bad") if is_bad else "also sound", b"geheim")]


def send_batch(
    bootstrap_servers: str, topic: str, values: Sequence[bytes], bad: Collection[int], codec: str = "none"
) -> int:
    """Send one batch to partition 0, with bad records at these positions. Return its first offset."""
    return asyncio.run(_send_batch(bootstrap_servers, topic, values, bad, codec))


async def _send_batch(
    bootstrap_servers: str, topic: str, values: Sequence[bytes], bad: Collection[int], codec: str
) -> int:
    producer: Any = AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
    await producer.start()
    try:
        batch = producer.create_batch()
        # The fast builder checks names, and this one takes the codec as a number.
        batch._builder = _DefaultRecordBatchBuilderPy(2, CODECS.index(codec), False, -1, -1, 0, 1 << 24)
        for place, value in enumerate(values):
            batch.append(key=KEY, value=value, timestamp=None, headers=headers(place in bad))
        sent = await (await producer.send_batch(batch, topic, partition=0))
    finally:
        await producer.stop()
    return int(sent.offset)


def damage_on_disk(directory: Path, topic: str, offset: int) -> tuple[int, int]:
    """Flip a bit of the batch of partition 0 that contains the offset, in the broker's file in this directory. Return
    the first and the last offset of the batch.
    """
    segment, place, length, first, last = _find(directory, topic, offset)
    _write(segment, place + length - 1, bytes([segment.read_bytes()[place + length - 1] ^ 1]))
    return first, last


def damage_number_on_disk(directory: Path, topic: str, offset: int, at: int, form: str, more: int) -> tuple[int, int]:
    """Add to a number in the header of that batch. Return the first and the last offset of the batch.

    :param at: the position of the number in the header
    :param form: its format for `struct`
    """
    segment, place, _, first, last = _find(directory, topic, offset)
    (number,) = struct.unpack_from(form, segment.read_bytes(), place + at)
    _write(segment, place + at, struct.pack(form, number + more))
    return first, last


def _find(directory: Path, topic: str, offset: int) -> tuple[Path, int, int, int, int]:
    (segment,) = directory.glob(f"kafka-*/{topic}-0/00000000000000000000.log")
    for found in _batches(segment.read_bytes()):
        if found[2] <= offset <= found[3]:
            return segment, *found
    raise AssertionError(f"no batch holds offset {offset}")


def _write(segment: Path, place: int, value: bytes) -> None:
    with segment.open("r+b") as file:
        file.seek(place)
        file.write(value)


def _batches(log: bytes) -> Iterator[tuple[int, int, int, int]]:
    place = 0
    while place + 27 <= len(log):
        base, length = struct.unpack_from(">qi", log, place)
        (delta,) = struct.unpack_from(">i", log, place + 23)
        yield place, length + 12, base, base + delta
        place += length + 12
