"""Tests how many records are decoded together."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from consumer.events.record import Record
from consumer.ingest.slices import LEAST_BYTES, Slicer
from tests.support.builders import record

MOST = 524_288


def slicer() -> Slicer:
    """Return a slicer with the limits of the service."""
    return Slicer(250, MOST, 0.02)


def records(*sizes: int) -> Sequence[Record]:
    """Return records with values of these sizes."""
    return [record(b"x" * size, offset=offset) for offset, size in enumerate(sizes)]


def cut_all(cutting: Slicer, found: Sequence[Record]) -> list[int]:
    """Return the lengths of all slices."""
    lengths: list[int] = []
    while sum(lengths) < len(found):
        lengths.append(len(cutting.cut(found, sum(lengths))))
    return lengths


def test_ordinary_records_are_cut_by_their_number() -> None:
    """A slice has the number of records that decodes quickest."""
    assert cut_all(slicer(), records(*[2_000] * 600)) == [250, 250, 100]


@given(st.lists(st.integers(0, 2_000_000), min_size=1, max_size=40))
def test_no_slice_exceeds_the_byte_limit_except_a_single_record(sizes: list[int]) -> None:
    """A record that is larger alone is not decoded in the event loop."""
    cutting, found, start = slicer(), records(*sizes), 0
    while start < len(found):
        piece = cutting.cut(found, start)
        size = sum(sizes[start : start + len(piece)])
        assert size <= MOST or len(piece) == 1
        assert cutting.is_large(piece) == (size > MOST)
        start += len(piece)


def test_headers_count_too() -> None:
    """A record may consist almost only of headers."""
    found = [record(b"{}", [("h", b"v" * MOST)])]
    assert slicer().is_large(found)


def test_records_that_take_long_are_followed_by_smaller_slices() -> None:
    """The size falls until even the most expensive record is decoded quickly."""
    cutting, found = slicer(), records(*[20_000] * 100)
    before = cut_all(cutting, found)[0]
    cutting.took(found[:before], 0.2)
    assert cut_all(cutting, found)[0] <= before // 8
    for _ in range(10):
        cutting.took(found[:3], 2.0)
    assert not cutting.is_large(records(LEAST_BYTES))
    assert cutting.is_large(records(LEAST_BYTES + 1))


def test_slices_grow_again_once_records_are_quick() -> None:
    """One slow slice does not slow down a topic for ever."""
    cutting, found = slicer(), records(*[2_000] * 250)
    cutting.took(found, 10.0)
    for _ in range(3):
        assert cut_all(cutting, found)[0] < 250
        cutting.took(found, 0.001)
    assert cut_all(cutting, found) == [250]
