"""Erasing one user.

    remember   the hash of the user, committed first: from then on nothing stores a dialogue of the user again
    delete     dialogues and the feedback on them, in batches, each with the marks of the days it touches
    empty      dead letters that name the user
    unlink     provenance, its archive and notices are kept without the user
    compute    the days touched, anew

What each transaction has done is counted in it, in `erasures`. Killed at any point, it is repeated as it was begun.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from consumer.adapters.erasures import Erasures
from consumer.adapters.history import Archived, PostgresHistory
from consumer.adapters.postgres import Database, Transaction
from consumer.adapters.sql import load
from consumer.events.mentions import ids_named_in
from consumer.events.record import StoredRecord
from consumer.ingest.copy_format import microseconds
from consumer.ingest.days import BusinessDays
from consumer.ingest.erased import GONE, Key
from consumer.operations.dead_letters import headers_of
from consumer.operations.queries import query
from consumer.operations.visibility import demand_whole_tables

ROWS_AT_A_TIME = 1_000
LETTERS_AT_A_TIME = 500
LETTER_BYTES_AT_A_TIME = 33_554_432
_TABLES = ("ai_dialogue_log", "dead_letters", "provenance", "retention_archive", "retention_notices")
_FEEDBACK = "kept_feedback"
_UNLINKED = ("provenance", "archived_provenance", "notices")
_UNLINKING = {"provenance": "provenance", "archived_provenance": "archive", "notices": "notices"}

Progress = Callable[[str, int], None]
"""Is given what was worked on, and how many of it were done."""


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of a user.

    :param deleted: by name, what would be or was deleted
    :param unlinked: by name, what would be or was kept without the user
    :param on_hold: rows of provenance that are kept with the user, because of a legal hold
    :param named_in_policy: rows of provenance whose access_policy names the user
    :param days: whose aggregates are computed anew
    """

    deleted: Mapping[str, int]
    unlinked: Mapping[str, int]
    on_hold: int
    named_in_policy: int
    days: Sequence[date]


class Erasure:
    """The erasure of users of one database.

    :param keys: the key in use first; where none is set, the one that the database keeps is in use
    """

    def __init__(self, database: Database, history: PostgresHistory, timezone: str, keys: Sequence[Key]) -> None:
        self._database, self._history, self._days = database, history, BusinessDays(timezone)
        self._erasures = Erasures(keys)

    async def demand(self) -> None:
        """Make sure that it can be done, and be kept; before anything else.

        :raises OperationError: row-level security hides rows
        :raises Unavailable: users were erased under a key that is not set here
        """
        async with self._database.transaction() as transaction:
            await demand_whole_tables(transaction, *_TABLES, _FEEDBACK)
            await self._erasures.read(transaction)

    async def find(self, user: UUID, told: Progress) -> Found:
        """What there is of the user; changes nothing."""
        async with self._database.transaction() as transaction:
            await transaction.execute("SET TRANSACTION READ ONLY")
            (row,) = await transaction.fetch(query("erasure_found"), user)
            moments = [found["moment"] for found in await transaction.fetch(query("erasure_found_days"), user)]
            feedback = 0
            if await _has_feedback(transaction):
                feedback = (await transaction.fetch(query("erasure_found_feedback"), user))[0]["feedback"]
        letters = sum([len(named) async for named in self._letters(user, told)])
        deleted = {"dialogues": row["dialogues"], "feedback": feedback, "dead_letters": letters}
        unlinked = {name: row[name] for name in _UNLINKED}
        days = sorted(self._days.days_of(map(microseconds, moments)))
        return Found(deleted, unlinked, row["on_hold"], row["named_in_policy"], days)

    async def erase(self, user: UUID, requested_by: str, reference: str | None, told: Progress) -> Sequence[Any]:
        """Erase the user; every erasure of the user so far, this one first.

        :param requested_by: who runs it
        :param reference: the request it answers
        :raises StoreError: not now; what is done stays done, and repeating it goes on
        """
        erasure = await self._begin(user, requested_by, reference)
        await self._delete_dialogues(erasure, user, told)
        await self._empty_dead_letters(erasure, user, told)
        for name in _UNLINKED:
            await self._unlink(erasure, user, name, told)
        await self._compute_days(erasure, told)
        async with self._database.transaction() as transaction:
            await transaction.execute(query("erasure_finish"), erasure)
            return await transaction.fetch(query("erasure_history"), self.hash(user))

    def hash(self, user: UUID) -> bytes:
        """By what the user is remembered."""
        return self._key.hash(user.bytes)

    @property
    def key_id(self) -> str:
        """Which key that hash is made with."""
        return self._key.id

    @property
    def _key(self) -> Key:
        return self._erasures.keys[0]

    async def _begin(self, user: UUID, requested_by: str, reference: str | None) -> int:
        hashed = self.hash(user)
        async with self._database.transaction() as transaction:
            await transaction.execute(query("erasure_remember"), hashed, self.key_id)
            rows = await transaction.fetch(query("erasure_begin"), hashed, self.key_id, requested_by, reference)
        return int(rows[0]["id"])

    async def _delete_dialogues(self, erasure: int, user: UUID, told: Progress) -> None:
        while True:
            async with self._database.transaction() as transaction:
                rows = await transaction.fetch(query("erasure_dialogues"), user, ROWS_AT_A_TIME)
                if not rows:
                    return
                days = sorted(self._days.days_of(microseconds(row["created_at"]) for row in rows))
                await transaction.execute(load("touch_days"), days)
                feedback = await _delete_feedback(transaction, [row["id"] for row in rows])
                await _add(transaction, erasure, {"dialogues": len(rows), "feedback": feedback}, days)
            told("dialogues", len(rows))

    async def _empty_dead_letters(self, erasure: int, user: UUID, told: Progress) -> None:
        async for named in self._letters(user, told):
            if named:
                async with self._database.transaction() as transaction:
                    rows = await transaction.fetch(query("dead_letters_empty"), named, GONE)
                    await _add(transaction, erasure, {"dead_letters": len(rows)})

    async def _letters(self, user: UUID, told: Progress) -> AsyncIterator[Sequence[int]]:
        """Go through the dead letters: chunk by chunk, the ids of those that name the user."""
        last = 0
        while True:
            async with self._database.transaction() as transaction:
                limits = LETTERS_AT_A_TIME, LETTER_BYTES_AT_A_TIME
                rows = await transaction.fetch(query("erasure_dead_letters"), last, *limits)
            if not rows:
                return
            last = rows[-1]["id"]
            yield [row["id"] for row in rows if user.bytes in ids_named_in(_record(row))]
            told("dead letters", len(rows))

    async def _unlink(self, erasure: int, user: UUID, name: str, told: Progress) -> None:
        """Retention carries the user from one of these tables into the next: not while this looks."""
        while True:
            async with self._database.transaction() as transaction:
                await transaction.fetch(query("retention_wait_to_lead"))
                rows = await transaction.fetch(query(f"erasure_{_UNLINKING[name]}"), user, ROWS_AT_A_TIME)
                await _add(transaction, erasure, {name: len(rows)})
            told("provenance", len(rows))
            if not rows:
                return

    async def _compute_days(self, erasure: int, told: Progress) -> None:
        async with self._database.transaction() as transaction:
            days = [row["day"] for row in await transaction.fetch(query("erasure_days"), erasure)]
        for day in days:
            with suppress(Archived):  # its row is all there is left of the day; it names nobody
                await self._history.roll_up(day)
            told("days", 1)


async def _add(transaction: Transaction, erasure: int, counts: Mapping[str, int], days: Sequence[date] = ()) -> None:
    names = ("dialogues", "feedback", "dead_letters", *_UNLINKED)
    await transaction.execute(query("erasure_add"), erasure, *(counts.get(name, 0) for name in names), list(days))


async def _has_feedback(transaction: Transaction) -> bool:
    rows = await transaction.fetch("SELECT to_regclass($1) IS NOT NULL AS there", _FEEDBACK)
    return bool(rows[0]["there"])


async def _delete_feedback(transaction: Transaction, dialogues: Sequence[UUID]) -> int:
    if not await _has_feedback(transaction):
        return 0
    return len(await transaction.fetch(query("erasure_feedback"), list(dialogues)))


def _record(row: Any) -> StoredRecord:
    place = row["topic"], row["partition"], row["record_offset"], 0
    return StoredRecord(*place, row["key"], row["value"], tuple(headers_of(row["headers"])))
