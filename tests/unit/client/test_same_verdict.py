"""Tests that the client and the service accept the same events, with the same values."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.events.amendments import FEEDBACK
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.numbers import exact
from consumer.events.payload import MOST_LEVELS
from consumer.events.provenance import PROVENANCE
from consumer.events.record import StoredRecord
from consumer.events.rejection import Rejected
from ragledger_client import _fields
from ragledger_client._checks import Invalid
from ragledger_client._events import Declaration, encode, snapshot
from tests.support.builders import dialogue
from tests.support.strategies import encode_exactly, events, nearly_valid

SAME = [
    pytest.param(DIALOGUE, _fields.DIALOGUE, "session_id", id="dialogue"),
    pytest.param(FEEDBACK, _fields.FEEDBACK, "dialogue_id", id="feedback"),
    pytest.param(PROVENANCE, _fields.PROVENANCE, "content_id", id="provenance"),
]
EACH = pytest.mark.parametrize(("kind", "declaration", "key"), SAME)


def service_verdict(kind: Kind, value: bytes) -> dict[str, Any] | str:
    """Return the values of the columns, with JSON parsed, or the reason why the exact lane rejects the record."""
    try:
        values = kind.decode(StoredRecord("t", 0, 0, 1_700_000_000_000, None, value)).values
    except Rejected as rejected:
        return str(rejected)
    return {name: json.loads(one) if isinstance(one, bytes) else one for name, one in values.items()}


def client_verdict(declaration: Declaration, key: str, event: dict[str, Any]) -> bytes | str:
    """Return the record's value, or the reason why the client rejects the event."""
    try:
        return encode(snapshot(declaration, event, 1 << 26), "t", key, None).value
    except Invalid as invalid:
        return str(invalid)


def assert_same(kind: Kind, declaration: Declaration, key: str, event: dict[str, Any]) -> None:
    """Assert that both reject the event, or that both accept it with the same row."""
    service = service_verdict(kind, json.dumps(event, default=str).encode())
    client = client_verdict(declaration, key, event)
    assert isinstance(service, str) == isinstance(client, str), (event, service, client)
    if isinstance(client, bytes):
        assert service_verdict(kind, client) == service


@EACH
@given(data=st.data())
def test_the_client_accepts_every_valid_event(
    kind: Kind, declaration: Declaration, key: str, data: st.DataObject
) -> None:
    """This includes every spelling, and unknown fields."""
    event = json.loads(encode_exactly(data.draw(events(kind))))
    assert isinstance(client_verdict(declaration, key, event), bytes)
    assert_same(kind, declaration, key, event)


@EACH
@given(data=st.data())
def test_both_reject_the_same_events(kind: Kind, declaration: Declaration, key: str, data: st.DataObject) -> None:
    """Some members are missing, have another type, are out of range, or have awkward or hostile values."""
    text = encode_exactly(data.draw(nearly_valid(kind)))
    assert_same(kind, declaration, key, json.loads(text))


@EACH
@given(data=st.data())
def test_decimals_are_numbers_too(kind: Kind, declaration: Declaration, key: str, data: st.DataObject) -> None:
    """They are stored exactly as they are given."""
    text = encode_exactly(data.draw(st.one_of(events(kind), nearly_valid(kind))))
    assert_same(kind, declaration, key, json.loads(text, parse_float=exact))


@pytest.mark.parametrize("levels", [MOST_LEVELS - 2, MOST_LEVELS - 1, MOST_LEVELS, MOST_LEVELS + 1])
@pytest.mark.parametrize("name", ["citations", "unknown"])
def test_the_limit_of_nesting_is_the_same(name: str, levels: int) -> None:
    """Brackets inside texts do not count."""
    inner = json.loads("[" * levels + '"[[["' + "]" * levels)
    event = dialogue(query="[" * 1000) | {name: [{"source": "s", "more": inner}] if name == "citations" else inner}
    assert_same(DIALOGUE, _fields.DIALOGUE, "session_id", event)


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "\\\0", "a\0", "\\", "ok"])
def test_a_nul_character_differs_from_its_escape_as_text(text: str) -> None:
    """A backslash followed by u0000 is text. The NUL character is rejected."""
    for event in (
        dialogue(query=text),
        dialogue(citations=[{"source": "s", "more": {"x": text}}]),
        dialogue(more=text),
    ):
        assert_same(DIALOGUE, _fields.DIALOGUE, "session_id", event)


def test_python_values_without_a_json_type_are_accepted() -> None:
    """UUIDs, datetimes, decimals, tuples and every mapping are accepted, also in additional members of citations."""
    when = datetime.fromisoformat("2026-01-31T09:30:00.000001+09:00")
    one = UUID("0190b6f2-7c3e-7a1b-8c4d-5e6f70819203")
    citation = {"source": "s", "confidence": Decimal("0.5"), "timestamp": when, "checked": when, "document": one}
    more = MappingProxyType(citation | {"more": MappingProxyType({"pages": (1, 2)})})
    event = dialogue(user_id=one, created_at=when, token_cost_jpy=Decimal("0.125"), citations=(citation, more))
    verdict = client_verdict(_fields.DIALOGUE, "session_id", event)
    assert isinstance(verdict, bytes)
    row = service_verdict(DIALOGUE, verdict)
    assert isinstance(row, dict)
    assert (row["user_id"], row["token_cost_jpy"]) == (one, Decimal("0.13"))
    assert row["created_at"].isoformat() == "2026-01-31T00:30:00.000001"
    assert row["citations"][0]["document"] == str(one)
    assert row["citations"][1]["more"] == {"pages": [1, 2]}
