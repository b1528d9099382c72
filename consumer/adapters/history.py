"""The daily aggregates in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import msgspec

from consumer.adapters.postgres import Database, Transaction
from consumer.adapters.sql import load
from consumer.ports import StoreError
from consumer.slo import Objective, judge


class Archived(StoreError):
    """Rows of the day are gone from the table: computing it from the rest would be wrong."""

    def __init__(self, day: date) -> None:
        super().__init__(
            f"{day}: rows of this day were archived, so it cannot be computed, and what is stored of it stays."
            " Leave it out, or bring its month back with `ragledger partition archive --restore`"
        )


class PostgresHistory:
    """See :class:`consumer.rollup.History`."""

    def __init__(self, database: Database, timezone: str, objectives: Sequence[Objective]) -> None:
        self._database, self._timezone, self._objectives = database, timezone, objectives

    async def touched(self) -> Sequence[date]:
        """See :meth:`consumer.rollup.History.touched`."""
        async with self._database.transaction() as transaction:
            return [row["day"] for row in await transaction.fetch(load("touched_days"))]

    async def roll_up_touched(self, day: date) -> bool:
        """See :meth:`consumer.rollup.History.roll_up_touched`. Forgetting the marks and writing are one transaction."""
        async with self._database.transaction() as transaction:
            if not (await transaction.fetch(load("lead_rollup")))[0]["leads"]:
                return False
            await transaction.execute(load("forget_touched_day"), day)
            if await self._is_archived(transaction, day):
                return False
            await self._compute(transaction, day)
        return True

    async def roll_up(self, day: date) -> Mapping[str, Any]:
        """Compute one day now, touched or not, waiting for whoever is rolling up; the day's row.

        :raises Archived: rows of the day were archived; its row stays as it is
        :raises Unavailable: the database cannot do it now
        """
        async with self._database.transaction() as transaction:
            await transaction.fetch(load("wait_to_lead_rollup"))
            if await self._is_archived(transaction, day):
                raise Archived(day)
            await transaction.execute(load("forget_touched_day"), day)
            return await self._compute(transaction, day)

    async def newest(self) -> Mapping[str, Any] | None:
        """See :meth:`consumer.rollup.History.newest`."""
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(load("newest_day"))
        return _with_compliance(dict(rows[0])) if rows else None

    async def _is_archived(self, transaction: Transaction, day: date) -> bool:
        """Archiving waits for the roll-up's lock, so what is found holds until this transaction ends."""
        return bool((await transaction.fetch(load("day_archived"), day, self._timezone))[0]["archived"])

    async def _compute(self, transaction: Transaction, day: date) -> Mapping[str, Any]:
        row = dict((await transaction.fetch(load("roll_up_day"), day, self._timezone))[0])
        compliance = judge(self._objectives, row)
        await transaction.execute(load("judge_day"), day, msgspec.json.encode(compliance).decode())
        return row | {"slo_compliance": compliance}


def _with_compliance(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**row, "slo_compliance": msgspec.json.decode(row["slo_compliance"] or "{}")}
