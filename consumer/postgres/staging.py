"""Inserts rows into a table: with COPY, or through a staging table."""

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
from consumer.ingest.ports import Cause, Unavailable
from consumer.postgres import amendments
from consumer.postgres.client import Transaction
from consumer.postgres.errors import skipped
from consumer.postgres.queries import load

# The table with all ids of a partitioned table. The key of that table would accept an id twice, with different values
# of created_at.
IDS = {"ai_dialogue_log": "known_ids"}


class Outcome(NamedTuple):
    """The result for the rows of one kind.

    :param moments: creation times, in microseconds since 2000-01-01 UTC, of rows that were amended, or whose time a
        trigger changed: their days have changed
    :param news: the amendments that were not known before
    """

    inserted: Sequence[Row] = ()
    duplicates: Sequence[Row] = ()
    amended: Sequence[Row] = ()
    dead_letters: Sequence[DeadLetter] = ()
    moments: Collection[int] = ()
    news: Sequence[Row] = ()


def join(outcomes: Collection[Outcome]) -> Outcome:
    """One outcome from several."""
    return Outcome(*(list(chain.from_iterable(fields)) for fields in zip(*outcomes, strict=True)))


def rows_first(kinds: Collection[Kind]) -> Sequence[Kind]:
    """The order in which kinds are written. Amendments are last, because the batch may contain the rows that they
    change. The order is fixed, because otherwise two replicas could wait for each other's locks.
    """
    return sorted(kinds, key=attrgetter("amends", "name"))


class Insertion(NamedTuple):
    """Properties of a table that decide how rows are inserted.

    :param keeps_ids: its ids are stored in a separate table, which this transaction has to fill
    :param key: the columns of its primary key, if it keeps ids
    :param is_spread: it is distributed over a Citus cluster
    :param may_change: a trigger of the owner may leave rows out, or change ids and times, and COPY would not report
        that
    """

    keeps_ids: bool
    key: str
    is_spread: bool
    may_change: bool


async def how_to_insert(transaction: Transaction, kind: Kind) -> Insertion:
    """Query the properties of the table of this kind.

    :raises Unavailable: the type of a column has another binary format than the one we write. No row is the cause
    """
    types = [field.pg_type for field in kind.columns.values()]
    (found,) = await transaction.fetch(load("how_to_insert"), kind.table, list(kind.columns), types)
    if found["misfits"]:
        advice = "change the type back; `ragledger migrate verify` names every column that differs"
        raise Unavailable(f"in {kind.table}, {', '.join(found['misfits'])}: {advice}", Cause.SCHEMA)
    key = found["spread_key"]
    keeps_ids = found["keeps_ids"] or key is not None
    return Insertion(keeps_ids, key or "id, created_at", found["is_spread"], found["may_change"])


async def moments_as_stored(
    transaction: Transaction, kind: Kind, how: Insertion, rows: Sequence[Row]
) -> Collection[int]:
    """The times of inserted rows, as stored. Empty unless a trigger may have changed them, so that their days differ
    from the days of the events.
    """
    if not (how.may_change and rows and kind.clock_field):
        return ()
    ids = [UUID(bytes=row.id) for row in rows]
    found = await transaction.fetch(load("moments_of_rows").format(table=kind.table, moment=kind.clock_field), ids)
    return [microseconds(row["moment"]) for row in found]


async def insert_direct(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> Outcome:
    """COPY rows into the table; of rows with equal ids, the first one. If the ids are stored in a separate table, copy
    them first. Apply amendments.

    :raises Refused: :raises Objection: a row is refused. SQLSTATE 23505 may mean a duplicate id
    """
    if kind.amends:
        return await _amend(transaction, kind, rows)
    how = await how_to_insert(transaction, kind)
    if how.may_change:
        return await _merge(transaction, kind, rows, how)
    outcome = _sort_out(rows, {row.id for row in rows})
    if how.keeps_ids:
        await transaction.copy(IDS[kind.table], ("id",), [id_tuple(row.id) for row in outcome.inserted])
    await transaction.copy(kind.table, tuple(kind.columns), [row.encoded for row in outcome.inserted])
    return outcome


async def insert_merging(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> Outcome:
    """COPY rows into a staging table, then insert those with a new id; the first of two equal ids counts.

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
    new = await transaction.fetch(merge.format(ids=IDS.get(kind.table), key=how.key, **names))
    outcome = _sort_out(rows, {row["id"].bytes for row in new})
    if how.may_change and outcome.duplicates:
        await _demand_present(transaction, kind, outcome.duplicates)
    return outcome._replace(moments=await moments_as_stored(transaction, kind, how, outcome.inserted))


async def _demand_present(transaction: Transaction, kind: Kind, rows: Sequence[Row]) -> None:
    """Check that the rows that were not inserted are in the table. Otherwise a trigger left them out.

    :raises Refused: one is not in the table
    """
    ids = [UUID(bytes=row.id) for row in rows]
    if await transaction.fetch(load("ids_missing").format(table=kind.table), ids):
        raise skipped(kind.table)


def _sort_out(rows: Sequence[Row], new: set[bytes]) -> Outcome:
    """Separate rows with new ids from duplicates. Of several rows with one id, the first is the new one. A merge does
    the same, because PostgreSQL scans a temporary table in the order of insertion.
    """
    inserted, duplicates = [], []
    for row in rows:
        if row.id in new:
            new.discard(row.id)
            inserted.append(row)
        else:
            duplicates.append(row)
    return Outcome(inserted, duplicates)
