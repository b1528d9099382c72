"""Users who were erased: nothing that names them is stored again.

Whom it is about is known by a keyed hash alone. A row whose kind requires its subject (a dialogue) is not stored; one
that can do without (provenance) is stored without it. A dead letter that names such a user is kept as the fact that
there was a record, and nothing of the record.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from consumer.events.kind import Kind
from consumer.events.mentions import ids_named_in
from consumer.events.record import Record, StoredRecord
from consumer.events.rejection import Reason, Rejected
from consumer.ingest.batch import DeadLetter
from consumer.ingest.rows import Row, decode_exactly

REMEMBERED = 50_000
_KEY_ID = b"ragledger erasure key"


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A secret that turns users into hashes."""

    secret: bytes

    @property
    def id(self) -> str:
        """By this a key is known without being told."""
        return hmac.digest(self.secret, _KEY_ID, "sha256")[:8].hex()

    def hash(self, user: bytes) -> bytes:
        """HMAC-SHA-256 of the 16 bytes of a user's id."""
        return hmac.digest(self.secret, user, "sha256")


class ErasedUsers:
    """The users who were erased.

    :param hashes: each user's hash, under one of the keys
    :param version: of this set in the database; None for one that was never read
    """

    def __init__(self, hashes: Collection[bytes] = (), keys: Iterable[Key] = (), version: int | None = None) -> None:
        self._hashes, self._keys, self.version = frozenset(hashes), tuple(keys), version
        self._known: dict[bytes, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def has(self, user: bytes) -> bool:
        """Whether a user, by the 16 bytes of the id, was erased."""
        known = self._known.get(user)
        if known is None:
            known = any(key.hash(user) in self._hashes for key in self._keys)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[user] = known
        return known

    def among(self, users: Iterable[bytes]) -> frozenset[bytes]:
        """Those of the users who were erased."""
        return frozenset(filter(self.has, set(users)))

    def named_in(self, record: Record) -> bool:
        """Whether a record names one of them."""
        return bool(self._hashes) and any(map(self.has, ids_named_in(record)))


@dataclass(frozen=True)
class Screened:
    """Rows that may be stored, and the dead letters that others became."""

    rows: Mapping[Kind, Sequence[Row]]
    dead_letters: Sequence[DeadLetter]


def screen_rows(rows: Mapping[Kind, Sequence[Row]], erased: ErasedUsers) -> Screened:
    """Take out what must not be stored again."""
    if not erased:
        return Screened(rows, ())
    letters: list[DeadLetter] = []
    return Screened({kind: _screen(kind, of_kind, erased, letters) for kind, of_kind in rows.items()}, letters)


def _screen(kind: Kind, rows: Sequence[Row], erased: ErasedUsers, letters: list[DeadLetter]) -> Sequence[Row]:
    gone = erased.among(row.subject for row in rows if row.subject)
    if not gone:
        return rows
    if kind.requires_subject:
        letters += [emptied(row.record) for row in rows if row.subject in gone]
        return [row for row in rows if row.subject not in gone]
    return [decode_exactly(kind, row.record, anonymous=True) if row.subject in gone else row for row in rows]


def screen_letters(letters: Sequence[DeadLetter], erased: ErasedUsers) -> Sequence[DeadLetter]:
    """The dead letters, those that name an erased user emptied."""
    if not erased:
        return letters
    return [emptied(letter.record) if erased.named_in(letter.record) else letter for letter in letters]


def emptied(record: Record) -> DeadLetter:
    """That there was a record, and nothing of it."""
    place = StoredRecord(record.topic, record.partition, record.offset, record.timestamp, None, None)
    return DeadLetter(place, _ERASED)


_ERASED = Rejected.whole(Reason.ERASED_USER, "names a user who was erased; nothing of it is kept")
GONE = msgspec.json.encode(_ERASED.detail()).decode()
"""The detail, as JSON, of a dead letter that was emptied."""
