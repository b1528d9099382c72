"""Measures one contestant in one round: time, CPU and memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench import database, usage
from bench.dataset import Rows
from bench.errors import BenchError
from bench.program import Program
from bench.psql import copy_in
from bench.servers import Servers
from bench.watch import VisibleTimes, watch

# The names by file format. Binary is the fastest format and the reference; text is the default of `\\copy`.
COPY_NAMES = {"text": "psql \\copy, text", "binary": "psql \\copy, binary"}
COPY = COPY_NAMES["binary"]
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result of one contestant in one round.

    :param rows_per_s: from the first visible row to the last; for raw COPY, from start to end
    :param rows_per_s_ready: from the start of the process to the last row, without the time of an idle start
    :param rows_per_s_from_start: from the start of the process to the last row
    :param seconds_to_first_row: from the start of the process
    :param cpu_us: CPU of the contestant's process for each row, without its idle start
    :param postgres_us: CPU of all of PostgreSQL's processes for each row
    :param kafka_us: CPU of the broker for each row
    :param resident_mb: the maximum resident memory, including shared pages
    :param unique_mb: the maximum memory that no other process shares
    """

    contestant: str
    rows: int
    rows_per_s: float
    rows_per_s_ready: float
    rows_per_s_from_start: float
    seconds_to_first_row: float
    cpu_us: float
    postgres_us: float
    kafka_us: float
    resident_mb: float | None = None
    unique_mb: float | None = None


@dataclass(frozen=True, slots=True)
class IdleStart:
    """The cost of a start on empty topics: CPU seconds, and seconds until the program is ready."""

    cpu: float
    seconds: float

    @classmethod
    def median(cls, starts: Sequence[IdleStart]) -> IdleStart:
        """The median of each value."""
        return cls(median(one.cpu for one in starts), median(one.seconds for one in starts))


@dataclass(frozen=True, slots=True)
class _Meters:
    """CPU seconds that the servers have used so far."""

    postgres: float
    kafka: float

    @classmethod
    def read(cls, servers: Servers) -> _Meters:
        postgres = usage.family_cpu_seconds(servers.postgres.pid, {servers.backend_pid})
        return cls(postgres, usage.cpu_seconds(servers.kafka.pid))


def measure_copy(servers: Servers, rows: Sequence[Rows], file_format: str) -> Measurement:
    """Measure raw COPY. The time includes the start and the exit of the psql process.

    :raises BenchError: the tables do not contain the copied rows
    """
    total = sum(part.count for part in rows)
    before, cpu, start = _Meters.read(servers), _children_cpu(), time.monotonic()
    copy_in(servers, {part.table: part.files[file_format] for part in rows}, file_format)
    seconds = time.monotonic() - start
    after = _Meters.read(servers)
    check_rows(servers, rows, COPY_NAMES[file_format])
    return Measurement(
        contestant=COPY_NAMES[file_format],
        rows=total,
        rows_per_s=total / seconds,
        rows_per_s_ready=total / seconds,
        rows_per_s_from_start=total / seconds,
        seconds_to_first_row=seconds,
        cpu_us=_micros(_children_cpu() - cpu, total),
        postgres_us=_micros(after.postgres - before.postgres, total),
        kafka_us=_micros(after.kafka - before.kafka, total),
    )


def measure_program(
    servers: Servers, rows: Sequence[Rows], program: Program, idle: IdleStart, is_done: Callable[[], bool]
) -> Measurement:
    """Measure a consumer of the topics that has just been started.

    :param idle: the cost of its start on empty topics, which is subtracted
    :param is_done: returns whether the work that makes no rows is also done
    :raises BenchError: the program ends by itself or takes too long
    """
    before, memory = _Meters.read(servers), usage.Memory(program.pid)

    def each_look() -> None:
        program.check()
        memory.look()

    with program.explained():
        seen = watch(servers.connection, rows, each_look, is_done)
    cpu, after = usage.cpu_seconds(program.pid), _Meters.read(servers)
    total = sum(part.count for part in rows)
    return Measurement(
        contestant=program.name,
        rows=total,
        rows_per_s=_steady_rate(seen, total),
        rows_per_s_ready=total / (seen.last - program.started - idle.seconds),
        rows_per_s_from_start=total / (seen.last - program.started),
        seconds_to_first_row=seen.first - program.started,
        cpu_us=_micros(cpu - idle.cpu, total),
        postgres_us=_micros(after.postgres - before.postgres, total),
        kafka_us=_micros(after.kafka - before.kafka, total),
        resident_mb=memory.resident / _MB,
        unique_mb=memory.unique / _MB,
    )


def _steady_rate(seen: VisibleTimes, total: int) -> float:
    """The rate of the rows that became visible after the first ones."""
    if total <= seen.first_rows:
        raise BenchError("all rows became visible at once, so nothing could be timed: use more --events")
    return (total - seen.first_rows) / (seen.last - seen.first)


def check_rows(servers: Servers, rows: Sequence[Rows], who: str) -> None:
    """Compare every column of every row with the expected rows.

    :raises BenchError: they differ
    """
    for part in rows:
        found = database.checksum(servers.connection, part.table)
        if found != part.checksum:
            raise BenchError(
                f"{who} wrote other rows into {part.table} than were published: count and checksum are {found}, "
                f"but {part.checksum} is expected. Fix this before you use its figures."
            )


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _micros(seconds: float, rows: int) -> float:
    return max(seconds, 0.0) * 1e6 / rows
