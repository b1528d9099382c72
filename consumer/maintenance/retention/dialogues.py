"""Removes dialogues that are older than the settings allow.

compute   the days that become final are computed from their rows, where that is due
move      the boundary moves: from this commit on, no day before it is computed again
drop      whole months without a legal hold are dropped (`months`)
delete    all other expired dialogues are deleted in batches, with what belongs to them
sweep     what dialogues of archived months have left in other tables is deleted

A killed run leaves the boundary where it was or where it had to be, and fewer dialogues before it; the next run
continues. While it works, no migration, conversion, archive or restore does; it pauses for them now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from consumer.errors import OperationError
from consumer.maintenance.retention.final import FinalDays, State
from consumer.maintenance.retention.lead import lead
from consumer.maintenance.retention.months import Month, MonthRemoval, expired_months, has_held
from consumer.maintenance.table_partitions.archive import OTHER_WAIT_S
from consumer.maintenance.table_partitions.locks import short_transaction
from consumer.postgres.admin import AdminConnection, Target, connect
from consumer.postgres.client import Database
from consumer.postgres.queries import load
from consumer.postgres.schema_lock import LockTakenError, exclusive
from consumer.postgres.workers import is_spread

_TURN_SECONDS = 30.0
_REST_SECONDS = 1.0  # longer than the pause between two tries of a migration, a conversion or an archive
_SWEPT = (("dialogue_costs", "created_at"), ("dialogue_traces", "created_at"), ("kept_feedback", "given_at"))

OnRemoved = Callable[[int, Month | None], None]
"""Called with a number of removed dialogues, and with each month that was dropped."""


@dataclass(frozen=True, slots=True)
class DialoguePreview:
    """The dialogues that a run would remove.

    :param before: dialogues before this moment are expired, UTC
    :param expired: dialogues that would be removed
    :param on_hold: expired dialogues that a legal hold keeps
    :param months: months that would be dropped as a whole, as YYYY-MM
    :param archives: files of archived months that hold expired dialogues; retention does not change files
    """

    before: datetime
    expired: int
    on_hold: int
    months: Sequence[str]
    archives: Sequence[str]


class DialogueExpiry:
    """Removes expired dialogues from one database.

    :param target: the same database, for the months
    :param batch_rows: rows in one transaction, at most
    """

    def __init__(self, database: Database, target: Target, final: FinalDays, batch_rows: int) -> None:
        self._database, self._target, self._final, self._batch_rows = database, target, final, batch_rows

    async def preview(self, as_of: datetime) -> DialoguePreview:
        """Count what a run at a moment (naive UTC) would remove; change nothing.

        :raises OperationError: a conversion is open, the time zones differ, or row-level security hides rows
        """
        on_hold = load("dialogue_on_hold").format(moment="($1::timestamp AT TIME ZONE 'UTC')")
        count = load("expiry_count")
        async with self._database.transaction("repeatable_read") as transaction:
            await transaction.execute("SET TRANSACTION READ ONLY")
            state = await self._final.state(transaction)
            before = self._final.boundary(state, as_of)
            months, left = await self._months(state, before)
            tables = ["ai_dialogue_log", *(month.partition for month in left)]
            counts = [
                (await transaction.fetch(count.format(table=table, on_hold=on_hold), as_of, before))[0]
                for table in tables
            ]
            files = await transaction.fetch(load("expiry_archives"), before) if state.is_owner else ()
        expired, held = (sum(row[name] for row in counts) for name in ("expired", "on_hold"))
        return DialoguePreview(before, expired, held, months, [row["file"] for row in files])

    async def run(self, *, wait: bool, on_removed: OnRemoved) -> None:
        """Remove every expired dialogue.

        :param wait: wait for a moment while a migration, conversion, archive, restore or another run of retention works
        :raises OperationError: it cannot be done now; what was removed stays removed, and the next run continues
        :raises StoreError: :raises DatabaseError: the database is unavailable
        """
        while True:
            if await self._turn(wait, on_removed):
                return
            await asyncio.sleep(_REST_SECONDS)

    async def _turn(self, wait: bool, on_removed: OnRemoved) -> bool:
        """Work for a while under the lock of the schema, so that others get it too. Return whether all is done."""
        try:
            async with exclusive(self._target, OTHER_WAIT_S if wait else 0):
                return await self._run(monotonic() + _TURN_SECONDS, on_removed)
        except LockTakenError:
            if wait:
                raise OperationError(_TAKEN) from None
            return True

    async def _run(self, ends: float, on_removed: OnRemoved) -> bool:
        state, before = await self._final.move()
        if state.is_partitioned and state.is_owner:
            async with connect(self._target) as db:
                if not await MonthRemoval(db, self._batch_rows).drop(before, ends, on_removed):
                    return False
        if not await self._delete(before, ends, on_removed):
            return False
        await self._sweep(before)
        async with self._database.transaction() as transaction:
            left = [row["name"] for row in await transaction.fetch(load("expiry_left"), before)]
        if left:
            raise OperationError(_LEFT.format(tables=", ".join(left)))
        return True

    async def _months(self, state: State, before: datetime) -> tuple[Sequence[str], Sequence[Month]]:
        """Return the names of the months that would be dropped, and the months that a killed run has detached."""
        if not state.is_partitioned or not state.is_owner:
            return (), ()
        async with connect(self._target) as db:
            months = await expired_months(db, before)
            whole = [str(month) for month in months if not await _is_kept(db, month)]
        return whole, [month for month in months if not month.is_attached]

    async def _delete(self, before: datetime, ends: float, on_removed: OnRemoved) -> bool:
        """Delete until nothing is left, or until the time is up; then return False. Others may delete too, so only two
        passes in vain show that rows stay.
        """
        vain = 0
        while vain < 2:
            chosen, deleted = await self._delete_once(before, ends, on_removed)
            if monotonic() >= ends and (deleted or not chosen):
                return False
            if chosen == deleted:
                return True
            vain = 0 if deleted else vain + 1
        raise OperationError(_STAYS)

    async def _delete_once(self, before: datetime, ends: float, on_removed: OnRemoved) -> tuple[int, int]:
        """Delete from the oldest dialogue to the boundary. Return how many were chosen, and how many deleted."""
        statement = load("expiry_delete").format(on_hold=load("dialogue_on_hold").format(moment="now()"))
        start, chosen, deleted = datetime.min, 0, 0  # noqa: DTZ901 - the client's -infinity
        while monotonic() < ends:
            async with self._database.transaction() as transaction:
                await lead(transaction, wait=True)
                (row,) = await transaction.fetch(statement, before, start, self._batch_rows)
                await transaction.execute(load("expiry_forget"), row["ids"])
                if await is_spread(transaction):  # no trigger of a distributed table removes known ids
                    await transaction.execute(load("erasure_ids"), row["ids"])
            chosen, deleted = chosen + row["chosen"], deleted + len(row["ids"])
            if not row["chosen"] or (not row["ids"] and row["last"] == start):
                break
            start = row["last"]
            on_removed(len(row["ids"]), None)
        return chosen, deleted

    async def _sweep(self, before: datetime) -> None:
        async with self._database.transaction() as transaction:
            (row,) = await transaction.fetch(load("expiry_sweep_due"), before)
        if not row["is_due"]:
            return
        for table, moment in _SWEPT:
            statement, after = load("expiry_sweep").format(table=table, moment=moment), None
            while True:
                async with self._database.transaction() as transaction:
                    await lead(transaction, wait=True)
                    page = await transaction.fetch(statement, before, after, self._batch_rows)
                if not page:
                    break
                after = page[0]["last"]
        async with self._database.transaction() as transaction:
            await transaction.execute(load("expiry_swept"), before)


async def _is_kept(db: AdminConnection, month: Month) -> bool:
    async with short_transaction(db, 0):
        return month.is_attached and await has_held(db, month)


_TAKEN = (
    "no dialogue was removed, because a migration, a conversion, an archive, a restore or another run of retention is"
    " running: run this again when it has ended"
)
_LEFT = (
    "expired dialogues are in {tables}, which an interrupted archive or restore of a month has left: finish it, as"
    " `ragledger doctor` says"
)
_STAYS = (
    "expired dialogues are still there although they were deleted: look for a trigger or a rule of your own that keeps"
    " them"
)
