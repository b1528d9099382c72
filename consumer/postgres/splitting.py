"""Inserts all rows except the rows that the table refuses. Refused rows become dead letters.

The rows are copied to a staging table with few constraints. Then a block in the server inserts them in portions, with
savepoints, for about a second per round trip. So a batch of bad rows costs about as much as a good one, instead of
several round trips per row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from consumer.decode.rows import Row
from consumer.events.kind import Kind
from consumer.events.rejection import Fault, Reason, Rejected
from consumer.ingest.batch import DeadLetter
from consumer.ingest.ports import Refused
from consumer.postgres import amendments
from consumer.postgres.client import Transaction
from consumer.postgres.errors import OUTAGES, OUTAGES_OF_CLUSTER, RAISED, SKIPPED, Objection, refusal
from consumer.postgres.halving import halve
from consumer.postgres.queries import load
from consumer.postgres.staging import IDS, Insertion, Outcome, how_to_insert, join, moments_as_stored


async def insert_splitting(
    transaction: Transaction, kind: Kind, rows: Sequence[Row], report: Callable[[int], None], first: int | None = None
) -> Outcome:
    """Insert the rows that the table accepts; the first of two equal ids counts.

    One refused row among n costs about log2(n) writes. If every row is refused, each costs one write.

    :param report: called with the number of writes
    :param first: the number of rows in the first write, if each row may be slow; None for all rows
    :raises Refused: :raises Objection: no row is the cause
    """
    await transaction.execute("SET CONSTRAINTS ALL IMMEDIATE")  # an error at COMMIT would name no row
    return await (_amend if kind.amends else _insert)(transaction, kind, rows, report, first)


async def _amend(
    transaction: Transaction, kind: Kind, rows: Sequence[Row], report: Callable[[int], None], first: int | None
) -> Outcome:
    stage = await amendments.make_stage(transaction, kind)
    outcomes = [Outcome()]

    async def amend(part: Sequence[Row]) -> None:
        moments, news = await amendments.amend(transaction, kind, stage, part)
        await transaction.execute(f"TRUNCATE {stage}")
        outcomes.append(Outcome(amended=part, moments=moments, news=news))

    async def refuse(row: Row, error: Refused | Objection) -> None:
        outcomes.append(Outcome(dead_letters=[DeadLetter(row.record, refused(error))]))

    report(await halve(transaction, rows, amend, refuse, first))
    return join(outcomes)


async def _insert(
    transaction: Transaction, kind: Kind, rows: Sequence[Row], report: Callable[[int], None], first: int | None
) -> Outcome:
    how = await how_to_insert(transaction, kind)
    names = await _make_tables(transaction, kind)
    staged: list[Row] = []
    dead_letters: list[DeadLetter] = []

    async def stage(part: Sequence[Row]) -> None:
        await transaction.copy(names["stage"], tuple(kind.columns), [row.encoded for row in part])
        staged.extend(part)

    async def refuse(row: Row, error: Refused | Objection) -> None:
        dead_letters.append(DeadLetter(row.record, refused(error)))

    await halve(transaction, rows, stage, refuse)
    report(await _insert_staged(transaction, kind, how, names, first or len(staged)) if staged else 0)
    became = await transaction.fetch(load("split_outcome").format(table=kind.table, **names))
    outcome = join([Outcome(dead_letters=dead_letters), _sort_out(staged, became)])
    return outcome._replace(moments=await moments_as_stored(transaction, kind, how, outcome.inserted))


async def _make_tables(transaction: Transaction, kind: Kind) -> dict[str, str]:
    """Create the temporary tables of this kind; returns their names."""
    names = {part: f"split_{part}_{kind.table}" for part in ("stage", "new", "refused", "progress")}
    columns = ", ".join(f"'{name}'" for name in kind.columns)
    await transaction.execute(load("split_tables").format(table=kind.table, columns=columns, **names))
    return names


async def _insert_staged(
    transaction: Transaction, kind: Kind, how: Insertion, names: dict[str, str], first: int
) -> int:
    """Insert in rounds, until every staged row is inserted or refused; returns the number of writes."""
    await transaction.execute(load("split_begin").format(first=first, **names))
    block = await _portions(transaction, kind, how, names)
    while True:
        await transaction.execute(block)
        (reached,) = await transaction.fetch(load("split_progress").format(**names))
        if reached["is_done"]:
            return int(reached["writes"])


async def _portions(transaction: Transaction, kind: Kind, how: Insertion, names: dict[str, str]) -> str:
    """The SQL block that inserts in portions."""
    (found,) = await transaction.fetch(load("split_values"), kind.table, list(kind.columns))
    portion = load("split_portion_keeping_ids" if how.keeps_ids else "split_portion")
    columns = {"table": kind.table, "names": ", ".join(kind.columns), "values": found["values"]}
    insert = portion.format(ids=IDS.get(kind.table), key=how.key, **columns, **names)
    outages = OUTAGES_OF_CLUSTER if how.is_spread else OUTAGES
    codes = {"outages": outages, "raised": RAISED, "skipped": SKIPPED}
    return load("split_insert").format(
        insert=insert, table=kind.table, seconds=transaction.round_seconds, **codes, **names
    )


def _sort_out(staged: Sequence[Row], became: Sequence[Any]) -> Outcome:
    inserted: list[Row] = []
    duplicates: list[Row] = []
    dead_letters: list[DeadLetter] = []
    for row, outcome in zip(staged, became, strict=True):
        if outcome["sqlstate"] is not None:
            dead_letters.append(DeadLetter(row.record, _rejected(outcome)))
        else:
            (inserted if outcome["is_new"] else duplicates).append(row)
    return Outcome(inserted, duplicates, dead_letters=dead_letters)


def _rejected(outcome: Any) -> Rejected:
    """The reason for a dead letter, for the person who has to fix it."""
    if outcome["referred"] is not None:
        return _unknown_reference(outcome)
    places = outcome["table_schema"], outcome["table_name"], outcome["column_name"], outcome["constraint_name"]
    return refused(refusal(outcome["sqlstate"], *places))


def _unknown_reference(outcome: Any) -> Rejected:
    advice = f"insert it, then `ragledger dead-letters replay --reason {Reason.UNKNOWN_REFERENCE}`"
    problem = f"{outcome['referred']} has no such row (foreign key {outcome['constraint_name']}): {advice}"
    return Rejected(Reason.UNKNOWN_REFERENCE, [Fault(outcome["columns"], problem)], sqlstate=outcome["sqlstate"])


def refused(error: Refused | Objection) -> Rejected:
    """The reason for the dead letter of a row that the database refuses."""
    fault = Fault("", f"the database refuses this row: {error}")
    return Rejected(Reason.REFUSED_BY_DATABASE, [fault], sqlstate=error.sqlstate)
