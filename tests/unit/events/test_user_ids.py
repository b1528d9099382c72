"""Tests that every id in a record is found, in any spelling, also in records that are no events."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.decode.lanes import decode
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.provenance import PROVENANCE
from consumer.events.user_ids import find_user_ids
from tests.support.builders import USER, cloud_event, dialogue, encode, record
from tests.support.strategies import events, records

ID = UUID(USER)
BARE = ID.hex
TOKEN = b".".join(
    base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
    for part in ({"alg": "HS256"}, {"sub": USER, "name": "x"}, "s" * 40)
)


def escaped(text: str) -> str:
    """Return the text with every character as a JSON escape."""
    return "".join(f"\\u{ord(character):04x}" for character in text)


@pytest.mark.parametrize("kind", [DIALOGUE, PROVENANCE], ids=lambda kind: kind.name)
@given(data=st.data())
def test_the_subject_of_an_event_is_found_in_its_record(kind: Kind, data: st.DataObject) -> None:
    """This holds for every envelope and every spelling that is accepted, so all stored data of a user can be found."""
    taken = data.draw(records(kind, events(kind)))
    row = decode(kind, taken)
    assert not row.subject or row.subject in find_user_ids(taken)


@pytest.mark.parametrize(
    "value",
    [
        encode(dialogue()),
        encode(dialogue(user_id=USER.upper())),
        encode(dialogue(user_id=BARE)),
        f'{{"user_id": "{escaped(USER)}"'.encode(),
        f'{{"user_id": "{escaped(BARE.upper())}"'.encode(),
        json.dumps({"payload": json.dumps({"user_id": "?"}).replace("?", escaped(USER))}).encode(),
        json.dumps({"a": json.dumps({"b": json.dumps({"user_id": USER})})}).encode(),
        json.dumps(dialogue()).encode("utf-16"),
        json.dumps(dialogue()).encode("utf-32-le"),
        json.dumps(cloud_event(data_base64=base64.b64encode(encode(dialogue())).decode())).replace("/", "\\/").encode(),
        json.dumps(cloud_event(data_base64=base64.b64encode(f'"{escaped(USER)}"'.encode()).decode())).encode(),
        base64.b64encode(base64.b64encode(encode(dialogue()))),
        b"v1_" + base64.b64encode(USER.encode()),
        b"prefix/" + base64.urlsafe_b64encode(b"user=" + USER.encode()),
        f"urn:uuid:{USER}".encode(),
        f"{{{USER.upper()}}}".encode(),
        f"code{USER}beef".encode(),
        f"user={BARE}&x=1".encode(),
        b"\xff\xfe not text " + USER.encode() + b"\xff",
        encode(dialogue())[:60],
    ],
)
def test_an_id_is_found_in_a_value(value: bytes) -> None:
    """The value may be broken, escaped or encoded."""
    assert ID.bytes in find_user_ids(record(value))


@pytest.mark.parametrize(
    "taken",
    [
        record(None, key=USER.encode()),
        record(b"x", key=ID.bytes),
        record(b"x", [("user", ID.bytes)]),
        record(b"x", [("user", USER.encode())]),
        record(b"x", [(f"user-{USER}", None)]),
        record(b"x", [("authorization", b"Bearer " + TOKEN)]),
    ],
)
def test_an_id_is_found_in_key_and_headers(taken: object) -> None:
    """The id may be text, 16 bytes, or in a token."""
    assert ID.bytes in find_user_ids(taken)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [b"", b"x", BARE.encode() * 2, BARE.encode() + b"f", USER.encode()[:-1], USER.replace("-", ":").encode()],
)
def test_other_digits_are_not_mistaken_for_an_id(value: bytes) -> None:
    """A longer hash contains the digits, the id is cut off, or the digits have another form."""
    assert ID.bytes not in find_user_ids(record(value))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "repeated",
    [b"\\", b"\\u00", b"\\\\u003", b"\\/", b"0", b"-", b"a-", b"\0", BARE[:-1].encode(), b"A" * 32 + b"."],
    ids=ascii,
)
def test_a_large_value_is_searched_quickly(repeated: bytes) -> None:
    """An id at the end is found quickly in any content."""
    value = repeated * (1_000_000 // len(repeated)) + b" " + USER.encode()
    assert ID.bytes in find_user_ids(record(value))


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_any_bytes_can_be_searched(value: bytes, key: bytes) -> None:
    """No content raises an error."""
    assert all(len(found) == 16 for found in find_user_ids(record(value, [("h", value)], key=key)))


@given(st.uuids(), st.sampled_from([str, str.upper, escaped, lambda text: text.replace("-", "")]))
def test_every_id_of_a_record_is_found(one: UUID, spell: Callable[[str], str]) -> None:
    """Not only the first one is found."""
    value = f'["{USER}", "{spell(str(one))}"]'.encode()
    assert find_user_ids(record(value)) >= {ID.bytes, one.bytes}


@pytest.mark.parametrize("before", range(65_490, 65_580, 7))
def test_an_id_anywhere_in_a_very_long_run_is_found(before: int) -> None:
    """It may cross the boundary between two parts that are searched separately."""
    assert ID.bytes in find_user_ids(record(b"-" * before + str(ID).encode() + b"-" * 100))
    assert ID.bytes in find_user_ids(record(b"-" * before + ID.hex.encode() + b"-" * 100))
