"""Tests hostile records of traces and logs: no error is raised, no reason quotes them, and traces still fold."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest

from consumer.decode.lanes import decode_all
from consumer.decode.spans import SpanRecord
from consumer.decode.traces import judge
from consumer.events.otlp import mapping
from consumer.events.otlp.kinds import SPAN
from consumer.events.otlp.trace import Stored
from consumer.events.record import StoredRecord
from consumer.events.rejection import Rejected
from tests.support.copy_reader import read_tuple
from tests.support.otlp import FOLDING, SPANS, Captured, captured, chat, kind_of, record, span
from tests.unit.fuzz.checks import assert_says_nothing

pytestmark = pytest.mark.thorough

TEXTS = ("carry over", "ten days", "handbook", "Kyoto")
NAMES = sorted(mapping.IDENTITY_NAMES | mapping.ROLE_NAMES | mapping.CALL_NAMES | mapping.DOCUMENT_NAMES)
NAMES += sorted(mapping.OWN_FIELDS)
NAMES += [f"{family}.{index}.{rest}" for family in mapping.FAMILIES for index in (0, 7) for rest in ("role", "content")]
VALUES: Sequence[Any] = (
    "",
    "x",
    "\0",
    "[]",
    "{}",
    "null",
    "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]",
    '[{"role":"user","content":"q"}]',
    '[{"role":null,"parts":[{"type":7,"text":[]}]}]',
    '{"messages":{"role":"user"},"choices":[null,1,[]]}',
    '{"documents":[{"metadata":"{","id":false,"score":"1e999"}]}',
    '{"temperature":"hot","input":[],"total":"NaN"}',
    0,
    -1,
    2**63 - 1,
    -(2**63),
    True,
    float("nan"),
    float("inf"),
    1e308,
    0.5,
    [],
    {},
    [[], {}, "a", ["user", "q"]],
    {"role": "user", "parts": [{"type": "text", "content": 5}], "message": {"message": {"message": {}}}},
)


def judged(rows: Sequence[SpanRecord]) -> Mapping[UUID, Any]:
    """Return the results of the traces in these records."""
    traces: dict[UUID, list[Stored]] = {}
    for row in (row for one in rows for row in one.rows):
        columns = read_tuple(row.encoded, SPAN)
        stored = Stored(columns["is_log"], columns["resource"], columns["content"])
        traces.setdefault(columns["trace_id"], []).append(stored)
    return judge(FOLDING, "otlp_spans", traces)


def assert_folds(rows: Sequence[SpanRecord], seen: Counter[str]) -> None:
    """Assert that every trace has a verdict, and that none is an error of ours."""
    for one in judged(rows).values():
        if isinstance(one, Rejected):
            assert "fault of ragledger" not in str(one)
            assert_says_nothing(one)
        seen[type(one).__name__] += 1


def broken(value: bytes, chance: random.Random) -> bytes:
    """Return the record with some damage."""
    raw = bytearray(value)
    for _ in range(chance.choice((1, 1, 2, 20))):
        place = chance.randrange(len(raw)) if raw else 0
        way = chance.randrange(5)
        if way == 0:
            raw[place:] = b""
        elif way == 1:
            raw[place : place + chance.randrange(1, 9)] = chance.randbytes(chance.randrange(9))
        elif way == 2 and raw:
            raw[place] ^= 1 << chance.randrange(8)
        elif way == 3:
            raw[place:place] = raw[place : place + chance.randrange(200)]
        else:
            raw[place:place] = chance.choice((b"null", b"[", b"{", b'"', b"\\ud800", b"\xff", b"\0", b"1e999", b"-"))
    return bytes(raw)


def swapped(value: bytes, chance: random.Random) -> bytes:
    """Return the JSON with another value for one of its members."""
    document = json.loads(value)
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        found = waiting.pop()
        items = found.items() if isinstance(found, dict) else enumerate(found)
        for key, inner in items:
            places.append((found, key))
            if isinstance(inner, dict | list):
                waiting.append(inner)
    for _ in range(chance.choice((1, 3))):
        parent, key = chance.choice(places)
        parent[key] = chance.choice((None, [], {}, "", "zz", 0, -1, 2**70, 1.5, True, [[]], {"key": None}))
    return json.dumps(document).encode()


def hostile(one: Captured, chance: random.Random) -> bytes:
    """Return a record that the Collector would not write."""
    if one.form == "json" and chance.random() < 0.5:
        return swapped(one.value, chance)
    return broken(one.value, chance)


@pytest.mark.timeout(3600)
def test_each_hostile_record_of_spans_has_one_verdict(fuzz_records: int, fuzz_seed: int) -> None:
    """The record is cut, changed, repeated, or has other types. It gives spans that fold, or a reason without a
    quotation.
    """
    chance, seen = random.Random(f"{fuzz_seed}/spans"), Counter[str]()
    records = captured()
    for offset in range(max(300, fuzz_records // 40)):
        one = chance.choice(records)
        raw = StoredRecord("otlp", 0, offset, 0, None, hostile(one, chance))
        (verdict,) = decode_all(kind_of(one.signal), [raw])
        if isinstance(verdict, Rejected):
            assert_says_nothing(verdict)
            assert not any(text in str(verdict) for text in TEXTS)
            seen[verdict.reason.value] += 1
        else:
            assert isinstance(verdict, SpanRecord)
            assert_folds([verdict], seen)
    print(dict(seen.most_common()))
    assert seen["not_otlp"]
    assert seen["TraceDialogue"], "some records still become dialogues"


@pytest.mark.timeout(3600)
def test_attributes_of_any_type_fold(fuzz_records: int, fuzz_seed: int) -> None:
    """Attributes that the fold reads may have any value. The trace is a dialogue, none, or a dead letter."""
    chance, seen = random.Random(f"{fuzz_seed}/attributes"), Counter[str]()
    for number in range(max(500, fuzz_records // 40)):
        trace = UUID(int=chance.getrandbits(128) | 1)
        spans = [
            span(trace, place + 1, attributes, parent=chance.randrange(place + 2), start=chance.randrange(-5, 900))
            for place, attributes in enumerate(any_attributes(chance) for _ in range(chance.randrange(1, 5)))
        ]
        raw = StoredRecord("otlp", 0, number, 0, None, record(*spans))
        (verdict,) = decode_all(SPANS, [raw])
        assert isinstance(verdict, SpanRecord)
        assert_folds([verdict], seen)
    print(dict(seen.most_common()))
    assert seen["TraceDialogue"]
    assert seen["Rejected"]


def any_attributes(chance: random.Random) -> dict[str, Any]:
    """Return attributes of a model call, some of them with any value."""
    found = chat("what is it?", "it is this", **{"user.id": "someone", "session.id": "one"})
    for _ in range(chance.choice((0, 1, 5))):
        found[chance.choice(NAMES)] = chance.choice(VALUES)
    return found
