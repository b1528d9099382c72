"""Tests erased users: their dialogues are not stored, their provenance loses the user, and their dead letters are
emptied.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from uuid import UUID

import pytest

from consumer.decode.lanes import decode, decode_all
from consumer.decode.rows import Row
from consumer.events import ids
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.provenance import PROVENANCE
from consumer.events.record import Record
from consumer.events.rejection import Reason, Rejected
from consumer.events.user_ids import find_user_ids
from consumer.ingest import erased as erased_module
from consumer.ingest.batch import DeadLetter
from consumer.ingest.erased import REMEMBERED, ErasedUsers, Key, Screened, Screening
from tests.support.builders import PROVENANCE_TOPIC, SESSION, USER, dialogue, encode, provenance, record
from tests.support.copy_reader import read_tuple

NAMESPACE = UUID("0d9f7a52-6f0e-4a6b-9f0c-6f2f1c3b4a5d")
KEY, OTHER_KEY = Key(b"k" * 32), Key(b"o" * 32)
OTHER = "44444444-4444-4444-8444-444444444444"
GONE, THERE = UUID(USER), UUID(OTHER)
ERASED = ErasedUsers([KEY.hash(GONE.bytes)], [KEY], version=1)


def rows_of(*users: str) -> Sequence[Row]:
    """Return dialogues of these users, in this order."""
    verdicts = decode_all(DIALOGUE, [record(dialogue(user_id=user), offset=n) for n, user in enumerate(users)])
    return [verdict for verdict in verdicts if isinstance(verdict, Row)]


def letter(value: bytes, offset: int = 0) -> DeadLetter:
    """Return a dead letter with this content."""
    return DeadLetter(
        record(value, [("h", b"v")], key=b"k", offset=offset), Rejected.whole(Reason.NOT_JSON, "not JSON")
    )


def screen(
    rows: Mapping[Kind, Sequence[Row]], letters: Sequence[DeadLetter] = (), erased: ErasedUsers = ERASED
) -> Screened:
    """Return the rows and dead letters that may be stored, if the database rejects no row."""
    return Screening(rows, letters).under(erased, rows_may_be_refused=False)


def parts(taken: Record) -> tuple[object, ...]:
    """Return the content of a record, and its place."""
    return taken.topic, taken.partition, taken.offset, taken.timestamp, taken.key, taken.value, tuple(taken.headers)


def test_any_tool_can_compute_the_hash() -> None:
    """It is HMAC-SHA-256 of the id's 16 bytes with the key's text, so a receipt can be checked without ragledger."""
    assert KEY.hash(GONE.bytes) == hmac.new(b"k" * 32, GONE.bytes, hashlib.sha256).digest()


def test_the_id_of_a_key_depends_only_on_the_key() -> None:
    """The id is always the same for one key, differs between keys, and is not part of any user's hash."""
    assert KEY.id == Key(b"k" * 32).id != OTHER_KEY.id
    assert len(KEY.id) == 16
    assert "k" * 8 not in repr(KEY)


def test_without_erased_users_nothing_is_searched() -> None:
    """Rows and dead letters are returned as they are, without a copy."""
    rows, letters = {DIALOGUE: rows_of(USER)}, [letter(USER.encode())]
    screened = screen(rows, letters, ErasedUsers())
    assert screened.rows is rows
    assert screened.dead_letters is letters
    assert screened.later(letters) is letters


def test_a_dialogue_of_an_erased_user_becomes_a_dead_letter_that_holds_nothing() -> None:
    """Key, value and headers are removed. The place is kept, because the ledger counts the record. Other dialogues are
    stored.
    """
    rows = rows_of(USER, OTHER, USER.upper())
    screened = screen({DIALOGUE: rows})
    assert screened.rows == {DIALOGUE: [rows[1]]}
    assert [parts(one.record) for one in screened.dead_letters] == [
        (*parts(rows[n].record)[:4], None, None, ()) for n in (0, 2)
    ]
    assert {one.rejected.reason for one in screened.dead_letters} == {Reason.ERASED_USER}
    assert USER not in str(screened.dead_letters)


def test_provenance_of_an_erased_user_is_stored_without_the_user() -> None:
    """All other fields are unchanged."""
    events = [provenance(acquired_by=user, retention_years=7) for user in (USER, OTHER, None)]
    rows = [decode(PROVENANCE, record(event, topic=PROVENANCE_TOPIC, offset=n)) for n, event in enumerate(events)]
    screened = screen({PROVENANCE: rows})
    assert screened.dead_letters == []
    kept = screened.rows[PROVENANCE]
    assert kept[1:] == rows[1:]
    before, after = (read_tuple(row.encoded, PROVENANCE) for row in (rows[0], kept[0]))
    assert after == {**before, "acquired_by": None}
    assert kept[0].subject == b""


def test_a_dead_letter_that_names_an_erased_user_is_emptied() -> None:
    """The others stay byte for byte the same, in the same order."""
    values = (b"{", f'{{"user_id": "{USER}"'.encode(), OTHER.encode())
    letters = [letter(value, offset) for offset, value in enumerate(values)]
    screened = screen({}, letters).dead_letters
    assert [one.rejected.reason for one in screened] == [Reason.NOT_JSON, Reason.ERASED_USER, Reason.NOT_JSON]
    assert (screened[0], screened[2]) == (letters[0], letters[2])
    assert parts(screened[1].record)[4:] == (None, None, ())


def test_users_erased_under_an_older_key_stay_erased() -> None:
    """Each hash is compared for each key in use."""
    erased = ErasedUsers([OTHER_KEY.hash(GONE.bytes), KEY.hash(THERE.bytes)], [KEY, OTHER_KEY])
    assert erased.among([GONE.bytes, THERE.bytes, UUID(SESSION).bytes]) == {GONE.bytes, THERE.bytes}
    assert not ErasedUsers([OTHER_KEY.hash(GONE.bytes)], [KEY]).has(GONE.bytes)


def test_the_cache_of_users_is_bounded() -> None:
    """The cache is bounded for any number of users, and the result is still correct."""
    erased = ErasedUsers([KEY.hash(GONE.bytes)], [KEY])
    assert erased.among(n.to_bytes(16) for n in range(REMEMBERED + 10)) == frozenset()
    assert len(erased._known) <= REMEMBERED
    assert erased.has(GONE.bytes)


def test_a_refused_row_that_names_an_erased_user_anywhere_is_emptied() -> None:
    """All candidates are found before the database rejects a row. A row of an erased user is already a dead letter."""
    rows = [
        decode(DIALOGUE, record(dialogue(user_id=OTHER, query=text), offset=n)) for n, text in enumerate((USER, "x"))
    ]
    screened = Screening({DIALOGUE: rows}, []).under(ERASED, rows_may_be_refused=True)
    refused = [DeadLetter(row.record, Rejected.whole(Reason.REFUSED_BY_DATABASE, "no")) for row in rows]
    first, second = screened.later(refused)
    assert (first.rejected.reason, first.record.value) == (Reason.ERASED_USER, None)
    assert second is refused[1]


def test_a_dead_letter_that_names_an_erased_user_by_a_string_is_emptied() -> None:
    """The namespace of the settings gives the user of a string. Records that name other users are kept."""
    user = ids.user_id(NAMESPACE, "auth0|1")
    erased = ErasedUsers([KEY.hash(user.bytes)], [KEY], version=1, namespace=NAMESPACE)
    letters = [letter(encode(dialogue(user_id=key, query=1)), n) for n, key in enumerate(("auth0|1", "auth0|2"))]
    gone, kept = screen({}, letters, erased).dead_letters
    assert (gone.rejected.reason, gone.record.value) == (Reason.ERASED_USER, None)
    assert kept is letters[1]


def test_no_record_is_searched_again_for_another_attempt_or_a_newer_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is still that of the newer set of erased users."""
    looked_through: list[int] = []

    def found(taken: Record, namespace: UUID | None) -> AbstractSet[bytes]:
        looked_through.append(taken.offset)
        return find_user_ids(taken, namespace)

    monkeypatch.setattr(erased_module, "find_user_ids", found)
    letters = [DeadLetter(record(USER.encode(), offset=n), Rejected.whole(Reason.NOT_JSON, "no")) for n in range(3)]
    screening = Screening({DIALOGUE: [decode(DIALOGUE, record(dialogue(user_id=OTHER), offset=3))]}, letters)
    nobody_known = ErasedUsers([KEY.hash(b"x" * 16)], [KEY], version=0)
    before = screening.under(nobody_known, rows_may_be_refused=False).dead_letters
    after = [screening.under(ERASED, rows_may_be_refused=True).dead_letters for _ in range(2)]
    assert {one.rejected.reason for one in before} == {Reason.NOT_JSON}
    assert {one.rejected.reason for letters in after for one in letters} == {Reason.ERASED_USER}
    assert looked_through == [0, 1, 2, 3]
