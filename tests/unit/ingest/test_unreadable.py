"""Tests records that the client could separate from the others but could not unpack."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest

from consumer.decode.lanes import decode_all
from consumer.decode.rows import Row
from consumer.events.dialogue import DIALOGUE
from consumer.events.record import UnreadableRecord
from consumer.events.rejection import Reason, Rejected
from consumer.events.user_ids import find_user_ids
from consumer.postgres.dead_letters import _header, headers_of
from tests.support.builders import DIALOGUE_TOPIC, USER, dialogue, encode, record


def unreadable(value: bytes | None, name: bytes = b"\xff") -> UnreadableRecord:
    """Return a record whose header has this name."""
    headers = ((name.decode("utf-8", "surrogateescape"), b"1"),)
    return UnreadableRecord(DIALOGUE_TOPIC, 0, 3, 1, None, value, headers, "the name of a header is not UTF-8")


@pytest.mark.parametrize("most_bytes", [None, 10, 100_000])
def test_an_unreadable_record_is_rejected_and_the_others_are_decoded(most_bytes: int | None) -> None:
    """The record is rejected although its value alone would be a valid event."""
    good = record(dialogue())
    found = decode_all(DIALOGUE, [good, unreadable(encode(dialogue())), good], most_bytes)
    kinds = [type(one) for one in found]
    assert kinds == ([Rejected] * 3 if most_bytes == 10 else [Row, Rejected, Row])
    middle = found[1]
    assert isinstance(middle, Rejected)
    assert (middle.reason, str(middle)) == (Reason.UNREADABLE_RECORD, "the name of a header is not UTF-8")


@pytest.mark.parametrize("name", [b"plain", b"\xff", b"a\0b", "größe".encode(), b"\xed\xa0\x80", b"\0\xc3"])
def test_the_name_of_a_header_is_kept_byte_for_byte(name: bytes) -> None:
    """jsonb stores it, although jsonb can contain neither NUL nor bytes that are not UTF-8."""
    stored = msgspec.json.encode([_header(name.decode("utf-8", "surrogateescape"), None)]).decode()
    ((back, value),) = headers_of(stored)
    assert (back.encode("utf-8", "surrogateescape"), value) == (name, None)
    assert "\\u0000" not in stored


def test_a_user_is_found_in_the_name_of_a_header_too() -> None:
    """The name has the sixteen bytes of the id, which are not valid text."""
    raw = UUID(USER).bytes[:15] + b"\xff"
    assert raw in find_user_ids(unreadable(None, raw))
    assert UUID(USER).bytes in find_user_ids(unreadable(b"\x00\x01" + USER.encode()))
