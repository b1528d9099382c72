"""The periodic job that creates the table partitions of coming months, if the table is partitioned."""

from __future__ import annotations

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


class PartitionJob:
    """Creates the partitions that are missing."""

    def __init__(self, partitions: Partitions, telemetry: PartitionTelemetry) -> None:
        self._partitions, self._telemetry = partitions, telemetry

    async def run_once(self) -> None:
        """Create what is missing. Until a failed month is created, its rows go to the default partition."""
        try:
            async for made in self._partitions.ensure():
                self._telemetry.partition_made(made)
        except StoreError as error:
            self._telemetry.partitions_failed(str(error))
