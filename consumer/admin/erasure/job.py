"""Erasing one user.

    remember   the hash of the user, committed first: from then on nothing stores a dialogue of the user again
    delete     dialogues and the feedback on them in every table that has some, in batches, each with the marks of the
               days it touches
    empty      dead letters that name the user
    unlink     provenance, its archive and notices are kept without the user
    count      what is left, in every place at once: where there is something, all of that again
    compute    the days touched, anew

What each transaction has done is counted in it, in `erasures`. Killed at any point, it is repeated as it was begun. Two
at once take turns, and are one erasure.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from consumer.admin.dead_letters import headers_of
from consumer.admin.erasure import dialogues
from consumer.admin.erasure.files import ArchiveFile, look_into
from consumer.admin.erasure.found import Found
from consumer.decode.copy_format import microseconds
from consumer.errors import OperationError
from consumer.events.record import StoredRecord
from consumer.events.user_ids import find_user_ids
from consumer.ingest.days import BusinessDays
from consumer.ingest.erased import GONE, Key
from consumer.postgres.client import Database, Transaction
from consumer.postgres.erasures import RecordErasures
from consumer.postgres.history import Archived, PostgresHistory
from consumer.postgres.queries import load
from consumer.postgres.visibility import demand_whole_tables

ROWS_AT_A_TIME = 1_000
LETTERS_AT_A_TIME = 500
LETTER_BYTES_AT_A_TIME = 33_554_432
_TABLES = ("ai_dialogue_log", "dead_letters", "provenance", "retention_archive", "retention_notices")
_FEEDBACK = "kept_feedback"
_STOLEN = 2
"""Batches in which others have deleted everything, after which all of it is counted."""
_UNLINKED = ("provenance", "archived_provenance", "notices")
_UNLINKING = {"provenance": "provenance", "archived_provenance": "archive", "notices": "notices"}

Progress = Callable[[str, int], None]
"""Is given what was worked on, and how many of it were done."""


class Erasure:
    """The erasure of users of one database.

    :param keys: the key in use first; where none is set, the one that the database keeps is in use
    :param namespace: of string ids: dead letters may name the user by one
    """

    def __init__(
        self,
        database: Database,
        history: PostgresHistory,
        timezone: str,
        keys: Sequence[Key],
        namespace: UUID | None = None,
    ) -> None:
        self._database, self._history, self._days = database, history, BusinessDays(timezone)
        self._erasures, self._namespace = RecordErasures(keys, namespace), namespace

    async def demand(self) -> None:
        """Make sure that it can be done, and be kept; before anything else.

        :raises OperationError: row-level security hides rows
        :raises Unavailable: users were erased under a key, or a namespace, that is not set here
        """
        async with self._database.transaction() as transaction:
            await demand_whole_tables(transaction, *_TABLES, _FEEDBACK)
            await self._erasures.read(transaction)

    async def find(self, user: UUID, told: Progress) -> Found:
        """What there is of the user; changes nothing."""
        async with self._database.transaction() as transaction:
            await transaction.execute("SET TRANSACTION READ ONLY")
            (row,) = await transaction.fetch(load("erasure_found"), user)
            said = await dialogues.find(transaction, user)
        letters = sum([len(named) async for named in self._letters(user, told)])
        deleted = {"dialogues": said.count, "feedback": said.feedback, "dead_letters": letters}
        unlinked = {name: row[name] for name in _UNLINKED}
        return Found(
            deleted, unlinked, row["on_hold"], row["named_in_policy"], row["sent_notices"], self._days_of(said.moments)
        )

    async def archives(self, user: UUID, directory: Path, told: Progress) -> Sequence[ArchiveFile]:
        """Archives of months that hold the user's dialogues; an erasure does not change them."""
        return await look_into(self._database, directory, user, told)

    async def erase(
        self, user: UUID, requested_by: str, reference: str | None, told: Progress
    ) -> tuple[Sequence[Any], Found]:
        """Erase the user; every erasure of the user so far, this one first, and what is left: nothing to be erased.

        :param requested_by: who runs it
        :param reference: the request it answers
        :raises StoreError: not now; what is done stays done, and repeating it goes on
        :raises OperationError: something keeps rows that it should delete; it is not finished
        """
        erasure = await self._begin(user, requested_by, reference)
        left = await self._until_nothing_is_left(erasure, user, told)
        await self._compute_days(erasure, told)
        async with self._database.transaction() as transaction:
            await transaction.execute(load("erasure_finish"), erasure)
            return await transaction.fetch(load("erasure_history"), self.hash(user), erasure), left

    async def _until_nothing_is_left(self, erasure: int, user: UUID, told: Progress) -> Found:
        """Tables come and go meanwhile, and others delete: what counts is that nothing is there any more."""
        before = -1
        while True:
            done = await self._delete_dialogues(erasure, user, told)
            done += await self._empty_dead_letters(erasure, user, told)
            for name in _UNLINKED:
                done += await self._unlink(erasure, user, name, told)
            left = await self.find(user, told)
            if not left.total:
                return left
            if not done and left.total == before:
                raise OperationError(_STAYS.format(what=left.named))
            before = left.total

    def hash(self, user: UUID) -> bytes:
        """By what the user is remembered."""
        return self._key.hash(user.bytes)

    @property
    def key_id(self) -> str:
        """Which key that hash is made with."""
        return self._key.id

    def _days_of(self, moments: Iterable[datetime]) -> Sequence[date]:
        return sorted(self._days.days_of(map(microseconds, moments)))

    @property
    def _key(self) -> Key:
        return self._erasures.keys[0]

    async def _begin(self, user: UUID, requested_by: str, reference: str | None) -> int:
        hashed = self.hash(user)
        async with self._database.transaction() as transaction:
            await transaction.execute(load("erasure_namespace"), self._erasures.namespace_hash)
            await transaction.execute(load("erasure_remember"), hashed, self.key_id)
            rows = await transaction.fetch(load("erasure_begin"), hashed, self.key_id, requested_by, reference)
        return int(rows[0]["id"])

    @asynccontextmanager
    async def _step(self, user: UUID) -> AsyncIterator[Transaction]:
        async with self._database.transaction() as transaction:
            await transaction.fetch(load("erasure_one_at_a_time"), user)
            yield transaction

    async def _delete_dialogues(self, erasure: int, user: UUID, told: Progress) -> int:
        """From ai_dialogue_log first. A conversion may just be copying what was deleted there: its copy comes later."""
        async with self._database.transaction() as transaction:
            first, *others = await dialogues.places(transaction)
        done = await self._delete_from(first, erasure, user, told)
        async with self._database.transaction() as transaction:
            await transaction.fetch(load("erasure_await_copying"))
        for place in others:
            done += await self._delete_from(place, erasure, user, told)
        return done

    async def _delete_from(self, place: dialogues.Place, erasure: int, user: UUID, told: Progress) -> int:
        done = stolen = 0
        while stolen < _STOLEN:
            async with self._step(user) as transaction:
                if not place.is_first and place not in await dialogues.places(transaction):
                    break  # it is a partition by now, or gone
                gone = await dialogues.delete(transaction, user, place, ROWS_AT_A_TIME)
                if gone.count:
                    await self._count_deleted(transaction, erasure, gone, place)
            told("dialogues", gone.count)
            done, stolen = done + gone.count, 0 if gone.count else stolen + 1
        return done

    async def _count_deleted(
        self, transaction: Transaction, erasure: int, gone: dialogues.Dialogues, place: dialogues.Place
    ) -> None:
        days = self._days_of(gone.moments)
        await transaction.execute(load("touch_days"), days)
        counted = 0 if place.is_double else gone.count
        await _add(transaction, erasure, {"dialogues": counted, "feedback": gone.feedback}, days)

    async def _empty_dead_letters(self, erasure: int, user: UUID, told: Progress) -> int:
        done = 0
        async for named in self._letters(user, told):
            if named:
                async with self._step(user) as transaction:
                    rows = await transaction.fetch(load("dead_letters_empty"), named, GONE)
                    await _add(transaction, erasure, {"dead_letters": len(rows)})
                done += len(rows)
        return done

    async def _letters(self, user: UUID, told: Progress) -> AsyncIterator[Sequence[int]]:
        """Go through the dead letters: chunk by chunk, the ids of those that name the user."""
        last = 0
        while True:
            async with self._database.transaction() as transaction:
                limits = LETTERS_AT_A_TIME, LETTER_BYTES_AT_A_TIME
                rows = await transaction.fetch(load("erasure_dead_letters"), last, *limits)
            if not rows:
                return
            last = rows[-1]["id"]
            yield [row["id"] for row in rows if user.bytes in find_user_ids(_record(row), self._namespace)]
            told("dead letters", len(rows))

    async def _unlink(self, erasure: int, user: UUID, name: str, told: Progress) -> int:
        """Retention carries the user from one of these tables into the next: not while this looks."""
        done = 0
        while True:
            async with self._database.transaction() as transaction:
                await transaction.fetch(load("retention_wait_to_lead"))
                rows = await transaction.fetch(load(f"erasure_{_UNLINKING[name]}"), user, ROWS_AT_A_TIME)
                if rows:
                    sent = [row["id"] for row in rows if row.get("sent")]
                    await _add(transaction, erasure, {name: len(rows)}, sent=sent)
            told("provenance", len(rows))
            if not rows:
                return done
            done += len(rows)

    async def _compute_days(self, erasure: int, told: Progress) -> None:
        async with self._database.transaction() as transaction:
            days = [row["day"] for row in await transaction.fetch(load("erasure_days"), erasure)]
        for day in days:
            with suppress(Archived):  # its row is all there is left of the day; it names nobody
                await self._history.roll_up(day)
            told("days", 1)


async def _add(
    transaction: Transaction,
    erasure: int,
    counts: Mapping[str, int],
    days: Sequence[date] = (),
    sent: Sequence[UUID] = (),
) -> None:
    names = ("dialogues", "feedback", "dead_letters", *_UNLINKED)
    values = (counts.get(name, 0) for name in names)
    await transaction.execute(load("erasure_add"), erasure, *values, list(days), list(sent))


def _record(row: Any) -> StoredRecord:
    place = row["topic"], row["partition"], row["record_offset"], 0
    return StoredRecord(*place, row["key"], row["value"], tuple(headers_of(row["headers"])))


_STAYS = (
    "the erasure is not finished: {what} of the user stay although they were deleted. Look for a trigger, rule or"
    " policy of your own that keeps them, or for an application that writes them again, and erase once more"
)
