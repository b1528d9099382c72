"""The ledger in PostgreSQL: who may write for which partition."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple
from typing import Any

from consumer.events.record import Partition
from consumer.ingest.offsets import Claim, StopReason
from consumer.ingest.ports import Bounds, Holder
from consumer.ingest.stop_reasons import kept_reason
from consumer.postgres.client import Database
from consumer.postgres.queries import load


class PostgresLedger:
    """See :class:`consumer.ingest.ports.Claims`."""

    def __init__(self, database: Database, *, group: str, owner: str, begin_at_end: bool) -> None:
        self._database, self._group = database, group
        self._owner, self._begin_at_end = owner, begin_at_end

    async def claim(self, bounds: Mapping[Partition, Bounds]) -> Sequence[Claim]:
        """See :meth:`consumer.ingest.ports.Claims.claim`."""
        partitions = sorted(bounds)
        begin = [bounds[p].end if self._begin_at_end else bounds[p].first for p in partitions]
        ids = [bounds[p].topic_id for p in partitions]
        epochs = [bounds[p].leader_epoch for p in partitions]
        async with self._database.transaction() as transaction:
            arguments = (self._group, self._owner, *columns(partitions), begin, ids, epochs)
            rows = await transaction.fetch(load("claim"), *arguments)
        return [_claim(row) for row in rows]

    async def stop(self, claim: Claim, offset: int, reason: StopReason) -> StopReason | None:
        """See :meth:`consumer.ingest.ports.Claims.stop`."""
        place = (self._group, *claim.partition, claim.epoch, offset)
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(load("stop_partition"), *place, *astuple(reason))
        return kept_reason(rows[0]) if rows else None

    async def holders(self, partitions: Collection[Partition]) -> Mapping[Partition, Holder]:
        """See :meth:`consumer.ingest.ports.Claims.holders`."""
        rows = await self._read(partitions)
        return {partition: Holder(row["epoch"], row["owner"] is None) for partition, row in rows.items()}

    async def _read(self, partitions: Collection[Partition]) -> Mapping[Partition, Any]:
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(load("read_ledger"), self._group, *columns(partitions))
        return {Partition(row["topic"], row["partition"]): row for row in rows}


def columns(partitions: Collection[Partition]) -> tuple[list[str], list[int]]:
    """The partitions as two columns of a statement."""
    return [p.topic for p in partitions], [p.partition for p in partitions]


def _claim(row: Any) -> Claim:
    partition = Partition(row["topic"], row["partition"])
    return Claim(partition, row["epoch"], row["next_offset"], row["topic_id"], kept_reason(row), row["leader_epoch"])
