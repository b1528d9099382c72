"""Erased users: no data that names them is stored again.

An erased user is recognised only by a keyed hash. A dialogue of an erased user is not stored. Provenance is stored
without the user. A dead letter that names an erased user is stored without key, value and headers: it proves only that
there was a record.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain
from uuid import UUID

import msgspec

from consumer.decode.rows import Row, decode_exactly
from consumer.decode.spans import without_content
from consumer.events.kind import Kind
from consumer.events.otlp.kinds import SPAN
from consumer.events.record import Record, StoredRecord
from consumer.events.rejection import Reason, Rejected
from consumer.events.user_ids import find_user_ids
from consumer.ingest.batch import DeadLetter
from consumer.settings.model import Erasure

REMEMBERED = 50_000
_KEY_ID = b"ragledger erasure key"

Place = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A secret key for the hashes of users."""

    secret: bytes

    @property
    def id(self) -> str:
        """Identifies the key without revealing it."""
        return hmac.digest(self.secret, _KEY_ID, "sha256")[:8].hex()

    def hash(self, user: bytes) -> bytes:
        """HMAC-SHA-256 of the 16 bytes of a user's id."""
        return hmac.digest(self.secret, user, "sha256")


class ErasedUsers:
    """A set of erased users.

    :param hashes: one hash per user, under one of the keys
    :param version: the version of this set in the database; None if it was not read from there
    :param namespace: the namespace of string ids: records may name users by these
    """

    def __init__(
        self,
        hashes: Collection[bytes] = (),
        keys: Iterable[Key] = (),
        version: int | None = None,
        namespace: UUID | None = None,
    ) -> None:
        self._hashes, self._keys, self.version = frozenset(hashes), tuple(keys), version
        self.namespace = namespace
        self._known: dict[bytes, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def has(self, user: bytes) -> bool:
        """Whether the user with this id (16 bytes) was erased."""
        known = self._known.get(user)
        if known is None:
            known = any(key.hash(user) in self._hashes for key in self._keys)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[user] = known
        return known

    def among(self, users: Iterable[bytes]) -> frozenset[bytes]:
        """The users in this set that were erased."""
        return frozenset(filter(self.has, set(users)))


@dataclass(frozen=True, slots=True)
class Screened:
    """The part of a batch that may be stored.

    :param rows: the rows that may be stored
    :param dead_letters: the dead letters of the batch, and one for each row that may not be stored
    :param naming: the places of records that name an erased user. If such a record becomes a dead letter, it is emptied
    """

    rows: Mapping[Kind, Sequence[Row]]
    dead_letters: Sequence[DeadLetter]
    naming: AbstractSet[Place] = frozenset()

    def later(self, letters: Sequence[DeadLetter]) -> Sequence[DeadLetter]:
        """Dead letters that were rows when the batch was screened."""
        if not self.naming:
            return letters
        return [emptied(one.record) if place_of(one.record) in self.naming else one for one in letters]


class UserIds:
    """Finds the user ids in records, once per record."""

    def __init__(self) -> None:
        self._ids: dict[Place, AbstractSet[bytes]] = {}

    def names(self, record: Record, erased: ErasedUsers) -> bool:
        """Whether the record names an erased user."""
        if not erased:
            return False
        place = place_of(record)
        if place not in self._ids:
            self._ids[place] = find_user_ids(record, erased.namespace)
        return any(map(erased.has, self._ids[place]))


class Screening:
    """Finds the erased users in one batch. This takes seconds for large records, so it happens before the transaction
    begins. The results are kept: another attempt, or a newer set of erased users, searches no record again.
    """

    def __init__(self, rows: Mapping[Kind, Sequence[Row]], dead_letters: Sequence[DeadLetter]) -> None:
        self._rows, self._dead_letters = rows, dead_letters
        self._user_ids = UserIds()
        self._anonymous: dict[Place, Row] = {}

    def under(self, erased: ErasedUsers, *, rows_may_be_refused: bool) -> Screened:
        """The part of the batch that may be stored with this set of erased users.

        :param rows_may_be_refused: whether rows may become dead letters; then their records are searched too
        """
        if not erased:
            return Screened(self._rows, self._dead_letters)
        letters = [
            emptied(one.record) if self._user_ids.names(one.record, erased) else one for one in self._dead_letters
        ]
        rows = {kind: self._screen(kind, of_kind, erased, letters) for kind, of_kind in self._rows.items()}
        naming = frozenset(
            place_of(row.record)
            for row in (chain.from_iterable(rows.values()) if rows_may_be_refused else ())
            if self._user_ids.names(row.record, erased)
        )
        return Screened(rows, letters, naming)

    def _screen(self, kind: Kind, rows: Sequence[Row], erased: ErasedUsers, letters: list[DeadLetter]) -> Sequence[Row]:
        gone = erased.among(row.subject for row in rows if row.subject)
        if not gone:
            return rows
        if kind is SPAN:
            return _without_traces(rows, gone)
        if kind.requires_subject:
            letters += [emptied(row.record) for row in rows if row.subject in gone]
            return [row for row in rows if row.subject not in gone]
        return [self._without_subject(kind, row) if row.subject in gone else row for row in rows]

    def _without_subject(self, kind: Kind, row: Row) -> Row:
        place = place_of(row.record)
        if place not in self._anonymous:
            self._anonymous[place] = decode_exactly(kind, row.record, anonymous=True)
        return self._anonymous[place]


def _without_traces(rows: Sequence[Row], gone: Collection[bytes]) -> Sequence[Row]:
    """Keep nothing of a trace that names an erased user, whichever of its spans names the user."""
    traces = {row.facts[0] for row in rows if row.subject in gone}
    return [without_content(row) if row.facts[0] in traces else row for row in rows]


def place_of(record: Record) -> Place:
    """Topic, partition, offset and timestamp of a record: the identity of a dead letter."""
    return record.topic, record.partition, record.offset, record.timestamp


def emptied(record: Record) -> DeadLetter:
    """A dead letter without the contents of its record."""
    place = StoredRecord(record.topic, record.partition, record.offset, record.timestamp, None, None)
    return DeadLetter(place, _ERASED)


_ERASED = Rejected.whole(Reason.ERASED_USER, "names a user who was erased; nothing of it is kept")
GONE = msgspec.json.encode(_ERASED.detail()).decode()
"""The detail, as JSON, of a dead letter that was emptied."""


def erasure_keys(settings: Erasure) -> Sequence[Key]:
    """The key for hashes of erased users, then the previous keys."""
    return [Key(secret) for secret in settings.secrets]
