"""Amendments: events that change a row. The row exists already, or will exist later.

An amendment is first stored in a table of its own, where the newest one counts. Then it is applied to its row, if the
row exists. A row that comes later gets its waiting amendments in the transaction that inserts it. If two transactions
that do not see each other write a row and its amendment, the amendment is left waiting, and the periodic job applies
it.

If the database refuses an amendment, its record becomes a dead letter. A waiting amendment has no record any more: it
is set aside with the SQLSTATE, and delays neither the row nor the job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from consumer.decode.copy_format import microseconds
from consumer.decode.rows import Row
from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.plugin import PLUGIN
from consumer.events.provenance import PROVENANCE
from consumer.ingest.days import BusinessDays
from consumer.ingest.ports import Refused
from consumer.postgres.client import Database, Transaction
from consumer.postgres.errors import Objection, skipped
from consumer.postgres.halving import halve
from consumer.postgres.queries import load
from consumer.postgres.touched_days import touch_days

SETTLED_AT_ONCE = 2_000  # waiting amendments per transaction. Few, to stay far below the statement timeout
SETTLE_SECONDS = 5.0  # per run of the job, because the days are computed after it

Report = Callable[[str, str], None]


class _Applying(NamedTuple):
    """Two tables, of amendments and of the rows they change, and the names of the statements that apply them.

    :param waits: whether any amendment waits
    :param lock: locks the rows to change and returns their ids; None if `apply` does both
    :param apply: applies amendments
    :param page: returns the next waiting amendments
    :param set_aside: marks an amendment that the database refuses
    """

    table: str
    amends: str
    waits: str
    lock: str | None
    apply: str
    page: str
    set_aside: str


_OF_AMENDMENT: Mapping[Kind, _Applying] = {
    FEEDBACK: _Applying(
        "kept_feedback",
        FEEDBACK.table,
        "feedback_waits",
        None,
        "apply_feedback",
        "page_waiting_feedback",
        "set_feedback_aside",
    ),
    VERIFICATION: _Applying(
        "kept_verifications",
        VERIFICATION.table,
        "verification_waits",
        "lock_verified",
        "apply_verification",
        "page_waiting_verifications",
        "set_verification_aside",
    ),
}
_KEPT_IN = {PLUGIN: "plugin_registry"} | {kind: applying.table for kind, applying in _OF_AMENDMENT.items()}
_OF_ROW: Mapping[str, _Applying] = {  # by name, because the settings may allow string ids in it
    DIALOGUE.name: _OF_AMENDMENT[FEEDBACK],
    PROVENANCE.name: _OF_AMENDMENT[VERIFICATION],
}


async def make_stage(transaction: Transaction, kind: Kind) -> str:
    """Create a temporary table with the fields of the event; returns its name."""
    columns = ", ".join(f"{name} {field.pg_type}" for name, field in kind.columns.items())
    stage = f"stage_{kind.name}"
    await transaction.execute(f"CREATE TEMPORARY TABLE {stage} ({columns}) ON COMMIT DROP")
    return stage


class Amended(NamedTuple):
    """The result of amendments.

    :param moments: creation times of the changed dialogues, in microseconds since 2000-01-01 UTC
    :param news: the amendments that were not known before; for kinds without a metric, all of them
    """

    moments: Collection[int]
    news: Sequence[Row]


async def amend(transaction: Transaction, kind: Kind, stage: str, rows: Sequence[Row]) -> Amended:
    """Store the amendments, and apply those whose rows exist.

    :raises Refused: :raises Objection: the database refuses one of them
    """
    await transaction.copy(stage, tuple(kind.columns), [row.encoded for row in rows])
    news = rows
    if kind is FEEDBACK:
        news = [rows[found["place"]] for found in await transaction.fetch(load("news_of_feedback"))]
    if kind is PLUGIN:
        await transaction.execute(load("announce_plugins"))
        await transaction.fetch(load("lock_plugins"))
    await transaction.execute(load(f"keep_{kind.name}"))
    if (await transaction.fetch(load(f"{kind.name}_not_kept")))[0]["skipped"]:
        raise skipped(_KEPT_IN[kind])
    moments = await _apply(transaction, _OF_AMENDMENT[kind], _ids(rows)) if kind in _OF_AMENDMENT else ()
    return Amended(moments, news)


async def apply_to_new(transaction: Transaction, kind: Kind, rows: Sequence[Row], report: Report | None = None) -> None:
    """Apply the amendments that wait for rows just inserted. The days of these rows are marked in any case.

    :param report: called with each amendment that is refused and set aside; if None, the first refusal is raised
    :raises Refused: :raises Objection: the database refuses an amendment
    """
    applying = _OF_ROW.get(kind.name)
    if not applying or not rows or not (await transaction.fetch(load(applying.waits)))[0]["waits"]:
        return
    if report is None:
        await _apply(transaction, applying, _ids(rows))
    else:
        await _apply_setting_aside(transaction, applying, _ids(rows), report)


def _ids(rows: Sequence[Row]) -> Sequence[UUID]:
    return [UUID(bytes=id_) for id_ in {row.id for row in rows}]


async def _apply(transaction: Transaction, applying: _Applying, ids: Sequence[UUID]) -> Collection[int]:
    """Apply the amendments that wait for these ids; returns the times of the changed dialogues."""
    if applying.lock is not None:
        ids = [row["id"] for row in await transaction.fetch(load(applying.lock), ids)]
    found = await transaction.fetch(load(applying.apply), ids)
    if not all(row["is_changed"] for row in found):
        raise skipped(applying.amends)
    return [microseconds(moment) for row in found for moment in row["moments"] if moment is not None]


async def _apply_setting_aside(
    transaction: Transaction, applying: _Applying, ids: Sequence[UUID], report: Report
) -> Collection[int]:
    """Do the same as `_apply`, but set aside the amendments that the database refuses.

    :raises Refused: :raises Objection: no amendment is the cause
    """
    moments: list[int] = []

    async def apply(part: Sequence[UUID]) -> None:
        changed = await _apply(transaction, applying, part)
        await transaction.execute("SET CONSTRAINTS ALL IMMEDIATE")  # an error at COMMIT would name no row
        moments.extend(changed)

    async def set_aside(id_: UUID, error: Refused | Objection) -> None:
        await transaction.execute(load(applying.set_aside), id_, error.sqlstate)
        report(applying.table, error.sqlstate)

    await halve(transaction, ids, apply, set_aside, first=1)  # a trigger may be slow for each
    return moments


class PostgresAmendments:
    """See :class:`consumer.maintenance.rollup.Amendments`."""

    def __init__(self, database: Database, days: BusinessDays, plugin_silence: float, report: Report) -> None:
        """
        :param plugin_silence: seconds after which a plugin that reports nothing is unhealthy
        :param report: called with table and SQLSTATE of each amendment that is refused and set aside
        """
        self._database, self._days, self._plugin_silence, self._report = database, days, plugin_silence, report
        self._from = dict.fromkeys(_OF_AMENDMENT.values(), UUID(int=0))

    async def settle(self) -> Sequence[str]:
        """See :meth:`Amendments.settle`. Stops after a few seconds; the next call continues."""
        for applying in _OF_AMENDMENT.values():
            ends = time.monotonic() + SETTLE_SECONDS
            while await self._settle_some(applying) and time.monotonic() < ends:
                pass
        async with self._database.transaction() as transaction:
            return [row["name"] for row in await transaction.fetch(load("age_plugins"), self._plugin_silence)]

    async def _settle_some(self, applying: _Applying) -> bool:
        """Apply the next waiting amendments; whether there may be more."""
        async with self._database.transaction() as transaction:
            (page,) = await transaction.fetch(load(applying.page), self._from[applying], SETTLED_AT_ONCE)
            if page["present"]:
                moments = await _apply_setting_aside(transaction, applying, page["present"], self._report)
                await touch_days(transaction, self._days, moments)
        last = page["last"]
        is_end = last is None or last.int == _LAST.int
        self._from[applying] = UUID(int=0) if is_end else UUID(int=last.int + 1)
        return not is_end


_LAST = UUID(int=2**128 - 1)
