"""Reads the present form of ai_dialogue_log."""

from __future__ import annotations

from dataclasses import dataclass

from consumer.maintenance.table_partitions.errors import NotPreparedError
from consumer.postgres.admin import AdminConnection
from consumer.postgres.queries import load


@dataclass(frozen=True, slots=True)
class Shape:
    """`kind` is r for a plain table, p for a partitioned one; `columns` are quoted and without generated columns."""

    kind: str
    columns: tuple[str, ...]


async def read_shape(db: AdminConnection) -> Shape:
    """Read the form of the table.

    :raises NotPreparedError: the table, or an object that partitions need, is missing
    """
    rows = await db.rows(load("partition_shape"))
    if not rows or not rows[0]["prepared"]:
        raise NotPreparedError
    return Shape(rows[0]["kind"], tuple(rows[0]["columns"]))
