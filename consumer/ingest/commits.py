"""Commits offsets to Kafka and reports the lag. The offsets follow the ledger, for lag tools and autoscalers only."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from consumer.events.record import Partition
from consumer.ingest.offsets import Claim, Span
from consumer.ingest.ports import Clock, End, Source, SourceError, Telemetry

INTERVAL_SECONDS = 1.0
ROUNDS_PER_QUESTION = 10
QUESTION_SECONDS = 8.0  # longer than the wait for one leader that does not answer


@dataclass(slots=True)
class _Standing:
    """The position of the ledger in a partition.

    :param timestamp: the timestamp of the newest record written, in milliseconds. Before the first write, that of the
        first record read; -1 if unknown
    :param stable: the last stable offset while acknowledged records wait behind it; otherwise -1
    :param since: when the last stable offset was first seen at this value
    """

    next_offset: int
    timestamp: int = -1
    stable: int = -1
    since: float = 0.0


class Committer:
    """Commits to Kafka at most once a second, and reports how far the ledger is behind."""

    def __init__(self, source: Source, telemetry: Telemetry, clock: Clock) -> None:
        self._source, self._telemetry, self._clock = source, telemetry, clock
        self._standing: dict[Partition, _Standing] = {}
        self._uncommitted: set[Partition] = set()
        self._ends: Mapping[Partition, End] = {}

    def begin(self, claims: Iterable[Claim]) -> None:
        """Add claimed partitions, and commit the position of the ledger soon."""
        for claim in claims:
            self._standing[claim.partition] = _Standing(claim.next_offset)
            self._uncommitted.add(claim.partition)

    def read(self, partition: Partition, timestamp: int) -> None:
        """A record with this timestamp was read. It gives the lag in seconds until the first write."""
        standing = self._standing.get(partition)
        if standing is not None and standing.timestamp < 0:
            standing.timestamp = timestamp

    def note(self, spans: Iterable[Span]) -> None:
        """The ledger has moved to the end of these spans."""
        for span in spans:
            before = self._standing.get(span.partition)
            if span.moved and before is not None:  # None: the partition was revoked
                before.timestamp = max(before.timestamp, span.newest_timestamp)
                before.next_offset = span.next
                self._uncommitted.add(span.partition)

    def forget(self, partitions: Collection[Partition]) -> None:
        """Remove revoked partitions."""
        for partition in partitions:
            self._standing.pop(partition, None)
            self._uncommitted.discard(partition)

    async def run(self) -> None:
        """Commit and report until cancelled."""
        for round_ in itertools.count():
            await asyncio.sleep(INTERVAL_SECONDS)
            await self.flush()
            if round_ % ROUNDS_PER_QUESTION == 0:
                await self._ask_for_ends()

    async def flush(self) -> None:
        """Commit the positions that have moved, and report the lag. The next call retries the commits that Kafka did
        not accept.
        """
        self._report_lag()
        offsets = {partition: self._standing[partition].next_offset for partition in self._uncommitted}
        if offsets and await self._source.commit(offsets):
            self._uncommitted -= {
                partition for partition, offset in offsets.items() if self._is_newest(partition, offset)
            }

    def _is_newest(self, partition: Partition, offset: int) -> bool:
        standing = self._standing.get(partition)
        return standing is None or standing.next_offset == offset

    async def _ask_for_ends(self) -> None:
        """Ask the brokers for the ends, because no fetch reports them while fetching is paused and the lag grows."""
        try:
            async with asyncio.timeout(QUESTION_SECONDS):
                bounds = await self._source.bounds(list(self._standing))
        except (SourceError, TimeoutError):
            return
        self._telemetry.unanswered(self._standing.keys(), bounds.unanswered)
        self._ends = {partition: End(found.end, found.high_watermark) for partition, found in bounds.items()}

    def _report_lag(self) -> None:
        now, fetched = self._clock.wall(), self._source.ends(self._standing)
        for partition, standing in self._standing.items():
            known = [ends[partition] for ends in (fetched, self._ends) if partition in ends]
            if not known:
                continue
            end = End(max(one.stable for one in known), max(one.high_watermark for one in known))
            behind = max(0, end.high_watermark - standing.next_offset)
            age = now - standing.timestamp / 1000 if behind and standing.timestamp >= 0 else 0.0
            self._telemetry.lag(partition, behind, max(0.0, age))
            self._report_held_back(partition, standing, end)

    def _report_held_back(self, partition: Partition, standing: _Standing, end: End) -> None:
        """Report the open transaction. As long as the last stable offset does not move, it is the same transaction."""
        now, waiting = self._clock.monotonic(), max(0, end.high_watermark - end.stable)
        stable = end.stable if waiting else -1
        if stable != standing.stable:
            standing.stable, standing.since = stable, now
        self._telemetry.held_back(partition, waiting, now - standing.since if waiting else 0.0)
