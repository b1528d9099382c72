"""Getting rows into a table: straight, or merging with what is there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from consumer.decode.copy_format import id_tuple, microseconds
from consumer.decode.rows import Row
from consumer.events.kind import Kind
from consumer.ingest.batch import DeadLetter
from consumer.ingest.ports import Unavailable
from consumer.postgres import amendments
from consumer.postgres.client import Transaction, skipped
from consumer.postgres.queries import load

# Where a table's ids are kept while it is partitioned: its own key then lets an id in again with another created_at.
IDS = {"ai_dialogue_log": "known_ids"}


class Outcome(NamedTuple):
    """What the rows of one kind became.

    :param moments: microseconds since 2000-01-01 UTC at which rows lie that were amended, or inserted with another time
        than their events state: their days have changed
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
    :param may_change: a trigger of somebody's may leave rows out, or change their ids and times: COPY would not tell
    """

    keeps_ids: bool
    may_change: bool


async def how_to_insert(transaction: Transaction, kind: Kind) -> Insertion:
    """How rows get into this kind's table now.

    :raises Unavailable: a column has a type that reads other bytes than we write; no row is the cause
    """
    types = [field.pg_type for field in kind.fields.values()]
    (found,) = await transaction.fetch(load("how_to_insert"), kind.table, list(kind.fields), types)
    if found["misfits"]:
        advice = "change the type back; `ragledger migrate verify` names every column that differs"
        raise Unavailable(f"in {kind.table}, {', '.join(found['misfits'])}: {advice}", "schema")
    return Insertion(found["keeps_ids"], found["may_change"])


async def moments_as_stored(
    transaction: Transaction, kind: Kind, how: Insertion, rows: Sequence[Row]
) -> Collection[int]:
    """When inserted rows took place, as the table has it: a trigger of somebody's may have changed that, and then other
    days have changed than the events tell. Empty where nothing can have.
    """
    if not (how.may_change and rows and kind.clock_field):
        return ()
    ids = [UUID(bytes=row.id) for row in rows]
    found = await transaction.fetch(load("moments_of_rows").format(table=kind.table, moment=kind.clock_field), ids)
    return [microseconds(row["moment"]) for row in found]


async def insert_direct(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> Outcome:
    """COPY into the table; the ids first, where they are kept apart. Amendments are merged, as they are never rows.

    :raises Refused: :raises Objection: a row is refused; with SQLSTATE 23505 an id may have been there before
    """
    if kind.amends:
        return await _amend(transaction, kind, rows)
    how = await how_to_insert(transaction, kind)
    if how.may_change:
        return await _merge(transaction, kind, rows, how)
    if how.keeps_ids:
        await transaction.copy(IDS[kind.table], ("id",), [id_tuple(row.id) for row in rows])
    await transaction.copy(kind.table, tuple(kind.fields), [row.encoded for row in rows])
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
    names = {"table": kind.table, "stage": f"stage_{kind.table}", "names": ", ".join(kind.fields)}
    await transaction.execute(load("make_stage").format(**names))
    await transaction.copy(names["stage"], tuple(kind.fields), [row.encoded for row in rows])
    merge = load("merge_keeping_ids" if how.keeps_ids else "merge")
    new = await transaction.fetch(merge.format(ids=IDS.get(kind.table), **names))
    outcome = _sort_out(rows, {row["id"].bytes for row in new})
    if how.may_change and outcome.duplicates:
        await _demand_present(transaction, kind, outcome.duplicates)
    return outcome._replace(moments=await moments_as_stored(transaction, kind, how, outcome.inserted))


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
