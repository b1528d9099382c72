"""Tests that both lanes agree: a record that the fast lane recognises gives the same row in the exact lane."""

import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.decode.fast_lane import FastLane
from consumer.decode.rows import Row, decode_exactly
from consumer.events.costs import Pricing
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.provenance import PROVENANCE
from consumer.events.record import StoredRecord
from tests.support.prices import BOOK, NAMESPACE
from tests.support.producers import dialogue, provenance

# This was run once with a million records: RAGLEDGER_LANE_RECORDS=1000000.
RECORDS = int(os.environ.get("RAGLEDGER_LANE_RECORDS", "6000"))
SLICE = 20

SCALARS: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    100,
    2147483647,
    2147483648,
    -0.0,
    0.5,
    0.005,
    0.004999999999999999999,
    1.0,
    99.995,
    999999.994,
    999999.995,
    1e3,
    1e400,
    "",
    "0.5",
    "12",
    " 12",
    "1e2",
    "abc",
    "NaN",
    "MIT",
    "mit",
    "cc0",
    "material",
    "api_fetch",
    "a\0b",
    "\ud800",
    "\U0001f600",
    "ü✓",
    'with "quotes" and \\ and \n',
    "x" * 255,
    "x" * 256,
    "0190b6f2-7c3e-7a1b-8c4d-5e6f70819203",
    "0190B6F27C3E7A1B8C4D5E6F70819203",
    "0190b6f2-7c3e7a1b-8c4d-5e6f70819203",
    "{0190b6f2-7c3e-7a1b-8c4d-5e6f70819203}",
    "0190B6F2-7c3E-7a1b-8C4d-5e6f7081920A",
    "0190b6f2-7c3e-7a1b-8c4d-5e6f7081920g",
    " 190b6f2-7c3e-7a1b-8c4d-5e6f70819203",
    "\u0660190b6f2-7c3e-7a1b-8c4d-5e6f70819203",
    "0190b6f2-7c3e-7a1b-8c4d-5e6f70819203,0190b6f2-7c3e-7a1b-8c4d-5e6f70819203",
    "2026-01-31T09:30:00Z",
    "2026-01-31t09:30:00z",
    "2026-01-31 09:30:00",
    "2026-01-31T09:30:00.123456789Z",
    "2026-01-31T09:30:00.1+09:00",
    "2026-01-31T09:30:00+0900",
    "2026-01-31T09:30Z",
    "2026-01-31 09:30",
    "2026-01-31T09:30-0530",
    "2026-01-31T23:59:60Z",
    "2026-01-31T24:00:00Z",
    "2026-02-30T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999-14:00",
    "2026-01-31",
    "٢٠٢٦-01-31T09:30:00Z",
    [],
    {},
    [1],
    {"a": 1},
    [{"source": "s"}],
    [{"source": "s", "confidence": 1.0, "title": None, "timestamp": "2026-01-31T09:30:00Z"}],
    [{"source": "s", "confidence": 0, "more": {"deep": ["a\0b"]}}],
    [{"source": "s", "confidence": 1e-400}],
    [{"source": "s", "confidence": "0.5"}, {"source": "s", "confidence": 1.0000001}],
    [{"source": "s", "confidence": 1.0000005}],
    [{"source": "s", "confidence": -1e-9}, {"source": "s", "timestamp": "2026-01-31T09:30Z"}],
    [{"source": "s", "timestamp": "9999-12-31T23:59:59-14:00"}, {"source": "s", "confidence": 1}],
    [{"source": "s", "timestamp": "2026-01-31T09:30:00.1234567Z"}],
    [{"source": 1}],
    [{"title": "t"}],
    [{"source": "s", "note": "\ud83d"}, {"source": "t"}],
]

RAW_NUMBERS = [
    "1E2",
    "1e-2",
    "-0",
    "0.10",
    "1.10",
    "12345678901234567890",
    "0.99999999999999999999",
    "1e99999999999999999999",
]


def random_event(make: Callable[..., dict[str, Any]], chance: random.Random) -> bytes:
    """Return a valid or nearly valid event."""
    event = make(chance)
    names = [*event, "id", "created_at", "total_tokens", "temperature", "last_verified_at", "acquired_by", "stranger"]
    for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
        name = chance.choice(names)
        if chance.random() < 0.15:
            event.pop(name, None)
        else:
            event[name] = chance.choice(SCALARS)
    return mangle(json.dumps(event, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass"), chance)


def mangle(value: bytes, chance: random.Random) -> bytes:
    """Sometimes damage the bytes, repeat a member, or write a number in another way."""
    dice = chance.random()
    if dice < 0.02:
        place = chance.randrange(len(value))
        return value[:place] + bytes([chance.randrange(256)]) + value[place + 1 :]
    if dice < 0.04:
        return value[: chance.randrange(len(value))]
    if dice < 0.08:
        name = chance.choice(["latency_ms", "citations", "query", "retention_years", "id", "source_uri"])
        repeated = json.dumps(chance.choice(SCALARS)).encode()
        return value[:-1] + b', "' + name.encode() + b'": ' + repeated + b"}"
    if dice < 0.12:
        number = chance.choice(RAW_NUMBERS).encode()
        return value.replace(b"0.75", number).replace(b'"relevance_score": 0', b'"relevance_score": ' + number)
    if dice < 0.13:
        return value.replace(b'"query"', b'"que\\u0072y"').replace(b'"content_id"', b'"content\\u005fid"')
    return value


def wrap(record: StoredRecord, kind: Kind, chance: random.Random) -> StoredRecord:
    """Put some of the events into an envelope."""
    dice = chance.random()
    attributes = {"specversion": "1.0", "type": f"rag.{kind.name}", "source": "/s", "id": str(record.offset // 2)}
    if dice < 0.05:
        return record._replace(headers=(("traceparent", b"00-1-2-01"), ("empty", None)))
    if dice < 0.15:
        return record._replace(headers=tuple((f"ce_{name}", text.encode()) for name, text in attributes.items()))
    if dice < 0.2 and record.value:
        text = json.dumps(attributes).encode()
        value = text[:-1] + b', "data": ' + record.value + b"}"
        return record._replace(value=value, headers=(("content-type", b"application/cloudevents+json"),))
    return record


def with_string_ids(chance: random.Random) -> dict[str, Any]:
    """Return a dialogue whose user and session have string ids; the user sometimes has a UUID."""
    event = dialogue(chance, session_id=f"thread_{chance.randrange(10**6)}")
    return event if chance.random() < 0.1 else event | {"user_id": f"auth0|{chance.randrange(50)}é"}


def acquired_by_string(chance: random.Random) -> dict[str, Any]:
    """Return provenance that a user without a UUID has acquired."""
    return provenance(chance, acquired_by=f"auth0|{chance.randrange(50)}")


def with_cost(chance: random.Random) -> dict[str, Any]:
    """Return a dialogue that mostly states no cost in yen, but a cost in some currency, or only tokens."""
    cost = {"amount": chance.choice((0.0123, "0.5", 1e9, 7)), "currency": chance.choice(("USD", "jpy", "XXX"))}
    event = dialogue(chance, cost=chance.choice((None, cost)), cached_tokens=chance.choice((None, 10, 10**9)))
    return event if chance.random() < 0.2 else event | {"token_cost_jpy": None}


EVENTS = [
    (DIALOGUE, dialogue),
    (PROVENANCE, provenance),
    (DIALOGUE.under(NAMESPACE), with_string_ids),
    (PROVENANCE.under(NAMESPACE), acquired_by_string),
    (DIALOGUE, with_cost),
    (DIALOGUE.under(NAMESPACE, Pricing(BOOK)), with_cost),
]
NAMES = [
    "dialogue",
    "provenance",
    "dialogue with string ids",
    "provenance with string ids",
    "cost without prices",
    "cost",
]


def row_of(lane: FastLane, record: StoredRecord) -> Row | None:
    """Return the row of a single record."""
    (row,) = lane.decode([record])
    return row


@pytest.mark.thorough
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "make"), EVENTS, ids=NAMES)
def test_a_record_that_the_fast_lane_recognises_has_the_same_row_in_the_exact_lane(
    kind: Kind, make: Callable[..., dict[str, Any]]
) -> None:
    """Bytes, id, facts, day and the count of unknown fields are equal. Decoding many records at once gives the same as
    decoding each alone.
    """
    chance, lane, recognised = random.Random(20261123), FastLane(kind), 0
    for first in range(0, RECORDS, SLICE):
        records = [random_record(kind, make, offset, chance) for offset in range(first, first + SLICE)]
        rows = lane.decode(records)
        for record, row in zip(records, rows, strict=True):
            assert row == row_of(lane, record), record.value
            if row is not None:
                recognised += 1
                assert row == decode_exactly(kind, record), record.value
    assert recognised > RECORDS / 10


def random_record(kind: Kind, make: Callable[..., dict[str, Any]], offset: int, chance: random.Random) -> StoredRecord:
    """Return a record with any envelope and any timestamp."""
    timestamp = chance.choice((-1, 0, 1_700_000_000_123, 10**15, 2**62))
    return wrap(StoredRecord("topic", 0, offset, timestamp, None, random_event(make, chance)), kind, chance)


@pytest.mark.parametrize(("kind", "make"), EVENTS, ids=NAMES)
def test_the_common_shape_is_recognised(kind: Kind, make: Callable[..., dict[str, Any]]) -> None:
    """A valid event in plain JSON does not fall back. It may have escapes and unknown fields, and optional fields may
    be missing.
    """
    chance, lane = random.Random(1), FastLane(kind)
    for ensure_ascii in (True, False):
        event = make(chance) | {"stranger": {"deep": [1, 2]}}
        value = json.dumps(event, ensure_ascii=ensure_ascii).encode()
        row = row_of(lane, StoredRecord("topic", 0, 1, 1_700_000_000_000, None, value))
        assert row is not None
        assert row.unknown_fields == 1


@pytest.mark.parametrize(
    "members",
    [
        {"created_at": "2026-01-31T09:30:00.1234565Z"},
        {"created_at": "2026-01-31T09:30:00.1234567891Z"},
        {"citations": [{"source": "s", "timestamp": "2026-01-31T09:30:00.123456500Z"}]},
        {"prompt_tokens": 2_000_000_000, "completion_tokens": 2_000_000_000, "total_tokens": None},
        {"query": "a\0b"},
        {"created_at": '2026-01-31T09:30:00Z","2026-01-31T09:30:00Z'},
        {"created_at": "0001-01-01T00:00:00+00:00"},
        {"user_id": "0190b6f2-7c3e-7a1b-8c4d-5e6f70819203,0190b6f2-7c3e-7a1b-8c4d-5e6f70819203"},
        {"user_id": " 190b6f2-7c3e-7a1b-8c4d-5e6f70819203"},
        {"session_id": "0190b6f27c3e7a1b8c4d5e6f70819203"},
        {"user_id": "", "session_id": None},
        {"stranger": 1, "user_id": 1},
        {"citations": [{"source": "s", "title": "a\0b"}]},
    ],
)
def test_only_the_uncommon_event_is_left_to_the_exact_lane(members: dict[str, Any]) -> None:
    """The events around it are still recognised, even if the fast lane notices it late."""
    lane, chance = FastLane(DIALOGUE), random.Random(3)
    plain = json.dumps(dialogue(chance)).encode()
    uncommon = json.dumps(dialogue(chance) | members).encode()
    values = [plain, uncommon, plain, plain, uncommon]
    rows = lane.decode([StoredRecord("topic", 0, n, 1_700_000_000_000, None, value) for n, value in enumerate(values)])
    assert [row is None for row in rows] == [value is uncommon for value in values]


_LANE = FastLane(DIALOGUE)


@given(
    st.lists(
        st.tuples(st.text("0123456789", min_size=7, max_size=9), st.sampled_from(["Z", "", "-03:30"])),
        min_size=1,
        max_size=8,
    )
)
@example([("9999999", "Z"), ("999999501", "+09:00"), ("000000499", "")])
def test_times_with_nine_decimals_are_rounded_as_in_the_exact_lane(times: list[tuple[str, str]]) -> None:
    """Go and Java send such times. Only a tie is left to the exact lane."""
    plain = dialogue(random.Random(6))
    values = [plain | {"created_at": f"2026-12-31T23:59:59.{digits}{offset}"} for digits, offset in times]
    for (digits, _), value in zip(times, values, strict=True):
        record = StoredRecord("topic", 0, 1, 0, None, json.dumps(value).encode())
        row = row_of(_LANE, record)
        assert row is None if digits[6:].rstrip("0") == "5" else row == decode_exactly(DIALOGUE, record)


def test_an_event_without_a_time_gets_the_timestamp_of_its_record() -> None:
    """Events with a time are in the same slice. If the record has no usable timestamp, it is left to the exact lane."""
    lane, chance = FastLane(DIALOGUE), random.Random(4)
    timeless = dialogue(chance)
    timeless.pop("created_at", None)
    timed = json.dumps(timeless | {"created_at": "2026-01-31T09:30:00Z"}).encode()
    values = [(timed, -1), (json.dumps(timeless).encode(), 1_700_000_000_000), (json.dumps(timeless).encode(), -1)]
    records = [StoredRecord("topic", 0, n, time, None, value) for n, (value, time) in enumerate(values)]
    rows = lane.decode(records)
    assert rows == [*(decode_exactly(DIALOGUE, record) for record in records[:2]), None]


def test_deeply_nested_json_is_left_to_the_exact_lane() -> None:
    """Only the exact lane judges the depth, also in an unknown member."""
    deep = b'"deep": ' + b"[" * 500 + b"]" * 500 + b"}"
    plain = json.dumps(dialogue(random.Random(5)))[:-1].encode()
    for value in (plain + b", " + deep, plain + b', "citations": [{"source": "s", ' + deep + b"]}"):
        assert row_of(FastLane(DIALOGUE), StoredRecord("topic", 0, 1, 0, None, value)) is None
