"""Inserting around rows that the table refuses: each becomes a dead letter, all others go in.

The rows are staged where next to nothing is refused, and a block in the server inserts them in portions under
savepoints, as many in one round trip as fit into a few seconds. So a batch of nothing but bad rows costs about what a
good one does, instead of several round trips for each row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from consumer.adapters import amendments
from consumer.adapters.postgres import Transaction, refusal
from consumer.adapters.sql import load
from consumer.adapters.staging import IDS, Outcome, join, keeps_ids
from consumer.events.kind import Kind
from consumer.events.rejection import Fault, Reason, Rejected
from consumer.ingest.batch import DeadLetter
from consumer.ingest.rows import Row
from consumer.ports import Refused

ROUND_SECONDS = 1  # well below any statement timeout, and often enough to see that it gets on


async def insert_splitting(
    transaction: Transaction, kind: Kind, rows: Sequence[Row], tell: Callable[[int], None]
) -> Outcome:
    """Insert what the table takes; of an id that comes twice the first is taken. Tells how many writes that took.

    One guilty row among n costs about log2(n) writes, and where every row is guilty each costs one.

    :raises Refused: not for a row, but for something of ours
    """
    await transaction.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a refusal at COMMIT would name no row
    return await (_amend if kind.amends else _insert)(transaction, kind, rows, tell)


async def _amend(transaction: Transaction, kind: Kind, rows: Sequence[Row], tell: Callable[[int], None]) -> Outcome:
    stage = await amendments.make_stage(transaction, kind)

    async def amend(part: Sequence[Row]) -> Outcome:
        moments, news = await amendments.amend(transaction, kind, stage, part)
        await transaction.execute(f"TRUNCATE {stage}")
        return Outcome(amended=part, moments=moments, news=news)

    halved = await _halve(transaction, rows, amend)
    tell(halved.writes)
    return join([Outcome(), *halved.outcomes])


async def _insert(transaction: Transaction, kind: Kind, rows: Sequence[Row], tell: Callable[[int], None]) -> Outcome:
    names = await _make_tables(transaction, kind)

    async def stage(part: Sequence[Row]) -> Outcome:
        await transaction.copy(names["stage"], tuple(kind.fields), [row.encoded for row in part])
        return Outcome(inserted=part)

    halved = await _halve(transaction, rows, stage)
    staged = join([Outcome(), *halved.outcomes])
    tell(await _insert_staged(transaction, kind, names) if staged.inserted else 0)
    became = await transaction.fetch(load("split_outcome").format(**names))
    return join([Outcome(dead_letters=staged.dead_letters), _sort_out(staged.inserted, became)])


class _Halved(NamedTuple):
    """What became of the parts that were taken and of the rows that were not, and how many writes that took."""

    outcomes: Sequence[Outcome]
    writes: int


async def _halve(
    transaction: Transaction, rows: Sequence[Row], write: Callable[[Sequence[Row]], Awaitable[Outcome]]
) -> _Halved:
    """Write all rows, or halves of them until those that are refused are alone."""
    outcomes: list[Outcome] = []
    waiting, writes = [rows], 0
    while waiting:
        part = waiting.pop()
        writes += 1
        try:
            async with transaction.savepoint():
                outcomes.append(await write(part))
        except Refused as refused:
            middle = len(part) // 2
            if middle:
                waiting += [part[middle:], part[:middle]]  # the first half is taken next: order is kept
            else:
                outcomes.append(Outcome(dead_letters=[_dead_letter(part[0], refused)]))
    return _Halved(outcomes, writes)


async def _make_tables(transaction: Transaction, kind: Kind) -> dict[str, str]:
    """Temporary tables of this kind; their names, as the statements are told them."""
    names = {part: f"split_{part}_{kind.table}" for part in ("stage", "new", "refused", "progress")}
    columns = ", ".join(f"'{name}'" for name in kind.fields)
    await transaction.execute(load("split_tables").format(table=kind.table, columns=columns, **names))
    return names


async def _insert_staged(transaction: Transaction, kind: Kind, names: dict[str, str]) -> int:
    """Round by round, until every staged row is in or refused; how many writes that took."""
    await transaction.execute(load("split_begin").format(**names))
    block = await _portions(transaction, kind, names)
    while True:
        await transaction.execute(block)
        (reached,) = await transaction.fetch(load("split_progress").format(**names))
        if reached["is_done"]:
            return int(reached["writes"])


async def _portions(transaction: Transaction, kind: Kind, names: dict[str, str]) -> str:
    """The block that inserts portion by portion."""
    (found,) = await transaction.fetch(load("split_values"), kind.table, list(kind.fields))
    portion = load("split_portion_keeping_ids" if await keeps_ids(transaction, kind) else "split_portion")
    columns = {"table": kind.table, "names": ", ".join(kind.fields), "values": found["values"]}
    insert = portion.format(ids=IDS.get(kind.table), **columns, **names)
    return load("split_insert").format(insert=insert, seconds=ROUND_SECONDS, **names)


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
    return _refused(refusal(outcome["sqlstate"], *places))


def _unknown_reference(outcome: Any) -> Rejected:
    advice = f"insert it, then `ragledger dead-letters replay --reason {Reason.UNKNOWN_REFERENCE}`"
    problem = f"{outcome['referred']} has no such row (foreign key {outcome['constraint_name']}): {advice}"
    return Rejected(Reason.UNKNOWN_REFERENCE, [Fault(outcome["columns"], problem)], sqlstate=outcome["sqlstate"])


def _refused(refused: Refused) -> Rejected:
    fault = Fault("", f"the database refuses this row: {refused}")
    return Rejected(Reason.REFUSED_BY_DATABASE, [fault], sqlstate=refused.sqlstate)


def _dead_letter(row: Row, refused: Refused) -> DeadLetter:
    return DeadLetter(row.record, _refused(refused))
