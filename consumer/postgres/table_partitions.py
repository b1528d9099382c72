"""The table partitions (months) of ai_dialogue_log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date

from consumer.postgres.client import Database
from consumer.postgres.queries import load

# Rows move at about 20,000 a second. Meanwhile every user of the default partition waits.
MOVE_AT_MOST = 10_000


@dataclass(frozen=True, slots=True)
class MadePartition:
    """The result for one month.

    :param month: its first day, UTC
    :param partition: the name of the table partition
    :param moved: number of rows moved into it from the default partition
    :param waiting: number of rows in the default partition. If it is not 0, they are too many to move, and the month
        was not created
    """

    month: date
    partition: str
    moved: int
    waiting: int


class PostgresPartitions:
    """See :class:`consumer.maintenance.partition_job.Partitions`."""

    def __init__(self, database: Database, months_ahead: int, move_at_most: int = MOVE_AT_MOST) -> None:
        self._database, self._months_ahead, self._move_at_most = database, months_ahead, move_at_most

    async def ensure(self) -> AsyncIterator[MadePartition]:
        """See :meth:`consumer.maintenance.partition_job.Partitions.ensure`."""
        after = date.min
        while (made := await self._ensure_one(after)) is not None:
            yield made
            after = made.month

    async def _ensure_one(self, after: date) -> MadePartition | None:
        async with self._database.transaction() as transaction:
            # A roll-up would not find rows that leave the default partition after the roll-up was planned.
            await transaction.fetch(load("wait_to_lead_rollup"))
            [row] = await transaction.fetch(load("ensure_partition"), self._months_ahead, after, self._move_at_most)
        return MadePartition(**dict(row)) if row["month"] is not None else None
