"""Inserting around rows that the table refuses: each becomes a dead letter, all others go in.

The rows are staged where next to nothing is refused, and a block in the server inserts them in portions under
savepoints, as many in one round trip as fit into a few seconds. So a batch of nothing but bad rows costs about what a
good one does, instead of several round trips for each row.
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
from consumer.postgres.client import OUTAGES, RAISED, SKIPPED, Objection, Transaction, refusal
from consumer.postgres.halving import halve
from consumer.postgres.queries import load
from consumer.postgres.staging import IDS, Outcome, how_to_insert, join


async def insert_splitting(
    transaction: Transaction, kind: Kind, rows: Sequence[Row], tell: Callable[[int], None], first: int | None = None
) -> Outcome:
    """Insert what the table takes; of an id that comes twice the first is taken. Tells how many writes that took.

    One guilty row among n costs about log2(n) writes, and where every row is guilty each costs one.

    :param first: how many rows to begin with, where each may take long; all of them without it

    :raises Refused: :raises Objection: not for a row, but for something of ours
    """
    await transaction.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a refusal at COMMIT would name no row
    return await (_amend if kind.amends else _insert)(transaction, kind, rows, tell, first)


async def _amend(
    transaction: Transaction, kind: Kind, rows: Sequence[Row], tell: Callable[[int], None], first: int | None
) -> Outcome:
    stage = await amendments.make_stage(transaction, kind)
    outcomes = [Outcome()]

    async def amend(part: Sequence[Row]) -> None:
        moments, news = await amendments.amend(transaction, kind, stage, part)
        await transaction.execute(f"TRUNCATE {stage}")
        outcomes.append(Outcome(amended=part, moments=moments, news=news))

    async def refuse(row: Row, error: Refused | Objection) -> None:
        outcomes.append(Outcome(dead_letters=[DeadLetter(row.record, refused(error))]))

    tell(await halve(transaction, rows, amend, refuse, first))
    return join(outcomes)


async def _insert(
    transaction: Transaction, kind: Kind, rows: Sequence[Row], tell: Callable[[int], None], first: int | None
) -> Outcome:
    names = await _make_tables(transaction, kind)
    staged: list[Row] = []
    dead_letters: list[DeadLetter] = []

    async def stage(part: Sequence[Row]) -> None:
        await transaction.copy(names["stage"], tuple(kind.fields), [row.encoded for row in part])
        staged.extend(part)

    async def refuse(row: Row, error: Refused | Objection) -> None:
        dead_letters.append(DeadLetter(row.record, refused(error)))

    await halve(transaction, rows, stage, refuse)
    tell(await _insert_staged(transaction, kind, names, first or len(staged)) if staged else 0)
    became = await transaction.fetch(load("split_outcome").format(**names))
    return join([Outcome(dead_letters=dead_letters), _sort_out(staged, became)])


async def _make_tables(transaction: Transaction, kind: Kind) -> dict[str, str]:
    """Temporary tables of this kind; their names, as the statements are told them."""
    names = {part: f"split_{part}_{kind.table}" for part in ("stage", "new", "refused", "progress")}
    columns = ", ".join(f"'{name}'" for name in kind.fields)
    await transaction.execute(load("split_tables").format(table=kind.table, columns=columns, **names))
    return names


async def _insert_staged(transaction: Transaction, kind: Kind, names: dict[str, str], first: int) -> int:
    """Round by round, until every staged row is in or refused; how many writes that took."""
    await transaction.execute(load("split_begin").format(first=first, **names))
    block = await _portions(transaction, kind, names)
    while True:
        await transaction.execute(block)
        (reached,) = await transaction.fetch(load("split_progress").format(**names))
        if reached["is_done"]:
            return int(reached["writes"])


async def _portions(transaction: Transaction, kind: Kind, names: dict[str, str]) -> str:
    """The block that inserts portion by portion."""
    (found,) = await transaction.fetch(load("split_values"), kind.table, list(kind.fields))
    how = await how_to_insert(transaction, kind)
    portion = load("split_portion_keeping_ids" if how.keeps_ids else "split_portion")
    columns = {"table": kind.table, "names": ", ".join(kind.fields), "values": found["values"]}
    insert = portion.format(ids=IDS.get(kind.table), **columns, **names)
    codes = {"outages": OUTAGES, "raised": RAISED, "skipped": SKIPPED}
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
    """Why the row is refused, in words for whoever has to mend it."""
    if outcome["referred"] is not None:
        return _unknown_reference(outcome)
    places = outcome["table_schema"], outcome["table_name"], outcome["column_name"], outcome["constraint_name"]
    return refused(refusal(outcome["sqlstate"], *places))


def _unknown_reference(outcome: Any) -> Rejected:
    advice = f"insert it, then `ragledger dead-letters replay --reason {Reason.UNKNOWN_REFERENCE}`"
    problem = f"{outcome['referred']} has no such row (foreign key {outcome['constraint_name']}): {advice}"
    return Rejected(Reason.UNKNOWN_REFERENCE, [Fault(outcome["columns"], problem)], sqlstate=outcome["sqlstate"])


def refused(error: Refused | Objection) -> Rejected:
    """Why a row is a dead letter that the database refuses."""
    fault = Fault("", f"the database refuses this row: {error}")
    return Rejected(Reason.REFUSED_BY_DATABASE, [fault], sqlstate=error.sqlstate)
