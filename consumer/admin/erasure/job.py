"""Erases one user.

remember   store the hash of the user and commit: from then on, no dialogue of the user is stored again
delete     delete dialogues and their feedback in every table, in batches, and mark the days of each batch
empty      empty the dead letters that name the user, and the staged spans of the user's traces
unlink     keep provenance, its archive and notices, but without the user
count      count what is left in all tables at once; if anything is, repeat the steps above
compute    recompute the marked days

Each transaction adds its counts to `erasures`. If the command is killed, the next run continues the same erasure. Two
runs at once take turns and are one erasure.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from consumer.admin.erasure import dialogues
from consumer.admin.erasure.files import ArchiveFile, search_archives
from consumer.admin.erasure.found import Found
from consumer.decode.copy_format import microseconds
from consumer.errors import OperationError
from consumer.events.user_ids import find_user_ids
from consumer.ingest.days import BusinessDays
from consumer.ingest.erased import GONE, Key
from consumer.postgres.client import Database, Transaction
from consumer.postgres.dead_letters import searched_record
from consumer.postgres.erasures import RecordErasures
from consumer.postgres.history import Archived, PostgresHistory
from consumer.postgres.queries import load
from consumer.postgres.visibility import demand_whole_tables
from consumer.postgres.workers import await_prepared, is_spread

ROWS_AT_A_TIME = 1_000
LETTERS_AT_A_TIME = 500
LETTER_BYTES_AT_A_TIME = 33_554_432
_TABLES = (
    "ai_dialogue_log",
    "dead_letters",
    "provenance",
    "retention_archive",
    "retention_notices",
    "staged_spans",
    "dialogue_traces",
)
_FEEDBACK = "kept_feedback"
_EMPTY_BATCHES = 2
"""The deletion from a table ends after this number of empty batches in a row. Another session may be deleting rows too.
"""
_UNLINKED = ("provenance", "archived_provenance", "notices")
_UNLINKING = {"provenance": "provenance", "archived_provenance": "archive", "notices": "notices"}
# The spans first: dialogue_traces says whose they are.
_OF_TRACES = {"staged_spans": "erasure_spans", "traces": "erasure_traces"}

Progress = Callable[[str, int], None]
"""Called with the kind of data and the number of rows or files that were processed."""


class Erasure:
    """Erases users from one database.

    :param keys: the erasure keys, the one in use first; if none is set, the key in the database is in use
    :param namespace: the namespace of string ids: dead letters may contain the user's string id
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
        """Raise if the erasure cannot be done completely; call it before anything else.

        :raises OperationError: row-level security hides rows
        :raises Unavailable: users were erased with an erasure key, or under a namespace, that is not set here
        """
        async with self._database.transaction() as transaction:
            await demand_whole_tables(transaction, *_TABLES, _FEEDBACK)
            await self._erasures.read(transaction)

    async def find(self, user: UUID, on_progress: Progress) -> Found:
        """Count the data of the user; change nothing."""
        async with self._database.transaction() as transaction:
            await transaction.execute("SET TRANSACTION READ ONLY")
            (row,) = await transaction.fetch(load("erasure_found"), user)
            (traces,) = await transaction.fetch(load("erasure_found_traces"), user)
            said = await dialogues.find(transaction, user)
        letters = sum([len(named) async for named in self._letters(user, on_progress)])
        deleted = {"dialogues": said.count, "feedback": said.feedback, "dead_letters": letters, **traces}
        unlinked = {name: row[name] for name in _UNLINKED}
        return Found(
            deleted, unlinked, row["on_hold"], row["named_in_policy"], row["sent_notices"], self._days_of(said.moments)
        )

    async def archives(self, user: UUID, directory: Path, on_progress: Progress) -> Sequence[ArchiveFile]:
        """Return the archives of months that hold dialogues of the user; an erasure does not change them."""
        return await search_archives(self._database, directory, user, on_progress)

    async def erase(
        self, user: UUID, requested_by: str, reference: str | None, on_progress: Progress
    ) -> tuple[Sequence[Any], Found]:
        """Erase the user. Return every erasure of the user, this one first, and the data that is left.

        :param requested_by: the person who runs the command
        :param reference: the request that it answers
        :raises StoreError: the database is unavailable; finished steps stay done, and the next run continues
        :raises OperationError: the database keeps rows that were deleted; the erasure is not finished
        """
        erasure = await self._begin(user, requested_by, reference)
        await self._await_workers()
        left = await self._until_nothing_is_left(erasure, user, on_progress)
        await self._compute_days(erasure, on_progress)
        async with self._database.transaction() as transaction:
            await transaction.execute(load("erasure_finish"), erasure)
            return await transaction.fetch(load("erasure_history"), self.hash(user), erasure), left

    async def _until_nothing_is_left(self, erasure: int, user: UUID, on_progress: Progress) -> Found:
        """Repeat the steps until a count finds nothing: tables change meanwhile, and other sessions delete too."""
        before = -1
        while True:
            done = await self._delete_dialogues(erasure, user, on_progress)
            done += await self._empty_dead_letters(erasure, user, on_progress)
            for name, statement in _OF_TRACES.items():
                done += await self._erase_traces(erasure, user, name, statement, on_progress)
            for name in _UNLINKED:
                done += await self._unlink(erasure, user, name, on_progress)
            left = await self.find(user, on_progress)
            if not left.total:
                return left
            if not done and left.total == before:
                raise OperationError(_STAYS.format(what=left.named))
            before = left.total

    def hash(self, user: UUID) -> bytes:
        """Return the hash by which an erased user is recognised."""
        return self._key.hash(user.bytes)

    @property
    def key_id(self) -> str:
        """Id of the key in use."""
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

    async def _await_workers(self) -> None:
        """On a cluster, wait for rows of the user that are committed here and not yet visible on their worker."""
        async with self._database.transaction() as transaction:
            if await is_spread(transaction):
                await await_prepared(transaction)

    @asynccontextmanager
    async def _step(self, user: UUID) -> AsyncIterator[Transaction]:
        async with self._database.transaction() as transaction:
            await transaction.fetch(load("erasure_one_at_a_time"), user)
            yield transaction

    async def _delete_dialogues(self, erasure: int, user: UUID, on_progress: Progress) -> int:
        """Delete from ai_dialogue_log first. A conversion may be copying deleted rows right now; delete
        them after it.
        """
        async with self._database.transaction() as transaction:
            first, *others = await dialogues.dialogue_tables(transaction)
        done = await self._delete_from(first, erasure, user, on_progress)
        async with self._database.transaction() as transaction:
            await transaction.fetch(load("erasure_await_copying"))
        for table in others:
            done += await self._delete_from(table, erasure, user, on_progress)
        return done

    async def _delete_from(
        self, table: dialogues.DialogueTable, erasure: int, user: UUID, on_progress: Progress
    ) -> int:
        done = empty = 0
        while empty < _EMPTY_BATCHES:
            async with self._step(user) as transaction:
                if not table.is_first and table not in await dialogues.dialogue_tables(transaction):
                    break  # it has become a partition, or was dropped
                gone = await dialogues.delete(transaction, user, table, ROWS_AT_A_TIME)
                if gone.count:
                    await self._count_deleted(transaction, erasure, gone, table)
            on_progress("dialogues", gone.count)
            done, empty = done + gone.count, 0 if gone.count else empty + 1
        return done

    async def _count_deleted(
        self, transaction: Transaction, erasure: int, gone: dialogues.Dialogues, table: dialogues.DialogueTable
    ) -> None:
        days = self._days_of(gone.moments)
        await transaction.execute(load("touch_days"), days, [])
        counted = 0 if table.is_double else gone.count
        await _add(transaction, erasure, {"dialogues": counted, "feedback": gone.feedback}, days)

    async def _empty_dead_letters(self, erasure: int, user: UUID, on_progress: Progress) -> int:
        done = 0
        async for named in self._letters(user, on_progress):
            if named:
                async with self._step(user) as transaction:
                    rows = await transaction.fetch(load("dead_letters_empty"), named, GONE)
                    await _add(transaction, erasure, {"dead_letters": len(rows)})
                done += len(rows)
        return done

    async def _erase_traces(self, erasure: int, user: UUID, name: str, statement: str, on_progress: Progress) -> int:
        """Empty or delete rows of traces, in batches; returns their number."""
        done = 0
        while True:
            async with self._step(user) as transaction:
                rows = await transaction.fetch(load(statement), user, ROWS_AT_A_TIME)
                if rows:
                    await _add(transaction, erasure, {name: len(rows)})
            on_progress("traces", len(rows))
            if not rows:
                return done
            done += len(rows)

    async def _letters(self, user: UUID, on_progress: Progress) -> AsyncIterator[Sequence[int]]:
        """Read all dead letters in chunks. Yield the ids of those that name the user, for each chunk."""
        last = 0
        while True:
            async with self._database.transaction() as transaction:
                limits = LETTERS_AT_A_TIME, LETTER_BYTES_AT_A_TIME
                rows = await transaction.fetch(load("erasure_dead_letters"), last, *limits)
            if not rows:
                return
            last = rows[-1]["id"]
            yield [row["id"] for row in rows if user.bytes in find_user_ids(searched_record(row), self._namespace)]
            on_progress("dead letters", len(rows))

    async def _unlink(self, erasure: int, user: UUID, name: str, on_progress: Progress) -> int:
        """Remove the user from one table. Retention, which copies rows from one table to the next, waits meanwhile."""
        done = 0
        while True:
            async with self._database.transaction() as transaction:
                await transaction.fetch(load("retention_wait_to_lead"))
                rows = await transaction.fetch(load(f"erasure_{_UNLINKING[name]}"), user, ROWS_AT_A_TIME)
                if rows:
                    sent = [row["id"] for row in rows if row.get("sent")]
                    await _add(transaction, erasure, {name: len(rows)}, sent=sent)
            on_progress("provenance", len(rows))
            if not rows:
                return done
            done += len(rows)

    async def _compute_days(self, erasure: int, on_progress: Progress) -> None:
        async with self._database.transaction() as transaction:
            days = [row["day"] for row in await transaction.fetch(load("erasure_days"), erasure)]
        for day in days:
            with suppress(Archived):  # only the row of the day is left, and it names no user
                await self._history.roll_up(day)
            on_progress("days", 1)


async def _add(
    transaction: Transaction,
    erasure: int,
    counts: Mapping[str, int],
    days: Sequence[date] = (),
    sent: Sequence[UUID] = (),
) -> None:
    names = ("dialogues", "feedback", "dead_letters", *_UNLINKED)
    values = (counts.get(name, 0) for name in names)
    traces = (counts.get(name, 0) for name in _OF_TRACES)
    await transaction.execute(load("erasure_add"), erasure, *values, list(days), list(sent), *traces)


_STAYS = (
    "the erasure is not finished: {what} of the user are still there although they were deleted. Look for a trigger,"
    " rule or policy of your own that keeps them, or an application that writes them again; then erase the user again"
)
