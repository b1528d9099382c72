"""Why a partition cannot be read on from where the ledger stands. Never skipped or started over silently."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from consumer.events.record import Partition
from consumer.ingest.offsets import Claim, StopReason
from consumer.ports import Bounds


def unreadable(claim: Claim, bounds: Bounds, log_end: int | None = None) -> StopReason | None:
    """Why a claimed partition cannot be read; None where it can.

    :param log_end: up to which offset the log holds what was written under the claim's leader epoch and earlier ones;
        None where nobody can tell
    """
    if is_made_anew(claim.topic_id, bounds.topic_id):
        return topic_made_anew(claim.partition)
    if log_end is not None and log_end < claim.next_offset:
        return log_diverged(claim, bounds, log_end)
    if claim.next_offset < bounds.first:
        return StopReason(
            f"the ledger stands at offset {claim.next_offset}, but the partition now begins at {bounds.first}: "
            f"{bounds.first - claim.next_offset} offsets were deleted by retention before they were read"
        )
    if claim.next_offset > bounds.end and log_end is None:  # else the end has only not been made known yet
        return StopReason(
            f"the ledger stands at offset {claim.next_offset}, but the partition ends at {bounds.end}: "
            "the topic was deleted and made anew, or lost records",
            diverges_at=0,  # it may have lost more, and grown again since
        )
    return None


def log_diverged(claim: Claim, bounds: Bounds, log_end: int) -> StopReason:
    """The log was cut off before the offset that comes next, and whatever lies behind the cut was never read."""
    return StopReason(
        f"it was read up to offset {claim.next_offset}, but its log holds what was read only up to offset {log_end}: "
        "it was cut off there, by the election of a leader that was not in sync or by the loss of a disk. What was "
        f"written from offset {log_end} on since then was not read",
        resume_from=str(log_end) if log_end >= bounds.first else "earliest",
        diverges_at=log_end,
    )


def is_made_anew(known: UUID | None, found: UUID | None) -> bool:
    """Whether the topic that is there is not the one known, as far as anybody can tell."""
    return known is not None and found is not None and known != found


def topic_made_anew(partition: Partition) -> StopReason:
    """The topic is another one under the same name, however long it is."""
    return StopReason(
        f"the topic {partition.topic} was deleted and made anew: the ledger answers for the topic it was before"
    )


def batch_unreadable(first: int, last: int, why: str) -> StopReason:
    """The records of a batch cannot be told apart, so nobody can say what they are."""
    which = f"offset {first}" if first == last else f"offsets {first} to {last}"
    return StopReason(
        f"the batch of {which} cannot be read: {why}. Reading on behind it gives up {last - first + 1} offsets",
        resume_from=str(last + 1),
        unreadable_from=first,
        unreadable_until=last + 1,
    )


def kept_reason(row: Any) -> StopReason | None:
    """Why a partition has stopped, from its row of the ledger; None where it has not.

    What a version from before migration 0016 has kept says nothing of where to go on.
    """
    if row["stopped_because"] is None:
        return None
    offsets = row["unreadable_from"], row["unreadable_until"], row["diverges_at"]
    return StopReason(row["stopped_because"], row["resume_from"] or "earliest", *offsets)


def command_to_settle(partition: Partition, reason: StopReason) -> str:
    """What a person types once it is clear that reading may go on there."""
    topic, number = partition
    return f"ragledger ledger resume --topic {topic} --partition {number} --from {reason.resume_from}"
