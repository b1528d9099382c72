"""`ragledger ledger`: shows the counts of each partition, and proves that they account for every offset."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from consumer.events.record import Partition
from consumer.ingest.offsets import Claim
from consumer.ingest.ports import Answers, Bounds, Refusal, SourceError
from consumer.ingest.stop_reasons import unreadable
from consumer.kafka.tools import log_ends, look_at_topics
from consumer.postgres.client import Database
from consumer.postgres.queries import load
from consumer.settings.model import Settings


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One partition. `holds` says whether its equation holds.

    :param lag: offsets up to the high watermark, counted from a divergence of the log if there is one; None if unknown
    :param held_back: how many of them wait behind an open transaction; None if unknown
    """

    topic: str
    partition: int
    start_offset: int
    next_offset: int
    inserted: int
    duplicates: int
    amended: int
    dead_lettered: int
    ignored: int
    gaps: int
    epoch: int
    owner: str | None
    updated_at: datetime | None
    holds: bool
    topic_id: UUID | None = None
    leader_epoch: int | None = None
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
        """Number of offsets that the ledger covers."""
        return self.next_offset - self.start_offset


@dataclass(frozen=True, slots=True)
class Ledger:
    """Every partition of the group, and unclaimed partitions of its topics.

    :param traces_waiting: traces whose spans are stored but not folded into a dialogue yet
    """

    lines: Sequence[LedgerLine]
    kafka_problem: str | None = None
    refused: Sequence[Refusal] = ()
    traces_waiting: int = 0

    @property
    def holds(self) -> bool:
        """Whether the equation holds for every partition."""
        return all(line.holds for line in self.lines)

    @property
    def is_caught_up(self) -> bool:
        """Whether Kafka answered, a topic exists, and no acknowledged record and no trace waits."""
        is_read = self.kafka_problem is None and all(line.lag == 0 for line in self.lines)
        return is_read and not self.traces_waiting


async def read_ledger(settings: Settings, database: Database) -> Ledger:
    """Compare the ledger of the configured group with the partitions in Kafka.

    :raises Unavailable: the database is unavailable
    """
    async with database.transaction() as transaction:
        rows = await transaction.fetch(load("ledger_read"), settings.kafka.group_id)
    found = await _compare(settings, rows)
    # Counted last: a trace is marked in the transaction that moves the ledger over its spans.
    async with database.transaction() as transaction:
        [traces] = await transaction.fetch(load("waiting_traces"))
    return replace(found, traces_waiting=traces["waiting"])


async def _compare(settings: Settings, rows: Sequence[Any]) -> Ledger:
    lines = {Partition(row["topic"], row["partition"]): LedgerLine(**dict(row)) for row in rows}
    topics = sorted(settings.topics.consumed)
    try:
        bounds, denied = topics_seen = await look_at_topics(settings.kafka, topics)
        lines |= await _diverged(settings, lines, bounds)
    except SourceError as error:
        return Ledger([*lines.values()], str(error))
    # A topic may be missing if nobody publishes that kind. But a topic that was read before must exist, and at least
    # one.
    hidden = {refusal.name for refusal in topics_seen.hidden}
    shown = {p.topic for p in (*bounds, *bounds.unanswered)}
    gone = {p.topic for p in lines} & set(topics) - shown - hidden
    missing = sorted(gone) if shown or hidden else topics
    problems = [
        *map(str, topics_seen.hidden),
        *([f"Kafka shows no topic {', '.join(missing)}"] if missing else []),
    ]
    problems += [f"{partition}: {why}" for partition, why in sorted(bounds.unanswered.items())]
    return Ledger(_with_lag(lines, bounds, hidden), "; ".join(problems) or None, denied)


async def _diverged(
    settings: Settings, lines: Mapping[Partition, LedgerLine], bounds: Mapping[Partition, Bounds]
) -> Mapping[Partition, LedgerLine]:
    """Return the lines of partitions that have not stopped yet, but whose log has diverged."""
    going = {partition: _claim(line) for partition, line in lines.items() if line.stopped_because is None}
    ends = await log_ends(settings.kafka, going.values(), bounds)
    found = {p: unreadable(going[p], bounds[p], ends.get(p)) for p in going.keys() & bounds.keys()}
    return {
        partition: replace(
            lines[partition],
            stopped_because=reason.problem,
            resume_from=reason.resume_from,
            diverges_at=reason.diverges_at,
        )
        for partition, reason in found.items()
        if reason is not None and reason.diverges_at is not None
    }


def _claim(line: LedgerLine) -> Claim:
    partition = Partition(line.topic, line.partition)
    return Claim(partition, line.epoch, line.next_offset, line.topic_id, leader_epoch=line.leader_epoch)


def _with_lag(
    lines: Mapping[Partition, LedgerLine], bounds: Answers[Bounds], hidden: Collection[str]
) -> list[LedgerLine]:
    partitions = sorted(lines.keys() | bounds.keys())
    unknown = {partition for partition in partitions if partition.topic in hidden} | bounds.unanswered.keys()
    found = {partition: _line(partition, lines.get(partition), bounds.get(partition)) for partition in partitions}
    return [replace(line, lag=None, held_back=None) if p in unknown else line for p, line in found.items()]


def _line(partition: Partition, line: LedgerLine | None, bounds: Bounds | None) -> LedgerLine:
    if line is None:
        assert bounds is not None
        line = _unclaimed(partition, bounds.first)
    if bounds is None:  # a topic that is no longer read; nothing of it waits
        return replace(line, lag=0, held_back=0)
    known_until = line.next_offset
    if line.diverges_at is not None:
        known_until = max(bounds.first, min(known_until, line.diverges_at))
    return replace(line, lag=bounds.high_watermark - known_until, held_back=bounds.held_back)


def _unclaimed(partition: Partition, first: int) -> LedgerLine:
    return LedgerLine(*partition, first, first, 0, 0, 0, 0, 0, 0, 0, None, None, holds=True)
