"""Offsets committed to Kafka. They follow the ledger, for lag tools and autoscalers; nothing is read from them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from consumer.events.record import Partition
from consumer.ingest.offsets import Claim, Span
from consumer.ingest.ports import Clock, End, Source, SourceError, Telemetry

INTERVAL_SECONDS = 1.0
TURNS_A_LOOK = 10
LOOK_SECONDS = 8.0  # longer than one leader that does not answer is waited for


@dataclass(slots=True)
class _Standing:
    """Where the ledger stands in a partition, and the newest record timestamp written (milliseconds; -1 unknown).

    Before anything was written it is that of the first record read.

    :param stable: the last stable offset while acknowledged records wait behind it, else -1
    :param since: when it was first seen there
    """

    next_offset: int
    timestamp: int = -1
    stable: int = -1
    since: float = 0.0


class Committer:
    """Commits to Kafka at most once a second, and tells how far the ledger is behind."""

    def __init__(self, source: Source, telemetry: Telemetry, clock: Clock) -> None:
        self._source, self._telemetry, self._clock = source, telemetry, clock
        self._standing: dict[Partition, _Standing] = {}
        self._uncommitted: set[Partition] = set()
        self._ends: Mapping[Partition, End] = {}

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
            before = self._standing.get(span.partition)
            if span.moved and before is not None:  # else it is not ours any more
                before.timestamp = max(before.timestamp, span.newest_timestamp)
                before.next_offset = span.next
                self._uncommitted.add(span.partition)

    def forget(self, partitions: Collection[Partition]) -> None:
        """These partitions are no longer ours."""
        for partition in partitions:
            self._standing.pop(partition, None)
            self._uncommitted.discard(partition)

    async def run(self) -> None:
        """Commit and tell, for ever."""
        for turn in itertools.count():
            await asyncio.sleep(INTERVAL_SECONDS)
            await self.flush()
            if turn % TURNS_A_LOOK == 0:
                await self._look_at_ends()

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

    async def _look_at_ends(self) -> None:
        """Ask: while fetching is paused, which is when the lag grows, no fetch tells."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                bounds = await self._source.bounds(list(self._standing))
        except (SourceError, TimeoutError):
            return
        self._telemetry.unanswered(self._standing.keys(), bounds.unanswered)
        self._ends = {partition: End(found.end, found.high_watermark) for partition, found in bounds.items()}

    def _tell_lag(self) -> None:
        now, fetched = self._clock.wall(), self._source.ends(self._standing)
        for partition, standing in self._standing.items():
            known = [ends[partition] for ends in (fetched, self._ends) if partition in ends]
            if not known:
                continue
            end = End(max(one.stable for one in known), max(one.high_watermark for one in known))
            behind = max(0, end.high_watermark - standing.next_offset)
            age = now - standing.timestamp / 1000 if behind and standing.timestamp >= 0 else 0.0
            self._telemetry.lag(partition, behind, max(0.0, age))
            self._tell_held_back(partition, standing, end)

    def _tell_held_back(self, partition: Partition, standing: _Standing, end: End) -> None:
        """A transaction is the same one as long as the last stable offset does not move."""
        now, waiting = self._clock.monotonic(), max(0, end.high_watermark - end.stable)
        stable = end.stable if waiting else -1
        if stable != standing.stable:
            standing.stable, standing.since = stable, now
        self._telemetry.held_back(partition, waiting, now - standing.since if waiting else 0.0)
