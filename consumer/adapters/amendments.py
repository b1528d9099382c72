"""Amendments: events that change a row which is there already, or will be.

Each is kept in a table of its own first, where the newest counts, and then applied to its row, where that is there. A
row that comes later takes what waits for it in the transaction that inserts it. Only where both are under way at once,
in two transactions that do not see each other, neither does: what is left waiting so, the timer applies.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from consumer.adapters.postgres import Database, Transaction
from consumer.adapters.sql import load
from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.plugin import PLUGIN
from consumer.events.provenance import PROVENANCE
from consumer.ingest.copy_format import microseconds
from consumer.ingest.days import BusinessDays
from consumer.ingest.rows import Row


class _Applying(NamedTuple):
    """The statements that apply what was kept: whether any waits, what is done first, and the applying itself."""

    waits: str
    before: str | None
    apply: str


_OF_AMENDMENT: Mapping[Kind, _Applying] = {
    FEEDBACK: _Applying("feedback_waits", None, "apply_feedback"),
    VERIFICATION: _Applying("verification_waits", "lock_verified", "apply_verification"),
}
_OF_ROW: Mapping[Kind, _Applying] = {DIALOGUE: _OF_AMENDMENT[FEEDBACK], PROVENANCE: _OF_AMENDMENT[VERIFICATION]}


async def make_stage(transaction: Transaction, kind: Kind) -> str:
    """A temporary table of the events' own fields; its name."""
    columns = ", ".join(f"{name} {field.pg_type}" for name, field in kind.fields.items())
    stage = f"stage_{kind.name}"
    await transaction.execute(f"CREATE TEMPORARY TABLE {stage} ({columns}) ON COMMIT DROP")
    return stage


class Amended(NamedTuple):
    """What amendments came to.

    :param moments: whose days have changed
    :param news: those that tell what was not known; all of them, where nobody counts them
    """

    moments: Collection[int]
    news: Sequence[Row]


async def amend(transaction: Transaction, kind: Kind, stage: str, rows: Sequence[Row]) -> Amended:
    """Keep the amendments, and apply them where their rows are.

    :raises Refused: the database does not take one of them
    """
    await transaction.copy(stage, tuple(kind.fields), [row.encoded for row in rows])
    news = rows
    if kind is FEEDBACK:
        news = [rows[found["place"]] for found in await transaction.fetch(load("news_of_feedback"))]
    if kind is PLUGIN:
        await transaction.fetch(load("lock_plugins"))
    await transaction.execute(load(f"keep_{kind.name}"))
    moments = await _apply(transaction, _OF_AMENDMENT[kind], _ids(rows)) if kind in _OF_AMENDMENT else ()
    return Amended(moments, news)


async def apply_to_new(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> None:
    """Apply what waits for rows that have just been inserted; their days are marked anyhow."""
    applying = _OF_ROW.get(kind)
    if applying and rows and (await transaction.fetch(load(applying.waits)))[0]["waits"]:
        await _apply(transaction, applying, _ids(rows))


def _ids(rows: Sequence[Row]) -> Sequence[UUID]:
    return [UUID(bytes=id_) for id_ in {row.id for row in rows}]


async def _apply(transaction: Transaction, applying: _Applying, ids: Sequence[UUID] | None) -> Collection[int]:
    """Apply what waits for these, or all that waits; the moments of the dialogues that were changed."""
    if applying.before is not None:
        await transaction.fetch(load(applying.before), ids)
    found = await transaction.fetch(load(applying.apply), ids)
    return [microseconds(row["created_at"]) for row in found]


class PostgresAmendments:
    """See :class:`consumer.rollup.Amendments`."""

    def __init__(self, database: Database, days: BusinessDays, plugin_silence: float) -> None:
        """:param plugin_silence: seconds after which a plugin that reports nothing is unhealthy"""
        self._database, self._days, self._plugin_silence = database, days, plugin_silence

    async def settle(self) -> Sequence[str]:
        """See :meth:`consumer.rollup.Amendments.settle`."""
        async with self._database.transaction() as transaction:
            moments = await _apply(transaction, _OF_AMENDMENT[FEEDBACK], None)
            await _apply(transaction, _OF_AMENDMENT[VERIFICATION], None)
            days = self._days.days_of(moments)
            if days:
                await transaction.execute(load("touch_days"), sorted(days))
            return [row["name"] for row in await transaction.fetch(load("age_plugins"), self._plugin_silence)]
