"""Finds and deletes dialogues in ai_dialogue_log and in the tables beside it that hold dialogues too.

A month that is being archived or restored is a table of its own, and a conversion has two tables with the same
dialogues. An interrupted command leaves these tables until it is run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from consumer.postgres.client import Transaction
from consumer.postgres.queries import load
from consumer.postgres.visibility import demand_whole_tables
from consumer.postgres.workers import is_spread


@dataclass(frozen=True, slots=True)
class DialogueTable:
    """A table with dialogues. `is_first`: ai_dialogue_log itself. `is_double`: a second copy of the same dialogues."""

    name: str
    is_first: bool
    is_double: bool


@dataclass(frozen=True, slots=True)
class Dialogues:
    """Dialogues of a user: their number, the feedback stored for them, and their times of creation."""

    count: int
    feedback: int
    moments: Sequence[datetime]


async def dialogue_tables(transaction: Transaction) -> Sequence[DialogueTable]:
    """Return every table with dialogues. A lock keeps them from changing until the transaction ends.

    :raises OperationError: row-level security hides rows of one
    """
    await transaction.execute(load("erasure_hold_tables"))
    found = [DialogueTable(**row) for row in await transaction.fetch(load("erasure_copies"))]
    await demand_whole_tables(transaction, *(table.name for table in found))
    return found


async def find(transaction: Transaction, user: UUID) -> Dialogues:
    """Return the dialogues of a user in all tables, each counted once."""
    of_user = load("erasure_of_user")
    selects = [of_user.format(table=table.name) for table in await dialogue_tables(transaction)]
    everywhere = "\nUNION ALL\n".join(selects)
    (row,) = await transaction.fetch(load("erasure_found_dialogues").format(dialogues=everywhere), user)
    if not row["dialogues"]:
        return Dialogues(0, 0, ())
    days = await transaction.fetch(load("erasure_found_days").format(dialogues=everywhere), user)
    feedback = 0
    if await has_feedback(transaction):
        (kept,) = await transaction.fetch(load("erasure_found_feedback").format(dialogues=everywhere), user)
        feedback = kept["feedback"]
    return Dialogues(row["dialogues"], feedback, [day["moment"] for day in days])


async def delete(transaction: Transaction, user: UUID, table: DialogueTable, at_most: int) -> Dialogues:
    """Delete up to `at_most` dialogues of a user from one table, with their feedback."""
    rows = await transaction.fetch(load("erasure_dialogues").format(table=table.name), user, at_most)
    if not rows:
        return Dialogues(0, 0, ())
    ids = [row["id"] for row in rows]
    if not table.is_first or await is_spread(transaction):  # the tables without a trigger for it
        await transaction.execute(load("erasure_ids"), ids)
    await transaction.execute(load("erasure_costs"), ids)
    feedback = await transaction.fetch(load("erasure_feedback"), ids) if await has_feedback(transaction) else ()
    moments = [row["created_at"] for row in rows if row["created_at"] is not None]
    return Dialogues(len(rows), len(feedback), moments)


async def has_feedback(transaction: Transaction) -> bool:
    """Return whether the table of feedback exists."""
    rows = await transaction.fetch("SELECT to_regclass('kept_feedback') IS NOT NULL AS there")
    return bool(rows[0]["there"])
