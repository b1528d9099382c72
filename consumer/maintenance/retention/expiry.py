"""Archives and deletes the provenance whose retention is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from consumer.maintenance.retention.lead import lead
from consumer.postgres.client import Database, Transaction
from consumer.postgres.queries import load
from consumer.postgres.visibility import demand_whole_tables

# Limits the size of a notice to well below that of the largest record. The archive holds the full list.
CONTENTS_IN_A_NOTICE = 100


@dataclass(frozen=True, slots=True)
class Preview:
    """The rows that a run of retention would archive and delete at a given moment.

    :param as_of: that moment, UTC without a zone
    :param expired: rows that would be archived and deleted
    :param on_hold: rows that a legal hold keeps although their retention is over
    :param by_license: counts for each licence
    :param by_owner: counts for each `acquired_by`, largest first
    :param by_month: counts for each month in which a retention ended
    :param waiting_notices: notices that are not marked as published
    :param open_run: a run that has not ended; the next run continues it
    """

    as_of: datetime
    expired: int
    on_hold: int
    by_license: Sequence[Mapping[str, Any]]
    by_owner: Sequence[Mapping[str, Any]]
    by_month: Sequence[Mapping[str, Any]]
    waiting_notices: int
    open_run: UUID | None


@dataclass(frozen=True, slots=True)
class Archived:
    """The result of one transaction: rows deleted, rows archived, notices written, and whether more rows wait.

    `leads` is False if another process is running retention and this one did nothing.
    """

    deleted: int = 0
    archived: int = 0
    notices: int = 0
    more: bool = False
    leads: bool = True


class Expiry:
    """Finds, archives and deletes expired provenance in one database.

    :param batch_rows: rows in one transaction, at most
    """

    def __init__(self, database: Database, batch_rows: int) -> None:
        self._database, self._batch_rows = database, batch_rows

    async def preview(self, as_of: datetime, owners: int) -> Preview:
        """Count what a run would archive and delete; change nothing.

        :param as_of: UTC without a zone
        :param owners: the largest number of owners to list
        :raises OperationError: row-level security hides rows
        """
        async with self._database.transaction() as transaction:
            await transaction.execute("SET TRANSACTION READ ONLY")
            await demand_whole_tables(transaction, "provenance")
            rows = await transaction.fetch(load("retention_preview"), as_of, owners)
            waiting = (await transaction.fetch(load("retention_count_waiting")))[0]["waiting"]
            runs = await transaction.fetch("SELECT id FROM retention_runs WHERE ended_at IS NULL")
        return _preview(as_of, rows, waiting, runs[0]["id"] if runs else None)

    async def archive(self, *, wait: bool) -> Archived:
        """Archive and delete one batch in one transaction. If no rows are left, end the run instead.

        :param wait: wait for another process that is running retention; without it, return at once
        :raises OperationError: row-level security hides rows
        """
        async with self._database.transaction() as transaction:
            if not await lead(transaction, wait=wait):
                return Archived(leads=False)
            await demand_whole_tables(transaction, "provenance")
            return await self._archive(transaction)

    async def _archive(self, transaction: Transaction) -> Archived:
        runs = await transaction.fetch(load("retention_open_run"))
        run = runs[0]["id"] if runs else uuid4()
        (count,) = await transaction.fetch(load("retention_archive"), run, self._batch_rows)
        if count["archived"] and not runs:
            await transaction.execute(load("retention_begin_run"), run)
        if count["deleted"]:
            return Archived(count["deleted"], count["archived"], more=True)
        if not runs:
            return Archived()
        notices = await transaction.fetch(load("retention_end_run"), run, CONTENTS_IN_A_NOTICE)
        return Archived(notices=len(notices))


def _preview(as_of: datetime, rows: Sequence[Any], waiting: int, open_run: UUID | None) -> Preview:
    (all_,) = [row for row in rows if row["grouped_by"] == "all"]
    return Preview(
        as_of,
        all_["expired"],
        all_["on_hold"],
        _groups(rows, "license", "license_type"),
        _groups(rows, "owner", "acquired_by"),
        _groups(rows, "month", "month"),
        waiting,
        open_run,
    )


def _groups(rows: Sequence[Any], grouped_by: str, name: str) -> Sequence[Mapping[str, Any]]:
    columns = (name, "expired", "on_hold", "first_ended_at", "last_ended_at")
    return [{column: row[column] for column in columns} for row in rows if row["grouped_by"] == grouped_by]
