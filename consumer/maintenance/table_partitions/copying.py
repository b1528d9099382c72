"""Copying the old table into the new one: some blocks at a time, in the order in which they lie on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

from consumer.maintenance.table_partitions.locks import NOT_NOW, short_transaction
from consumer.postgres.admin import AdminConnection, StatementError
from consumer.postgres.queries import load

# Below deadlock_timeout: where a writer and we wait for each other, it is us who give up.
LOCK_MS = 100
TRIES = 100
TARGET_S = 0.25
FIRST_BLOCKS, MOST_BLOCKS = 64, 8192


async def copy_blocks(
    db: AdminConnection, columns: Sequence[str], span: tuple[int, int], told: Callable[[int, int], None]
) -> None:
    """Copy the blocks from the first of `span` up to but not including the second, each transaction a quarter second.

    :raises StatementError: the database refused it, or a writer was in the way each time
    """
    position, end = span
    blocks = FIRST_BLOCKS
    while position < end:
        told(position, end)
        upto = min(position + blocks, end)
        started = monotonic()
        await _copy(db, columns, position, upto)
        speed = TARGET_S / max(monotonic() - started, 0.001)
        blocks = max(1, min(MOST_BLOCKS, int(blocks * min(2.0, speed))))
        position = upto


async def _copy(db: AdminConnection, columns: Sequence[str], first: int, end: int) -> None:
    """One transaction; where a writer is in the way, give up for a moment."""
    places = {"columns": ", ".join(columns), "first": first, "end": end}
    for tries in range(1, TRIES + 1):
        try:
            async with short_transaction(db, LOCK_MS):
                await db.rows(load("partition_copying"))
                await db.execute(load("partition_copy_ids").format(**places))
                [row] = await db.rows(load("partition_copy_rows").format(**places))
                await db.rows(load("partition_note_copied"), end, row["copied"])
        except StatementError as error:
            if error.sqlstate not in NOT_NOW or tries == TRIES:
                raise
            await asyncio.sleep(LOCK_MS / 1000)
        else:
            return
