"""Where dialogues are: ai_dialogue_log, and the tables beside it that have some, or the same ones once more.

A month on its way out of the table or back is a table of its own, and a conversion has two tables with the same
dialogues. Commands that were interrupted leave them for as long as nobody runs them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from consumer.postgres.client import Transaction
from consumer.postgres.queries import load
from consumer.postgres.visibility import demand_whole_tables


@dataclass(frozen=True, slots=True)
class Place:
    """A table: `is_first` is ai_dialogue_log itself, `is_double` one that has the same dialogues once more."""

    name: str
    is_first: bool
    is_double: bool


@dataclass(frozen=True, slots=True)
class Dialogues:
    """Dialogues of a user: how many, verdicts kept on them, moments of their days."""

    count: int
    feedback: int
    moments: Sequence[datetime]


async def places(transaction: Transaction) -> Sequence[Place]:
    """Every table with dialogues, which all stay where they are until the transaction ends.

    :raises OperationError: row-level security hides rows of one
    """
    await transaction.execute(load("erasure_hold_tables"))
    found = [Place(**row) for row in await transaction.fetch(load("erasure_copies"))]
    await demand_whole_tables(transaction, *(place.name for place in found))
    return found


async def find(transaction: Transaction, user: UUID) -> Dialogues:
    """Those of a user, wherever they are, each counted once."""
    of_user = load("erasure_of_user")
    everywhere = "\nUNION ALL\n".join([of_user.format(table=place.name) for place in await places(transaction)])
    (row,) = await transaction.fetch(load("erasure_found_dialogues").format(dialogues=everywhere), user)
    if not row["dialogues"]:
        return Dialogues(0, 0, ())
    days = await transaction.fetch(load("erasure_found_days").format(dialogues=everywhere), user)
    feedback = 0
    if await has_feedback(transaction):
        (kept,) = await transaction.fetch(load("erasure_found_feedback").format(dialogues=everywhere), user)
        feedback = kept["feedback"]
    return Dialogues(row["dialogues"], feedback, [day["moment"] for day in days])


async def delete(transaction: Transaction, user: UUID, place: Place, at_most: int) -> Dialogues:
    """Delete some in one table, with what is kept on them; what is double counts as no dialogue."""
    rows = await transaction.fetch(load("erasure_dialogues").format(table=place.name), user, at_most)
    if not rows:
        return Dialogues(0, 0, ())
    ids = [row["id"] for row in rows]
    if not place.is_first:
        await transaction.execute(load("erasure_ids"), ids)
    await transaction.execute(load("erasure_costs"), ids)
    feedback = await transaction.fetch(load("erasure_feedback"), ids) if await has_feedback(transaction) else ()
    return Dialogues(len(rows), len(feedback), [row["created_at"] for row in rows])


async def has_feedback(transaction: Transaction) -> bool:
    """Whether verdicts are kept."""
    rows = await transaction.fetch("SELECT to_regclass('kept_feedback') IS NOT NULL AS there")
    return bool(rows[0]["there"])
