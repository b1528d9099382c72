"""Erased users: their dialogues are not stored, their provenance without them, their dead letters empty."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from uuid import UUID

import pytest

from consumer.events.dialogue import DIALOGUE
from consumer.events.provenance import PROVENANCE
from consumer.events.record import Record
from consumer.events.rejection import Reason, Rejected
from consumer.ingest.batch import DeadLetter
from consumer.ingest.decode import decode, decode_all
from consumer.ingest.erased import REMEMBERED, ErasedUsers, Key, screen_letters, screen_rows
from consumer.ingest.rows import Row
from tests.unit.builders import PROVENANCE_TOPIC, SESSION, USER, dialogue, provenance, record
from tests.unit.copy_reader import read_tuple

KEY, OTHER_KEY = Key(b"k" * 32), Key(b"o" * 32)
OTHER = "44444444-4444-4444-8444-444444444444"
GONE, THERE = UUID(USER), UUID(OTHER)
ERASED = ErasedUsers([KEY.hash(GONE.bytes)], [KEY], version=1)


def rows_of(*users: str) -> Sequence[Row]:
    """Dialogues of these users, in this order."""
    verdicts = decode_all(DIALOGUE, [record(dialogue(user_id=user), offset=n) for n, user in enumerate(users)])
    return [verdict for verdict in verdicts if isinstance(verdict, Row)]


def letter(value: bytes) -> DeadLetter:
    """A dead letter that holds this."""
    return DeadLetter(record(value, [("h", b"v")], key=b"k"), Rejected.whole(Reason.NOT_JSON, "not JSON"))


def parts(taken: Record) -> tuple[object, ...]:
    """What a record holds, and where it was."""
    return taken.topic, taken.partition, taken.offset, taken.timestamp, taken.key, taken.value, tuple(taken.headers)


def test_a_hash_is_what_any_tool_computes() -> None:
    """HMAC-SHA-256 of the id's 16 bytes under the key's text, so that a receipt can be checked without ragledger."""
    assert KEY.hash(GONE.bytes) == hmac.new(b"k" * 32, GONE.bytes, hashlib.sha256).digest()


def test_the_id_of_a_key_tells_keys_apart_and_no_more() -> None:
    """It is the same every time, another for another key, and is not part of any user's hash."""
    assert KEY.id == Key(b"k" * 32).id != OTHER_KEY.id
    assert len(KEY.id) == 16
    assert "k" * 8 not in repr(KEY)


def test_where_nobody_is_erased_nothing_is_looked_at() -> None:
    """The very same rows and dead letters, not even copied."""
    rows, letters = {DIALOGUE: rows_of(USER)}, [letter(USER.encode())]
    screened = screen_rows(rows, ErasedUsers())
    assert screened.rows is rows
    assert screened.dead_letters == ()
    assert screen_letters(letters, ErasedUsers()) is letters


def test_a_dialogue_of_an_erased_user_becomes_a_dead_letter_that_holds_nothing() -> None:
    """Neither key nor value nor headers; its place, so that the ledger can account for it. Others are stored."""
    rows = rows_of(USER, OTHER, USER.upper())
    screened = screen_rows({DIALOGUE: rows}, ERASED)
    assert screened.rows == {DIALOGUE: [rows[1]]}
    assert [parts(one.record) for one in screened.dead_letters] == [
        (*parts(rows[n].record)[:4], None, None, ()) for n in (0, 2)
    ]
    assert {one.rejected.reason for one in screened.dead_letters} == {Reason.ERASED_USER}
    assert USER not in str(screened.dead_letters)


def test_provenance_of_an_erased_user_is_stored_without_the_user() -> None:
    """Everything else of it as it came."""
    events = [provenance(acquired_by=user, retention_years=7) for user in (USER, OTHER, None)]
    rows = [decode(PROVENANCE, record(event, topic=PROVENANCE_TOPIC, offset=n)) for n, event in enumerate(events)]
    screened = screen_rows({PROVENANCE: rows}, ERASED)
    assert screened.dead_letters == []
    kept = screened.rows[PROVENANCE]
    assert kept[1:] == rows[1:]
    before, after = (read_tuple(row.encoded, PROVENANCE) for row in (rows[0], kept[0]))
    assert after == {**before, "acquired_by": None}
    assert kept[0].subject == b""


def test_a_dead_letter_that_names_an_erased_user_is_emptied() -> None:
    """Others stay as they are, byte for byte, in their order."""
    letters = [letter(b"{"), letter(f'{{"user_id": "{USER}"'.encode()), letter(OTHER.encode())]
    screened = screen_letters(letters, ERASED)
    assert [one.rejected.reason for one in screened] == [Reason.NOT_JSON, Reason.ERASED_USER, Reason.NOT_JSON]
    assert (screened[0], screened[2]) == (letters[0], letters[2])
    assert parts(screened[1].record)[4:] == (None, None, ())


def test_users_erased_under_an_older_key_stay_erased() -> None:
    """Each hash is held against each key that is in use."""
    erased = ErasedUsers([OTHER_KEY.hash(GONE.bytes), KEY.hash(THERE.bytes)], [KEY, OTHER_KEY])
    assert erased.among([GONE.bytes, THERE.bytes, UUID(SESSION).bytes]) == {GONE.bytes, THERE.bytes}
    assert not ErasedUsers([OTHER_KEY.hash(GONE.bytes)], [KEY]).has(GONE.bytes)


def test_the_memory_of_users_is_bounded() -> None:
    """However many users there are; the verdicts stay right."""
    erased = ErasedUsers([KEY.hash(GONE.bytes)], [KEY])
    assert erased.among(n.to_bytes(16) for n in range(REMEMBERED + 10)) == frozenset()
    assert len(erased._known) <= REMEMBERED
    assert erased.has(GONE.bytes)


@pytest.mark.parametrize("named", [True, False])
def test_whether_a_record_names_an_erased_user(named: bool) -> None:
    """For dead letters that are replayed."""
    taken = record(dialogue(user_id=USER if named else OTHER))
    assert ERASED.named_in(taken) is named
