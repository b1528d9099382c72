"""Tests the JSON itself: which values are no JSON, and that JSON columns keep the original bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.events.payload import parse, raw_members
from consumer.events.provenance import PROVENANCE
from consumer.events.rejection import Reason
from tests.support.builders import accept, dialogue, encode, provenance, reject, with_raw
from tests.support.strategies import json_values


@pytest.mark.parametrize("value", [b"x", b"{", b"{'a':1}", b'{"a":1,}', b'{"a":1} x', b'{"a" 1}', b"{a:1}"])
def test_a_value_that_is_not_json_is_rejected(value: bytes) -> None:
    """The message has the position."""
    rejected = reject(value)
    assert rejected.reason is Reason.NOT_JSON
    assert "line 1 column" in str(rejected)


@pytest.mark.parametrize("value", [b"null", b'"text"', b'"{text}"', b"1", b"true", b'"1"'])
def test_json_that_is_not_an_object_is_rejected(value: bytes) -> None:
    """An event is an object."""
    rejected = reject(value)
    assert (rejected.reason, str(rejected)) == (Reason.NOT_JSON, "JSON, but not an object")


@pytest.mark.parametrize(
    "value",
    [
        json.dumps(dialogue()).encode("utf-16"),
        json.dumps(dialogue()).encode("utf-16-le"),
        json.dumps(dialogue()).encode("utf-32"),
        json.dumps(dialogue(query="é"), ensure_ascii=False).encode("latin-1"),
        encode(dialogue()).replace(b'"q"', b'"\xed\xa0\x80"'),
        encode(dialogue()).replace(b'"q"', b'"\xc0\x80"'),
        encode(dialogue()).replace(b'"q"', b'"\xf4\x90\x80\x80"'),
        with_raw(dialogue(), unknown='"?"').replace(b"?", b"\xff"),
        with_raw(dialogue(), citations='[{"source":"?"}]').replace(b"?", b"\xff"),
    ],
)
def test_other_encodings_are_rejected(value: bytes) -> None:
    """The contract requires UTF-8. No encoding is guessed."""
    assert reject(value).reason is Reason.NOT_JSON


@pytest.mark.parametrize("character", ["\t", "\n", "\0", "\x1f"])
def test_bare_control_characters_are_not_json(character: str) -> None:
    """By RFC 8259 they must be escaped inside every string."""
    for members in (
        {"query": f'"{character}"'},
        {"citations": f'[{{"source":"{character}"}}]'},
        {"x": f'"{character}"'},
    ):
        assert reject(with_raw(dialogue(), **members)).reason is Reason.NOT_JSON


@pytest.mark.parametrize("number", ["01", "+1", ".5", "1.", "0x1", "1e", "-", "--1"])
def test_numbers_follow_the_grammar(number: str) -> None:
    """This is RFC 8259 §6, also for unknown members."""
    for name in ("latency_ms", "token_cost_jpy", "unknown"):
        assert reject(with_raw(dialogue(), **{name: number})).reason is Reason.NOT_JSON


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize(("place", "levels_around"), [("citations", 3), ("unknown", 1)])
def test_json_may_be_nested_500_levels_deep(place: str, levels_around: int, opening: str) -> None:
    """501 levels and twenty thousand levels are rejected with a message, whatever the interpreter's own limit is."""

    def nested(levels: int) -> bytes:
        depth = levels - levels_around
        inner = opening * depth + "1" + ("]" if opening == "[" else "}") * depth
        return with_raw(dialogue(), **{place: inner if place == "unknown" else f'[{{"source":"s","x":{inner}}}]'})

    accept(nested(500))
    for levels in (501, 900, 1000, 3000, 20_000):
        rejected = reject(nested(levels))
        assert (rejected.reason, "nested deeper than 500 levels" in str(rejected)) == (Reason.NOT_JSON, True)


@pytest.mark.parametrize("depth", [400, 499])
def test_the_nesting_limit_does_not_depend_on_the_caller(depth: int) -> None:
    """The interpreter counts the calls of the caller too. The result is the same deep in its stack."""

    def deeper(calls: int) -> None:
        accept(with_raw(dialogue(), unknown="[" * depth + "]" * depth)) if calls == 0 else deeper(calls - 1)

    for calls in (0, 100, 300):
        deeper(calls)


def test_brackets_in_strings_do_not_count_as_nesting() -> None:
    """Many brackets on one level do not count as many levels, and an escaped quotation mark does not end a string."""
    accept(with_raw(dialogue(), query=f'"{"[" * 2000}"', x=rf'"\"{"{" * 2000}"', y="[" + "[]," * 2000 + "[]]"))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "repeated", [r"{ \"key\": \"value\", ", r"\\", "[", '["', "{" * 3 + '"', r"[\"", "[0,", '{"a":'], ids=ascii
)
@pytest.mark.parametrize("cut", ["", "\\", '"'])
def test_a_large_truncated_record_is_rejected_quickly(repeated: str, cut: str) -> None:
    """The time is short for any number of brackets and quotation marks. A quadratic search would take hours."""
    text = '{"query":"' + repeated * (1_000_000 // len(repeated)) + cut
    assert reject(text.encode()).reason is Reason.NOT_JSON


# ── duplicate keys ──


def test_the_last_of_equal_keys_is_used() -> None:
    """jsonb and nearly every parser do the same. It holds for plain and JSON members, in any spelling of the key."""
    row = accept(with_raw(dialogue(), query='"second"'))
    assert row["query"] == "second"
    both = '[{"source":"a"}],"citations":[]'
    assert accept(with_raw(dialogue(), citations=both))["citations"] == b"[]"
    spelt = r'[],"\u0063itations":[{"source":"b"}]'
    assert accept(with_raw(dialogue(), citations=spelt))["citations"] == b'[{"source":"b"}]'


def test_an_overwritten_value_is_not_checked() -> None:
    """A wrong first value does no harm, and a last null makes the field missing."""
    assert accept(with_raw(dialogue(), latency_ms='"x","latency_ms":5'))["latency_ms"] == 5
    assert accept(with_raw(dialogue(), latency_ms='5,"latency_ms":null'))["latency_ms"] is None
    assert accept(with_raw(dialogue(), citations='[],"citations":null'))["citations"] is None


def test_only_the_last_of_equal_keys_is_checked() -> None:
    """This holds inside a citation too."""
    assert reject(with_raw(dialogue(), latency_ms='5,"latency_ms":"x"')).reason is Reason.INVALID_FIELD
    accept(with_raw(dialogue(), citations='[{"source":1,"source":"a"}]'))
    rejected = reject(with_raw(dialogue(), citations='[{"source":"a","source":1}]'))
    assert str(rejected) == "citations[0].source: must be a string"


# ── byte for byte ──


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '[ { "source" : "s" , "confidence":0.10 } ]',
        '[{"source":"s","confidence":1.0e-1,"x":1.10,"y":1E+2,"z":-0}]',
        '[{"source":"\\u00e9\\/","timestamp":"2026-01-31T09:30:00+00:00"}]',
        '[{"source":"é😀","x":{"b":1,"a":2,"b":3}}]',
        '[\n\t{"source":"s","title":null}\n]',
    ],
)
def test_citations_are_stored_byte_for_byte(text: str) -> None:
    """Parsing and writing again would change 1.10, +00:00, escapes, key order and spaces."""
    assert accept(with_raw(dialogue(), citations=text))["citations"] == text.encode()


@given(st.dictionaries(st.text("abcé", max_size=3), json_values(), max_size=3), st.sampled_from([None, 1, 2]))
def test_an_access_policy_is_stored_byte_for_byte(policy: dict[str, Any], indent: int | None) -> None:
    """It may be any object, in any spelling."""
    for ascii_only in (True, False):
        text = json.dumps(policy, indent=indent, ensure_ascii=ascii_only)
        assert accept(with_raw(provenance(), access_policy=text), PROVENANCE)["access_policy"] == text.encode()


@given(st.dictionaries(st.text(max_size=5), json_values(st.text(max_size=8)), max_size=5), st.booleans())
def test_the_two_parsers_agree(event: dict[str, Any], ascii_only: bool) -> None:
    """For any object, the member that the second parser cuts out equals the member that the first one read."""
    text = json.dumps(event, ensure_ascii=ascii_only)
    try:
        value = text.encode()
    except UnicodeEncodeError:
        value = json.dumps(event).encode()
    names = tuple(name for name in event if name.isidentifier())
    cut = raw_members(value, names)
    assert {name: json.loads(raw) for name, raw in cut.items()} == {name: event[name] for name in names}
    assert parse(value).keys() == event.keys()


@pytest.mark.parametrize("member", [r'"\ud800"', r'"\udc00x"', "1e99999999999999999999", "0." + "1" * 500, r'"\u0000"'])
def test_uncommon_unknown_members_are_ignored(member: str) -> None:
    """A value that no column could hold does no harm, with or without citations to be cut out."""
    for event in (dialogue(), dialogue(citations=[{"source": "s"}])):
        assert accept(with_raw(event, unknown=member)).row.unknown_fields == 1
        assert accept(with_raw(event, unknown=member, **{member.strip('"'): "1"})).row.unknown_fields == 2
