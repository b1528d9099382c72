"""A limit on dead letters. If most records cannot be stored, the cause is not in the records, and a person has to find
it.
"""

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
        """The partitions that exceed the limit, with the reason for their stop. All given partitions have new dead
        letters.

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
