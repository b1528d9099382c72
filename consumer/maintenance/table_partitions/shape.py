"""What ai_dialogue_log is now."""

from __future__ import annotations

from dataclasses import dataclass

from consumer.maintenance.table_partitions.errors import NotPreparedError
from consumer.postgres.admin import AdminConnection
from consumer.postgres.queries import load


@dataclass(frozen=True, slots=True)
class Shape:
    """The table: `kind` is r for a table, p for a partitioned one; the columns are quoted, computed ones left out."""

    kind: str
    columns: tuple[str, ...]


async def read_shape(db: AdminConnection) -> Shape:
    """Look at the table.

    :raises NotPreparedError: it is missing, or what partitions rest on
    """
    rows = await db.rows(load("partition_shape"))
    if not rows or not rows[0]["prepared"]:
        raise NotPreparedError
    return Shape(rows[0]["kind"], tuple(rows[0]["columns"]))
