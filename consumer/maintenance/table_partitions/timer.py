"""The timer that keeps partitions ahead of the dialogues, where the table is partitioned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from consumer.ingest.ports import StoreError
from consumer.postgres.table_partitions import MadePartition


class Partitions(Protocol):
    """The partitions of the dialogues."""

    def ensure(self) -> AsyncIterator[MadePartition]:
        """Make what is missing, month by month, each in a transaction of its own; nothing where nothing is partitioned.

        :raises StoreError: not now
        """
        ...


class PartitionTelemetry(Protocol):
    """What is told of the partitions."""

    def partition_made(self, made: MadePartition) -> None:
        """A partition was made, or could not be because too many rows wait for it."""
        ...

    def partitions_failed(self, problem: str) -> None:
        """Partitions could not be made now; until they are, rows of their months go to the default partition."""
        ...


class PartitionTimer:
    """Looks after the partitions every `interval` seconds."""

    def __init__(self, partitions: Partitions, telemetry: PartitionTelemetry, interval: float) -> None:
        self._partitions, self._telemetry, self._interval = partitions, telemetry, interval

    async def run(self) -> None:
        """Look at once, then on the timer, for ever."""
        while True:
            await self.turn()
            await asyncio.sleep(self._interval)

    async def turn(self) -> None:
        """Make what is missing. What fails is tried again next time: rows without a month have a place meanwhile."""
        try:
            async for made in self._partitions.ensure():
                self._telemetry.partition_made(made)
        except StoreError as error:
            self._telemetry.partitions_failed(str(error))
