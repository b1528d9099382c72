"""The reasons why a partition stops. Without a person's decision no record is skipped and no partition starts over."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from consumer.events.record import Partition
from consumer.ingest.offsets import Claim, StopReason
from consumer.ingest.ports import Bounds


def unreadable(claim: Claim, bounds: Bounds, log_end: int | None = None) -> StopReason | None:
    """Why a claimed partition cannot be read; None if it can.

    :param log_end: the offset at which the records of the claim's leader epoch and of earlier ones end; None if unknown
    """
    if is_recreated(claim.topic_id, bounds.topic_id):
        return topic_recreated(claim.partition)
    if is_behind(claim.leader_epoch, bounds):
        return StopReason(leader_is_behind(claim.leader_epoch, bounds), diverges_at=0)
    if log_end is not None and log_end < claim.next_offset:
        return log_diverged(claim, bounds, log_end)
    if claim.next_offset < bounds.first:
        return StopReason(
            f"the ledger stands at offset {claim.next_offset}, but the partition now begins at {bounds.first}: "
            f"{bounds.first - claim.next_offset} offsets were deleted by retention before they were read"
        )
    if claim.next_offset > bounds.end and log_end is None:  # otherwise the new leader has not announced the end yet
        return StopReason(
            f"the ledger stands at offset {claim.next_offset}, but the partition ends at {bounds.end}: "
            "the topic was deleted and recreated, or lost records",
            diverges_at=0,  # it may have lost more, and grown again since
        )
    return None


def is_behind(leader_epoch: int | None, bounds: Bounds) -> bool:
    """Whether the leader does not know the epoch. Then it was replaced and has not noticed that yet, or it has another
    log.
    """
    return leader_epoch is not None and bounds.leader_epoch is not None and bounds.leader_epoch < leader_epoch


def leader_is_behind(leader_epoch: int | None, bounds: Bounds) -> str:
    """Why the log cannot be compared with the answer of this leader."""
    return (
        f"its leader answers under epoch {bounds.leader_epoch}, and epoch {leader_epoch} was read before: that leader "
        "is out of date, or the brokers were restored to an earlier state"
    )


def log_diverged(claim: Claim, bounds: Bounds, log_end: int) -> StopReason:
    """The log was cut off before the next offset. The records written after the cut were never read."""
    return StopReason(
        f"it was read up to offset {claim.next_offset}, but its log contains the read records only up to "
        f"offset {log_end}: it was cut off there, by the election of a leader that was not in sync or by the loss of a "
        f"disk. The records written from offset {log_end} on since then were not read",
        resume_from=str(log_end) if log_end >= bounds.first else "earliest",
        diverges_at=log_end,
    )


def is_recreated(known: UUID | None, found: UUID | None) -> bool:
    """Whether the topic is known to be another one than before."""
    return known is not None and found is not None and known != found


def topic_recreated(partition: Partition) -> StopReason:
    """There is another topic under the same name."""
    return StopReason(f"the topic {partition.topic} was deleted and recreated: the ledger belongs to the earlier topic")


def batch_unreadable(first: int, last: int, why: str) -> StopReason:
    """A batch whose records cannot be separated from each other."""
    which = f"offset {first}" if first == last else f"offsets {first} to {last}"
    return StopReason(
        f"{which} cannot be read: {why}. If another broker has a sound copy, let it lead the partition and continue "
        f"with `--from here`. Continuing after them gives up {last - first + 1} offsets",
        resume_from=str(last + 1),
        unreadable_from=first,
        unreadable_until=last + 1,
    )


def kafka_silent(first: int, until: int | None, answer: str) -> StopReason:
    """Kafka has records there but returns none. Another broker may, so the recommended command gives up no offset.

    :param until: the next offset at which it returns records; None if there is none
    """
    which = f"offset {first}" if until in (None, first + 1) else f"the offsets {first} to {until - 1}"
    problem = f"Kafka holds records at {which} and returns none, but answers with {answer}"
    cause = "The file of the broker that leads the partition may be damaged: let an undamaged replica lead it"
    if until is None:
        return StopReason(f"{problem}; nor does it return any later record. {cause}", resume_from="here")
    otherwise = f"If there is no such replica, `--from {until}` gives up {until - first} offsets"
    return StopReason(
        f"{problem}. {cause}. {otherwise}", resume_from="here", unreadable_from=first, unreadable_until=until
    )


def too_many_dead_letters(letters: int, offsets: int, max_ratio: float) -> StopReason:
    """Most records of the partition cannot be stored."""
    return StopReason(
        f"{letters} of its newest {offsets} offsets became dead letters, more than "
        f"RAGLEDGER_DEAD_LETTERS__MAX_RATIO={max_ratio:g} allows",
        resume_from="here",
    )


def kept_reason(row: Any) -> StopReason | None:
    """Why a partition has stopped, from its row in the ledger; None if it has not.

    A stop recorded before migration 0016 does not say where to continue.
    """
    if row["stopped_because"] is None:
        return None
    offsets = row["unreadable_from"], row["unreadable_until"], row["diverges_at"]
    return StopReason(row["stopped_because"], row["resume_from"] or "earliest", *offsets)


def command_to_settle(partition: Partition, reason: StopReason) -> str:
    """The command for a person who has decided that reading may continue there."""
    topic, number = partition
    return f"ragledger ledger resume --topic {topic} --partition {number} --from {reason.resume_from}"
