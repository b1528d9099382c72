"""Amendments: events that change a row which is there already, or will be.

Each is kept in a table of its own first, where the newest counts, and then applied to its row, where that is there. A
row that comes later takes what waits for it in the transaction that inserts it. Only where both are under way at once,
in two transactions that do not see each other, neither does: what is left waiting so, the timer applies.

An amendment that the database refuses to apply is a dead letter while its record is at hand. When it had to wait, the
record was written long ago: what was kept of it is set aside with the SQLSTATE, and holds up neither row nor timer.
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
from consumer.postgres.client import Database, Objection, Transaction, skipped
from consumer.postgres.halving import halve
from consumer.postgres.queries import load

SETTLED_AT_ONCE = 2_000  # waiting amendments looked at in one transaction, well within a statement timeout
SETTLE_SECONDS = 5.0  # of each turn of the timer, as the days come after

Tell = Callable[[str, str], None]


class _Applying(NamedTuple):
    """The tables in which amendments are kept and which they amend, and the statements that apply them.

    :param waits: whether any waits
    :param lock: what locks the rows to be changed, and returns their ids; None where applying does so itself
    :param apply: the applying
    :param page: the next that wait
    :param set_aside: what is done with one that is refused
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
_OF_ROW: Mapping[str, _Applying] = {  # by name: the settings may have it take string ids
    DIALOGUE.name: _OF_AMENDMENT[FEEDBACK],
    PROVENANCE.name: _OF_AMENDMENT[VERIFICATION],
}


async def make_stage(transaction: Transaction, kind: Kind) -> str:
    """A temporary table of the events' own fields; its name."""
    columns = ", ".join(f"{name} {field.pg_type}" for name, field in kind.columns.items())
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

    :raises Refused: :raises Objection: the database does not take one of them
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


async def apply_to_new(transaction: Transaction, kind: Kind, rows: Sequence[Row], tell: Tell | None = None) -> None:
    """Apply what waits for rows that have just been inserted; their days are marked anyhow.

    :param tell: is given what is refused and set aside; without it the first that is refused is raised
    :raises Refused: :raises Objection: the database does not take one of them
    """
    applying = _OF_ROW.get(kind.name)
    if not applying or not rows or not (await transaction.fetch(load(applying.waits)))[0]["waits"]:
        return
    if tell is None:
        await _apply(transaction, applying, _ids(rows))
    else:
        await _apply_setting_aside(transaction, applying, _ids(rows), tell)


def _ids(rows: Sequence[Row]) -> Sequence[UUID]:
    return [UUID(bytes=id_) for id_ in {row.id for row in rows}]


async def _apply(transaction: Transaction, applying: _Applying, ids: Sequence[UUID]) -> Collection[int]:
    """Apply what waits for these; the moments of the dialogues that were changed."""
    if applying.lock is not None:
        ids = [row["id"] for row in await transaction.fetch(load(applying.lock), ids)]
    found = await transaction.fetch(load(applying.apply), ids)
    if not all(row["is_changed"] for row in found):
        raise skipped(applying.amends)
    return [microseconds(row["created_at"]) for row in found if row["created_at"] is not None]


async def _apply_setting_aside(
    transaction: Transaction, applying: _Applying, ids: Sequence[UUID], tell: Tell
) -> Collection[int]:
    """The same, and set aside what the database refuses.

    :raises Refused: :raises Objection: for none of these, but for something of ours
    """
    moments: list[int] = []

    async def apply(part: Sequence[UUID]) -> None:
        changed = await _apply(transaction, applying, part)
        await transaction.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a refusal at COMMIT would name no row
        moments.extend(changed)

    async def set_aside(id_: UUID, error: Refused | Objection) -> None:
        await transaction.execute(load(applying.set_aside), id_, error.sqlstate)
        tell(applying.table, error.sqlstate)

    await halve(transaction, ids, apply, set_aside, first=1)  # a trigger may take long about each
    return moments


class PostgresAmendments:
    """See :class:`consumer.maintenance.rollup.Amendments`."""

    def __init__(self, database: Database, days: BusinessDays, plugin_silence: float, tell: Tell) -> None:
        """
        :param plugin_silence: seconds after which a plugin that reports nothing is unhealthy
        :param tell: is given the table and SQLSTATE of each amendment that is refused and set aside
        """
        self._database, self._days, self._plugin_silence, self._tell = database, days, plugin_silence, tell
        self._from = dict.fromkeys(_OF_AMENDMENT.values(), UUID(int=0))

    async def settle(self) -> Sequence[str]:
        """See :meth:`Amendments.settle`. What there is no time for is left for the next call."""
        for applying in _OF_AMENDMENT.values():
            ends = time.monotonic() + SETTLE_SECONDS
            while await self._settle_some(applying) and time.monotonic() < ends:
                pass
        async with self._database.transaction() as transaction:
            return [row["name"] for row in await transaction.fetch(load("age_plugins"), self._plugin_silence)]

    async def _settle_some(self, applying: _Applying) -> bool:
        """Look at the next amendments that wait; whether there may be more behind them."""
        async with self._database.transaction() as transaction:
            (page,) = await transaction.fetch(load(applying.page), self._from[applying], SETTLED_AT_ONCE)
            if page["present"]:
                moments = await _apply_setting_aside(transaction, applying, page["present"], self._tell)
                if days := self._days.days_of(moments):
                    await transaction.execute(load("touch_days"), sorted(days))
        last = page["last"]
        is_end = last is None or last.int == _LAST.int
        self._from[applying] = UUID(int=0) if is_end else UUID(int=last.int + 1)
        return not is_end


_LAST = UUID(int=2**128 - 1)
