"""Takes locks in short tries: each try gives up early, so that other sessions do not queue behind it for long."""

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

# While a try waits for its lock, every later session waits behind it. The last limits exceed deadlock_timeout (one
# second by default), after which PostgreSQL cancels an autovacuum that holds the lock.
LIMITS_MS = (200, 400, 800, *[1200] * 37)
LONGEST_PAUSE_S = 5.0
# The lock was not available in time, or PostgreSQL ended a deadlock by cancelling our statement.
NOT_NOW = frozenset({"55P03", "40P01"})


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock that was taken: the step that needed it, the number of tries, and how long others may have waited.

    `waited_ms` is the longest try, `held_ms` the time from taking the lock to the end of the transaction.
    """

    step: str
    tries: int
    waited_ms: int
    held_ms: int


@asynccontextmanager
async def short_transaction(db: AdminConnection, lock_limit_ms: int) -> AsyncIterator[None]:
    """Run a transaction with the search path of the tables. It waits for a lock at most this long; 0 means no limit."""
    async with db.transaction():
        await db.rows(load("partition_search_path"))
        await db.execute(f"SET LOCAL lock_timeout = {lock_limit_ms}; SET LOCAL statement_timeout = 0")
        yield


async def under_lock(db: AdminConnection, step: str, lock: str, work: Callable[[], Awaitable[None]]) -> Lock:
    """Take a lock with the statement `lock`, do the work, and commit. If the lock is not available, repeat all of it.

    :raises LockNotTakenError: the lock was not available in any try
    :raises StatementError: the database rejected a statement; the transaction was rolled back
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
