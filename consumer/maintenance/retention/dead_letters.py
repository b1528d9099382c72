"""Removes dead letters that are older than the settings allow, settled or not.

A hold on a user keeps the dead letters that name the user. No column says so, so their records are searched, as an
erasure does. The search takes a while and runs outside of a transaction; if a hold is placed meanwhile, it runs again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from consumer.events.user_ids import find_user_ids
from consumer.maintenance.retention.lead import lead
from consumer.postgres.aside import aside
from consumer.postgres.client import Database, Transaction
from consumer.postgres.dead_letters import searched_record
from consumer.postgres.queries import load

_BYTES_AT_A_TIME = 4_194_304

Holds = frozenset[UUID | None]
"""Users whose dead letters are kept; None stands for all users."""


@dataclass(frozen=True, slots=True)
class LetterPreview:
    """The dead letters that a run would remove.

    :param before: dead letters from before this moment are expired, UTC
    :param expired: dead letters that would be removed
    :param open: how many of them are neither replayed nor discarded: their records would be given up for good
    :param on_hold: expired dead letters that a legal hold keeps
    """

    before: datetime
    expired: int
    open: int
    on_hold: int


@dataclass(frozen=True, slots=True)
class _Page:
    """Expired dead letters. `removable` are those that no hold keeps."""

    removable: Sequence[Any]
    on_hold: int
    holds: Holds


class LetterExpiry:
    """Removes expired dead letters from one database.

    :param keep_days: days for which dead letters are kept
    :param batch_rows: rows in one transaction, at most
    :param namespace: the namespace of string ids: dead letters may contain the user's string id
    """

    def __init__(self, database: Database, keep_days: int, batch_rows: int, namespace: UUID | None) -> None:
        self._database, self._namespace = database, namespace
        self._keep, self._batch_rows = timedelta(days=keep_days), batch_rows

    async def preview(self, as_of: datetime) -> LetterPreview:
        """Count what a run at a moment (naive UTC) would remove; change nothing."""
        removable = open_ = on_hold = 0
        async for page in self._pages(as_of):
            removable += len(page.removable)
            open_ += sum(row["is_open"] for row in page.removable)
            on_hold += page.on_hold
        return LetterPreview(as_of - self._keep, removable, open_, on_hold)

    async def run(self, *, wait: bool, on_removed: Callable[[int, int], None]) -> None:
        """Remove every expired dead letter.

        :param wait: wait for another process that is running retention
        :param on_removed: called with the number of dead letters that were removed, and how many of them were open
        """
        async with self._database.transaction() as transaction:
            (row,) = await transaction.fetch("SELECT now() AT TIME ZONE 'UTC' AS now")
        while not await self._run(row["now"], wait, on_removed):
            pass

    async def _run(self, now: datetime, wait: bool, on_removed: Callable[[int, int], None]) -> bool:
        """Remove page by page. Return False if other holds are in force than those that a page was searched for."""
        async for page in self._pages(now):
            async with self._database.transaction() as transaction:
                if not await lead(transaction, wait=wait):
                    return True
                if await _holds(transaction, now) != page.holds:
                    return False
                ids = [row["id"] for row in page.removable]
                gone = await transaction.fetch(load("expiry_delete_letters"), ids, now - self._keep)
            on_removed(len(gone), sum(row["is_open"] for row in gone))
        return True

    async def _pages(self, now: datetime) -> AsyncIterator[_Page]:
        last = 0
        while True:
            async with self._database.transaction() as transaction:
                holds = await _holds(transaction, now)
                is_searched = bool(holds) and None not in holds
                limits = self._batch_rows, _BYTES_AT_A_TIME, is_searched
                rows = await transaction.fetch(load("expiry_letters"), last, now - self._keep, *limits)
            if not rows:
                return
            last = rows[-1]["id"]
            removable = () if None in holds else rows
            if is_searched:
                removable = await aside(partial(self._without_held, rows, holds))
            yield _Page(removable, len(rows) - len(removable), holds)

    def _without_held(self, rows: Sequence[Any], holds: Holds) -> Sequence[Any]:
        held = {user.bytes for user in holds if user}
        return [row for row in rows if held.isdisjoint(find_user_ids(searched_record(row), self._namespace))]


async def _holds(transaction: Transaction, now: datetime) -> Holds:
    return frozenset(row["user_id"] for row in await transaction.fetch(load("expiry_holds"), now))
