"""Tests that every readable record of a damaged batch is returned exactly once."""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.util import calc_crc32c

from consumer.events.record import Partition, UnreadableRecord
from consumer.kafka.unpacking import MOST_BYTES, UnreadableRange
from tests.support.bad_batches import BAD_NAME, CODECS, headers

PLACE = TopicPartition("t", 0)
RECORDS_AT, EPOCH_AT, CRC_AT, ATTRIBUTES_AT, DELTA_AT, COUNT_AT = 61, 12, 17, 21, 23, 57
CONTROL, TRANSACTIONAL = 0x20, 0x10


def batch(base: int, count: int, bad: Collection[int] = (), codec: int = 0) -> bytearray:
    """Return a batch in a broker's format."""
    builder = _DefaultRecordBatchBuilderPy(2, codec, False, 7, 0, 0, 1 << 20)
    for number in range(count):
        builder.append(number, 1000 + number, b"k", b"v%d" % (base + number), headers(number in bad))
    raw = bytearray(builder.build())
    raw[:8] = struct.pack(">q", base)
    return raw


def sealed(raw: bytearray) -> bytearray:
    """Return the batch with a correct checksum."""
    raw[CRC_AT:ATTRIBUTES_AT] = struct.pack(">I", calc_crc32c(bytes(raw[ATTRIBUTES_AT:])))
    raw[8:12] = struct.pack(">i", len(raw) - 12)
    return raw


def read(*batches: bytes | bytearray, position: int = 0, aborted: Sequence[Any] = ()) -> tuple[list[Any], int]:
    """Return the records of these batches from a position on, and the next position."""
    raw = b"".join(map(bytes, batches))
    records = fetcher.PartitionRecords(PLACE, fetcher.MemoryRecords(raw), aborted, position, None, None, True, 1)
    return list(records), records.next_fetch_offset


def dead(found: Sequence[Any]) -> list[int]:
    """Return the offsets of unreadable records."""
    return [one.offset for one in found if isinstance(one, UnreadableRecord)]


@pytest.mark.parametrize("codec", range(5), ids=CODECS)
@pytest.mark.parametrize("bad", [(0,), (20,), (10,), (0, 20), (9, 10, 11), tuple(range(21))])
def test_a_bad_record_affects_no_other_one(codec: int, bad: tuple[int, ...]) -> None:
    """This is true for every place in the batch, every codec and every position."""
    raw = batch(100, 21, bad, codec)
    for position in (100, 101, 109, 110, 111, 120, 121):
        found, stands = read(raw, batch(121, 3), position=position)
        assert [one.offset for one in found] == list(range(position, 124))
        assert [one.value for one in found] == [b"v%d" % offset for offset in range(position, 124)]
        assert [one.timestamp for one in found if one.offset < 121] == list(range(900 + position, 1021))
        assert dead(found) == [100 + number for number in bad if 100 + number >= position]
        assert stands == 124


def test_an_unreadable_name_is_kept_byte_for_byte() -> None:
    """The record has its readable parts and the reason."""
    (found,), _ = read(batch(0, 1, [0]))
    assert (found.key, found.value, found.headers[0]) == (b"k", b"v0", ("sound", b"1"))
    (name, value) = found.headers[1]
    assert (name.encode("utf-8", "surrogateescape"), value) == (BAD_NAME, b"geheim")
    assert "not UTF-8" in found.problem


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_record_whose_parts_cannot_be_separated_is_kept_whole(place: int) -> None:
    """The length of the record gives the beginning of the next one."""
    raw = batch(0, 3)
    body = bytes(raw[RECORDS_AT + 1 + place * (raw[RECORDS_AT] // 2 + 1) :][: raw[RECORDS_AT] // 2])
    at = raw.index(body, RECORDS_AT + place * (len(body) + 1))
    raw[at + 5] = 0x7E  # the length of the value exceeds the record
    broken = bytes(raw[at : at + len(body)])
    found, stands = read(sealed(raw))
    assert ([one.offset for one in found], dead(found), stands) == ([0, 1, 2], [place], 3)
    assert (found[place].value, found[place].key, found[place].headers) == (broken, None, ())


def whole(found: Sequence[Any]) -> UnreadableRange:
    """Return the last element, which replaces a record."""
    *_, last = found
    assert isinstance(last, UnreadableRange)
    assert last.partition == Partition("t", 0)
    return last


@pytest.mark.parametrize("codec", range(5), ids=CODECS)
@pytest.mark.parametrize("position", [3, 10, 14, 23])
def test_a_damaged_batch_is_named_as_a_whole(codec: int, position: int) -> None:
    """The range begins at the position. Records before it are returned; none after it are."""
    raw = batch(3, 21, codec=codec)
    raw[-1] ^= 1
    for behind in ((), (batch(24, 2),)):
        found, stands = read(raw, *behind, position=position)
        assert (whole(found).first, whole(found).last, stands) == (position, 23, position)
        assert "checksum" in whole(found).why
    found, stands = read(batch(0, 3), raw)
    assert [one.offset for one in found[:-1]] == [0, 1, 2]
    assert (whole(found).first, whole(found).last, stands) == (3, 23, 3)


@pytest.mark.parametrize("at", [DELTA_AT, COUNT_AT])
@pytest.mark.parametrize("said", [-5, 0, 3, 1_000_000])
def test_a_damaged_header_skips_no_record_after_the_batch(at: int, said: int) -> None:
    """The damaged header may have any record count."""
    raw = batch(0, 21)
    raw[at : at + 4] = struct.pack(">i", said)
    assert whole(read(raw, batch(21, 2))[0]).last == 20
    assert whole(read(raw)[0]).last <= 20


def test_records_before_it_in_the_batch_are_read() -> None:
    """If a record's length is impossible, the beginning of the next record is unknown."""
    raw = batch(0, 5)
    size = raw[RECORDS_AT] // 2 + 1
    raw[RECORDS_AT + 2 * size] = 0x7F
    found, stands = read(sealed(raw), batch(5, 1))
    assert [one.offset for one in found[:-1]] == [0, 1]
    assert (whole(found).first, whole(found).last, stands) == (2, 4, 2)


@pytest.mark.parametrize("count", [-1, 0, 2])
def test_records_that_the_header_does_not_count_are_not_skipped(count: int) -> None:
    """The checksum is correct."""
    raw = batch(0, 5)
    raw[COUNT_AT:RECORDS_AT] = struct.pack(">i", count)
    found, stands = read(sealed(raw), batch(5, 1))
    assert [one.offset for one in found[:-1]] == list(range(max(0, count)))
    assert (whole(found).last, stands) == (4, max(0, count))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda raw: raw.__setitem__(16, 9), "magic 0x09"),
        (lambda raw: raw.__setitem__(22, 0x06), "codec (number 6)"),
        (lambda raw: raw.__setitem__(22, 0x04), "decompressed (zstd)"),
        (lambda raw: raw.__setitem__(22, 0x02), "decompressed (snappy)"),
    ],
)
def test_the_reason_why_a_batch_cannot_be_read_is_named(change: Any, why: str) -> None:
    """The reason quotes no content of the records."""
    raw = batch(0, 5)
    change(raw)
    found, stands = read(sealed(raw), batch(5, 1))
    assert (whole(found).first, whole(found).last, stands) == (0, 4, 0)
    assert why in whole(found).why
    assert "geheim" not in whole(found).why


def test_no_record_of_an_aborted_transaction_is_returned() -> None:
    """The unreadable records of an aborted transaction are not returned either."""
    raw = batch(0, 5, [2])
    raw[22] |= TRANSACTIONAL
    found, stands = read(sealed(raw), batch(5, 2), aborted=[(7, 0)])
    assert ([one.offset for one in found if one.offset < 5], stands) == ([], 7)


@pytest.mark.parametrize("length", [-(2**31), -13, -5, 0, 13, 2**31 - 1])
def test_reading_ends_before_a_batch_with_an_impossible_length(length: int) -> None:
    """The data after the length cannot be found. It is fetched again, and no offset is skipped."""
    raw = batch(3, 21)
    raw[8:12] = struct.pack(">i", length)
    found, stands = read(batch(0, 3), raw, batch(24, 2))
    assert ([one.offset for one in found], stands) == ([0, 1, 2], 3)
    alone = fetcher.MemoryRecords(bytes(raw + batch(24, 2)))
    assert (alone.has_next(), alone.size_in_bytes()) == (False, 0)


@pytest.mark.parametrize("length", [20, 200, 10_000])
def test_bytes_after_a_wrong_length_are_never_mistaken_for_offsets(length: int) -> None:
    """The wrong length may end in the batch or after it."""
    raw = batch(3, 21)
    raw[8:12] = struct.pack(">i", length)
    found, stands = read(batch(0, 3), raw, *(batch(24 + number, 1) for number in range(200)))
    assert [one.offset for one in found[:-1]] == [0, 1, 2]
    assert (whole(found).first, whole(found).last, stands) == (3, 23, 3)


@pytest.mark.parametrize("position", [0, 3])
@pytest.mark.parametrize("base", [7, 10**12])
def test_a_batch_that_overlaps_the_next_one_is_named(base: int, position: int) -> None:
    """No checksum covers a batch's first offset. The batch is lost, but the records after it are not."""
    raw = batch(3, 21)
    raw[:8] = struct.pack(">q", base)
    found, stands = read(*([batch(0, 3)] if position == 0 else []), raw, batch(24, 2), position=position)
    assert [one.offset for one in found[:-1]] == list(range(position, 3))
    assert (whole(found).first, whole(found).last, stands) == (3, 23, 3)
    assert "first offset" in whole(found).why


@pytest.mark.parametrize("base", [0, 1, 20])
def test_a_batch_that_overlaps_the_one_before_is_named(base: int) -> None:
    """The previous batch began at the end of its predecessor, so it is right."""
    raw = batch(24, 5)
    raw[:8] = struct.pack(">q", base)
    found, stands = read(batch(0, 3), batch(3, 21), raw, batch(29, 2))
    assert [one.offset for one in found[:-1]] == list(range(24))
    assert (whole(found).first, whole(found).last, stands) == (24, 28, 24)


def test_offsets_that_compaction_has_removed_are_not_an_overlap() -> None:
    """Gaps between batches and before the first batch are allowed."""
    found, stands = read(batch(5, 3), batch(20, 2), batch(30, 1), position=2)
    assert ([one.offset for one in found], stands) == ([5, 6, 7, 20, 21, 30], 31)


def test_records_are_unpacked_some_bytes_at_a_time() -> None:
    """A small fetch may unpack to many bytes, which would block the event loop and fill the memory."""
    value, count = bytes(1 << 20), 20
    raw = []
    for number in range(count):
        builder = _DefaultRecordBatchBuilderPy(2, CODECS.index("zstd"), False, 7, 0, 0, 1 << 21)
        builder.append(0, 1000, None, value, [])
        raw.append(bytearray(builder.build()))
        raw[-1][:8] = struct.pack(">q", number)
    place = SimpleNamespace(position=0, paused=False)
    place.consumed_to = lambda position: setattr(place, "position", position)
    records = fetcher.PartitionRecords(PLACE, fetcher.MemoryRecords(b"".join(raw)), (), 0, None, None, True, 1)
    fetched = fetcher.FetchResult(
        PLACE,
        assignment=SimpleNamespace(active=True, state_value=lambda _: place),
        partition_records=records,
        backoff=0,
    )
    taken = []
    while fetched.has_more():
        taken.append([one.offset for one in fetched.getall(500)])
        assert place.position == sum(map(len, taken))
    assert [len(part) for part in taken if part] == [MOST_BYTES >> 20] * 5
    assert [offset for part in taken for offset in part] == list(range(count))


@pytest.mark.parametrize("base", [28, 10**9])
def test_after_a_displaced_batch_reading_continues_at_the_next_one(base: int) -> None:
    """A broker returns the batch again, because its header claims to contain the next offset."""
    raw = batch(3, 21)
    raw[:8] = struct.pack(">q", base)
    found, stands = read(raw, batch(24, 5), position=24)
    assert ([one.offset for one in found], stands) == ([24, 25, 26, 27, 28], 29)


def test_thousands_of_displaced_batches_in_one_fetch_are_skipped() -> None:
    """Each batch is displaced; none of them uses a level of Python's stack."""
    found, stands = read(*[batch(3, 21)] * 3000, batch(24, 5), position=24)
    assert ([one.offset for one in found], stands) == ([24, 25, 26, 27, 28], 29)


# ── leader epochs ────────────────────────────────────────────────────────────────────────────────────────────────


def of_epoch(raw: bytearray, epoch: int) -> bytearray:
    """Return the batch with this leader epoch, which the checksum does not cover."""
    raw[EPOCH_AT : EPOCH_AT + 4] = struct.pack(">i", epoch)
    return raw


def epochs(*batches: bytes | bytearray, position: int = 0) -> list[int | None]:
    """Return the leader epochs after each record of a fetch, and at the end."""
    records = fetcher.PartitionRecords(
        PLACE, fetcher.MemoryRecords(b"".join(map(bytes, batches))), (), position, None, None, True, 1
    )
    return [*(records.leader_epoch for _ in records), records.leader_epoch]


def test_each_position_has_the_epoch_of_its_batch() -> None:
    """The epoch is also kept after a batch without records for us, and after an unreadable record. -1 becomes None."""
    first, second = of_epoch(batch(0, 2), 4), of_epoch(batch(2, 2, bad=(0,)), 6)
    assert epochs(first, second) == [4, 4, 6, 6, 6]
    assert epochs(first, sealed(of_epoch(control(2), 7))) == [4, 4, 7]
    assert epochs(of_epoch(batch(0, 1), -1)) == [None, None]
    assert epochs() == [None]


def test_an_epoch_that_is_higher_than_the_next_one_is_wrong() -> None:
    """No checksum covers it, and the epochs of a log never decrease. The epoch of the last batch cannot be checked."""
    first, second, third = of_epoch(batch(0, 1), 4), of_epoch(batch(1, 2), 9), of_epoch(batch(3, 1), 4)
    assert epochs(first, second, third) == [4, None, None, 4, 4]
    assert epochs(first, second) == [4, 9, 9, 9]


def test_a_damaged_batch_gives_no_epoch() -> None:
    """The header of the batch may be damaged too, so the epoch of the previous batch counts."""
    damaged = of_epoch(batch(2, 2), 2**30)
    damaged[-1] ^= 1
    assert epochs(of_epoch(batch(0, 2), 4), damaged) == [4, 4, 4, 4]
    assert epochs(damaged, position=2) == [None, None]


def control(base: int) -> bytearray:
    """Return the marker of a committed transaction."""
    builder = _DefaultRecordBatchBuilderPy(2, 0, True, 7, 0, 0, 1 << 20)
    builder.append(0, 1000, b"\x00\x00\x00\x01", b"\x00\x00\x00\x00\x00\x00", [])
    raw = bytearray(builder.build())
    raw[:8] = struct.pack(">q", base)
    attributes = struct.unpack(">h", raw[ATTRIBUTES_AT : ATTRIBUTES_AT + 2])[0] | CONTROL | TRANSACTIONAL
    raw[ATTRIBUTES_AT : ATTRIBUTES_AT + 2] = struct.pack(">h", attributes)
    return raw
