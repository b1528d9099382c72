"""`ragledger ledger resume`: a person decides where reading goes on, and the books keep that it was decided.

Ahead under the same topic, the offsets skipped are gaps and the books go on. Back, or to a topic made anew, the books
are closed and kept with the decision, and new ones begin: so every offset is accounted for once in each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from consumer.adapters.kafka_tools import read_bounds
from consumer.adapters.postgres import Database, Transaction
from consumer.events.record import Partition
from consumer.ingest.offsets import Claim
from consumer.operations.errors import OperationError
from consumer.operations.queries import query
from consumer.ports import Bounds
from consumer.problems import is_made_anew, unreadable
from consumer.settings import Settings, user_name

Target = Literal["earliest", "latest", "here"] | int


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided: `skipped` offsets are booked as gaps, or the books were closed and new ones begin."""

    topic: str
    partition: int
    from_offset: int
    to_offset: int
    begins_anew: bool
    skipped: int
    problem: str | None


async def resume(
    settings: Settings, database: Database, partition: Partition, target: Target, reason: str | None
) -> Decision:
    """Let reading go on at `target`: the first offset that is there, the end, where the ledger stands, or an offset.

    :raises OperationError: the ledger or Kafka does not know the partition, or it does not hold the offset
    :raises SourceError: Kafka does not answer
    :raises Unavailable: the database does not
    """
    bounds = (await read_bounds(settings.kafka, [partition.topic])).get(partition)
    if bounds is None:
        raise OperationError(f"Kafka has no partition {partition}")
    async with database.transaction() as transaction:
        books = await _hold_books(transaction, settings.kafka.group_id, partition)
        decision = _decide(partition, books, bounds, target)
        await _carry_out(transaction, settings.kafka.group_id, decision, books["topic_id"], bounds, reason)
    return decision


async def decisions(settings: Settings, database: Database) -> Sequence[Mapping[str, Any]]:
    """Every decision of the configured group, newest first.

    :raises Unavailable: the database cannot be asked
    """
    async with database.transaction() as transaction:
        return [dict(row) for row in await transaction.fetch(query("decisions_list"), settings.kafka.group_id)]


async def _hold_books(transaction: Transaction, group: str, partition: Partition) -> Any:
    rows = await transaction.fetch(query("decision_books"), group, *partition)
    if not rows:
        raise OperationError(
            f"the ledger of group {group} does not know {partition}, so there is nothing to decide: "
            "reading begins where RAGLEDGER_KAFKA__START_FROM says"
        )
    return rows[0]


def _decide(partition: Partition, books: Any, bounds: Bounds, target: Target) -> Decision:
    now, anew = books["next_offset"], is_made_anew(books["topic_id"], bounds.topic_id)
    to = _offset(partition, now, anew, bounds, target)
    standing = Claim(partition, 0, now, books["topic_id"])
    problem = books["stopped_because"] or unreadable(standing, bounds) or None
    begins_anew = anew or to < now
    return Decision(*partition, now, to, begins_anew, 0 if begins_anew else to - now, problem)


def _offset(partition: Partition, now: int, anew: bool, bounds: Bounds, target: Target) -> int:
    if target == "here" and anew:
        raise OperationError(f"{partition} was made anew: say earliest, latest or an offset of the new topic")
    words = {"earliest": bounds.first, "latest": bounds.end, "here": now}
    offset = target if isinstance(target, int) else words[target]
    if not bounds.first <= offset <= bounds.end:
        raise OperationError(f"{partition} holds the offsets {bounds.first} to {bounds.end}, not {offset}")
    return offset


async def _carry_out(
    transaction: Transaction, group: str, decision: Decision, known_id: Any, bounds: Bounds, reason: str | None
) -> None:
    place = (group, decision.topic, decision.partition)
    topic_id = bounds.topic_id or known_id
    await transaction.execute(
        query("decision_keep"),
        *place,
        user_name(),
        reason,
        decision.problem,
        decision.to_offset,
        decision.begins_anew,
        topic_id,
    )
    way = "decision_begin_anew" if decision.begins_anew else "decision_skip"
    await transaction.execute(query(way), *place, decision.to_offset, topic_id)
