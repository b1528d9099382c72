"""Tests batches: when a batch is full, what it contains, and that no record is lost between two batches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumer.decode.lanes import decode_all
from consumer.events.dialogue import DIALOGUE
from consumer.events.record import Partition
from consumer.events.rejection import Reason, Rejected
from consumer.ingest.batch import Batch, BatchLimits
from consumer.ingest.offsets import Claim
from tests.support.builders import dialogue, encode, record

A, B = Partition("rag.dialogue", 0), Partition("rag.dialogue", 1)
LIMITS = BatchLimits(max_rows=3, max_bytes=10_000, max_delay=0.5)
REFUSED = Rejected.whole(Reason.NOT_JSON, "not JSON")


def claimed_batch(limits: BatchLimits = LIMITS, *partitions: Partition) -> Batch:
    """Return an empty batch with claims at offset 10."""
    made = Batch(limits)
    for partition in partitions or (A, B):
        made.claim(Claim(partition, 1, 10))
    return made


def add(to: Batch, offset: int, partition: Partition = A, event: Any = None, key: bytes | None = None) -> None:
    """Add one record, as the pipeline does."""
    taken = record(dialogue() if event is None else event, partition=partition.partition, offset=offset, key=key)
    span = to.spans[partition]
    counted = span.take([taken])
    to.add(DIALOGUE, counted, decode_all(DIALOGUE, counted))


# ── when it is full ──


def test_an_empty_batch_is_never_ready() -> None:
    """There is nothing to write, however long the batch waits."""
    empty = claimed_batch()
    assert empty.is_empty
    assert not empty.is_ready(1e9)
    assert empty.seconds_left(1e9) is None


def test_a_batch_is_full_by_rows() -> None:
    """Rows and dead letters both count."""
    filling = claimed_batch()
    for offset, event in ((10, None), (11, b"x")):
        add(filling, offset, event=event)
        assert not filling.is_ready(0)
    add(filling, 12)
    assert filling.is_ready(0)


def test_a_batch_is_full_by_bytes() -> None:
    """Keys and values of rows and of dead letters both count."""
    event = dialogue(query="x" * 100)
    size = len(encode(event))
    filling = claimed_batch(BatchLimits(max_rows=1000, max_bytes=2 * size + 7, max_delay=1))
    add(filling, 10, event=event)
    add(filling, 11, event=event, key=b"123")
    assert filling.size == 2 * size + 3
    assert not filling.is_ready(0)
    add(filling, 12, event=b"four")
    assert filling.is_ready(0)


def test_a_tombstone_without_key_has_no_size() -> None:
    """It still counts as a record."""
    filling = claimed_batch()
    filling.add(DIALOGUE, [record(None)], [REFUSED])
    assert (filling.records, filling.size) == (1, 0)


def test_a_batch_is_ready_when_its_first_record_has_waited_long_enough() -> None:
    """The delay begins with the first record. Later records do not change it."""
    waiting = claimed_batch()
    waiting.open_at(100.0)
    add(waiting, 10)
    waiting.open_at(100.4)
    assert not waiting.is_ready(100.49)
    assert waiting.seconds_left(100.4) == pytest.approx(0.1)
    assert waiting.is_ready(100.5)
    assert waiting.seconds_left(101.0) == 0.0


@given(st.floats(0, 1e7), st.floats(0.001, 100), st.floats(0, 200))
@example(1023.83, 0.2, 0.2)
def test_a_batch_is_ready_exactly_at_the_end_of_its_delay(opened_at: float, delay: float, later: float) -> None:
    """Otherwise the pipeline would poll without a pause for a batch that is not ready to be written."""
    waiting = claimed_batch(BatchLimits(max_rows=10, max_bytes=1000, max_delay=delay))
    waiting.open_at(opened_at)
    for now in (opened_at + later, opened_at + delay):
        assert waiting.is_ready(now) == (waiting.seconds_left(now) == 0.0)


def test_the_next_batch_has_a_delay_of_its_own() -> None:
    """The delay of the previous batch does not count."""
    waiting = claimed_batch()
    waiting.open_at(100.0)
    add(waiting, 10)
    following = waiting.next()
    assert following.seconds_left(200.0) is None
    assert not following.is_ready(200.0)


# ── content ──


def test_rows_are_kept_by_kind_and_in_order() -> None:
    """Each row is tied to its record."""
    filling = claimed_batch()
    for offset in (10, 11, 12):
        add(filling, offset)
    assert [row.record.offset for row in filling.rows[DIALOGUE]] == [10, 11, 12]


def test_dead_letters_are_kept_with_their_reason() -> None:
    """A batch with only a dead letter is not empty."""
    filling = claimed_batch()
    add(filling, 10, event=b"x")
    (letter,) = filling.dead_letters
    assert (letter.record.offset, letter.rejected.reason) == (10, Reason.NOT_JSON)
    assert not filling.is_empty


def test_a_gap_alone_is_worth_writing() -> None:
    """The ledger moves past the gap."""
    filling = claimed_batch()
    span = filling.spans[B]
    span.skip_to(11)
    assert not filling.is_empty
    assert filling.records == 0


def test_a_newer_claim_replaces_the_older() -> None:
    """Reading begins at the position of the newer claim."""
    filling = claimed_batch()
    filling.claim(Claim(A, 2, 30))
    span = filling.spans[A]
    assert (span.epoch, span.start) == (2, 30)


class Filling(RuleBasedStateMachine):
    """Any sequence of records, gaps, seals, discards and claims: every offset is in exactly one batch, once."""

    @initialize()
    def begin(self) -> None:
        """Claim two partitions."""
        self.batch = claimed_batch()
        self.sealed: list[Batch] = []
        self.begun = {A: 10, B: 10}
        self.epoch = 1

    @rule(partition=st.sampled_from([A, B]), ahead=st.integers(-3, 6), good=st.booleans())
    def read(self, partition: Partition, ahead: int, good: bool) -> None:
        """Read a record of a claimed partition, below, at or above the position."""
        add(self.batch, max(0, self.batch.spans[partition].next + ahead), partition, None if good else b"x")

    @rule(partition=st.sampled_from([A, B]), ahead=st.integers(0, 6))
    def skip(self, partition: Partition, ahead: int) -> None:
        """Add a gap at the end."""
        span = self.batch.spans[partition]
        span.skip_to(span.next + ahead)

    @rule()
    def seal(self) -> None:
        """Seal the batch and begin the next one."""
        self.sealed.append(self.batch)
        self.batch = self.batch.next()

    @rule()
    def discard_and_claim(self) -> None:
        """Discard the open batch, as after a fence: everything unsealed is read again from the end of the last sealed
        batch.
        """
        self.batch = Batch(LIMITS)
        self.epoch += 1
        for partition in (A, B):
            self.batch.claim(Claim(partition, self.epoch, self._end(partition)))

    @precondition(lambda self: hasattr(self, "batch"))
    @invariant()
    def nothing_is_lost_or_duplicated(self) -> None:
        """Batches follow each other without a hole, and contain exactly the records that their spans count."""
        for partition in (A, B):
            position = self.begun[partition]
            for batch in [*self.sealed, self.batch]:
                span = batch.spans[partition]
                assert span.start == position
                assert span.next - span.start == span.records + span.gaps == len(_offsets(batch, partition)) + span.gaps
                assert all(span.start <= offset < span.next for offset in _offsets(batch, partition))
                position = span.next
        for batch in [*self.sealed, self.batch]:
            assert batch.records == sum(span.records for span in batch.spans.values())
            assert batch.is_empty == (not any(span.moved for span in batch.spans.values()))

    def _end(self, partition: Partition) -> int:
        return self.sealed[-1].spans[partition].next if self.sealed else self.begun[partition]


def _offsets(batch: Batch, partition: Partition) -> set[int]:
    rows = [row.record for rows in batch.rows.values() for row in rows]
    records = [*rows, *(letter.record for letter in batch.dead_letters)]
    return {taken.offset for taken in records if taken.partition == partition.partition}


TestFilling = Filling.TestCase
