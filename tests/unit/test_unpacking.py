"""What can be read of a batch is read, whatever is wrong with the rest; and never a record twice, nor one left out."""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.util import calc_crc32c

from consumer.adapters.unpacking import UnreadableRange, patch_unpacking
from consumer.events.record import Partition, UnreadableRecord
from tests.bad_batches import BAD_NAME, CODECS, headers

PLACE = TopicPartition("t", 0)
RECORDS_AT, EPOCH_AT, CRC_AT, ATTRIBUTES_AT, DELTA_AT, COUNT_AT = 61, 12, 17, 21, 23, 57
CONTROL, TRANSACTIONAL = 0x20, 0x10

patch_unpacking()


def batch(base: int, count: int, bad: Collection[int] = (), codec: int = 0) -> bytearray:
    """A batch as a broker keeps it."""
    builder = _DefaultRecordBatchBuilderPy(2, codec, False, 7, 0, 0, 1 << 20)
    for number in range(count):
        builder.append(number, 1000 + number, b"k", b"v%d" % (base + number), headers(number in bad))
    raw = bytearray(builder.build())
    raw[:8] = struct.pack(">q", base)
    return raw


def sealed(raw: bytearray) -> bytearray:
    """With a checksum that matches again."""
    raw[CRC_AT:ATTRIBUTES_AT] = struct.pack(">I", calc_crc32c(bytes(raw[ATTRIBUTES_AT:])))
    raw[8:12] = struct.pack(">i", len(raw) - 12)
    return raw


def read(*batches: bytes | bytearray, position: int = 0, aborted: Sequence[Any] = ()) -> tuple[list[Any], int]:
    """What a fetch of these batches gives from a position on, and where reading stands then."""
    raw = b"".join(map(bytes, batches))
    records = fetcher.PartitionRecords(PLACE, fetcher.MemoryRecords(raw), aborted, position, None, None, True, 1)
    return list(records), records.next_fetch_offset


def dead(found: Sequence[Any]) -> list[int]:
    """The offsets of those that cannot be read."""
    return [one.offset for one in found if isinstance(one, UnreadableRecord)]


@pytest.mark.parametrize("codec", range(5), ids=CODECS)
@pytest.mark.parametrize("bad", [(0,), (20,), (10,), (0, 20), (9, 10, 11), tuple(range(21))])
def test_a_bad_record_costs_no_other_one(codec: int, bad: tuple[int, ...]) -> None:
    """Wherever it is, in whichever codec, and wherever in the batch reading goes on."""
    raw = batch(100, 21, bad, codec)
    for position in (100, 101, 109, 110, 111, 120, 121):
        found, stands = read(raw, batch(121, 3), position=position)
        assert [one.offset for one in found] == list(range(position, 124))
        assert [one.value for one in found] == [b"v%d" % offset for offset in range(position, 124)]
        assert [one.timestamp for one in found if one.offset < 121] == list(range(900 + position, 1021))
        assert dead(found) == [100 + number for number in bad if 100 + number >= position]
        assert stands == 124


def test_an_unreadable_name_is_kept_byte_for_byte() -> None:
    """Beside what could be read, and why."""
    (found,), _ = read(batch(0, 1, [0]))
    assert (found.key, found.value, found.headers[0]) == (b"k", b"v0", ("sound", b"1"))
    (name, value) = found.headers[1]
    assert (name.encode("utf-8", "surrogateescape"), value) == (BAD_NAME, b"geheim")
    assert "not UTF-8" in found.problem


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_record_whose_parts_cannot_be_told_apart_is_kept_whole(place: int) -> None:
    """The next one begins where its length says."""
    raw = batch(0, 3)
    body = bytes(raw[RECORDS_AT + 1 + place * (raw[RECORDS_AT] // 2 + 1) :][: raw[RECORDS_AT] // 2])
    at = raw.index(body, RECORDS_AT + place * (len(body) + 1))
    raw[at + 5] = 0x7E  # the value is said to be longer than the record
    broken = bytes(raw[at : at + len(body)])
    found, stands = read(sealed(raw))
    assert ([one.offset for one in found], dead(found), stands) == ([0, 1, 2], [place], 3)
    assert (found[place].value, found[place].key, found[place].headers) == (broken, None, ())


def whole(found: Sequence[Any]) -> UnreadableRange:
    """What comes last in place of a record."""
    *_, last = found
    assert isinstance(last, UnreadableRange)
    assert last.partition == Partition("t", 0)
    return last


@pytest.mark.parametrize("codec", range(5), ids=CODECS)
@pytest.mark.parametrize("position", [3, 10, 14, 23])
def test_a_damaged_batch_is_named_as_a_whole(codec: int, position: int) -> None:
    """From where reading stands; what comes before it is read, and nothing behind it."""
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
def test_a_damaged_header_gives_up_nothing_behind_the_batch(at: int, said: int) -> None:
    """It may say anything of how many records the batch has."""
    raw = batch(0, 21)
    raw[at : at + 4] = struct.pack(">i", said)
    assert whole(read(raw, batch(21, 2))[0]).last == 20
    assert whole(read(raw)[0]).last <= 20


def test_what_comes_before_it_in_the_batch_is_read() -> None:
    """Where a record's length cannot be, nobody knows where the next one begins."""
    raw = batch(0, 5)
    size = raw[RECORDS_AT] // 2 + 1
    raw[RECORDS_AT + 2 * size] = 0x7F
    found, stands = read(sealed(raw), batch(5, 1))
    assert [one.offset for one in found[:-1]] == [0, 1]
    assert (whole(found).first, whole(found).last, stands) == (2, 4, 2)


@pytest.mark.parametrize("count", [-1, 0, 2])
def test_records_that_the_header_does_not_count_are_not_passed_over(count: int) -> None:
    """Although its checksum matches."""
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
def test_why_a_batch_cannot_be_read_is_said(change: Any, why: str) -> None:
    """In words, and none of them from the records."""
    raw = batch(0, 5)
    change(raw)
    found, stands = read(sealed(raw), batch(5, 1))
    assert (whole(found).first, whole(found).last, stands) == (0, 4, 0)
    assert why in whole(found).why
    assert "geheim" not in whole(found).why


def test_of_an_aborted_transaction_nothing_is_returned() -> None:
    """Not even what could not be read of it."""
    raw = batch(0, 5, [2])
    raw[22] |= TRANSACTIONAL
    found, stands = read(sealed(raw), batch(5, 2), aborted=[(7, 0)])
    assert ([one.offset for one in found if one.offset < 5], stands) == ([], 7)


def test_a_batch_that_is_hardly_one_is_named() -> None:
    """Shorter than any batch can be."""
    raw = bytearray(batch(0, 1)[:20])
    raw[8:12] = struct.pack(">i", 8)
    found, _ = read(raw + batch(1, 1))
    assert (whole(found).first, whole(found).last) == (0, 0)


# ── leader epochs ────────────────────────────────────────────────────────────────────────────────────────────────


def of_epoch(raw: bytearray, epoch: int) -> bytearray:
    """Written under this leader epoch, which the checksum does not cover."""
    raw[EPOCH_AT : EPOCH_AT + 4] = struct.pack(">i", epoch)
    return raw


def epochs(*batches: bytes | bytearray, position: int = 0) -> list[int | None]:
    """After each record that a fetch gives, and in the end."""
    records = fetcher.PartitionRecords(
        PLACE, fetcher.MemoryRecords(b"".join(map(bytes, batches))), (), position, None, None, True, 1
    )
    return [*(records.leader_epoch for _ in records), records.leader_epoch]


def test_each_position_has_the_epoch_of_its_batch() -> None:
    """Also behind a batch without a record for us, and where a record could not be unpacked; none is kept as -1."""
    first, second = of_epoch(batch(0, 2), 4), of_epoch(batch(2, 2, bad=(0,)), 6)
    assert epochs(first, second) == [4, 4, 6, 6, 6]
    assert epochs(first, sealed(of_epoch(control(2), 7))) == [4, 4, 7]
    assert epochs(of_epoch(batch(0, 1), -1)) == [None, None]
    assert epochs() == [None]


def test_a_damaged_batch_tells_no_epoch() -> None:
    """Its header may be damaged, too: what counts is the batch before it."""
    damaged = of_epoch(batch(2, 2), 2**30)
    damaged[-1] ^= 1
    assert epochs(of_epoch(batch(0, 2), 4), damaged) == [4, 4, 4, 4]
    assert epochs(damaged, position=2) == [None, None]


def control(base: int) -> bytearray:
    """The marker of a transaction that was committed."""
    builder = _DefaultRecordBatchBuilderPy(2, 0, True, 7, 0, 0, 1 << 20)
    builder.append(0, 1000, b"\x00\x00\x00\x01", b"\x00\x00\x00\x00\x00\x00", [])
    raw = bytearray(builder.build())
    raw[:8] = struct.pack(">q", base)
    attributes = struct.unpack(">h", raw[ATTRIBUTES_AT : ATTRIBUTES_AT + 2])[0] | CONTROL | TRANSACTIONAL
    raw[ATTRIBUTES_AT : ATTRIBUTES_AT + 2] = struct.pack(">h", attributes)
    return raw
