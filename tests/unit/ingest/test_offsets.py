"""Tests spans: the offsets that were read of a partition, gaps included."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumer.events.record import Partition, StoredRecord
from consumer.ingest.offsets import Claim, Span

PARTITION = Partition("t", 3)


def span(at: int = 10) -> Span:
    """Return a span that begins at a claim's position."""
    return Span.begin(Claim(PARTITION, 5, at))


def records(*offsets: int, timestamp: int = 0) -> list[StoredRecord]:
    """Return records at these offsets."""
    return [StoredRecord(*PARTITION, offset, timestamp, None, None) for offset in offsets]


def test_a_span_begins_empty_at_the_claim() -> None:
    """No record is read yet, and the span has the claim's epoch."""
    begun = span(10)
    assert (begun.partition, begun.epoch, begun.start, begun.next) == (PARTITION, 5, 10, 10)
    assert (begun.records, begun.gaps, begun.moved) == (0, 0, False)


def test_a_record_moves_the_end_of_the_span() -> None:
    """The next offset is one more than the record's."""
    taken = span(10)
    assert taken.take(records(10, timestamp=99))
    assert (taken.next, taken.records, taken.gaps, taken.moved) == (11, 1, 0, True)


def test_offsets_between_records_are_gaps() -> None:
    """Gaps are transaction markers, and aborted and compacted records."""
    taken = span(10)
    assert len(taken.take(records(12, 15))) == 2
    assert (taken.next, taken.records, taken.gaps) == (16, 2, 4)


def test_a_record_below_the_position_does_not_count() -> None:
    """It is not counted a second time."""
    taken = span(10)
    taken.take(records(12))
    assert not taken.take(records(9, 10, 12))
    assert (taken.next, taken.records, taken.gaps) == (13, 1, 2)


def test_only_the_new_records_around_the_position_count() -> None:
    """A fetch may begin below the position."""
    taken = span(10)
    again = records(8, 9, 10, 12)
    assert taken.take(again) == again[2:]
    assert (taken.next, taken.records, taken.gaps) == (13, 2, 1)
    assert taken.take([]) == []


def test_a_position_after_the_last_record_makes_a_gap() -> None:
    """A marker after the last record moves the span forward. A span never moves back."""
    taken = span(10)
    taken.take(records(10))
    taken.skip_to(14)
    taken.skip_to(12)
    assert (taken.next, taken.records, taken.gaps, taken.moved) == (14, 1, 3, True)


def test_the_next_span_begins_where_this_one_ends() -> None:
    """It has the same epoch and is empty."""
    taken = span(10)
    taken.take(records(20, timestamp=7))
    following = taken.next_span()
    assert (following.start, following.next, following.epoch) == (21, 21, 5)
    assert (following.records, following.moved, following.newest_timestamp) == (0, False, -1)


@given(st.lists(st.integers(-1, 100), min_size=1))
def test_the_newest_timestamp_is_kept(timestamps: list[int]) -> None:
    """Timestamps of producers are not in order."""
    taken = span(0)
    for offset, timestamp in enumerate(timestamps):
        taken.take(records(offset, timestamp=timestamp))
    assert taken.newest_timestamp == max(timestamps)


class Reading(RuleBasedStateMachine):
    """Any sequence of records, gaps and seals, compared with a list of every offset."""

    @initialize(at=st.integers(0, 2**40))
    def begin(self, at: int) -> None:
        """Claim the partition at any offset."""
        self.start = at
        self.current = span(at)
        self.sealed: list[Span] = []
        self.taken: list[int] = []

    @rule(ahead=st.integers(-5, 20))
    def take(self, ahead: int) -> None:
        """Take a record before, at or after the position."""
        offset, before = self.current.next + ahead, self.current.next
        assert bool(self.current.take(records(offset))) == (offset >= before)
        if offset >= before:
            self.taken.append(offset)

    @rule(ahead=st.integers(-5, 20))
    def skip(self, ahead: int) -> None:
        """Move the position, as the source does."""
        self.current.skip_to(self.current.next + ahead)

    @rule()
    def seal(self) -> None:
        """Seal the batch, and begin the next span."""
        self.sealed.append(self.current)
        self.current = self.current.next_span()

    @invariant()
    def every_offset_is_accounted_for(self) -> None:
        """The records and gaps of all spans are all offsets from the claim on, each once."""
        spans = [*self.sealed, self.current] if hasattr(self, "current") else []
        for one in spans:
            assert one.next - one.start == one.records + one.gaps
            assert one.gaps >= 0
            assert one.moved == (one.next != one.start)
        for one, following in pairwise(spans):
            assert following.start == one.next
        if spans:
            assert sum(one.records for one in spans) == len(self.taken) == len(set(self.taken))
            assert self.current.next - self.start == sum(one.records + one.gaps for one in spans)


TestReading = Reading.TestCase
