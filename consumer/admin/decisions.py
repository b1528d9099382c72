"""`ragledger ledger resume`: stores a person's decision at which offset a stopped partition continues.

If the target is ahead in the same topic, the skipped offsets are counted as gaps. If it is behind, or the topic was
recreated, the books are closed and stored with the decision, and new books begin. So in each set of books every offset
is accounted for once.

Readable offsets are given up only with --give-up-readable. An offset is unreadable if neither Kafka nor a replica still
holds its record, or if the stop in the ledger lists it as unreadable. In the second case Kafka is asked again before
the offset is given up, because a sound copy of the record may be there now, for example on another broker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from consumer.errors import OperationError
from consumer.events.record import Partition
from consumer.ingest.offsets import Claim, StopReason
from consumer.ingest.ports import Bounds
from consumer.ingest.stop_reasons import command_to_settle, is_recreated, kept_reason, unreadable
from consumer.kafka.admin import count_members
from consumer.kafka.tools import is_readable, log_ends, read_bounds
from consumer.postgres.client import Database, Transaction
from consumer.postgres.queries import load
from consumer.settings.model import Settings
from consumer.settings.process import user_name

Target = Literal["earliest", "latest", "here"] | int


@dataclass(frozen=True, slots=True)
class Decision:
    """A stored decision. The skipped offsets count as gaps, or the books were closed and new ones begin.

    :param given_up: offsets that may hold records and will not be read
    """

    topic: str
    partition: int
    from_offset: int
    to_offset: int
    begins_anew: bool
    skipped: int
    problem: str | None
    given_up: int


async def resume(
    settings: Settings,
    database: Database,
    partition: Partition,
    target: Target,
    reason: str | None,
    give_up_readable: bool = False,
) -> Decision:
    """Let a partition continue at `target`: the first offset, the end, the offset in the ledger, or a given offset.

    :param give_up_readable: whether readable offsets may be given up
    :raises OperationError: the ledger or Kafka does not know the partition, Kafka does not hold the offset, or readable
        offsets would be given up
    :raises SourceError: Kafka does not answer
    :raises Unavailable: the database is unavailable
    """
    bounds = await _bounds(settings, partition)
    async with database.transaction() as transaction:
        asked = await _hold_books(transaction, settings.kafka.group_id, partition)
    log_end = await _log_end(settings, _claim(partition, asked), bounds)
    is_back = await _is_readable_again(settings, asked, bounds, _decide(partition, asked, bounds, target, log_end))
    async with database.transaction() as transaction:
        books = await _hold_books(transaction, settings.kafka.group_id, partition)
        if books["leader_epoch"] != asked["leader_epoch"]:
            raise OperationError(f"{partition} has just got another leader: run the command again")
        if kept_reason(books) != kept_reason(asked):
            raise OperationError(f"{partition} has just stopped, or was just settled: run the command again")
        if is_back:
            books = {**books, "resume_from": "here", "unreadable_from": None, "unreadable_until": None}
        decision = _decide(partition, books, bounds, target, log_end)
        if not give_up_readable:
            _refuse_to_give_up(partition, _advised(partition, books, bounds, log_end), decision)
            await _refuse_while_in_flight(settings, partition, books, bounds, decision, log_end)
        await _carry_out(transaction, settings.kafka.group_id, decision, books["topic_id"], bounds, reason)
    return decision


async def _bounds(settings: Settings, partition: Partition) -> Bounds:
    bounds = await read_bounds(settings.kafka, [partition.topic])
    if partition in bounds.unanswered:
        raise OperationError(f"the offsets that {partition} holds cannot be read now: {bounds.unanswered[partition]}")
    if partition not in bounds:
        raise OperationError(f"Kafka has no partition {partition}")
    return bounds[partition]


async def _log_end(settings: Settings, claim: Claim, bounds: Bounds) -> int | None:
    ends = await log_ends(settings.kafka, [claim], {claim.partition: bounds})
    if claim.partition in ends.unanswered:
        why = ends.unanswered[claim.partition]
        raise OperationError(f"the log of {claim.partition} cannot be compared with the ledger now: {why}")
    return ends.get(claim.partition)


async def _is_readable_again(settings: Settings, books: Any, bounds: Bounds, decision: Decision) -> bool:
    """Whether the decision skips offsets that were unreadable when the partition stopped, and are readable now."""
    first, until = books["unreadable_from"], books["unreadable_until"]
    if first is None or until is None or decision.begins_anew or decision.to_offset <= first:
        return False
    first = max(first, bounds.first)  # retention may have deleted some of them
    partition = Partition(decision.topic, decision.partition)
    return await is_readable(settings.kafka, partition, first, until)


async def decisions(settings: Settings, database: Database) -> Sequence[Mapping[str, Any]]:
    """Return every decision of the configured group, newest first.

    :raises Unavailable: the database is unavailable
    """
    async with database.transaction() as transaction:
        return [dict(row) for row in await transaction.fetch(load("decisions_list"), settings.kafka.group_id)]


async def _hold_books(transaction: Transaction, group: str, partition: Partition) -> Any:
    rows = await transaction.fetch(load("decision_books"), group, *partition)
    if not rows:
        raise OperationError(
            f"the ledger of group {group} has no row for {partition}, so there is nothing to decide: "
            "reading begins at the offset that RAGLEDGER_KAFKA__START_FROM selects"
        )
    return rows[0]


def _decide(partition: Partition, books: Any, bounds: Bounds, target: Target, log_end: int | None = None) -> Decision:
    now, recreated = books["next_offset"], is_recreated(books["topic_id"], bounds.topic_id)
    to = _offset(partition, now, recreated, bounds, target)
    kept, found = kept_reason(books), unreadable(_claim(partition, books), bounds, log_end)
    reason = kept or found
    begins_anew = recreated or to < now
    skipped = 0 if begins_anew else to - now
    unread_from = bounds.first if recreated else max(bounds.first, _known_until(now, kept, found))
    given_up = _readable(unread_from, to, None if recreated else reason)
    return Decision(*partition, now, to, begins_anew, skipped, reason.problem if reason else None, given_up)


def _claim(partition: Partition, books: Any) -> Claim:
    return Claim(partition, 0, books["next_offset"], books["topic_id"], leader_epoch=books["leader_epoch"])


def _known_until(now: int, *reasons: StopReason | None) -> int:
    """Return the offset up to which the log holds the records that were read. A log may diverge again after a stop."""
    return min([now, *(one.diverges_at for one in reasons if one is not None and one.diverges_at is not None)])


def _advised(partition: Partition, books: Any, bounds: Bounds, log_end: int | None) -> StopReason:
    """Return the stop reason whose advice loses nothing: the stored one, or a later one that diverges earlier. If the
    partition no longer holds the offset of the stored one, its advice is the first offset.
    """
    kept, found = kept_reason(books), unreadable(_claim(partition, books), bounds, log_end)
    now = books["next_offset"]
    if found is not None and (kept is None or _known_until(now, found) < _known_until(now, kept)):
        return found
    kept = kept or StopReason("", "here")
    if kept.resume_from == "earliest":
        return kept
    offset = now if kept.resume_from == "here" else int(kept.resume_from)
    is_gone = offset < bounds.first or is_recreated(books["topic_id"], bounds.topic_id)
    return replace(kept, resume_from="earliest") if is_gone else kept


def _readable(begin: int, end: int, reason: StopReason | None) -> int:
    """Return how many of these offsets may be readable."""
    count = max(0, end - begin)
    if reason is None or reason.unreadable_from is None or reason.unreadable_until is None:
        return count
    return count - max(0, min(end, reason.unreadable_until) - max(begin, reason.unreadable_from))


def _refuse_to_give_up(partition: Partition, advised: StopReason, decision: Decision) -> None:
    if decision.given_up:
        instead = command_to_settle(partition, advised)
        raise OperationError(
            f"continuing {partition} at offset {decision.to_offset} gives up {decision.given_up:,} readable offsets, "
            f"so nothing was changed. Without loss: {instead}. To give them up: --give-up-readable"
        )


async def _refuse_while_in_flight(
    settings: Settings, partition: Partition, books: Any, bounds: Bounds, decision: Decision, log_end: int | None
) -> None:
    """Refuse while a replica may still hold records that Kafka no longer has.

    That replica writes them, then stops, and the ledger stores the stop.
    """
    is_gone = decision.begins_anew and is_recreated(books["topic_id"], bounds.topic_id)
    is_gone = is_gone or decision.from_offset < min(bounds.first, decision.to_offset)
    is_gone = is_gone or (log_end is not None and log_end < decision.from_offset)
    if not is_gone or books["stopped_because"] is not None:
        return
    members = await count_members(settings.kafka)
    if members != 0:
        who = "A replica" if members else "It is not known whether replicas run; one"
        raise OperationError(
            f"{partition} has not stopped yet. {who} may still have to write records that Kafka no longer holds; it "
            "stops afterwards, and `ragledger ledger` shows that. Wait for it, or stop the replicas, or give up "
            "the records that they hold: --give-up-readable"
        )


def _offset(partition: Partition, now: int, recreated: bool, bounds: Bounds, target: Target) -> int:
    if target == "here" and recreated:
        raise OperationError(f"{partition} was recreated: name earliest, latest or an offset of the new topic")
    words = {"earliest": bounds.first, "latest": bounds.end, "here": now}
    offset = target if isinstance(target, int) else words[target]
    if not bounds.first <= offset <= bounds.end:
        advice = ": `--from earliest` continues at the first one" if offset < bounds.first else ""
        raise OperationError(f"{partition} holds the offsets {bounds.first} to {bounds.end}, but not {offset}{advice}")
    return offset


async def _carry_out(
    transaction: Transaction, group: str, decision: Decision, known_id: Any, bounds: Bounds, reason: str | None
) -> None:
    place = (group, decision.topic, decision.partition)
    topic_id = bounds.topic_id or known_id
    await transaction.execute(
        load("decision_keep"),
        *place,
        user_name(),
        reason,
        decision.problem,
        decision.to_offset,
        decision.begins_anew,
        topic_id,
        decision.given_up,
    )
    statement = "decision_begin_anew" if decision.begins_anew else "decision_skip"
    await transaction.execute(load(statement), *place, decision.to_offset, topic_id, bounds.leader_epoch)
