"""Copies of dialogues on their way out or back: what was erased is in none of them.

A table that is no partition is not where an erasure began, or not yet. So who writes a month into a file, or brings one
back, takes out whom the database knows to be erased, and holds that knowledge when it commits: whoever is erased later
finds the copy where it then is.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumer.ingest.erased import Key
from consumer.postgres.admin import AdminConnection
from consumer.postgres.erasures import Erasures
from consumer.postgres.queries import load


class Screening:
    """Takes the rows of erased users out of tables. Each method belongs into a transaction of its caller."""

    def __init__(self, db: AdminConnection, keys: Sequence[Key]) -> None:
        self._db, self._erasures = db, Erasures(keys)

    async def clean(self, table: str) -> int:
        """Delete the rows of whoever is erased by now, with what is kept beside them; how many there were.

        :raises Unavailable: users were erased under a key that is not set here
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
        """Of the set of erased users that was last cleaned by."""
        return self._erasures.known.version

    async def hold(self) -> int:
        """The version of the set now: it stays so until the transaction ends."""
        [row] = await self._db.rows(load("hold_erasures"))
        return int(row["version"])
