"""`ragledger migrate up` and `down`: runs the files as psql would, and notes what has run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from consumer.admin.migrate import history, partitioned_index
from consumer.admin.migrate.errors import (
    EncodingError,
    NoPlaceError,
    ReadOnlyError,
    RollbackRefusedError,
    StatementRefusedError,
)
from consumer.admin.migrate.files import Migration, Script, load, schema_directory
from consumer.admin.migrate.planning import MigrationStatus, State, assess, to_apply, to_roll_back
from consumer.admin.migrate.statements import Block, Statement
from consumer.postgres import queries
from consumer.postgres.admin import AdminConnection, StatementError, Target, connect
from consumer.postgres.schema_lock import exclusive

LOCK_WAIT_S = 600.0
DELETE_DATA = "ragledger.delete_data"
"""With it on, rollbacks do not refuse because of data that they delete."""

Progress = Callable[[str, int, int], None]
"""Called before each step with the name of its file, its place counted from 1, and the number of steps."""


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one file: `action` is applied, rolled back or skipped, with the reason for the last.

    `execution_ms` is how long it ran, in milliseconds; `warnings` are the database's, each with what to do.
    """

    version: int
    name: str
    action: str
    reason: str | None
    execution_ms: int
    warnings: tuple[str, ...] = ()


def silent(_name: str, _place: int, _steps: int) -> None:
    """Take progress and say nothing."""


async def up(
    target: Target,
    *,
    to: int | None = None,
    directory: Path | None = None,
    progress: Progress = silent,
    lock_wait_s: float = LOCK_WAIT_S,
) -> tuple[Step, ...]:
    """Apply what has not run yet, up to and including version `to`; return what was applied or skipped.

    Run it as the owner of the tables; it needs two connections, and they may be a transaction-mode pooler's.
    Files that were run with psql before are run again, which changes nothing, and noted down.

    :raises MigrationError: a subclass says what is wrong, see :mod:`consumer.admin.migrate.errors`
    :raises DatabaseError: the connection failed
    """
    migrations = load(directory or schema_directory())
    async with exclusive(target, lock_wait_s), connect(target) as db:
        await _demand_usable(db)
        await history.ensure(db)
        missing = await history.missing_tables(db, migrations)
        chosen = to_apply(migrations, assess(migrations, await history.read(db), missing), to)
        steps = []
        for place, (migration, status) in enumerate(chosen, 1):
            progress(migration.name, place, len(chosen))
            steps.append(await _apply(db, migration, status))
        return tuple(steps)


async def down(
    target: Target,
    *,
    to: int,
    delete_data: bool = False,
    directory: Path | None = None,
    progress: Progress = silent,
    lock_wait_s: float = LOCK_WAIT_S,
) -> tuple[Step, ...]:
    """Roll back every version above `to`, newest first; with 0 or 1 nothing of ours stays but the base table.

    Deletes data: see the WARNING at the top of each rollback file. A file whose data no topic brings back refuses,
    unless `delete_data` says otherwise. Every file is asked before the first of them runs.

    :raises MigrationError: :raises DatabaseError: as :func:`up`
    """
    migrations = load(directory or schema_directory())
    async with exclusive(target, lock_wait_s), connect(target) as db:
        await history.ensure(db)
        chosen = to_roll_back(migrations, await history.read(db), to)
        if delete_data:
            db.settings[DELETE_DATA] = "on"
        await _ask_all(db, chosen)
        steps = []
        for place, migration in enumerate(chosen, 1):
            progress(migration.rollback.file.removesuffix(".sql"), place, len(chosen))
            steps.append(await _roll_back(db, migration))
        if len(chosen) == len(migrations):
            await history.drop(db)
        return tuple(steps)


async def _demand_usable(db: AdminConnection) -> None:
    (row,) = await db.rows(queries.load("migrate_database"))
    if row["encoding"] != "UTF8":
        raise EncodingError(row["encoding"])
    if row["is_read_only"]:
        raise ReadOnlyError(is_standby=row["is_standby"])
    if not row["may_create"]:
        raise NoPlaceError(row["role"], row["schema"])


async def _ask_all(db: AdminConnection, chosen: Sequence[Migration]) -> None:
    """Run what may refuse, of every file, and take it back.

    :raises RollbackRefusedError: at least one of them does
    """
    refused = []
    for script in (migration.rollback for migration in chosen):
        for statement in script.refusals:
            try:
                async with db.transaction(keep=False):
                    await db.execute(statement.sql)
            except StatementError as error:
                refused.append((script.file, statement.line, error))
    if refused:
        raise RollbackRefusedError(refused)


async def _apply(db: AdminConnection, migration: Migration, status: MigrationStatus) -> Step:
    if status.state is State.SKIPPED:
        return Step(migration.version, migration.name, "skipped", status.reason, 0)
    elapsed = _stopwatch()
    await _run(db, migration.forward, lambda: history.record(db, migration, elapsed()))
    return Step(migration.version, migration.name, "applied", None, elapsed(), db.take_warnings())


async def _roll_back(db: AdminConnection, migration: Migration) -> Step:
    elapsed = _stopwatch()
    await _run(db, migration.rollback, lambda: history.forget(db, migration.version))
    return Step(migration.version, migration.name, "rolled back", None, elapsed(), db.take_warnings())


def _stopwatch() -> Callable[[], int]:
    start = monotonic()
    return lambda: round((monotonic() - start) * 1000)


async def _run(db: AdminConnection, script: Script, note: Callable[[], Awaitable[None]]) -> None:
    """Run a file, and note it down in its last transaction, or behind it where it does not end with one."""
    *earlier, last = script.blocks
    for block in earlier:
        await _run_block(db, script.file, block)
    if not last.transactional:
        await _run_block(db, script.file, last)
        await note()
        return
    async with db.transaction():
        await _run_statements(db, script.file, last)
        await note()


async def _run_block(db: AdminConnection, file: str, block: Block) -> None:
    if block.transactional:
        async with db.transaction():
            await _run_statements(db, file, block)
    elif not await _is_built(db, block.statements[0]) and not await _is_built_by_partition(db, file, block):
        await _run_statements(db, file, block)


async def _run_statements(db: AdminConnection, file: str, block: Block) -> None:
    for statement in block.statements:
        try:
            await db.execute(statement.sql)
        except StatementError as error:
            raise StatementRefusedError(file, statement.line, error) from error


async def _is_built(db: AdminConnection, statement: Statement) -> bool:
    """Say whether the index of a concurrent build is there and valid.

    IF NOT EXISTS cannot say so on a partitioned table: PostgreSQL refuses CONCURRENTLY before it looks.
    """
    index = statement.concurrent_index
    return index is not None and bool(await db.rows(queries.load("migrate_index_is_built"), index))


async def _is_built_by_partition(db: AdminConnection, file: str, block: Block) -> bool:
    """Build the index of a concurrent build where its table is partitioned; False where it is not."""
    statement = block.statements[0]
    try:
        return statement.concurrent_index is not None and await partitioned_index.build(db, statement.sql)
    except StatementError as error:
        raise StatementRefusedError(file, statement.line, error) from error
