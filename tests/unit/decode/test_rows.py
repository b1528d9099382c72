"""Tests rows: one event, ready for COPY, with a reference to its record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from consumer.decode.copy_format import microseconds
from consumer.decode.lanes import decode
from consumer.decode.rows import Row, decode_exactly
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.provenance import PROVENANCE
from consumer.events.record import Record, StoredRecord
from consumer.events.rejection import Rejected
from tests.support.builders import accept, dialogue, provenance, record


def test_a_row_refers_to_its_record() -> None:
    """If the database rejects the row, the record becomes a dead letter, byte for byte."""
    taken = record(dialogue(), key=b"k", offset=7)
    assert decode(DIALOGUE, taken).record is taken


def test_a_row_carries_its_id_in_bytes() -> None:
    """It is compared with the ids that the staging table returns."""
    row = accept(dialogue(id="0190b6f2-7c3e-7a1b-8c4d-5e6f70819203"))
    assert row.row.id == row.id.bytes == bytes.fromhex("0190b6f27c3e7a1b8c4d5e6f70819203")


def test_a_row_has_the_time_of_its_day() -> None:
    """The time is in microseconds since 2000 and equals its column. Provenance counts towards no day."""
    row = accept(dialogue(created_at="2026-01-31T09:30:00.5Z"))
    assert (
        row.row.created_at == microseconds(datetime(2026, 1, 31, 9, 30, 0, 500_000)) == microseconds(row["created_at"])
    )
    assert accept(provenance(), PROVENANCE).row.created_at is None


def test_the_facts_are_those_of_the_kind() -> None:
    """There is one for each field that the kind lists, in that order."""
    assert len(accept(dialogue(latency_ms=5)).row.facts) == len(DIALOGUE.facts)
    assert accept(provenance(), PROVENANCE).row.facts == ("material", "mit")


@pytest.mark.parametrize("lane", [decode, decode_exactly])
def test_a_record_that_cannot_be_stored_is_rejected(lane: Callable[[Kind, Record], Row]) -> None:
    """No incomplete row is returned."""
    with pytest.raises(Rejected):
        lane(DIALOGUE, record(b"x"))


def test_decoding_a_record_again_gives_the_same_row() -> None:
    """The decoder keeps no state of one record that would change the next."""
    first = record(dialogue(citations=[{"source": "a"}], latency_ms=1, token_cost_jpy=1.5, model_used="x"))
    second = record(dialogue(latency_ms=2, token_cost_jpy="1.5", model_used="y"), offset=1)
    rows = [decode(DIALOGUE, taken) for taken in (first, second, first, second)]
    assert (rows[0], rows[1]) == (rows[2], rows[3])


def test_a_stored_and_a_fetched_record_give_the_same_row() -> None:
    """A stored record and a fetched one differ only in their type."""

    class Fetched:
        topic, partition, offset, timestamp, key = "rag.dialogue", 0, 0, 1_767_225_600_123, None
        value, headers = record(dialogue()).value, ()

    fetched = Fetched()
    again = StoredRecord("rag.dialogue", 0, 0, 1_767_225_600_123, None, fetched.value)
    assert decode(DIALOGUE, fetched).encoded == decode(DIALOGUE, again).encoded
