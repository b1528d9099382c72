"""Tests identity: the event's own id, or one that is derived from its origin and is always the same."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.events.dialogue import DIALOGUE
from consumer.events.identity import from_cloudevent, from_record
from consumer.events.provenance import PROVENANCE
from consumer.events.record import StoredRecord
from tests.support.builders import (
    STRUCTURED,
    TIMESTAMP,
    accept,
    cloud_event,
    cloud_headers,
    dialogue,
    provenance,
    record,
    stored,
)

OWN = "0190b6f2-7c3e-7a1b-8c4d-5e6f70819203"
# These ids are fixed: if one changed, every event that is read again would become a second row.
OF_CLOUD_EVENT = UUID("8ebd5942-f659-58a7-94fe-c368243c82ce")
OF_RECORD = UUID("019b76da-a87b-800b-8644-832807d096ba")


def test_the_event_s_own_id_wins_over_every_other() -> None:
    """An id in the event is the id of the row, whatever the envelope contains."""
    assert accept(dialogue(id=OWN), headers=cloud_headers()).id == UUID(OWN)
    assert accept(cloud_event(data=dialogue(id=OWN)), headers=STRUCTURED).id == UUID(OWN)


def test_the_id_from_a_cloud_event_is_pinned() -> None:
    """Source and id of a CloudEvent give the same id in every release."""
    assert from_cloudevent("/chat", "e-1") == OF_CLOUD_EVENT
    assert accept(dialogue(), headers=cloud_headers()).id == OF_CLOUD_EVENT


def test_the_id_from_a_record_is_pinned() -> None:
    """Topic, partition, offset and timestamp of a record give the same id in every release."""
    assert from_record(StoredRecord("rag.dialogue", 3, 42, TIMESTAMP, None, None)) == OF_RECORD
    assert stored(DIALOGUE, record(dialogue(), partition=3, offset=42)).id == OF_RECORD


def test_both_modes_of_a_cloud_event_give_the_same_id() -> None:
    """A CloudEvent published again in the other mode is the same row."""
    structured = accept(cloud_event(data=dialogue()), headers=STRUCTURED)
    assert structured.id == accept(dialogue(), headers=cloud_headers()).id


def test_a_cloud_event_published_twice_is_one_row() -> None:
    """If source and id identify the event, offset and timestamp do not matter."""
    first, second = record(dialogue(), cloud_headers()), record(dialogue(), cloud_headers(), offset=9, timestamp=9)
    assert stored(DIALOGUE, first).id == stored(DIALOGUE, second).id


@pytest.mark.parametrize("other", [("/cha", "te-1"), ("/chat", "e-2"), ("/char", "e-1"), ('/chat", "', "e-1")])
def test_another_source_or_id_is_another_event(other: tuple[str, str]) -> None:
    """Moving a character from the source to the id gives another id."""
    assert from_cloudevent(*other) != from_cloudevent("/chat", "e-1")


def test_ids_from_cloud_events_are_version_5() -> None:
    """Version 5 marks a name-based id (RFC 9562)."""
    assert OF_CLOUD_EVENT.version == 5
    assert from_cloudevent("ö", "\ud800").variant == OF_CLOUD_EVENT.variant


def test_a_recreated_topic_gives_other_ids() -> None:
    """The same offset of a recreated topic is another event, because its timestamp differs."""
    before, after = record(dialogue(), timestamp=1000), record(dialogue(), timestamp=2000)
    assert stored(DIALOGUE, before).id != stored(DIALOGUE, after).id


@pytest.mark.parametrize(
    "other",
    [
        StoredRecord("rag.dialogue", 1, 23, TIMESTAMP, None, None),
        StoredRecord("rag.dialogue", 12, 4, TIMESTAMP, None, None),
        StoredRecord("rag.dialogue1", 12, 3, TIMESTAMP, None, None),
        StoredRecord("rag.dialogue", 12, 3, TIMESTAMP + 1, None, None),
    ],
)
def test_another_place_is_another_event(other: StoredRecord) -> None:
    """Topic, partition, offset and timestamp all count, and are not mixed up."""
    assert from_record(other) != from_record(StoredRecord("rag.dialogue", 12, 3, TIMESTAMP, None, None))


@given(st.integers(0, 100), st.integers(0, 2**63 - 1), st.integers(0, 2**48 - 1))
def test_ids_from_records_are_version_8_and_carry_the_time(partition: int, offset: int, timestamp: int) -> None:
    """In version 8 of RFC 9562, the first 48 bits are milliseconds, so that new rows are close to each other in the
    index.
    """
    made = from_record(StoredRecord("t", partition, offset, timestamp, None, None))
    assert made.version == 8
    assert made.variant == OF_RECORD.variant
    assert made.int >> 80 == timestamp


@pytest.mark.parametrize("timestamp", [-1, -(2**63), 2**63 - 1])
def test_uncommon_timestamps_give_ids_too(timestamp: int) -> None:
    """A record without a timestamp, or with an absurd one, still has its own id."""
    first, second = (StoredRecord("t", 0, offset, timestamp, None, None) for offset in (0, 1))
    assert from_record(first) != from_record(second)
    assert from_record(first).version == 8


def test_the_id_of_a_record_depends_only_on_its_place() -> None:
    """Key, value and kind of the event do not matter."""
    assert accept(dialogue(query="a")).id == accept(dialogue(query="b")).id == accept(provenance(), PROVENANCE).id


def test_a_null_id_counts_as_missing() -> None:
    """A null counts as missing."""
    assert accept(dialogue(id=None)).id == accept(dialogue()).id
