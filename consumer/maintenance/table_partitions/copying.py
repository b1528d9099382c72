"""Copies the old table into the new one, some blocks at a time, in their order on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

from consumer.maintenance.table_partitions.locks import NOT_NOW, short_transaction
from consumer.postgres.admin import AdminConnection, StatementError
from consumer.postgres.queries import load

# Below deadlock_timeout: if a writer and the copy wait for each other, the copy gives up first.
LOCK_MS = 100
TRIES = 100
TARGET_S = 0.25
FIRST_BLOCKS, MOST_BLOCKS = 64, 8192


async def copy_blocks(
    db: AdminConnection, columns: Sequence[str], span: tuple[int, int], on_progress: Callable[[int, int], None]
) -> None:
    """Copy the blocks from the first of `span` up to, but not including, the second.

    Each transaction takes about a quarter of a second.

    :raises StatementError: the database rejected a statement, or a writer held a lock in every try
    """
    position, end = span
    blocks = FIRST_BLOCKS
    while position < end:
        on_progress(position, end)
        upto = min(position + blocks, end)
        started = monotonic()
        await _copy(db, columns, position, upto)
        speed = TARGET_S / max(monotonic() - started, 0.001)
        blocks = max(1, min(MOST_BLOCKS, int(blocks * min(2.0, speed))))
        position = upto


async def _copy(db: AdminConnection, columns: Sequence[str], first: int, end: int) -> None:
    """Copy some blocks in one transaction. If a writer holds a lock, roll back, wait and retry."""
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
