"""Distributes ai_dialogue_log, in one transaction: after an interruption nothing has changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

from consumer.admin.distribute.errors import CannotDistributeError, NotEqualError
from consumer.admin.distribute.plan import DIALOGUES, IDS, Key, Plan, examine, foreign_keys, keeps_ids
from consumer.maintenance.table_partitions.locks import under_lock
from consumer.postgres.admin import AdminConnection, Target, connect
from consumer.postgres.queries import load
from consumer.postgres.schema_lock import exclusive

LOCK_WAIT_S = 600.0

Progress = Callable[[str], None]
"""Called with the name of each step before it begins."""

_Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Done:
    """A step that was taken, and how long it took."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Applied:
    """The result. `is_changed` is False if the table was distributed already; then no step was taken."""

    is_changed: bool
    key: Key
    shards: int
    workers: tuple[str, ...]
    rows: int
    steps: tuple[Done, ...]


async def apply(target: Target, key: Key | None, shards: int | None, progress: Progress) -> Applied:
    """Distribute the table, empty or filled. If it is distributed as wanted, change nothing.

    :param key: see :func:`consumer.admin.distribute.plan.plan`
    :param shards: the same
    :raises CannotDistributeError: something prevents it; nothing was changed
    :raises PartitionError: other sessions kept the table locked in every try
    :raises DatabaseError: the connection failed, or the database refused a statement; nothing was changed
    """
    async with exclusive(target, LOCK_WAIT_S), connect(target) as db:
        found = await _allowed(db, key, shards)
        if found.is_distributed:
            (rows,) = await db.rows(load("distribution_count"))
            return Applied(False, found.key, found.shards, found.workers, rows["rows"], ())
        return await _distribute(db, found, progress)


async def _allowed(db: AdminConnection, key: Key | None, shards: int | None) -> Plan:
    found = await examine(db, key, shards)
    if found.obstacles:
        raise CannotDistributeError(found.obstacles)
    return found


async def _distribute(db: AdminConnection, planned: Plan, progress: Progress) -> Applied:
    steps = _Steps(db, planned, progress)

    async def work() -> None:
        await _allowed(db, planned.key, planned.shards)  # it may have changed before the lock was taken
        await steps.run()

    progress("lock")
    await under_lock(db, "lock", load("distribution_lock"), work)
    return Applied(True, planned.key, planned.shards, planned.workers, steps.rows, tuple(steps.done))


class _Steps:
    """The steps, in the transaction that holds the lock. `rows` counts the dialogues, `done` lists what was done."""

    def __init__(self, db: AdminConnection, planned: Plan, progress: Progress) -> None:
        self._db, self._planned, self._progress = db, planned, progress
        self.rows = 0
        self.done: list[Done] = []

    async def run(self) -> None:
        """Take all steps.

        :raises NotEqualError: a row was lost or doubled
        """
        self.done.clear()
        (shape,) = await self._db.rows(load("distribution_size"))
        before, keys = await self._count(), await foreign_keys(self._db)
        await self._db.execute("SET LOCAL citus.enable_unsafe_triggers = on")
        for name, work in self._steps(shape["is_partitioned"], keys):
            self._progress(name)
            began = monotonic()
            await work()
            self.done.append(Done(name, round(monotonic() - began, 3)))
        if before != self.rows:
            raise NotEqualError(before, self.rows)

    def _steps(self, has_months: bool, keys: Sequence[dict[str, Any]]) -> Iterator[tuple[str, _Work]]:
        yield "policy", partial(self._execute, "distribution_policy")
        yield "triggers", partial(self._execute, "distribution_triggers")
        if keys:
            yield "references", partial(self._refer, keys)
        if keeps_ids(self._planned.key, is_partitioned=has_months) and not has_months:
            yield "ids", partial(self._execute, "distribution_known_ids")
        if has_months:
            yield "months", partial(self._execute, "distribution_months")
        if self._planned.key is Key.USER:
            columns = "user_id, id, created_at" if has_months else "user_id, id"
            yield "key", partial(self._execute, "distribution_key_by_user", columns=columns)
        yield "rows", partial(self._spread_all, has_months)
        if keys:
            yield "foreign keys", partial(self._add_again, keys)
        yield "count", self._count

    async def _execute(self, name: str, **parts: str) -> None:
        await self._db.execute(load(name).format(**parts) if parts else load(name))

    async def _count(self) -> int:
        (found,) = await self._db.rows(load("distribution_count"))
        self.rows = int(found["rows"])
        return self.rows

    async def _refer(self, keys: Sequence[dict[str, Any]]) -> None:
        """Take the foreign keys away, and put a copy of each table that they refer to on every worker."""
        # Citus adds a foreign key to a reference table only if each worker was used through one connection.
        await self._db.execute("SET LOCAL citus.multi_shard_modify_mode = 'sequential'")
        for one in keys:
            await self._db.execute(one["away"])
        for table in {one["table_name"] for one in keys if not one["is_everywhere"]}:
            await self._db.rows(load("distribution_reference"), table)

    async def _add_again(self, keys: Sequence[dict[str, Any]]) -> None:
        for one in keys:
            await self._db.execute(one["back"])
            await self._db.execute(one["comment"])

    async def _spread_all(self, has_months: bool) -> None:
        await self._spread(DIALOGUES, self._planned.key.value, "none")
        if keeps_ids(self._planned.key, is_partitioned=has_months):
            await self._spread(IDS, "id", DIALOGUES)

    async def _spread(self, table: str, key: str, colocate_with: str) -> None:
        await self._db.rows(load("distribution_spread"), table, key, self._planned.shards, colocate_with)
        await self._db.rows(load("distribution_leftovers"), table)
