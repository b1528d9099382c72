"""Deletes rows of erased users from copies of dialogues: months that are being archived or restored.

An erasure deletes from ai_dialogue_log and does not see a table that is not one of its partitions. So a command that
exports or attaches such a table first deletes the rows of erased users, and locks the set of erased users until it
commits. A later erasure then finds the rows at their new place.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumer.ingest.erased import Key
from consumer.postgres.admin import AdminConnection
from consumer.postgres.erasures import Erasures
from consumer.postgres.queries import load


class Screening:
    """Deletes the rows of erased users from tables. Each method runs in a transaction of its caller."""

    def __init__(self, db: AdminConnection, keys: Sequence[Key]) -> None:
        self._db, self._erasures = db, Erasures(keys)

    async def clean(self, table: str) -> int:
        """Delete the rows of erased users, with the data that belongs to them. Return the number of rows.

        :raises Unavailable: users were erased with an erasure key that is not set here
        """
        [known] = await self._db.rows(load("erased_users"))
        self._erasures.take(known)
        if not self._erasures.known:
            return 0
        users = [row["user_id"] for row in await self._db.rows(load("partition_users").format(table=table))]
        gone = [user for user in users if self._erasures.known.has(user.bytes)]
        [found] = await self._db.rows(load("partition_screen").format(table=table), gone)
        return int(found["rows"])

    @property
    def version(self) -> int | None:
        """Version of the set of erased users that the last `clean` used."""
        return self._erasures.known.version

    async def hold(self) -> int:
        """Return the current version of the set, and keep it from changing until the transaction ends."""
        [row] = await self._db.rows(load("hold_erasures"))
        return int(row["version"])
