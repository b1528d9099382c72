"""Tests that any record gives a row or a reason, the same in both lanes, and that a reason never quotes the event."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.decode.lanes import decode
from consumer.decode.rows import Row, decode_exactly
from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.plugin import PLUGIN
from consumer.events.provenance import PROVENANCE
from consumer.events.record import StoredRecord
from consumer.events.rejection import Reason, Rejected
from tests.support.builders import (
    STRUCTURED,
    TIMESTAMP,
    cloud_event,
    cloud_headers,
    dialogue,
    encode,
    provenance,
    record,
    stored,
    with_raw,
)
from tests.support.strategies import anything, encode_exactly, events, json_values, nearly_valid, records

pytestmark = pytest.mark.thorough

KINDS = [DIALOGUE, PROVENANCE, FEEDBACK, VERIFICATION, PLUGIN]
EVERY = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def verdict(kind: Kind, taken: StoredRecord) -> Row | Rejected:
    """Return the row or the reason; any other error fails the test. Both lanes must agree."""
    found, exactly = (_verdict(lane, kind, taken) for lane in (decode, decode_exactly))
    if isinstance(found, Rejected) and isinstance(exactly, Rejected):
        assert found.reason in Reason
        assert found.detail() == exactly.detail()
    else:
        assert found == exactly
    return found


def _verdict(lane: Callable[[Kind, StoredRecord], Row], kind: Kind, taken: StoredRecord) -> Row | Rejected:
    try:
        return lane(kind, taken)
    except Rejected as rejected:
        return rejected


@EVERY
@given(data=st.data())
def test_every_valid_event_is_stored(kind: Kind, data: st.DataObject) -> None:
    """This holds for every envelope and every spelling."""
    event = data.draw(events(kind))
    row = stored(kind, data.draw(records(kind, st.just(event))))
    assert row.row.unknown_fields == len(event.keys() - kind.fields.keys())
    assert all(row[name] is not None for name in kind.columns.keys() & {k for k, v in event.items() if v is not None})


@EVERY
@given(data=st.data())
def test_nearly_valid_events_become_a_row_or_a_reason(kind: Kind, data: st.DataObject) -> None:
    """A member is missing or has a value that may not fit. No other error is raised."""
    verdict(kind, data.draw(records(kind, nearly_valid(kind))))


@EVERY
@given(value=json_values(st.text(max_size=6)))
def test_any_json_becomes_a_row_or_a_reason(kind: Kind, value: Any) -> None:
    """The value is plain JSON or an envelope."""
    raw = json.dumps(value).encode()
    assert isinstance(verdict(kind, record(raw)), Rejected)
    assert isinstance(verdict(kind, record(raw, STRUCTURED)), Rejected)


@EVERY
@given(value=st.binary(max_size=60), key=st.none() | st.binary(max_size=5))
def test_any_bytes_become_a_reason(kind: Kind, value: bytes, key: bytes | None) -> None:
    """No other error is raised."""
    for headers in ((), STRUCTURED, cloud_headers(type=kind.name.encode())):
        assert isinstance(verdict(kind, record(value, headers, key=key)), Rejected)


HEADER_NAMES = st.sampled_from(
    ["content-type", "ce_id", "ce_type", "ce_source", "ce_specversion", "ce_", "", "x", "CE_ID"]
)
HEADER_VALUES = st.sampled_from([None, b"", b"1.0", b"rag.dialogue", b"application/cloudevents+json", b"\xff", b"/s"])


@given(
    st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=6), st.sampled_from([dialogue(), cloud_event(data={})])
)
def test_any_headers_become_a_row_or_a_reason(headers: list[tuple[str, bytes | None]], event: dict[str, Any]) -> None:
    """Headers have any combination, including repeated ones."""
    verdict(DIALOGUE, record(event, headers))


@given(st.data())
def test_broken_events_become_a_row_or_a_reason(data: st.DataObject) -> None:
    """A byte is changed, removed or inserted at any place."""
    raw = bytearray(with_raw(dialogue(id=None), citations='[{"source":"é","x":[1]}]', latency_ms="1.5e2"))
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 1))] = data.draw(
            st.sampled_from([b"", b"\0", b'"', b"\xc3", b"\\", b"9"])
        )
    verdict(DIALOGUE, record(bytes(raw)))


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1))
@example(-1, 0)
def test_any_timestamp_becomes_a_row_or_a_reason(timestamp: int, offset: int) -> None:
    """This includes absurd timestamps that clients have sent."""
    verdict(DIALOGUE, record(dialogue(), timestamp=timestamp, offset=offset))


# ── text that a reason must not contain ──

MARKER = "hunter2XYZZY"
NUMBER = "271828182845904523536"


def assert_silent(rejected: Row | Rejected) -> None:
    """Assert that the reason quotes nothing of the event. Dead letters are listed in places that must not show event
    text.
    """
    assert isinstance(rejected, Rejected)
    said = json.dumps(rejected.detail()) + repr(rejected) + str(rejected)
    for marker in (MARKER, NUMBER, MARKER.upper(), "hunter2"):
        assert marker not in said


PLANTED: list[Any] = [MARKER, MARKER + "\0", "\ud800" + MARKER, MARKER * 30, NUMBER, int(NUMBER), -int(NUMBER)]
PLANTED += [[MARKER], {MARKER: MARKER}, {MARKER: "\0"}, [{MARKER: MARKER}], [{"source": [MARKER]}]]
PLANTED += [[{"source": MARKER, "confidence": MARKER}], [{"source": "s", "confidence": int(NUMBER)}]]
PLANTED += [[{"source": "s", "timestamp": MARKER}], [{"source": MARKER, "x": "\0"}]]


@EVERY
@pytest.mark.parametrize("value", PLANTED)
def test_no_reason_quotes_a_field(kind: Kind, value: Any) -> None:
    """Each field gets a marker as its value. No rejection repeats it."""
    base = dialogue() if kind is DIALOGUE else provenance()
    for name in kind.fields:
        found = verdict(kind, record({**base, name: value}))
        if isinstance(found, Rejected):
            assert_silent(found)


@pytest.mark.parametrize(
    "value",
    [
        MARKER.encode(),
        f'"{MARKER}"'.encode(),
        f'{{"{MARKER}"'.encode(),
        f'{{"query":"{MARKER}\t"}}'.encode(),
        f'{{"query":"{MARKER}\\x"}}'.encode(),
        f'{{"query":"{MARKER}\\u12"}}'.encode(),
        MARKER.encode("utf-16"),
        f'{{"{MARKER}":"'.encode() + b"\xff",
        encode({MARKER: MARKER}),
        encode({"session_id": MARKER, "user_id": {MARKER: MARKER}}),
        with_raw(dialogue(), citations=f'[{{"source":"{MARKER}"}}]', x=rf'"{MARKER}\ud800"', query="1"),
        with_raw(dialogue(), latency_ms=NUMBER),
        with_raw(dialogue(), latency_ms=f"{NUMBER}e99999999999999999999"),
    ],
)
def test_no_reason_quotes_the_value(value: bytes) -> None:
    """The messages of parsers do not quote it either."""
    assert_silent(verdict(DIALOGUE, record(value)))
    assert_silent(verdict(DIALOGUE, record(value, STRUCTURED)))


@pytest.mark.parametrize("name", ["specversion", "type", "source", "id"])
def test_no_reason_quotes_an_attribute(name: str) -> None:
    """The attributes of an envelope are the producer's text too."""
    for text in (MARKER, MARKER + "\ud800", {MARKER: MARKER}):
        found = verdict(DIALOGUE, record(cloud_event(data=dialogue(query=1), **{name: text}), STRUCTURED))
        assert_silent(found)
    assert_silent(verdict(DIALOGUE, record(dialogue(query=1), cloud_headers(**{name: MARKER.encode()}))))
    assert_silent(verdict(DIALOGUE, record(dialogue(), cloud_headers(**{name: MARKER.encode() + b"\xff"}))))
    assert_silent(verdict(DIALOGUE, record(cloud_event(data=MARKER), STRUCTURED)))
    assert_silent(verdict(DIALOGUE, record(cloud_event(data_base64=MARKER + "!"), STRUCTURED)))


@EVERY
@given(data=st.data())
def test_no_reason_quotes_any_event(kind: Kind, data: st.DataObject) -> None:
    """Every string of a nearly valid event contains a marker."""
    event = data.draw(nearly_valid(kind)) | {"query": MARKER, data.draw(st.sampled_from(list(kind.fields))): MARKER}
    event[data.draw(st.sampled_from(list(kind.fields)))] = data.draw(anything())
    found = verdict(kind, StoredRecord("t", 0, 0, TIMESTAMP, None, encode_exactly(event).encode()))
    if isinstance(found, Rejected):
        assert_silent(found)
