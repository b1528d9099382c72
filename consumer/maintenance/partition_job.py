"""The periodic job that creates the table partitions of coming months, if the table is partitioned."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from consumer.ingest.ports import StoreError
from consumer.postgres.table_partitions import MadePartition


class Partitions(Protocol):
    """The partitions of the dialogues."""

    def ensure(self) -> AsyncIterator[MadePartition]:
        """Make the missing partitions, each in its own transaction. Do nothing if the table is not partitioned.

        :raises StoreError: the database is unavailable
        """
        ...


class PartitionTelemetry(Protocol):
    """Reports on the partitions."""

    def partition_made(self, made: MadePartition) -> None:
        """Report a new partition, or one that was not made because too many rows would have to be moved into it."""
        ...

    def partitions_failed(self, problem: str) -> None:
        """Report why partitions were not made; until they are, rows go to the default partition."""
        ...


class PartitionJob:
    """Creates the partitions that are missing."""

    def __init__(self, partitions: Partitions, telemetry: PartitionTelemetry) -> None:
        self._partitions, self._telemetry = partitions, telemetry

    async def run_once(self) -> None:
        """Create the missing partitions. Until a failed month is created, its rows go to the default partition."""
        try:
            async for made in self._partitions.ensure():
                self._telemetry.partition_made(made)
        except StoreError as error:
            self._telemetry.partitions_failed(str(error))
