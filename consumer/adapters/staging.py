"""Getting rows into a table: straight, or merging with what is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consumer.adapters.postgres import Transaction
from consumer.events.kind import Kind
from consumer.events.rejection import Reason, Rejected
from consumer.ingest.batch import DeadLetter
from consumer.ingest.rows import Row
from consumer.ports import Refused


class Outcome(NamedTuple):
    """What the rows of one table became."""

    inserted: Sequence[Row]
    duplicates: Sequence[Row]
    dead_letters: Sequence[DeadLetter]


async def insert_direct(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> Outcome:
    """COPY into the table.

    :raises Refused: a row is refused; with SQLSTATE 23505 an id was there before
    """
    await transaction.copy(kind.table, tuple(kind.fields), [row.encoded for row in rows])
    return Outcome(rows, (), ())


async def insert_merging(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> Outcome:
    """COPY into a staging table, then insert what is new; of an id that comes twice the first is taken.

    :raises Refused: a row is refused
    """
    stage = await _make_stage(transaction, kind)
    return await _merge(transaction, kind, stage, rows)


async def _make_stage(transaction: Transaction, kind: Kind) -> str:
    stage = f"stage_{kind.table}"
    await transaction.execute(f"CREATE TEMPORARY TABLE {stage} (LIKE {kind.table} INCLUDING DEFAULTS) ON COMMIT DROP")
    return stage


async def _merge(transaction: Transaction, kind: Kind, stage: str, rows: Sequence[Row]) -> Outcome:
    """A temporary table is scanned in the order it was filled, so the first of two equal ids wins."""
    names = ", ".join(kind.fields)
    await transaction.copy(stage, tuple(kind.fields), [row.encoded for row in rows])
    new = await transaction.fetch(
        f"INSERT INTO {kind.table} ({names}) "  # noqa: S608 - our own identifiers
        f"SELECT {names} FROM {stage} ON CONFLICT DO NOTHING RETURNING id"
    )
    return _sort_out(rows, {row["id"].bytes for row in new})


def _sort_out(rows: Sequence[Row], new: set[bytes]) -> Outcome:
    inserted, duplicates = [], []
    for row in rows:
        if row.id in new:
            new.discard(row.id)
            inserted.append(row)
        else:
            duplicates.append(row)
    return Outcome(inserted, duplicates, ())


def dead_letter(row: Row, refused: Refused) -> DeadLetter:
    """What becomes of a row that the database refuses."""
    rejected = Rejected.whole(Reason.REFUSED_BY_DATABASE, f"the database refuses this row: {refused}")
    return DeadLetter(row.record, Rejected(rejected.reason, rejected.faults, sqlstate=refused.sqlstate))
