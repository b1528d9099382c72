"""Tests that string ids in a record are found, also in records that are no events."""

from __future__ import annotations

import base64
import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.decode.lanes import decode
from consumer.events.dialogue import DIALOGUE
from consumer.events.ids import UUID_FORM, user_id
from consumer.events.record import StoredRecord
from consumer.events.user_ids import find_user_ids
from tests.support.builders import cloud_event, dialogue, encode, record
from tests.support.strategies import dialogues, records, texts

NAMESPACE = UUID("0d9f7a52-6f0e-4a6b-9f0c-6f2f1c3b4a5d")
KEY = "auth0|1é"
EVENT = dialogue(user_id=KEY)


def names(taken: StoredRecord, key: str = KEY) -> bool:
    """Return whether the user with this key is among those that the record may name."""
    return user_id(NAMESPACE, key).bytes in find_user_ids(taken, NAMESPACE)


@given(records(DIALOGUE, st.builds(lambda event, key: event | {"user_id": key}, dialogues(), texts(1, 20))))
def test_the_subject_of_an_event_is_found_in_its_record(taken: StoredRecord) -> None:
    """This holds for every envelope, and for short ids too."""
    row = decode(DIALOGUE.under(NAMESPACE), taken)
    assert row.subject in find_user_ids(taken, NAMESPACE)


def escaped(text: str) -> str:
    """Return the text with every character as a JSON escape."""
    return "".join(f"\\u{ord(character):04x}" for character in text)


@pytest.mark.parametrize(
    "value",
    [
        encode(EVENT),
        json.dumps(EVENT, ensure_ascii=False).encode(),
        f'{{"userId" : "{escaped(KEY)}"'.encode(),
        f'{{"user_id": "{KEY}'.encode(),
        f'{{"query": "a stray " quote", "user_id":"{KEY}", "cut'.encode(),
        json.dumps({"payload": json.dumps(EVENT)}).encode(),
        json.dumps({"a": json.dumps({"b": json.dumps(EVENT)})}).encode(),
        json.dumps(EVENT, ensure_ascii=False).encode("utf-16"),
        json.dumps(EVENT, ensure_ascii=False).encode("utf-16-be"),
        json.dumps(EVENT, ensure_ascii=False).encode("utf-32-le"),
        json.dumps(cloud_event(data_base64=base64.b64encode(encode(EVENT)).decode())).encode(),
        base64.b64encode(base64.b64encode(encode(EVENT))),
        json.dumps({"anything": {"else": [KEY]}}).encode(),
        f"user_id={KEY}&query=x".encode(),
        f"user_id: {KEY}\nquery: x".encode(),
        str(EVENT).encode(),
        f"<event><user_id>{KEY}</user_id></event>".encode(),
    ],
)
def test_a_string_id_is_found_in_a_value(value: bytes) -> None:
    """The value may be broken, escaped or encoded, and the member may have another name."""
    assert names(record(value))


@pytest.mark.parametrize("key", ["1", "é", 'a"b', "a b", "\\", "42"])
def test_short_ids_are_found_only_in_fields_of_users(key: str) -> None:
    """They are found nowhere else: erasing the user 1 must not empty every record that contains a 1."""
    for value in (dialogue(user_id=key), {"payload": json.dumps({"acquired_by": key})}, {"user.id": key}):
        assert names(record(json.dumps(value).encode()), key)
    assert not names(record(json.dumps(dialogue(query=key, latency_ms=key)).encode()), key)
    assert not names(record(b"x", [("attempt", key.encode())]), key)
    assert names(record(b"x", [("ce_subject", key.encode())]), key)
    assert names(record(b"x", key=key.encode()), key)
    assert names(record(b"x", key=json.dumps(key, ensure_ascii=False).encode()), key) or '"' in key or "\\" in key


def test_a_number_in_the_field_of_a_user_is_found() -> None:
    """A number is rejected as an id, so the record is a dead letter that names the same person."""
    assert names(record(b'{"user_id": 42, "query": "q"}'), "42")


def test_a_part_of_a_string_is_not_an_id() -> None:
    """An id among other words of a text does not count."""
    assert not names(record(encode(dialogue(query=f"who is {KEY}?"))))
    assert not names(record(encode(EVENT)[:-1]), KEY[:-1])
    assert find_user_ids(record(encode(EVENT))) < find_user_ids(record(encode(EVENT)), NAMESPACE)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "repeated", [b"\\", b'"', b'\\"', b'"abcdef",', b"\\u00", b'{"user_id":', b"\0", b"user_id=", b'"' + b"x" * 2000]
)
def test_a_large_value_is_searched_quickly(repeated: bytes) -> None:
    """This holds for any content."""
    value = repeated * (1_000_000 // len(repeated)) + b'" "user_id": "' + KEY.encode() + b'"'
    found = find_user_ids(record(value), NAMESPACE)
    assert all(len(one) == 16 for one in found)


@given(st.binary(max_size=200), st.binary(max_size=40) | st.none())
def test_any_bytes_can_be_searched(value: bytes, key: bytes | None) -> None:
    """No content raises an error. A key that may be an id is found."""
    found = find_user_ids(record(value, [("h", value)], key=key), NAMESPACE)
    assert all(len(one) == 16 for one in found)
    if key and (text := key.decode(errors="ignore")).encode() == key and "\0" not in text:
        assert UUID_FORM.fullmatch(text) or user_id(NAMESPACE, text).bytes in found
