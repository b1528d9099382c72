"""Inserting around rows that the table refuses: each becomes a dead letter, all others go in.

The rows are staged where next to nothing is refused, and a block in the server inserts them in portions under
savepoints, as many in one round trip as fit into a few seconds. So a batch of nothing but bad rows costs about what a
good one does, instead of several round trips for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from consumer.adapters.postgres import Transaction, refusal
from consumer.adapters.sql import load
from consumer.adapters.staging import Outcome, dead_letter
from consumer.events.kind import Kind
from consumer.ingest.batch import DeadLetter
from consumer.ingest.rows import Row
from consumer.ports import Refused

ROUND_SECONDS = 5  # well below any statement timeout, and often enough to see that it gets on


async def insert_splitting(
    transaction: Transaction, kind: Kind, rows: Sequence[Row], tell: Callable[[int], None]
) -> Outcome:
    """Insert what the table takes; of an id that comes twice the first is taken. Tells how many writes that took.

    One guilty row among n costs about log2(n) writes, and where every row is guilty each costs one.

    :raises Refused: not for a row, but for something of ours
    """
    names = await _make_tables(transaction, kind)
    staged, dead_letters = await _stage(transaction, kind, names, rows)
    tell(await _insert(transaction, kind, names) if staged else 0)
    inserted: list[Row] = []
    duplicates: list[Row] = []
    outcomes = await transaction.fetch(load("split_outcome").format(**names))
    for row, outcome in zip(staged, outcomes, strict=True):
        if outcome["sqlstate"] is not None:
            dead_letters.append(dead_letter(row, _refusal(outcome)))
        else:
            (inserted if outcome["is_new"] else duplicates).append(row)
    return Outcome(inserted, duplicates, dead_letters)


async def _make_tables(transaction: Transaction, kind: Kind) -> dict[str, str]:
    """Temporary tables of this kind; their names, as the statements are told them."""
    names = {part: f"split_{part}_{kind.table}" for part in ("stage", "new", "refused", "progress")}
    columns = ", ".join(f"'{name}'" for name in kind.fields)
    await transaction.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a refusal at COMMIT would name no row
    await transaction.execute(load("split_tables").format(table=kind.table, columns=columns, **names))
    return names


async def _stage(
    transaction: Transaction, kind: Kind, names: dict[str, str], rows: Sequence[Row]
) -> tuple[list[Row], list[DeadLetter]]:
    """COPY all rows, or halves of them until those that no stage takes are alone."""
    staged: list[Row] = []
    dead_letters: list[DeadLetter] = []
    waiting = [rows]
    while waiting:
        part = waiting.pop()
        try:
            async with transaction.savepoint():
                await transaction.copy(names["stage"], tuple(kind.fields), [row.encoded for row in part])
        except Refused as refused:
            middle = len(part) // 2
            if middle:
                waiting += [part[middle:], part[:middle]]  # the first half is taken next: order is kept
            else:
                dead_letters.append(dead_letter(part[0], refused))
        else:
            staged.extend(part)
    return staged, dead_letters


async def _insert(transaction: Transaction, kind: Kind, names: dict[str, str]) -> int:
    """Round by round, until every staged row is in or refused; how many writes that took."""
    await transaction.execute(load("split_begin").format(**names))
    values = (await transaction.fetch(load("split_values"), kind.table, list(kind.fields)))[0]["values"]
    block = load("split_insert").format(
        table=kind.table, names=", ".join(kind.fields), values=values, seconds=ROUND_SECONDS, **names
    )
    while True:
        await transaction.execute(block)
        (reached,) = await transaction.fetch(load("split_progress").format(**names))
        if reached["is_done"]:
            return int(reached["writes"])


def _refusal(found: Any) -> Refused:
    return refusal(
        found["sqlstate"], found["table_schema"], found["table_name"], found["column_name"], found["constraint_name"]
    )
