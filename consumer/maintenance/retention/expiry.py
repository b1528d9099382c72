"""Taking provenance out whose retention is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from consumer.postgres.client import Database, Transaction
from consumer.postgres.queries import load
from consumer.postgres.visibility import demand_whole_tables

# A notice stays well below what a record may have, whatever its owner has lost; the archive has the rest.
CONTENTS_IN_A_NOTICE = 100


@dataclass(frozen=True, slots=True)
class Preview:
    """What retention would take out at a moment.

    :param as_of: that moment, UTC without a zone
    :param expired: rows that would be archived and deleted
    :param on_hold: rows whose retention is over but for a legal hold
    :param by_license: for each licence
    :param by_owner: for each `acquired_by`, those with the most rows first
    :param by_month: for each month in which a retention ended
    :param waiting_notices: notices that are not known to be published
    :param open_run: a run that was begun and not ended: the next one goes on with it
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
    """What one transaction did: rows deleted, those of them archived, notices written; whether more is to come, and
    whether it was ours to do at all.
    """

    deleted: int = 0
    archived: int = 0
    notices: int = 0
    more: bool = False
    leads: bool = True


class Expiry:
    """The provenance of one database.

    :param batch_rows: rows in one transaction, at most
    """

    def __init__(self, database: Database, batch_rows: int) -> None:
        self._database, self._batch_rows = database, batch_rows

    async def preview(self, as_of: datetime, owners: int) -> Preview:
        """What would be taken out; changes nothing.

        :param as_of: UTC without a zone
        :param owners: those shown at most
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
        """Archive and delete one batch or, where nothing is left, end the run: one transaction.

        :param wait: for another process that is at it; without, nothing is done then
        :raises OperationError: row-level security hides rows
        """
        async with self._database.transaction() as transaction:
            if wait:
                await transaction.fetch(load("retention_wait_to_lead"))
            elif not (await transaction.fetch(load("retention_lead")))[0]["leads"]:
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
