"""A limit on dead letters: if most records cannot be stored, the fault is elsewhere, and a person has to look."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from consumer.events.record import Partition
from consumer.ingest.offsets import StopReason
from consumer.ingest.stop_reasons import too_many_dead_letters
from consumer.postgres.client import Transaction
from consumer.postgres.ledger import columns
from consumer.postgres.queries import load
from consumer.settings.model import DeadLetters


class DeadLetterLimit:
    """Finds the partitions that exceed the limit of the settings."""

    def __init__(self, settings: DeadLetters) -> None:
        self._settings = settings

    async def exceeded(
        self, transaction: Transaction, group: str, partitions: Collection[Partition]
    ) -> Mapping[Partition, StopReason]:
        """Which of these partitions, all with new dead letters, exceed the limit, and why they have to stop.

        :raises Unavailable: not now
        """
        if self._settings.max_ratio is None or not partitions:
            return {}
        limits = (self._settings.max_ratio, self._settings.window, self._settings.min_count)
        rows = await transaction.fetch(load("dead_letters_over_limit"), group, *columns(partitions), *limits)
        return {
            Partition(row["topic"], row["partition"]): too_many_dead_letters(
                row["letters"], row["offsets"], self._settings.max_ratio
            )
            for row in rows
        }
