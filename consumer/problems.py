"""Why a partition cannot be read on from where the ledger stands. Never skipped or started over silently."""

from __future__ import annotations

import re
from uuid import UUID

from consumer.events.record import Partition
from consumer.ingest.offsets import Claim
from consumer.ports import Bounds


def unreadable(claim: Claim, bounds: Bounds) -> str:
    """Why a claimed partition cannot be read; empty where it can."""
    if is_made_anew(claim.topic_id, bounds.topic_id):
        return topic_made_anew(claim.partition)
    if claim.next_offset < bounds.first:
        return (
            f"the ledger stands at offset {claim.next_offset}, but the partition now begins at {bounds.first}: "
            f"{bounds.first - claim.next_offset} offsets were deleted by retention before they were read"
        )
    if claim.next_offset > bounds.end:
        return (
            f"the ledger stands at offset {claim.next_offset}, but the partition ends at {bounds.end}: "
            "the topic was deleted and made anew, or lost records"
        )
    return ""


def is_made_anew(known: UUID | None, found: UUID | None) -> bool:
    """Whether the topic that is there is not the one known, as far as anybody can tell."""
    return known is not None and found is not None and known != found


def topic_made_anew(partition: Partition) -> str:
    """The topic is another one under the same name, however long it is."""
    return f"the topic {partition.topic} was deleted and made anew: the ledger answers for the topic it was before"


def position_lost(offset: int) -> str:
    """A running reader was told by the broker that it does not hold this offset."""
    return (
        f"offset {offset} comes next, but Kafka does not hold it: it was deleted by retention before it was read, "
        "or the topic was made anew, or lost records"
    )


def record_unreadable(offset: int) -> str:
    """The client cannot unpack a record, so it cannot read past it either."""
    return (
        f"the record at offset {offset} cannot be read: its batch is damaged, or the name of one of its headers is not "
        f"UTF-8; --from {offset + 1} leaves it out"
    )


def command_to_settle(partition: Partition, problem: str) -> str:
    """What a person types once it is clear where to go on: as the problem says, or else from the beginning."""
    topic, number = partition
    said = _SUGGESTED.search(problem)
    where = said[1] if said else "earliest"
    return f"ragledger ledger resume --topic {topic} --partition {number} --from {where}"


_SUGGESTED = re.compile(r"--from (\w+)")
