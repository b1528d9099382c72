"""Short locks: each is tried for a moment, given up, and tried again, so that nobody queues behind us for long."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

from consumer.maintenance.table_partitions.errors import LockNotTakenError
from consumer.postgres.admin import AdminConnection, StatementError
from consumer.postgres.queries import load

# While we wait for a lock, everybody who comes later waits for us. The last limits are longer than deadlock_timeout (a
# second by default), after which PostgreSQL makes an autovacuum give way.
LIMITS_MS = (200, 400, 800, *[1200] * 37)
LONGEST_PAUSE_S = 5.0
# A lock was not to be had in time, or we were what a deadlock was ended with.
NOT_NOW = frozenset({"55P03", "40P01"})


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock that was taken: for what, in how many tries, and how long others may have waited for it.

    `waited_ms` is the longest try to get it, `held_ms` from then to the end of the transaction.
    """

    step: str
    tries: int
    waited_ms: int
    held_ms: int


@asynccontextmanager
async def short_transaction(db: AdminConnection, lock_limit_ms: int) -> AsyncIterator[None]:
    """A transaction that finds the tables by their names, and waits for a lock no longer than this; 0: for ever."""
    async with db.transaction():
        await db.rows(load("partition_search_path"))
        await db.execute(f"SET LOCAL lock_timeout = {lock_limit_ms}; SET LOCAL statement_timeout = 0")
        yield


async def under_lock(db: AdminConnection, step: str, lock: str, work: Callable[[], Awaitable[None]]) -> Lock:
    """Take a lock with the statement `lock`, do the work, commit; both again from the start while it cannot be had.

    :raises LockNotTakenError: not in any of the tries
    :raises StatementError: the work was refused; nothing of it stays
    """
    waited: list[float] = []
    for tries, limit in enumerate(LIMITS_MS, 1):
        started = monotonic()
        try:
            async with short_transaction(db, limit):
                await db.execute(lock)
                taken = monotonic()
                await work()
        except StatementError as error:
            if error.sqlstate not in NOT_NOW:
                raise
            waited.append(monotonic() - started)
        else:
            waited.append(taken - started)
            return Lock(step, tries, round(max(waited) * 1000), round((monotonic() - taken) * 1000))
        await asyncio.sleep(min(LONGEST_PAUSE_S, 0.1 * 2**tries) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
    raise LockNotTakenError(step, len(LIMITS_MS), await _holders(db))


async def _holders(db: AdminConnection) -> list[str]:
    rows = await db.rows(load("partition_lock_holders"))
    return [f"process {row['pid']} ({row['program']}), for {row['seconds']} s" for row in rows]
