"""The lock for changes of the schema: migrations, and conversion and archives of months. One at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from consumer.errors import OperationError
from consumer.postgres.admin import APPLICATION_NAME, AdminConnection, Target, connect
from consumer.postgres.queries import load

LOCK_KEY = int.from_bytes(b"ragledgr")
_LOCK_POLL_S = 0.2


class LockTakenError(OperationError):
    """Another migration holds the lock."""

    def __init__(self, waited_s: float) -> None:
        """Say how to find the other migration."""
        super().__init__(
            f"Another migration of this database was still running after {waited_s:.0f} s. Let it end, or"
            f" find it in pg_stat_activity by its application_name, {APPLICATION_NAME!r}."
        )


@asynccontextmanager
async def exclusive(target: Target, wait_s: float) -> AsyncIterator[None]:
    """Hold the lock inside this context. Waits up to `wait_s` seconds for another migration to end.

    The lock belongs to a transaction on its own connection. A session lock would not survive a transaction-mode pooler,
    and the work itself uses several transactions or none.

    :raises LockTakenError: the other migration did not end
    """
    # Poll instead of waiting in the database: a waiting statement holds a snapshot, and the other migration's
    # concurrent index build waits for all snapshots, so the two would wait for each other.
    deadline = monotonic() + wait_s
    async with connect(target) as holder:
        while True:
            async with holder.transaction():
                if await _take(holder):
                    yield
                    return
            if monotonic() > deadline:
                raise LockTakenError(wait_s)
            await asyncio.sleep(_LOCK_POLL_S)


async def _take(holder: AdminConnection) -> bool:
    await holder.rows(load("migrate_lock_lives_on"))
    (row,) = await holder.rows("SELECT pg_try_advisory_xact_lock($1) AS taken", LOCK_KEY)
    return bool(row["taken"])
