"""`ragledger partition plan`: whether it is time, what a conversion would do, or how the partitions stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from consumer.maintenance.table_partitions.locks import short_transaction
from consumer.maintenance.table_partitions.measure import Measured, Volume, measure
from consumer.maintenance.table_partitions.shape import read_shape
from consumer.postgres.admin import AdminConnection, Target, connect
from consumer.postgres.queries import load

ROWS_A_DAY = 100_000
BYTES = 50 * 1000**3
P95_MS = 500

# On two shared cores with 1.9 KB dialogues and six indexes, beside a service that writes. Disks and long texts differ.
COPIED_ROWS_A_SECOND, COPIED_BYTES_A_SECOND, COMPARED_BYTES_A_SECOND = 8_000, 20_000_000, 50_000_000


@dataclass(frozen=True, slots=True)
class Criterion:
    """One figure against its threshold; `measured` is None where it cannot be had."""

    name: str
    measured: float | None
    threshold: float
    reached: bool
    source: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a conversion: what it does, what it locks and for how long, and about how long it takes."""

    name: str
    does: str
    lock: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition: half-open in created_at, UTC; None without a bound. Rows are an estimate."""

    partition: str
    is_default: bool
    begins_at: datetime | None
    ends_at: datetime | None
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What was found. `disk_bytes` is what a conversion needs beside the table; `partitions` those there are."""

    partitioned: bool
    due: bool
    criteria: tuple[Criterion, ...]
    obstacles: tuple[str, ...]
    steps: tuple[Step, ...]
    disk_bytes: int
    partitions: tuple[Partition, ...]


async def plan(target: Target) -> Plan:
    """Look; nothing is changed, and no large table is read.

    :raises NotPreparedError: the table or migration 0011 is missing
    :raises DatabaseError: the database cannot be asked
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
    """Hold each figure against its threshold."""
    yield _criterion("rows_a_day", volume.rows_a_day, ROWS_A_DAY)
    yield _criterion("bytes", volume.bytes, BYTES)
    yield _criterion("p95_ms", volume.p95_ms, P95_MS)


def _criterion(name: str, measured: Measured, threshold: float) -> Criterion:
    reached = measured.value is not None and measured.value > threshold
    return Criterion(name, measured.value, threshold, reached, measured.source)


def steps(rows: int, size: int) -> Iterator[Step]:
    """What a conversion of a table of this size does, in order, with seconds by rule of thumb."""
    copy = max(rows / COPIED_ROWS_A_SECOND, size / COPIED_BYTES_A_SECOND)
    compare = size / COMPARED_BYTES_A_SECOND
    moment = "for a moment"
    yield Step("made", "a partitioned table beside the old one, with all that has", f"tables referred to, {moment}", 1)
    yield Step("mirrored", "triggers write to both tables from now on", f"against writers, {moment}", 1)
    yield Step(
        "copied", "old rows are copied, a quarter of a second at a time", f"against writers, {moment}, at its end", copy
    )
    yield Step("verified", "both tables are read and compared", "none", compare)
    yield Step("switched", "the new table takes the name of the old one", f"against everybody, {moment}", 1)
    yield Step("done", "the old table is dropped", "on the old table only", 1)


async def _obstacles(db: AdminConnection) -> tuple[str, ...]:
    async with short_transaction(db, 0):
        return tuple(row["obstacle"] for row in await db.rows(load("partition_obstacles")))


async def _partitions(db: AdminConnection) -> tuple[Partition, ...]:
    async with short_transaction(db, 0):
        rows: Sequence[dict[str, object]] = await db.rows(load("partition_list"))
    return tuple(Partition(**row) for row in rows)  # type: ignore[arg-type]
