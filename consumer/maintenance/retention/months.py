"""Drops the months of ai_dialogue_log that have expired.

detached  the month is a table of its own, and partition_archives says that retention removes it
forgotten what belongs to its dialogues in other tables is deleted, their known ids too
dropped   its table has been dropped

If the run is killed, the next one continues with the tables that are left. If a legal hold comes to cover a dialogue of
such a table, the dialogue is put back into ai_dialogue_log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from time import monotonic
from uuid import UUID

from consumer.maintenance.table_partitions.locks import short_transaction, under_lock
from consumer.maintenance.table_partitions.shape import read_shape
from consumer.postgres.admin import AdminConnection
from consumer.postgres.queries import load

_HOLD_WAIT_MS = 10_000


@dataclass(frozen=True, slots=True)
class Month:
    """A month that has expired, and its table. `is_attached`: the table is a partition of ai_dialogue_log."""

    month: date
    partition: str
    is_attached: bool

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


async def expired_months(db: AdminConnection, before: datetime) -> list[Month]:
    """Return the whole months before a moment, and those that a killed run has left, oldest first."""
    async with short_transaction(db, 0):
        return [Month(**row) for row in await db.rows(load("expiry_months"), before)]


async def has_held(db: AdminConnection, month: Month) -> bool:
    """Return whether a legal hold covers a dialogue of the month."""
    (row,) = await db.rows(load("expiry_month_held").format(partition=month.partition))
    return bool(row["is_held"])


class MonthRemoval:
    """Drops months, one after the other.

    :param batch_rows: dialogues for which one transaction deletes what belongs to them
    """

    def __init__(self, db: AdminConnection, batch_rows: int) -> None:
        self._db, self._batch_rows = db, batch_rows

    async def drop(self, before: datetime, ends: float, on_progress: Callable[[int, Month | None], None]) -> bool:
        """Drop every expired month without a dialogue on hold. The others stay, to be deleted from in batches.

        :param ends: begin no month after this time (`time.monotonic`); return False if one is left
        :param on_progress: called with a number of removed dialogues, and with each month that was dropped
        :raises LockNotTakenError: other sessions held a lock in every try; the next run continues
        """
        for month in await expired_months(self._db, before):
            if monotonic() >= ends:
                return False
            if month.is_attached and not await self._detach(month):
                continue
            await self._forget(month, on_progress)
            await self._drop(month)
            on_progress(0, month)
        return True

    async def _detach(self, month: Month) -> bool:
        """Take the month out of the table, unless a hold covers a part of it. No day is rolled up meanwhile."""
        async with short_transaction(self._db, 0):
            if await has_held(self._db, month):
                return False
        is_detached = False

        async def detach() -> None:
            nonlocal is_detached
            if is_detached := not await has_held(self._db, month):
                await self._db.rows(load("expiry_month_leaves"), month.month, month.partition)
                await self._db.execute(f"ALTER TABLE ai_dialogue_log DETACH PARTITION {month.partition}")

        lock = f"{load('retention_wait_to_lead')};{load('partition_archive_lock').format(partition=month.partition)}"
        await under_lock(self._db, f"detach {month}", lock, detach)
        return is_detached

    async def _forget(self, month: Month, on_progress: Callable[[int, Month | None], None]) -> None:
        after: UUID | None = None
        statement = load("expiry_month_ids").format(partition=month.partition)
        while True:
            async with short_transaction(self._db, _HOLD_WAIT_MS):
                await self._put_back_held(month)
                page = [row["id"] for row in await self._db.rows(statement, after, self._batch_rows)]
                back = {row["id"] for row in await self._db.rows(load("expiry_ids_back"), page)}
                gone = [id_ for id_ in page if id_ not in back]
                await self._db.rows(load("expiry_forget"), gone)
                await self._db.rows(load("erasure_ids"), gone)
            if not page:
                return
            after = page[-1]
            on_progress(len(gone), None)

    async def _put_back_held(self, month: Month) -> None:
        """Take the lock of retention, so that no hold is placed until the transaction ends."""
        await self._db.rows(load("retention_wait_to_lead"))
        if not await has_held(self._db, month):
            return
        columns = ", ".join((await read_shape(self._db)).columns)
        on_hold = load("dialogue_on_hold").format(moment="now()")
        statement = load("expiry_put_back").format(partition=month.partition, columns=columns, on_hold=on_hold)
        await self._db.execute("SET LOCAL ragledger.keeps_ids = 'on'")
        await self._db.rows(statement)
        await self._db.execute("SET LOCAL ragledger.keeps_ids = ''")

    async def _drop(self, month: Month) -> None:
        async def drop() -> None:
            await self._put_back_held(month)
            await self._db.execute(f"DROP TABLE {month.partition}")
            await self._db.rows(load("expiry_month_dropped"), month.month)

        lock = f"{load('partition_hold_copies')}; LOCK TABLE {month.partition} IN ACCESS EXCLUSIVE MODE"
        await under_lock(self._db, f"drop {month}", lock, drop)
