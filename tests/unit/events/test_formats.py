"""Tests that a value that is no event is described: its format, its encoding, or the wrapper around the event."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import random
from collections.abc import Callable
from typing import Any

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.admin.publish import Line, validate
from consumer.decode.lanes import decode_all
from consumer.decode.rows import Row
from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.dialogue import DIALOGUE
from consumer.events.formats import format_of
from consumer.events.kind import Kind
from consumer.events.plugin import PLUGIN
from consumer.events.provenance import PROVENANCE
from consumer.events.rejection import Reason, Rejected
from tests.support import producers
from tests.support.builders import (
    STRUCTURED,
    USER,
    Headers,
    accept,
    cloud_event,
    cloud_headers,
    dialogue,
    encode,
    paths,
    record,
    reject,
    with_raw,
)
from tests.support.strategies import anything, encode_exactly, json_values, texts

MARK = b"\xef\xbb\xbf"
SECRET = "Geheimnis7"
EVENT = dialogue(query=SECRET, citations=[{"source": SECRET, "x": 1.5}])
VALUE = encode(EVENT)
KINDS = [DIALOGUE, PROVENANCE, FEEDBACK, VERIFICATION, PLUGIN]


def said_of(value: bytes, headers: Headers = (), reason: Reason = Reason.NOT_JSON) -> str:
    """Return the message of the rejection, after checking that it quotes nothing of the event."""
    rejected = reject(value, headers=headers)
    assert rejected.reason is reason
    assert SECRET not in json.dumps(rejected.detail())
    assert str(rejected).isprintable()
    return str(rejected)


# ── a byte order mark ──


def in_structured_mode(event: bytes) -> bytes:
    """Return the event as the data of a CloudEvent."""
    return with_raw(cloud_event(), data=event.decode())


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (VALUE, ()),
        (b" \n" + VALUE, ()),
        (VALUE, [("traceparent", b"00")]),
        (VALUE, cloud_headers()),
        (in_structured_mode(VALUE), STRUCTURED),
    ],
)
def test_a_byte_order_mark_is_read_as_if_it_were_not_there(value: bytes, headers: Headers) -> None:
    """The row is the same, byte for byte. The record keeps the mark."""
    plain, marked = accept(value, headers=headers).row, accept(MARK + value, headers=headers).row
    assert (marked.encoded, marked.id, marked.facts) == (plain.encoded, plain.id, plain.facts)
    assert marked.record.value == MARK + value


def test_a_byte_order_mark_in_base64_is_left_out_too() -> None:
    """The data of a structured CloudEvent consists of bytes too."""
    data = base64.b64encode(MARK + VALUE).decode()
    assert accept(cloud_event(data_base64=data), headers=STRUCTURED)["query"] == SECRET


def test_marked_records_do_not_slow_others_down() -> None:
    """The other records of the slice are decoded in the fast lane."""
    records = [record(MARK + VALUE if n % 3 else VALUE, offset=n) for n in range(10)]
    assert all(isinstance(row, Row) for row in decode_all(DIALOGUE, records))


def test_a_dead_letter_keeps_the_mark() -> None:
    """The original bytes are stored and replayed."""
    bad = record(MARK + encode(dialogue(latency_ms=-1)))
    (verdict,) = decode_all(DIALOGUE, [bad])
    assert isinstance(verdict, Rejected)
    assert paths(reject(bad.value)) == ["latency_ms"]
    assert bad.value is not None
    assert bad.value.startswith(MARK)


@pytest.mark.parametrize(
    "value", [MARK * 2 + VALUE, b" " + MARK + VALUE, VALUE + MARK, VALUE[:1] + MARK + VALUE[1:], MARK[:2] + VALUE]
)
def test_only_one_mark_at_the_beginning_is_ignored(value: bytes) -> None:
    """At any other place, the character is not valid in JSON."""
    assert reject(value).reason is Reason.NOT_JSON


# ── formats ──


@pytest.mark.parametrize("value", [b"", b" ", b"\r\n\t ", MARK, MARK + b" "])
def test_an_empty_value_is_named(value: bytes) -> None:
    """It has no bytes, or only white space."""
    assert said_of(value).startswith("empty: ")
    assert said_of(value, cloud_headers()).startswith("empty: ")


@pytest.mark.parametrize("schema_id", [1, 7, 123, 256, 31_488, 100_001, 2**31 - 1])
@pytest.mark.parametrize("width", [4, 8])
@pytest.mark.parametrize(
    ("payload", "content"),
    [(VALUE, "JSON Schema"), (b" " + VALUE, "JSON Schema"), (b"\0\n\x05hallo", "Avro or Protobuf")],
)
def test_the_frame_of_a_schema_registry_is_named_with_its_id(
    schema_id: int, width: int, payload: bytes, content: str
) -> None:
    """Confluent's ids have four bytes, Apicurio's eight."""
    said = said_of(b"\0" + schema_id.to_bytes(width, "big") + payload)
    assert said.startswith(f"framed by a schema registry serializer: magic byte 00 and schema id {schema_id} ")
    assert content in said
    assert "without" in said or "no schema registry" in said


def test_other_frames_and_ends_are_named() -> None:
    """They are schema id 0 before JSON, the frame of AWS Glue, and the end of a string in C."""
    assert "magic byte 00 and schema id 0 stand before JSON" in said_of(bytes(5) + VALUE)
    for compression in (b"\x00", b"\x05"):
        assert "AWS Glue" in said_of(b"\x03" + compression + bytes(range(16)) + b"\n" + VALUE)
    assert said_of(VALUE + b"\0").startswith("text that ends with a zero byte")


@pytest.mark.parametrize("value", [b"\0", b"\0\0\0", b"\0" * 5, b"\0" * 9, b"\0" * 400])
def test_zero_bytes_alone_are_not_a_frame(value: bytes) -> None:
    """No schema has the id 0."""
    assert "registry" not in said_of(value)


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("utf-32-le", "UTF-32"),
        ("utf-32-be", "UTF-32"),
    ],
)
@pytest.mark.parametrize(
    "value", [VALUE, json.dumps(EVENT, indent=1).encode(), b"[" + VALUE + b"]", b'{"a": "\xc3\xa9']
)
def test_another_unicode_encoding_is_named(codec: str, name: str, value: bytes) -> None:
    """It may have a byte order mark, and may be cut off."""
    assert said_of(value.decode().encode(codec)) == f"{name}, not UTF-8; publish JSON in UTF-8"


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_the_mark_is_sufficient_to_recognise_utf_16(mark: bytes) -> None:
    """No UTF-8 begins with these bytes."""
    assert said_of(mark + VALUE).startswith("UTF-16, not UTF-8")


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "zstd": lambda value: bytes(cramjam.zstd.compress(value)),
    "lz4": lambda value: bytes(cramjam.lz4.compress(value)),
    "snappy": lambda value: bytes(cramjam.snappy.compress(value)),
}


@pytest.mark.parametrize("codec", COMPRESSED)
def test_a_compressed_value_is_named_with_its_codec(codec: str) -> None:
    """The value itself was compressed, not the batch by the producer's client."""
    said = said_of(COMPRESSED[codec](VALUE))
    assert said.startswith(f"compressed with {codec} inside the record")
    assert "compression.type" in said


def test_a_gzipped_value_in_base64_is_named() -> None:
    """The data of a CloudEvent is described like a value."""
    data = base64.b64encode(gzip.compress(VALUE)).decode()
    assert "gzip" in said_of(encode(cloud_event(data_base64=data)), STRUCTURED)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"Obj\x01\x04\x14avro.codec\x08null", "Avro container file"),
        (b"PK\x03\x04\x14\0", "zip archive"),
        (b"PAR1\x15\x04", "Parquet file"),
        (b"\xac\xed\0\x05t\0\x02{}", "serialized Java object"),
        (b"\n$11111111-1111-4111-8111-111111111111\x12\x02hi\x18\x05", "binary data, not JSON"),
        (b"\x08\x96\x01\x12\x07testing", "binary data, not JSON"),
        (b"\x02H" + b"\x01" * 30, "binary data, not JSON"),
    ],
)
def test_binary_formats_are_named_if_they_can_be_recognised(value: bytes, words: str) -> None:
    """Protobuf and Avro without a container look like any other binary data."""
    assert words in said_of(value)


@pytest.mark.parametrize(
    "value", [b"not JSON", "größe".encode(), b"<event/>", b"a: 1\n", b"'x'", b"NaN", b'{"a": "\x01"}']
)
def test_other_text_is_plainly_not_json(value: bytes) -> None:
    """The message has the position of the error."""
    assert said_of(value).startswith("not JSON: ")


def test_broken_utf_8_is_reported_with_its_byte() -> None:
    """The message has the first wrong byte. Most such values are Latin-1."""
    assert said_of(b'{"query": "caf\xe9"}') == "not UTF-8: byte 14 cannot be decoded"


@given(st.binary(max_size=40))
def test_any_bytes_are_described_or_not(value: bytes) -> None:
    """No error is raised, and the description never quotes the value."""
    said = format_of(value)
    assert said is None or said.isprintable()


# ── several documents, or one that is encoded twice ──


@pytest.mark.parametrize("between", [b"\n", b"\r\n", b"", b" ", b",", b",\n", b"\n\n"])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_several_documents_in_one_record_are_named(between: bytes, end: bytes) -> None:
    """They are JSON lines, documents without a separator, or documents separated by commas."""
    said = said_of(between.join([VALUE] * 3) + end)
    assert said.startswith("several JSON documents: the second begins at line ")
    assert "a record holds one event" in said


def test_something_else_behind_the_event_is_not_called_a_document() -> None:
    """The position is named."""
    for rest in (b" x", b"}", b"\0x", b'"a"', b"1"):
        assert said_of(VALUE + rest).startswith("not JSON: Extra data at line 1 column ")


@pytest.mark.parametrize("value", [b"[]", b"[1]", b"[" + VALUE + b"]", b"[" + VALUE + b",\n" + VALUE + b"]"])
def test_an_array_of_events_is_named(value: bytes) -> None:
    """It is a batch in one record, with any envelope."""
    assert said_of(value).startswith("a JSON array, not an object; a record holds one event")
    assert said_of(value, cloud_headers()).startswith("a JSON array")
    assert said_of(with_raw(cloud_event(), data=value.decode()), STRUCTURED).startswith("a JSON array")


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("inner", [VALUE, b"[" + VALUE + b"]", b"{}"])
def test_json_that_was_encoded_twice_is_named(times: int, inner: bytes) -> None:
    """It may be encoded more than twice, as the value or as the data of a CloudEvent."""
    text = inner.decode()
    for _ in range(times):
        text = json.dumps(text)
    said = "a JSON string that holds JSON: the event was encoded twice; publish the object itself"
    assert said_of(text.encode()) == said
    assert said_of(with_raw(cloud_event(), data=text), STRUCTURED) == said


@pytest.mark.parametrize("text", ["", "text", "{text}", '{"a": 1', "1", "null", "[" * 600 + "]" * 600, "\ud800"])
def test_another_string_was_not_encoded_twice(text: str) -> None:
    """Its content is no JSON object with several members."""
    assert said_of(json.dumps(text).encode()) == "JSON, but not an object"


# ── wrappers ──


@pytest.mark.parametrize(
    "schema", [None, {"type": "struct", "fields": [{"field": "query", "type": "string"}], "optional": False}]
)
@pytest.mark.parametrize("payload", [EVENT, None, SECRET, {}])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_connect_wrapper_is_named(kind: Kind, schema: object, payload: object) -> None:
    """Kafka Connect's JsonConverter writes it with schemas.enable=true, with its members in either order."""
    for wrapper in ({"schema": schema, "payload": payload}, {"payload": payload, "schema": schema}):
        rejected = reject(wrapper, kind)
        assert rejected.reason is Reason.INVALID_ENVELOPE
        assert "schemas.enable=true" in str(rejected)
        assert "schemas.enable=false" in str(rejected)
        assert SECRET not in json.dumps(rejected.detail())


CONNECT = {"schema": {"type": "struct"}, "payload": EVENT}


def test_a_connect_wrapper_in_a_cloud_event_is_named() -> None:
    """This holds in both modes."""
    assert "schemas.enable" in said_of(encode(CONNECT), cloud_headers(), Reason.INVALID_ENVELOPE)
    value = encode(cloud_event(data=CONNECT))
    assert "schemas.enable" in said_of(value, STRUCTURED, Reason.INVALID_ENVELOPE)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ((), "is missing"),
        ([("content-type", None)], "is missing"),
        ([("contentType", b"application/cloudevents+json")], "is missing"),
        ([("content-type", b"application/json")], "does not say"),
        ([("Content-Type", b"text/plain")], "does not say"),
    ],
)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_cloud_event_without_its_content_type_is_named(kind: Kind, headers: Headers, said: str) -> None:
    """Only headers distinguish envelopes, so it is rejected. The dead letter names the missing header."""
    for data in ({"data": EVENT}, {"data_base64": base64.b64encode(VALUE).decode()}, {}):
        rejected = reject(cloud_event(**data), kind, headers)
        assert (rejected.reason, paths(rejected)) == (Reason.INVALID_ENVELOPE, ["content-type"])
        assert f"this looks like a structured CloudEvent; its content-type header {said}" in str(rejected)
        assert "application/cloudevents+json" in str(rejected)
        assert SECRET not in json.dumps(rejected.detail())


def test_a_cloud_event_inside_a_cloud_event_is_named() -> None:
    """The message does not ask for the header, because the record has it."""
    rejected = reject(cloud_event(data=cloud_event(data=EVENT)), headers=STRUCTURED)
    assert (rejected.reason, paths(rejected)) == (Reason.INVALID_ENVELOPE, ["data"])
    assert "CloudEvent itself" in str(rejected)


@pytest.mark.parametrize("media_type", ["application/cloudevents+avro", "application/cloudevents+protobuf"])
def test_another_format_of_cloud_events_is_named(media_type: str) -> None:
    """The header shows it, whatever the value looks like."""
    rejected = reject(b"\x08\x01", headers=[("content-type", media_type.encode())])
    assert (rejected.reason, paths(rejected)) == (Reason.INVALID_ENVELOPE, ["content-type"])
    assert "application/cloudevents+json" in str(rejected)


@pytest.mark.parametrize(
    "content_type",
    [
        '"application/cloudevents+json"',
        '"application/cloudevents+json; charset=utf-8"',
        '"application/cloudevents+json"; charset=utf-8',
        ' "Application/CloudEvents+JSON" ',
        "application/cloudevents+json;charset=UTF-8",
        "APPLICATION/CLOUDEVENTS+JSON",
    ],
)
def test_a_quoted_content_type_is_accepted(content_type: str) -> None:
    """Spring writes header values as JSON strings, and the meaning is clear."""
    assert accept(cloud_event(data=EVENT), headers=[("content-type", content_type.encode())])["query"] == SECRET


# ── events that must not be called wrappers ──


def is_accused(rejected: Rejected) -> bool:
    """Return whether the rejection names a wrapper."""
    return "schemas.enable" in str(rejected) or "CloudEvent" in str(rejected)


@given(
    st.dictionaries(st.sampled_from(["schema", "payload", "specversion", "type", "source", "data"]), anything()),
    texts(),
)
def test_an_event_with_members_of_those_names_is_stored(strangers: dict[str, Any], query: str) -> None:
    """Members with the names of a wrapper's members are unknown fields like any other."""
    row = accept(encode(dialogue(query=query)).replace(b"{", b"{" + _members(strangers), 1))
    assert row["query"] == query
    assert row.row.unknown_fields == len(strangers)


def _members(strangers: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(name)}: {encode_exactly(value)}, " for name, value in strangers.items()).encode()


@given(st.sampled_from(["user_id", "session_id", "query", "response", "model_used"]), json_values(), json_values())
def test_a_missing_field_beside_such_members_is_named(lost: str, schema: Any, payload: Any) -> None:
    """An object with one required field counts as an event."""
    event = dialogue(schema=schema, payload=payload, **cloud_event(id=None))
    del event[lost]
    rejected = reject(encode(event))
    assert (rejected.reason, paths(rejected)) == (Reason.MISSING_FIELD, [lost])


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"schema": {}},
        {"payload": {**EVENT, "query": None}},
        {"payload": [EVENT]},
        {"payload": "{"},
        {"other": EVENT},
        {"schema": {}, "payload": {}, "more": 1},
        {"specversion": "1.0", "type": "t", "source": "s"},
        {"specversion": 1, "type": "t", "source": "s", "id": USER},
    ],
)
def test_an_object_without_a_known_wrapper_has_missing_fields(members: dict[str, Any]) -> None:
    """The reason guesses no wrapper."""
    rejected = reject(encode(members))
    assert rejected.reason is Reason.MISSING_FIELD
    assert not is_accused(rejected)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("name", "around"),
    [
        ("after", {"before": None, "op": "c", "source": {"db": "x"}}),
        ("payload", {"schema": "public", "aggregatetype": "answer"}),
        ("data", {"type": "rag.dialogue", "source": "/s", "id": "1"}),
        ("Message", {"Type": "Notification", "MessageId": USER}),
        ("value", {}),
    ],
)
def test_the_member_that_holds_the_event_is_named(kind: Kind, name: str, around: dict[str, Any]) -> None:
    """The event is an object, or JSON in a string."""
    event = getattr(producers, kind.name)(random.Random(1))
    for held in (event, json.dumps(event)):
        rejected = reject(around | {name: held}, kind)
        assert (rejected.reason, paths(rejected)) == (Reason.INVALID_ENVELOPE, [name])
        assert str(rejected).startswith(f"{name}: holds the event; ")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_valid_event_of_each_kind_may_have_such_members(kind: Kind) -> None:
    """A field may also have the name of an attribute."""
    event = getattr(producers, kind.name)(random.Random(1))
    accept_any = decode_all(kind, [record(encode(event | {"schema": {}, "payload": {}, "specversion": "1.0"}))])
    assert all(isinstance(row, Row) for row in accept_any)


# ── publish ──


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"\0\0\0\0\x07" + VALUE, "schema id 7"),
        (encode(CONNECT), "schemas.enable=true"),
        (encode(cloud_event(data=EVENT)), "content-type header is missing"),
        (json.dumps(VALUE.decode()).encode(), "encoded twice"),
        (b"[" + VALUE + b"]", "a JSON array"),
        (VALUE + VALUE, "several JSON documents"),
        (gzip.compress(VALUE), "gzip"),
    ],
)
def test_publish_reports_the_same_message(value: bytes, words: str) -> None:
    """Nothing is published before. A line with a byte order mark is accepted, as in the service."""
    good, bad = validate(DIALOGUE, "rag.dialogue", [Line(1, MARK + VALUE), Line(2, value)], now_ms=0)
    assert [line.number for line in good] == [1]
    assert [line.number for line in bad] == [2]
    assert words in bad[0].problem
