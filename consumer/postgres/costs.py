"""Stores the origin of the costs of new dialogues, and settles costs again when the prices change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from consumer.decode.copy_format import microseconds, moment_of
from consumer.decode.rows import Row
from consumer.events.costs import CostError, CostSource, PriceBook, Pricing, Recomputed, Usage, content_of
from consumer.ingest.days import BusinessDays
from consumer.ingest.ports import Cause, Refused, Unavailable
from consumer.postgres.client import Database, Transaction
from consumer.postgres.errors import Objection, skipped
from consumer.postgres.halving import halve
from consumer.postgres.queries import load
from consumer.postgres.touched_days import touch_days
from consumer.postgres.workers import await_prepared

AT_A_TIME = 2_000


async def keep_costs(transaction: Transaction, rows: Sequence[Row]) -> None:
    """Store the cost notes of dialogues that were just inserted.

    :raises Refused: the database rejects a note
    :raises Objection: the database rejects a note
    """
    noted = [(UUID(bytes=row.id), moment_of(row.created_at or 0), *row.note) for row in rows if row.note]
    if noted:
        await transaction.execute(load("costs_keep"), *map(list, zip(*noted, strict=True)))


async def change_costs(transaction: Transaction, rows: Sequence[Row]) -> None:
    """Store the cost notes of dialogues that were just changed, and correct the stored notes of dialogues that have
    none now.

    :raises Refused: the database rejects a note
    :raises Objection: the database rejects a note
    """
    await keep_costs(transaction, rows)
    bare = [(UUID(bytes=row.id), moment_of(row.created_at or 0)) for row in rows if not row.note]
    if bare:
        await transaction.execute(load("costs_restate"), *map(list, zip(*bare, strict=True)))


class _Change(NamedTuple):
    """The new state of one dialogue's cost."""

    id: UUID
    created_at: datetime
    source: str
    jpy: Decimal | None
    is_final: bool
    is_changed: bool
    is_out_of_range: bool = False


class PostgresCosts:
    """See :class:`consumer.maintenance.costs.Costs`."""

    def __init__(self, database: Database, pricing: Pricing, days: BusinessDays, owner: str) -> None:
        self._database, self._pricing, self._days, self._owner = database, pricing, days, owner

    async def adopt(self, book: PriceBook) -> None:
        """See :meth:`consumer.maintenance.costs.Costs.adopt`."""
        async with self._database.transaction() as transaction:
            await transaction.execute(load("costs_adopt"), book.version, content_of(book), self._owner)

    async def recompute(self) -> Recomputed | None:
        """See :meth:`consumer.maintenance.costs.Costs.recompute`. One transaction writes costs and marks of days."""
        version = self._pricing.book.version
        async with self._database.transaction() as transaction:
            # Archiving needs the lock of the roll-up too, so no month leaves the table during this transaction.
            if not (await transaction.fetch(load("lead_rollup")))[0]["leads"]:
                return None
            in_force = await transaction.fetch(load("costs_in_force"))
            if not in_force or in_force[0]["version"] != version:
                return None
            is_spread = await _demand_every_row(transaction)
            stale = await _take_stale(transaction, version, is_spread=is_spread)
            archived = await transaction.fetch(load("costs_archived_months")) if stale else ()
            return await self._write(transaction, [self._settle(dict(row), archived) for row in stale], version)

    def _settle(self, row: Mapping[str, Any], archived: Sequence[Any]) -> _Change:
        place = row["dialogue_id"], row["created_at"]
        if row["model_used"] is None or self._is_archived(row["created_at"], archived):
            return _Change(*place, row["source"], row["token_cost_jpy"], is_final=True, is_changed=False)
        try:
            jpy, note = self._pricing.settle(_usage(row))
        except CostError:
            is_changed = row["token_cost_jpy"] is not None
            return _Change(*place, CostSource.UNPRICED, None, False, is_changed, is_out_of_range=True)
        source = note.source if note else CostSource.UNPRICED
        return _Change(*place, source, jpy, is_final=False, is_changed=jpy != row["token_cost_jpy"])

    def _is_archived(self, moment: datetime, archived: Sequence[Any]) -> bool:
        """Whether the day of `moment` has archived rows, so that its aggregates are final."""
        begin, end = self._days.bounds(self._days.day_of(moment))
        return any(month["begin"] < end and month["end"] > begin for month in archived)

    async def _write(self, transaction: Transaction, changes: Sequence[_Change], version: str) -> Recomputed:
        if not changes:
            return Recomputed()
        refused: set[UUID] = set()

        async def change(part: Sequence[_Change]) -> None:
            columns = [[one.id for one in part], [one.created_at for one in part], [one.jpy for one in part]]
            if await transaction.execute(load("costs_change"), *columns) != f"UPDATE {len(part)}":
                raise skipped("ai_dialogue_log")
            await transaction.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a refusal at COMMIT would name no row

        async def refuse(one: _Change, _error: Refused | Objection) -> None:
            refused.add(one.id)

        changed = [one for one in changes if one.is_changed]
        if changed:
            await halve(transaction, changed, change, refuse)
        written = [one for one in changed if one.id not in refused]
        await touch_days(transaction, self._days, (microseconds(one.created_at) for one in written))
        await self._note(transaction, changes, version, refused)
        return Recomputed(len(changes), len(written), sum(one.is_out_of_range for one in changes))

    async def _note(
        self, transaction: Transaction, changes: Sequence[_Change], version: str, refused: set[UUID]
    ) -> None:
        """Set source and version of the settled costs. Final costs keep the version with which they were settled."""
        settled = [one for one in changes if not one.is_final and one.id not in refused]
        ids, sources = [one.id for one in settled], [str(one.source) for one in settled]
        await transaction.execute(load("costs_settle"), ids, sources, version)
        final = [one.id for one in changes if one.is_final or one.id in refused]
        await transaction.execute(load("costs_leave"), final)


async def _take_stale(transaction: Transaction, version: str, *, is_spread: bool) -> Sequence[Any]:
    """Lock and return some costs that were settled with other prices.

    Citus locks no rows of several workers. If a dialogue changes before its cost is written, the batch is repeated.
    """
    found = await transaction.fetch(load("costs_stale"), version, AT_A_TIME)
    if not found:
        return ()
    ids = [row["dialogue_id"] for row in found]
    if is_spread:
        await await_prepared(transaction)  # a dialogue that is not visible yet would look deleted
    else:
        await transaction.fetch(load("costs_lock"), ids, [row["created_at"] for row in found])
    return await transaction.fetch(load("costs_read"), ids)


def _usage(row: Mapping[str, Any]) -> Usage:
    cost = {"amount": row["amount"], "currency": row["currency"]} if row["currency"] else None
    tokens = (row[name] for name in ("prompt_tokens", "completion_tokens", "cached_tokens"))
    return Usage(row["model_used"], row["created_at"], None, cost, *tokens)


async def _demand_every_row(transaction: Transaction) -> bool:
    """Check that no row-level security hides dialogues, because a hidden dialogue would look deleted. Return whether
    they are distributed over a cluster.

    :raises Unavailable: the role does not see every row
    """
    (found,) = await transaction.fetch(load("rows_hidden"), "ai_dialogue_log")
    if found["hidden"]:
        problem = f"row-level security hides dialogues from the role {found['role']}"
        raise Unavailable(f"{problem}: GRANT ragledger_ingest TO {found['role']}", Cause.PRIVILEGE)
    return bool(found["is_spread"])
