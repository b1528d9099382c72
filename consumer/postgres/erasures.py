"""The set of erased users in the database.

A write screens its batch with the set it knows, and locks the version of the set just before it moves the ledger. If
the version has changed by then, the write starts again with the newer set. An erasure raises the version first and
deletes afterwards. So the erasure finds the rows that were committed before, and every later write notices the erasure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from typing_extensions import override

from consumer.events.otlp.kinds import DEFAULT_NAMESPACE
from consumer.ingest.erased import ErasedUsers, Key
from consumer.ingest.ports import Cause, StoreError, Unavailable
from consumer.postgres.client import Database, Transaction
from consumer.postgres.queries import load


class ErasuresChanged(StoreError):
    """A user was erased after the set was read: screen the batch again."""


class Erasures:
    """The set of erased users as this process knows it.

    :param keys: the current key, then previous keys; without any, the key stored in the database is used
    """

    namespace: UUID | None = None
    """The namespace of string ids."""

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        self._set = tuple(keys)
        self.keys: Sequence[Key] = self._set
        self.known = ErasedUsers()

    async def learn(self, database: Database) -> None:
        """Read the set.

        :raises Unavailable: not now, or a user was erased under a key that is not set
        """
        async with database.transaction() as transaction:
            await self.read(transaction)

    async def read(self, transaction: Transaction) -> None:
        """Read the set within a transaction. Raises as :meth:`learn` does."""
        (row,) = await transaction.fetch(load("erased_users"))
        self.take(dict(row))

    def take(self, row: Mapping[str, Any]) -> None:
        """Store the row that the database returned. Raises as :meth:`learn` does."""
        self.keys = (*self._set, Key(row["key"]))
        unknown = sorted(set(row["key_ids"]) - {key.id for key in self.keys})
        if unknown:
            raise Unavailable(_MISSING_KEY.format(ids=", ".join(unknown)), Cause.ERASURE)
        keys = [key for key in self.keys if key.id in row["key_ids"]]
        self.known = ErasedUsers(row["hashes"], keys, row["version"], self.namespace)

    async def hold(self, transaction: Transaction, screened_by: ErasedUsers) -> None:
        """Lock the set until the transaction ends.

        :raises ErasuresChanged: it has changed since the batch was screened
        """
        if await _hold(transaction) != screened_by.version:
            raise ErasuresChanged("the set of erased users has changed")

    async def hold_newest(self, transaction: Transaction) -> ErasedUsers:
        """Lock the set until the transaction ends, and read it if it has changed. Raises as :meth:`learn` does."""
        if await _hold(transaction) != self.known.version:
            await self.read(transaction)
        return self.known


class RecordErasures(Erasures):
    """The set of erased users, for screening records. Records may contain string ids.

    :param namespace: the namespace of string ids; None if they are not accepted
    """

    def __init__(self, keys: Sequence[Key] = (), namespace: UUID | None = None) -> None:
        super().__init__(keys)
        self.namespace = namespace
        self.namespace_hash: bytes | None = None

    @override
    def take(self, row: Mapping[str, Any]) -> None:
        """Store the answer of the database. Raises as :meth:`learn` does, and also if an erasure had another namespace:
        its users would not be recognised by their string ids.
        """
        key = Key(row["key"])
        if self.namespace is None and row["namespace_hash"] == key.hash(DEFAULT_NAMESPACE.bytes):
            self.namespace = DEFAULT_NAMESPACE  # of traces, whose topics are not read any more
        self.namespace_hash = key.hash(self.namespace.bytes) if self.namespace else None
        if row["namespace_hash"] not in (None, self.namespace_hash):
            raise Unavailable(_OTHER_NAMESPACE, Cause.ERASURE)
        super().take(row)


async def _hold(transaction: Transaction) -> int:
    for row in await transaction.fetch(load("hold_erasures")):
        return int(row["version"])
    raise Unavailable("the table erasure_version has no row: run `ragledger migrate up`", Cause.SCHEMA)


_OTHER_NAMESPACE = (
    "users were erased under another RAGLEDGER_IDS__NAMESPACE than the one set here, so a write could store them again:"
    " set it to the value used for the erasure, or unset it if there was none"
)
_MISSING_KEY = (
    "users were erased with a key that is not set here (key id {ids}), so a write could store them again:"
    " set RAGLEDGER_ERASURE__KEY, or RAGLEDGER_ERASURE__PREVIOUS_KEYS, to the values used for the erasure"
)
