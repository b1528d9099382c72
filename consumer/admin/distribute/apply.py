"""Distributes ai_dialogue_log, in one transaction: after an interruption nothing has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
    steps = _Steps(progress)
    counted = 0

    async def work() -> None:
        nonlocal counted
        steps.done.clear()
        await _allowed(db, planned.key, planned.shards)  # it may have changed before the lock was taken
        counted = await _within_lock(db, planned, steps)

    progress("lock")
    await under_lock(db, "lock", load("distribution_lock"), work)
    return Applied(True, planned.key, planned.shards, planned.workers, counted, tuple(steps.done))


async def _within_lock(db: AdminConnection, planned: Plan, steps: _Steps) -> int:
    (shape,) = await db.rows(load("distribution_size"))
    (before,) = await db.rows(load("distribution_count"))
    has_ids = keeps_ids(planned.key, is_partitioned=shape["is_partitioned"])
    await db.execute("SET LOCAL citus.enable_unsafe_triggers = on")
    async with steps.step("policy"):
        await db.execute(load("distribution_policy"))
    async with steps.step("triggers"):
        await db.execute(load("distribution_triggers"))
    keys = await foreign_keys(db)
    if keys:
        async with steps.step("references"):
            await _refer(db, keys)
    if has_ids and not shape["is_partitioned"]:
        async with steps.step("ids"):
            await db.execute(load("distribution_known_ids"))
    if shape["is_partitioned"]:
        async with steps.step("months"):
            await db.execute(load("distribution_months"))
    if planned.key is Key.USER:
        async with steps.step("key"):
            columns = "user_id, id, created_at" if shape["is_partitioned"] else "user_id, id"
            await db.execute(load("distribution_key_by_user").format(columns=columns))
    async with steps.step("rows"):
        await _spread(db, DIALOGUES, planned.key.value, planned.shards, "none")
        if has_ids:
            await _spread(db, IDS, "id", planned.shards, DIALOGUES)
    if keys:
        async with steps.step("foreign keys"):
            for one in keys:
                await db.execute(one["back"])
                await db.execute(one["comment"])
    async with steps.step("count"):
        (after,) = await db.rows(load("distribution_count"))
    if before != after:
        raise NotEqualError(before["rows"], after["rows"])
    return int(after["rows"])


async def _refer(db: AdminConnection, keys: Sequence[dict[str, Any]]) -> None:
    """Take the foreign keys away, and put a copy of each table that they refer to on every worker."""
    # Citus adds a foreign key to a reference table only if each worker was used through one connection.
    await db.execute("SET LOCAL citus.multi_shard_modify_mode = 'sequential'")
    for one in keys:
        await db.execute(one["away"])
    for table in {one["table_name"] for one in keys if not one["is_everywhere"]}:
        await db.rows(load("distribution_reference"), table)


async def _spread(db: AdminConnection, table: str, key: str, shards: int, colocate_with: str) -> None:
    await db.rows(load("distribution_spread"), table, key, shards, colocate_with)
    await db.rows(load("distribution_leftovers"), table)


class _Steps:
    """The steps taken so far."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self.done = progress, list[Done]()

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """Take a step inside this context."""
        self._progress(name)
        began = monotonic()
        yield
        self.done.append(Done(name, round(monotonic() - began, 3)))
