"""`ragledger ledger`: per partition what was read, written, doubled and dead, and the proof that it adds up."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from consumer.adapters.kafka_tools import look_at_topics
from consumer.adapters.postgres import Database
from consumer.events.record import Partition
from consumer.operations.queries import query
from consumer.ports import Bounds, Refusal, SourceError
from consumer.settings import Settings


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One partition. `holds` is whether the equation does.

    :param lag: offsets up to the high watermark; None if Kafka could not be asked
    :param held_back: how many of them wait behind an open transaction
    """

    topic: str
    partition: int
    start_offset: int
    next_offset: int
    inserted: int
    duplicates: int
    amended: int
    dead_lettered: int
    gaps: int
    epoch: int
    owner: str | None
    updated_at: datetime | None
    holds: bool
    topic_id: UUID | None = None
    stopped_at: datetime | None = None
    stopped_because: str | None = None
    resume_from: str | None = None
    unreadable_from: int | None = None
    unreadable_until: int | None = None
    diverges_at: int | None = None
    lag: int | None = None
    held_back: int | None = None

    @property
    def read(self) -> int:
        """Offsets read: what the ledger has moved over."""
        return self.next_offset - self.start_offset


@dataclass(frozen=True, slots=True)
class Ledger:
    """Every partition of the group, and those of the topics that nobody has claimed yet."""

    lines: Sequence[LedgerLine]
    kafka_problem: str | None = None
    refused: Sequence[Refusal] = ()

    @property
    def holds(self) -> bool:
        """Whether the equation holds everywhere."""
        return all(line.holds for line in self.lines)

    @property
    def is_caught_up(self) -> bool:
        """Whether Kafka was asked, there is a topic, and no acknowledged record waits."""
        return self.kafka_problem is None and all(line.lag == 0 for line in self.lines)


async def read_ledger(settings: Settings, database: Database) -> Ledger:
    """The ledger of the configured group against what Kafka holds.

    :raises Unavailable: the database cannot be asked
    """
    async with database.transaction() as transaction:
        rows = await transaction.fetch(query("ledger_read"), settings.kafka.group_id)
    lines = {Partition(row["topic"], row["partition"]): LedgerLine(**dict(row)) for row in rows}
    topics = sorted(settings.topics.consumed)
    try:
        bounds, denied = look = await look_at_topics(settings.kafka, topics)
    except SourceError as error:
        return Ledger([*lines.values()], str(error))
    # Nobody has to publish every kind of event; but a topic that was read once, or any at all, should be there.
    hidden = {refusal.name for refusal in look.hidden}
    gone = {p.topic for p in lines} & set(topics) - {p.topic for p in bounds} - hidden
    missing = sorted(gone) if bounds or hidden else topics
    problems = [*map(str, look.hidden), *([f"Kafka shows no topic {', '.join(missing)}"] if missing else [])]
    return Ledger(_with_lag(lines, bounds, hidden), "; ".join(problems) or None, denied)


def _with_lag(
    lines: Mapping[Partition, LedgerLine], bounds: Mapping[Partition, Bounds], hidden: Collection[str]
) -> list[LedgerLine]:
    partitions = sorted(lines.keys() | bounds.keys())
    found = [_line(partition, lines.get(partition), bounds.get(partition)) for partition in partitions]
    return [replace(line, lag=None, held_back=None) if line.topic in hidden else line for line in found]


def _line(partition: Partition, line: LedgerLine | None, bounds: Bounds | None) -> LedgerLine:
    if line is None:
        assert bounds is not None
        line = _unclaimed(partition, bounds.first)
    if bounds is None:  # a topic of other days, of which nothing can wait
        return replace(line, lag=0, held_back=0)
    return replace(line, lag=bounds.high_watermark - line.next_offset, held_back=bounds.held_back)


def _unclaimed(partition: Partition, first: int) -> LedgerLine:
    return LedgerLine(*partition, first, first, 0, 0, 0, 0, 0, 0, None, None, holds=True)
