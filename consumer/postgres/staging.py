"""Getting rows into a table: straight, or merging with what is there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from consumer.decode.copy_format import id_tuple
from consumer.decode.rows import Row
from consumer.events.kind import Kind
from consumer.ingest.batch import DeadLetter
from consumer.postgres import amendments
from consumer.postgres.client import Transaction, skipped
from consumer.postgres.queries import load

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


class Insertion(NamedTuple):
    """How rows get into a table.

    :param keeps_ids: its ids are kept apart, by us for the rest of this transaction
    :param may_skip: a trigger of somebody's may leave rows out, or change their ids: COPY would not tell
    """

    keeps_ids: bool
    may_skip: bool


async def how_to_insert(transaction: Transaction, kind: Kind) -> Insertion:
    """How rows get into this kind's table now."""
    (found,) = await transaction.fetch(load("how_to_insert"), kind.table)
    return Insertion(**dict(found))


async def insert_direct(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> Outcome:
    """COPY into the table; the ids first, where they are kept apart. Amendments are merged, as they are never rows.

    :raises Refused: :raises Objection: a row is refused; with SQLSTATE 23505 an id may have been there before
    """
    if kind.amends:
        return await _amend(transaction, kind, rows)
    how = await how_to_insert(transaction, kind)
    if how.may_skip:
        return await _merge(transaction, kind, rows, how)
    if how.keeps_ids:
        await transaction.copy(IDS[kind.table], ("id",), [id_tuple(row.id) for row in rows])
    await transaction.copy(kind.table, tuple(kind.columns), [row.encoded for row in rows])
    return Outcome(inserted=rows)


async def insert_merging(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> Outcome:
    """COPY into a staging table, then take what is new; of an id that comes twice the first is taken.

    :raises Refused: :raises Objection: a row is refused
    """
    if kind.amends:
        return await _amend(transaction, kind, rows)
    return await _merge(transaction, kind, rows, await how_to_insert(transaction, kind))


async def _amend(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> Outcome:
    stage = await amendments.make_stage(transaction, kind)
    moments, news = await amendments.amend(transaction, kind, stage, rows)
    return Outcome(amended=rows, moments=moments, news=news)


async def _merge(transaction: Transaction, kind: Kind, rows: Sequence[Row], how: Insertion) -> Outcome:
    names = {"table": kind.table, "stage": f"stage_{kind.table}", "names": ", ".join(kind.columns)}
    await transaction.execute(load("make_stage").format(**names))
    await transaction.copy(names["stage"], tuple(kind.columns), [row.encoded for row in rows])
    merge = load("merge_keeping_ids" if how.keeps_ids else "merge")
    new = await transaction.fetch(merge.format(ids=IDS.get(kind.table), **names))
    outcome = _sort_out(rows, {row["id"].bytes for row in new})
    if how.may_skip and outcome.duplicates:
        await _demand_present(transaction, kind, outcome.duplicates)
    return outcome


async def _demand_present(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> None:
    """What was not inserted must have been there: else it was left out, or came in under another id.

    :raises Refused: one is not there, as far as the table tells; the ids of archived months are not in it either
    """
    ids = [UUID(bytes=row.id) for row in rows]
    if await transaction.fetch(load("ids_missing").format(table=kind.table), ids):
        raise skipped(kind.table)


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
