"""The content of the page at one moment. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from consumer.events.record import Partition

DAYS = 30
MOST_PARTITIONS = 300
MOST_DEAD_LETTERS = 1000


@dataclass(frozen=True, slots=True)
class Reading:
    """The progress of one partition. `rate` is in records a second; None if unknown, like `lag`."""

    partition: Partition
    next_offset: int
    records: int
    owner: str
    updated_at: datetime
    rate: float | None = None
    lag: int | None = None


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The newest open dead letters of one topic and reason."""

    topic: str
    reason: str
    records: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The content of the page. If `problem` is set, the rest is from an earlier moment or missing."""

    taken_at: datetime
    today: date | None = None
    timezone: str = ""
    days: Sequence[Mapping[str, Any]] = ()
    partitions: Sequence[Reading] = ()
    dead_letters: Sequence[DeadLetters] = ()
    problem: str = ""
    kafka_problem: str = ""
    shown_at: datetime | None = None
