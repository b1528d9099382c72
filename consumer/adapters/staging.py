"""Getting rows into a table: straight, merging with what is there, or splitting around what is refused."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from consumer.adapters import amendments
from consumer.adapters.postgres import FOREIGN_KEY_VIOLATION, Transaction
from consumer.adapters.sql import load
from consumer.events.kind import Kind
from consumer.events.rejection import Fault, Reason, Rejected
from consumer.ingest.batch import DeadLetter
from consumer.ingest.copy_format import id_tuple
from consumer.ingest.rows import Row
from consumer.ports import Refused

# Where a table's ids are kept while it is partitioned: its own key then lets an id in again with another created_at.
IDS = {"ai_dialogue_log": "known_ids"}


class Outcome(NamedTuple):
    """What the rows of one kind became.

    :param moments: microseconds since 2000-01-01 UTC at which rows lie that were amended: their days have changed
    """

    inserted: Sequence[Row] = ()
    duplicates: Sequence[Row] = ()
    amended: Sequence[Row] = ()
    dead_letters: Sequence[DeadLetter] = ()
    moments: Collection[int] = ()


def join(outcomes: Collection[Outcome]) -> Outcome:
    """What the rows of several outcomes became."""
    return Outcome(*(list(chain.from_iterable(fields)) for fields in zip(*outcomes, strict=True)))


def rows_first(kinds: Collection[Kind]) -> Sequence[Kind]:
    """The kinds in the order in which they are written: amendments last, as the rows they change may be there too."""
    return sorted(kinds, key=attrgetter("amends"))


async def insert_direct(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> Outcome:
    """COPY into the table; the ids first, where they are kept apart. Amendments are merged, as they are never rows.

    :raises Refused: a row is refused; with SQLSTATE 23505 an id was there before
    """
    if kind.amends:
        return await insert_merging(transaction, kind, rows)
    if await _keeps_ids(transaction, kind):
        await transaction.copy(IDS[kind.table], ("id",), [id_tuple(row.id) for row in rows])
    await transaction.copy(kind.table, tuple(kind.fields), [row.encoded for row in rows])
    return Outcome(inserted=rows)


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
    outcomes = [Outcome()]
    waiting, writes = [rows], 0
    while waiting:
        part = waiting.pop()
        writes += 1
        try:
            async with transaction.savepoint():
                outcome = await _merge(transaction, kind, stage, part)
        except Refused as refused:
            if len(part) == 1:
                letter = DeadLetter(part[0].record, await _verdict(transaction, refused))
                outcomes.append(Outcome(dead_letters=[letter]))
            else:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]  # the first half is taken next: order is kept
        else:
            await transaction.execute(f"TRUNCATE {stage.table}")
            outcomes.append(outcome)
    tell(writes)
    return join(outcomes)


class _Stage(NamedTuple):
    """A staging table, and the statement that takes what is new in it into the table; of amendments there is none."""

    table: str
    merge: str = ""


async def _keeps_ids(transaction: Transaction, kind: Kind) -> bool:
    return kind.table in IDS and bool(await transaction.fetch(load("keep_ids")))


async def _make_stage(transaction: Transaction, kind: Kind) -> _Stage:
    if kind.amends:
        return _Stage(await amendments.make_stage(transaction, kind))
    stage, names = f"stage_{kind.table}", ", ".join(kind.fields)
    await transaction.execute(load("make_stage").format(table=kind.table, stage=stage))
    sql = load("merge_keeping_ids" if await _keeps_ids(transaction, kind) else "merge")
    return _Stage(stage, sql.format(table=kind.table, ids=IDS.get(kind.table), stage=stage, names=names))


async def _merge(transaction: Transaction, kind: Kind, stage: _Stage, rows: Sequence[Row]) -> Outcome:
    """A temporary table is scanned in the order it was filled, so the first of two equal ids wins."""
    if kind.amends:
        return Outcome(amended=rows, moments=await amendments.amend(transaction, kind, stage.table, rows))
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
    return Outcome(inserted, duplicates)


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
