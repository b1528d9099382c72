"""Offsets committed to Kafka. They follow the ledger, for lag tools and autoscalers; nothing is read from them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from consumer.events.record import Partition
from consumer.ingest.offsets import Claim, Span
from consumer.ports import Clock, Source, Telemetry

INTERVAL_SECONDS = 1.0


@dataclass(slots=True)
class _Standing:
    """Where the ledger stands in a partition, and the newest record timestamp written (milliseconds; -1 unknown).

    Before anything was written it is that of the first record read.
    """

    next_offset: int
    timestamp: int = -1


class Committer:
    """Commits to Kafka at most once a second, and tells how far the ledger is behind."""

    def __init__(self, source: Source, telemetry: Telemetry, clock: Clock) -> None:
        self._source, self._telemetry, self._clock = source, telemetry, clock
        self._standing: dict[Partition, _Standing] = {}
        self._uncommitted: set[Partition] = set()

    def begin(self, claims: Iterable[Claim]) -> None:
        """Start with claimed partitions; what the ledger knows is worth committing at once."""
        for claim in claims:
            self._standing[claim.partition] = _Standing(claim.next_offset)
            self._uncommitted.add(claim.partition)

    def read(self, partition: Partition, timestamp: int) -> None:
        """A record of this time waits to be written: how far the ledger is behind, as long as nothing was."""
        standing = self._standing.get(partition)
        if standing is not None and standing.timestamp < 0:
            standing.timestamp = timestamp

    def note(self, spans: Iterable[Span]) -> None:
        """The ledger has moved to the end of these spans."""
        for span in spans:
            if span.moved:
                before = self._standing.get(span.partition, _Standing(span.start))
                newest = max(before.timestamp, span.newest_timestamp)
                self._standing[span.partition] = _Standing(span.next, newest)
                self._uncommitted.add(span.partition)

    def forget(self, partitions: Collection[Partition]) -> None:
        """These partitions are no longer ours."""
        for partition in partitions:
            self._standing.pop(partition, None)
            self._uncommitted.discard(partition)

    async def run(self) -> None:
        """Commit and tell, for ever."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Commit what has moved and tell the lag. What Kafka does not take is tried again by the next."""
        self._tell_lag()
        offsets = {partition: self._standing[partition].next_offset for partition in self._uncommitted}
        if offsets and await self._source.commit(offsets):
            self._uncommitted -= {
                partition for partition, offset in offsets.items() if self._is_newest(partition, offset)
            }

    def _is_newest(self, partition: Partition, offset: int) -> bool:
        standing = self._standing.get(partition)
        return standing is None or standing.next_offset == offset

    def _tell_lag(self) -> None:
        now = self._clock.wall()
        for partition, end in self._source.ends(self._standing).items():
            standing = self._standing[partition]
            behind = max(0, end - standing.next_offset)
            age = now - standing.timestamp / 1000 if behind and standing.timestamp >= 0 else 0.0
            self._telemetry.lag(partition, behind, max(0.0, age))
