"""Getting rows into a table: straight, merging with what is there, or splitting around what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from consumer.adapters.postgres import FOREIGN_KEY_VIOLATION, Transaction
from consumer.adapters.sql import load
from consumer.events.kind import Kind
from consumer.events.rejection import Fault, Reason, Rejected
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


async def insert_splitting(
    transaction: Transaction, kind: Kind, rows: Sequence[Row], tell: Callable[[int], None]
) -> Outcome:
    """Merge, halving whatever is refused until the guilty records are alone.

    One guilty record among n costs about 2 log2(n) extra writes, told to `tell`.
    """
    await transaction.execute("SET CONSTRAINTS ALL IMMEDIATE")  # or a deferred one would refuse the whole at COMMIT
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
                dead_letters.append(DeadLetter(part[0].record, await _verdict(transaction, refused)))
            else:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]  # the first half is taken next: order is kept
        else:
            await transaction.execute(f"TRUNCATE {stage}")
            inserted.extend(outcome.inserted)
            duplicates.extend(outcome.duplicates)
    tell(writes)
    return Outcome(inserted, duplicates, dead_letters)


async def _make_stage(transaction: Transaction, kind: Kind) -> str:
    stage = f"stage_{kind.table}"
    await transaction.execute(load("make_stage").format(table=kind.table, stage=stage))
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


async def _verdict(transaction: Transaction, refused: Refused) -> Rejected:
    """Why the row is refused, in words for whoever has to mend it."""
    if refused.sqlstate == FOREIGN_KEY_VIOLATION and refused.constraint is not None:
        found = await transaction.fetch(load("reference"), *refused.constraint)
        if found:
            fault = _unknown_reference(found[0]["columns"], found[0]["referred"], refused.constraint[-1])
            return Rejected(Reason.UNKNOWN_REFERENCE, [fault], sqlstate=refused.sqlstate)
    fault = Fault("", f"the database refuses this row: {refused}")
    return Rejected(Reason.REFUSED_BY_DATABASE, [fault], sqlstate=refused.sqlstate)


def _unknown_reference(columns: str, referred: str, constraint: str) -> Fault:
    advice = f"insert it, then `ragledger dead-letters replay --reason {Reason.UNKNOWN_REFERENCE}`"
    return Fault(columns, f"{referred} has no such row (foreign key {constraint}): {advice}")
