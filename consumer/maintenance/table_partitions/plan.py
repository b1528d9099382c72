"""`ragledger partition plan`: says whether to convert now and what a conversion does, or describes the partitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from consumer.maintenance.table_partitions.locks import short_transaction
from consumer.maintenance.table_partitions.measure import Measured, Volume, measure, volume_of_shards
from consumer.maintenance.table_partitions.shape import read_shape
from consumer.postgres.admin import AdminConnection, Target, connect
from consumer.postgres.queries import load

ROWS_A_DAY = 100_000
BYTES = 50 * 1000**3
P95_MS = 500

# Measured on two shared cores with 1.9 KB dialogues and six indexes, while a service writes. Other disks and texts
# differ.
COPIED_ROWS_A_SECOND, COPIED_BYTES_A_SECOND, COMPARED_BYTES_A_SECOND = 8_000, 20_000_000, 50_000_000


@dataclass(frozen=True, slots=True)
class Criterion:
    """One figure and its threshold; `measured` is None if there is no figure."""

    name: str
    measured: float | None
    threshold: float
    reached: bool
    source: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a conversion: what it does, what it locks and for how long, and its estimated duration."""

    name: str
    does: str
    lock: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition. Its range of created_at is half-open, UTC; None means no bound. `rows` is an estimate."""

    partition: str
    is_default: bool
    begins_at: datetime | None
    ends_at: datetime | None
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The result. `disk_bytes` is the extra space that a conversion needs; `partitions` lists the existing ones."""

    partitioned: bool
    due: bool
    criteria: tuple[Criterion, ...]
    obstacles: tuple[str, ...]
    steps: tuple[Step, ...]
    disk_bytes: int
    partitions: tuple[Partition, ...]


async def plan(target: Target) -> Plan:
    """Inspect the table; nothing is changed, and no large table is read.

    :raises NotPreparedError: the table or migration 0011 is missing
    :raises DatabaseError: the database cannot be queried
    """
    async with connect(target) as db:
        shape = await read_shape(db)
        volume = await measure(db)
        criteria = tuple(judge(volume))
        if shape.kind == "p":
            return Plan(True, False, criteria, (), (), 0, await _partitions(db))
        due = any(criterion.reached for criterion in criteria)
        size = int(volume.bytes.value or 0)
        return Plan(False, due, criteria, await _obstacles(db), tuple(steps(volume.rows, size)), size, ())


def judge(volume: Volume) -> Iterator[Criterion]:
    """Compare each figure with its threshold."""
    yield _criterion("rows_a_day", volume.rows_a_day, ROWS_A_DAY)
    yield _criterion("bytes", volume.bytes, BYTES)
    yield _criterion("p95_ms", volume.p95_ms, P95_MS)


def _criterion(name: str, measured: Measured, threshold: float) -> Criterion:
    reached = measured.value is not None and measured.value > threshold
    return Criterion(name, measured.value, threshold, reached, measured.source)


def steps(rows: int, size: int) -> Iterator[Step]:
    """Yield the steps of a conversion of a table of this size, in order, with estimated seconds."""
    copy = max(rows / COPIED_ROWS_A_SECOND, size / COPIED_BYTES_A_SECOND)
    compare = size / COMPARED_BYTES_A_SECOND
    moment = "for a moment"
    yield Step("made", "create an empty partitioned table beside the old one", f"referenced tables, {moment}", 1)
    yield Step("mirrored", "add triggers that write to both tables", f"writers wait, {moment}", 1)
    yield Step(
        "copied", "copy the earlier rows, a quarter of a second at a time", f"writers wait, {moment}, at the end", copy
    )
    yield Step("verified", "read both tables and compare them", "none", compare)
    yield Step("switched", "give the new table the name of the old one", f"all sessions wait, {moment}", 1)
    yield Step("done", "drop the old table", "the old table only", 1)


async def _obstacles(db: AdminConnection) -> tuple[str, ...]:
    async with short_transaction(db, 0):
        return tuple(row["obstacle"] for row in await db.rows(load("partition_obstacles")))


async def _partitions(db: AdminConnection) -> tuple[Partition, ...]:
    async with short_transaction(db, 0):
        rows: Sequence[dict[str, Any]] = await db.rows(load("partition_list"))
        spread = await volume_of_shards(db)
    return tuple(Partition(**row | (asdict(spread[row["partition"]]) if spread else {})) for row in rows)
