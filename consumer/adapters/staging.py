"""Getting rows into a table: straight, merging with what is there, or splitting around what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from consumer.adapters.postgres import Transaction
from consumer.adapters.sql import load
from consumer.events.kind import Kind
from consumer.events.rejection import Reason, Rejected
from consumer.ingest.batch import DeadLetter
from consumer.ingest.copy_format import id_tuple
from consumer.ingest.rows import Row
from consumer.ports import Refused

# Where a table's ids are kept while it is partitioned: its own key then lets an id in again with another created_at.
IDS = {"ai_dialogue_log": "known_ids"}


class Outcome(NamedTuple):
    """What the rows of one table became."""

    inserted: Sequence[Row]
    duplicates: Sequence[Row]
    dead_letters: Sequence[DeadLetter]


async def insert_direct(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> Outcome:
    """COPY into the table; the ids first, where they are kept apart.

    :raises Refused: a row is refused; with SQLSTATE 23505 an id was there before
    """
    if await _keeps_ids(transaction, kind):
        await transaction.copy(IDS[kind.table], ("id",), [id_tuple(row.id) for row in rows])
    await transaction.copy(kind.table, tuple(kind.fields), [row.encoded for row in rows])
    return Outcome(rows, (), ())


async def insert_merging(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> Outcome:
    """COPY into a staging table, then insert what is new; of an id that comes twice the first is taken.

    :raises Refused: a row is refused
    """
    stage = await _make_stage(transaction, kind)
    return await _merge(transaction, kind, stage, rows)


async def insert_splitting(
    transaction: Transaction, kind: Kind, rows: Sequence[Row], tell: Callable[[int], None]
) -> Outcome:
    """Merge, halving whatever is refused until the guilty records are alone.

    One guilty record among n costs about 2 log2(n) extra writes, told to `tell`.
    """
    stage = await _make_stage(transaction, kind)
    inserted: list[Row] = []
    duplicates: list[Row] = []
    dead_letters: list[DeadLetter] = []
    waiting, writes = [rows], 0
    while waiting:
        part = waiting.pop()
        writes += 1
        try:
            async with transaction.savepoint():
                outcome = await _merge(transaction, kind, stage, part)
        except Refused as refused:
            if len(part) == 1:
                dead_letters.append(_dead_letter(part[0], refused))
            else:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]  # the first half is taken next: order is kept
        else:
            await transaction.execute(f"TRUNCATE {stage.table}")
            inserted.extend(outcome.inserted)
            duplicates.extend(outcome.duplicates)
    tell(writes)
    return Outcome(inserted, duplicates, dead_letters)


class _Stage(NamedTuple):
    """A staging table, and the statement that takes what is new in it into the table."""

    table: str
    merge: str


async def _keeps_ids(transaction: Transaction, kind: Kind) -> bool:
    return kind.table in IDS and bool(await transaction.fetch(load("keep_ids")))


async def _make_stage(transaction: Transaction, kind: Kind) -> _Stage:
    stage, names = f"stage_{kind.table}", ", ".join(kind.fields)
    await transaction.execute(f"CREATE TEMPORARY TABLE {stage} (LIKE {kind.table} INCLUDING DEFAULTS) ON COMMIT DROP")
    sql = load("merge_keeping_ids" if await _keeps_ids(transaction, kind) else "merge")
    return _Stage(stage, sql.format(table=kind.table, ids=IDS.get(kind.table), stage=stage, names=names))


async def _merge(transaction: Transaction, kind: Kind, stage: _Stage, rows: Sequence[Row]) -> Outcome:
    """A temporary table is scanned in the order it was filled, so the first of two equal ids wins."""
    await transaction.copy(stage.table, tuple(kind.fields), [row.encoded for row in rows])
    new = await transaction.fetch(stage.merge)
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


def _dead_letter(row: Row, refused: Refused) -> DeadLetter:
    rejected = Rejected.whole(Reason.REFUSED_BY_DATABASE, f"the database refuses this row: {refused}")
    return DeadLetter(row.record, Rejected(rejected.reason, rejected.faults, sqlstate=refused.sqlstate))
