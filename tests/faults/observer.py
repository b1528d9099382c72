"""Reads the ledger ten times a second, to measure recovery times."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import psycopg
from psycopg.rows import dict_row

from tests.faults.traffic import Traffic
from tests.support.service import Environment, eventually

SAMPLE_SECONDS = 0.1
RECOVERY_SECONDS = 90.0
_LEDGER = """
    SELECT topic, partition, next_offset, inserted + duplicates + amended + dead_lettered + ignored AS accounted
    FROM ingest_ledger
"""
Offsets = Mapping[tuple[str, int], int]


class Sample(NamedTuple):
    """The state at one moment."""

    at: float
    acknowledged: int
    accounted: int
    offsets: Offsets


class Recovery(NamedTuple):
    """Seconds from the end of a fault until every partition is written again, and until no records wait. No
    records wait if at most those of one second are missing.
    """

    written: float
    caught_up: float


class Observer:
    """Counts sent and written records, on a connection of its own."""

    def __init__(self, environment: Environment, traffic: Traffic) -> None:
        self._environment, self._traffic = environment, traffic
        self._samples: list[Sample] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._observe, daemon=True)

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def stop(self) -> None:
        """Stop."""
        self._is_over.set()
        self._thread.join(30)

    @property
    def accounted(self) -> int:
        """Number of records written, as last read."""
        return self._samples[-1].accounted if self._samples else 0

    def written(self, topic: str) -> int:
        """Number of partitions of a topic that have been written, as last read."""
        offsets = self._samples[-1].offsets if self._samples else {}
        return sum(offset > 0 for (name, _), offset in offsets.items() if name == topic)

    def wait_for_more(self, count: int, seconds: float = RECOVERY_SECONDS) -> None:
        """Wait until so many more records are written."""
        wanted = self.accounted + count
        eventually(lambda: self.accounted >= wanted, timeout=seconds, message=f"{count} more records are written")

    def recovery(self, since: float, seconds: float = RECOVERY_SECONDS) -> Recovery:
        """Wait until all is well after a fault that ended at `since` (monotonic), and say how long it took.

        Raises:
            TimeoutError: it took longer than `seconds`.
        """
        deadline = since + seconds
        begin = self._wait_for(lambda one: one.at >= since + 2 * SAMPLE_SECONDS, deadline, "a look at the ledger")
        written = self._wait_for(lambda one: _all_moved(begin, one), deadline, "every partition is written again")
        caught_up = self._wait_for(
            lambda one: one.at >= written.at and self._is_caught_up(one), deadline, "no records wait"
        )
        return Recovery(written.at - since, caught_up.at - since)

    def _wait_for(self, condition: Callable[[Sample], bool], deadline: float, message: str) -> Sample:
        patience = max(0.0, deadline - time.monotonic())
        found: Sample = eventually(
            lambda: next((one for one in self._samples if condition(one)), None), timeout=patience, message=message
        )
        return found

    def _is_caught_up(self, sample: Sample) -> bool:
        return sample.acknowledged - sample.accounted <= self._traffic.rate

    def _observe(self) -> None:
        while not self._is_over.is_set():
            with suppress(psycopg.Error), psycopg.connect(self._environment.dsn, autocommit=True) as connection:
                while not self._is_over.wait(SAMPLE_SECONDS):
                    self._samples.append(self._look(connection))
            self._is_over.wait(SAMPLE_SECONDS)

    def _look(self, connection: psycopg.Connection[tuple[object, ...]]) -> Sample:
        acknowledged = self._traffic.count
        with connection.cursor(row_factory=dict_row) as cursor:
            lines = cursor.execute(_LEDGER).fetchall()
        offsets = {(line["topic"], line["partition"]): line["next_offset"] for line in lines}
        return Sample(time.monotonic(), acknowledged, sum(line["accounted"] for line in lines), offsets)


def _all_moved(before: Sample, now: Sample) -> bool:
    """Return whether every partition that gets records has been written."""
    used = {part: offset for part, offset in before.offsets.items() if offset > 0}
    return bool(used) and all(now.offsets.get(part, 0) > offset for part, offset in used.items())
