"""A limit on dead letters: where most records cannot be stored, the fault is elsewhere, and a person has to look."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from consumer.events.record import Partition
from consumer.ingest.offsets import StopReason
from consumer.ingest.stop_reasons import kept_reason
from consumer.postgres.client import Transaction
from consumer.postgres.ledger import columns
from consumer.postgres.queries import load
from consumer.settings.model import DeadLetters


class DeadLetterLimit:
    """Stops partitions in the transaction that moves the ledger, so that neither a kill nor a restart forgets it."""

    def __init__(self, settings: DeadLetters) -> None:
        self._settings = settings

    async def stop(
        self, transaction: Transaction, group: str, partitions: Collection[Partition]
    ) -> Mapping[Partition, StopReason]:
        """Stop those of the partitions, which have new dead letters, that are over the limit; why.

        :raises Unavailable: not now
        """
        if self._settings.max_ratio is None or not partitions:
            return {}
        limits = (self._settings.max_ratio, self._settings.window, self._settings.min_count)
        rows = await transaction.fetch(load("stop_over_limit"), group, *columns(partitions), *limits)
        reasons = ((Partition(row["topic"], row["partition"]), kept_reason(row)) for row in rows)
        return {partition: reason for partition, reason in reasons if reason}
