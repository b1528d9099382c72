"""Getting rows into a table: straight, or merging with what is there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from consumer.adapters import amendments
from consumer.adapters.postgres import Transaction
from consumer.adapters.sql import load
from consumer.events.kind import Kind
from consumer.ingest.batch import DeadLetter
from consumer.ingest.copy_format import id_tuple
from consumer.ingest.rows import Row

# Where a table's ids are kept while it is partitioned: its own key then lets an id in again with another created_at.
IDS = {"ai_dialogue_log": "known_ids"}


class Outcome(NamedTuple):
    """What the rows of one kind became.

    :param moments: microseconds since 2000-01-01 UTC at which rows lie that were amended: their days have changed
    :param news: of what amended those that were not known before
    """

    inserted: Sequence[Row] = ()
    duplicates: Sequence[Row] = ()
    amended: Sequence[Row] = ()
    dead_letters: Sequence[DeadLetter] = ()
    moments: Collection[int] = ()
    news: Sequence[Row] = ()


def join(outcomes: Collection[Outcome]) -> Outcome:
    """What the rows of several outcomes became."""
    return Outcome(*(list(chain.from_iterable(fields)) for fields in zip(*outcomes, strict=True)))


def rows_first(kinds: Collection[Kind]) -> Sequence[Kind]:
    """The kinds in the order in which they are written: amendments last, as the rows they change may be there too, and
    always in the same order, as two replicas could else wait for each other's locks.
    """
    return sorted(kinds, key=attrgetter("amends", "name"))


async def insert_direct(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> Outcome:
    """COPY into the table; the ids first, where they are kept apart. Amendments are merged, as they are never rows.

    :raises Refused: a row is refused; with SQLSTATE 23505 an id was there before
    """
    if kind.amends:
        return await insert_merging(transaction, kind, rows)
    if await keeps_ids(transaction, kind):
        await transaction.copy(IDS[kind.table], ("id",), [id_tuple(row.id) for row in rows])
    await transaction.copy(kind.table, tuple(kind.fields), [row.encoded for row in rows])
    return Outcome(inserted=rows)


async def insert_merging(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> Outcome:
    """COPY into a staging table, then take what is new; of an id that comes twice the first is taken.

    :raises Refused: a row is refused
    """
    if kind.amends:
        stage = await amendments.make_stage(transaction, kind)
        moments, news = await amendments.amend(transaction, kind, stage, rows)
        return Outcome(amended=rows, moments=moments, news=news)
    names = {"table": kind.table, "stage": f"stage_{kind.table}", "names": ", ".join(kind.fields)}
    await transaction.execute(load("make_stage").format(**names))
    await transaction.copy(names["stage"], tuple(kind.fields), [row.encoded for row in rows])
    merge = load("merge_keeping_ids" if await keeps_ids(transaction, kind) else "merge")
    new = await transaction.fetch(merge.format(ids=IDS.get(kind.table), **names))
    return _sort_out(rows, {row["id"].bytes for row in new})


async def keeps_ids(transaction: Transaction, kind: Kind) -> bool:
    """Whether the ids of this kind are kept apart, by us for the rest of this transaction."""
    return kind.table in IDS and bool(await transaction.fetch(load("keep_ids")))


def _sort_out(rows: Sequence[Row], new: set[bytes]) -> Outcome:
    """A temporary table is scanned in the order it was filled, so the first of two equal ids is the new one."""
    inserted, duplicates = [], []
    for row in rows:
        if row.id in new:
            new.discard(row.id)
            inserted.append(row)
        else:
            duplicates.append(row)
    return Outcome(inserted, duplicates)
