"""Reads the present form of ai_dialogue_log."""

from __future__ import annotations

from dataclasses import dataclass

from consumer.maintenance.table_partitions.errors import NotPreparedError
from consumer.postgres.admin import AdminConnection
from consumer.postgres.queries import load


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name as SQL needs it, with quotes if necessary, and its type as PostgreSQL writes it."""

    quoted: str
    type: str

    @property
    def name(self) -> str:
        """The name without quotes."""
        return unquoted(self.quoted)


@dataclass(frozen=True, slots=True)
class Shape:
    """`kind` is r for a plain table, p for a partitioned one; `columns` are quoted and without generated columns."""

    kind: str
    columns: tuple[str, ...]
    types: tuple[str, ...]

    @property
    def typed_columns(self) -> tuple[Column, ...]:
        """The columns with their types."""
        return tuple(map(Column, self.columns, self.types))


def unquoted(column: str) -> str:
    """Return a quoted name without its quotes."""
    return column[1:-1].replace('""', '"') if column.startswith('"') else column


async def read_shape(db: AdminConnection) -> Shape:
    """Read the form of the table.

    :raises NotPreparedError: the table, or an object that partitions need, is missing
    """
    rows = await db.rows(load("partition_shape"))
    if not rows or not rows[0]["prepared"]:
        raise NotPreparedError
    return Shape(rows[0]["kind"], tuple(rows[0]["columns"]), tuple(rows[0]["types"]))
