"""Tests that the generator's events depend only on the seed, are valid, and vary like those of real producers."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from statistics import median

import pytest

from consumer.decode.fast_lane import FastLane
from consumer.decode.rows import decode_exactly
from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.plugin import PLUGIN
from consumer.events.provenance import PROVENANCE
from consumer.events.record import StoredRecord
from consumer.generator.events import ALL, Event, events
from consumer.generator.shapes import SHAPES

KINDS = {kind.name: kind for kind in (DIALOGUE, PROVENANCE, FEEDBACK, VERIFICATION, PLUGIN)}
SLICE = 250
# This was run once with a million records: RAGLEDGER_LANE_RECORDS=1000000.
RECORDS = int(os.environ.get("RAGLEDGER_LANE_RECORDS", "4000"))


def records(found: Sequence[Event]) -> list[StoredRecord]:
    """Return the events as records of Kafka."""
    return [StoredRecord("t", 0, place, event.timestamp_ms, None, event.value) for place, event in enumerate(found)]


def assert_lanes_agree(kind: Kind, taken: Sequence[StoredRecord]) -> int:
    """Return how many records the fast lane recognises, and check that both lanes decode them equally."""
    rows = FastLane(kind).decode(taken)
    for record, row in zip(taken, rows, strict=True):
        if row is not None:
            assert row == decode_exactly(kind, record), record.value
    return sum(row is not None for row in rows)


def test_the_same_seed_gives_the_same_bytes_in_every_process_and_version() -> None:
    """The digest was taken on Python 3.11; a change of the generator changes it."""
    digest = hashlib.sha256(b"\n".join(event.value for event in events(2000, 1)))
    assert digest.hexdigest() == "8581a91a81fb6d284dd68d89bf713be57703025deb2296492aa642470b9e82be"


def test_another_seed_gives_other_events() -> None:
    one, other = ({event.value for event in events(100, seed)} for seed in (1, 2))
    assert not one & other


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", [DIALOGUE, PROVENANCE], ids=lambda kind: kind.name)
def test_the_fast_lane_recognises_every_event_of_the_mixture(kind: Kind) -> None:
    """The fast lane decodes each shape like the exact lane."""
    found = list(events(RECORDS // 2, 3, kind.name))
    for start in range(0, len(found), SLICE):
        taken = records(found[start : start + SLICE])
        assert assert_lanes_agree(kind, taken) == len(taken)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_shape_of_every_kind_is_valid(kind: Kind, shape: str) -> None:
    """Both lanes agree on it. Only the settings of plugins are the exact lane's."""
    taken = records(list(events(40, 5, kind.name, shape)))
    recognised = assert_lanes_agree(kind, taken)
    assert recognised == len(taken) or kind is PLUGIN
    for record in taken:
        decode_exactly(kind, record)


def test_the_mixture_is_as_varied_as_real_producers_are() -> None:
    """Sizes from 300 bytes to 200 KB, most of them small; escapes and UTF-8; offsets; strings; 0 to 8 citations."""
    found = list(events(3000, 7, "dialogue"))
    sizes = sorted(len(event.value) for event in found)
    assert 250 < sizes[0] < 600
    assert 1000 < median(sizes) < 3000
    assert 20_000 < sizes[-1] < 220_000
    values = b"\n".join(event.value for event in found)
    for piece in (
        rb"\u3002",
        "。".encode(),
        rb"\ud83d",
        "😀".encode(),
        b"```",
        b"+09:00",
        b'"latency_ms":"',
        b'"page"',
    ):
        assert piece in values, piece
    assert Counter(len(event.members.get("citations") or ()) for event in found).keys() == set(range(9))


def test_scores_and_costs_do_not_repeat() -> None:
    """A cache does not help."""
    found = [json.loads(event.value) for event in events(1000, 7, "dialogue", "precise")]
    for name in ("relevance_score", "token_cost_jpy", "citation_rate", "latency_ms"):
        assert len({event[name] for event in found}) == len(found)


def test_the_mixture_contains_duplicates() -> None:
    """Duplicates are consecutive, because a restarted producer sends its last events again."""
    seen: set[bytes] = set()
    found = list(events(30_000, 1, "feedback", None))
    for event in found:
        assert event.is_repeated == (event.value in seen)
        seen.add(event.value)
    assert 0 < sum(event.is_repeated for event in found) < 600


def test_feedback_and_verification_name_rows_that_were_generated() -> None:
    """In a stream of all kinds, amendments name earlier events; the first ones may name no event."""
    known: set[str] = set()
    hits = Counter[bool]()
    for event in events(3000, 2, ALL):
        if event.kind in ("feedback", "verification"):
            hits[event.members["dialogue_id" if event.kind == "feedback" else "provenance_id"] in known] += 1
        known.add(event.members.get("id") or "")
    assert hits[True] > 100
    assert hits[False] < 5
