"""The users who were erased, as the database knows them.

A flush screens its batch by the set it knows, and locks the version of the set just before it moves the ledger. Where
the version is another one by then, the flush begins anew with the newer set. An erasure raises the version first and
deletes afterwards: what a flush has committed before, it finds; what commits later has seen it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from typing_extensions import override

from consumer.ingest.erased import ErasedUsers, Key
from consumer.ingest.ports import StoreError, Unavailable
from consumer.postgres.client import Database, Transaction
from consumer.postgres.queries import load


class ErasuresChanged(StoreError):
    """Somebody was erased since the set was read: screen the batch anew."""


class Erasures:
    """What this process knows of the erased users.

    :param keys: the key in use, then those used before; where none is set, the one that the database keeps is in use
    """

    namespace: UUID | None = None
    """Of string ids."""

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
        """Read the set within a transaction. Errors as in :meth:`learn`."""
        (row,) = await transaction.fetch(load("erased_users"))
        self.take(dict(row))

    def take(self, row: Mapping[str, Any]) -> None:
        """Know what the database has answered. Errors as in :meth:`learn`."""
        self.keys = (*self._set, Key(row["key"]))
        unknown = sorted(set(row["key_ids"]) - {key.id for key in self.keys})
        if unknown:
            raise Unavailable(_MISSING_KEY.format(ids=", ".join(unknown)), "erasure")
        keys = [key for key in self.keys if key.id in row["key_ids"]]
        self.known = ErasedUsers(row["hashes"], keys, row["version"], self.namespace)

    async def hold(self, transaction: Transaction, screened_by: ErasedUsers) -> None:
        """Keep the set as it is until the transaction ends.

        :raises ErasuresChanged: it is another one than the batch was screened by
        """
        if await _hold(transaction) != screened_by.version:
            raise ErasuresChanged("the set of erased users has changed")

    async def hold_newest(self, transaction: Transaction) -> ErasedUsers:
        """Keep the set as it is until the transaction ends, and read it where it has changed. Errors as in `learn`."""
        if await _hold(transaction) != self.known.version:
            await self.read(transaction)
        return self.known


class RecordErasures(Erasures):
    """What is known of the erased users by whoever screens records, in which users may have string ids.

    :param namespace: of string ids; None where they are not accepted
    """

    def __init__(self, keys: Sequence[Key] = (), namespace: UUID | None = None) -> None:
        super().__init__(keys)
        self.namespace = namespace
        self.namespace_hash: bytes | None = None

    @override
    def take(self, row: Mapping[str, Any]) -> None:
        """Know what the database has answered. Errors as in :meth:`learn`; and under another namespace than that of an
        erasure, as users would not be recognised by their string ids.
        """
        self.namespace_hash = Key(row["key"]).hash(self.namespace.bytes) if self.namespace else None
        if row["namespace_hash"] not in (None, self.namespace_hash):
            raise Unavailable(_OTHER_NAMESPACE, "erasure")
        super().take(row)


async def _hold(transaction: Transaction) -> int:
    for row in await transaction.fetch(load("hold_erasures")):
        return int(row["version"])
    raise Unavailable("the table erasure_version has no row: run `ragledger migrate up`", "schema")


_OTHER_NAMESPACE = (
    "users were erased under another RAGLEDGER_IDS__NAMESPACE than is set here, so nothing can be written without"
    " risking to keep their string ids: set it as for the erasure"
)
_MISSING_KEY = (
    "users were erased under a key that is not set here (key id {ids}), so nothing can be written without risking to"
    " bring them back: set RAGLEDGER_ERASURE__KEY, or RAGLEDGER_ERASURE__PREVIOUS_KEYS, as for the erasure"
)
