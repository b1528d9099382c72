"""`ragledger migrate up` and `down`: run the files as psql would, and record them."""

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
"""If this setting is on, rollbacks do not refuse because of the data that they delete."""

Progress = Callable[[str, int, int], None]
"""Called before each file with its name, its position from 1, and the number of files."""


@dataclass(frozen=True, slots=True)
class Step:
    """The result for one file: `action` is applied, rolled back or skipped; `reason` says why it was skipped.

    `execution_ms` is its duration in milliseconds; `warnings` are those of the database, each with what to do.
    """

    version: int
    name: str
    action: str
    reason: str | None
    execution_ms: int
    warnings: tuple[str, ...] = ()


def silent(_name: str, _place: int, _steps: int) -> None:
    """Ignore progress."""


async def up(
    target: Target,
    *,
    to: int | None = None,
    directory: Path | None = None,
    progress: Progress = silent,
    lock_wait_s: float = LOCK_WAIT_S,
) -> tuple[Step, ...]:
    """Apply pending files up to and including version `to`. Return the applied and skipped ones.

    Run it as the owner of the tables. It needs two connections; a transaction-mode pooler may provide them. Files that
    psql has run before run again, which changes nothing, and are recorded.

    :raises MigrationError: a subclass names the problem, see :mod:`consumer.admin.migrate.errors`
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
    """Roll back every version above `to`, newest first. With 0 or 1, only the base table stays.

    This deletes data: see the WARNING at the top of each rollback file. A file refuses if it would delete data that
    cannot be read from the topics again, unless `delete_data` is set. All files are checked before the first one runs.

    :raises MigrationError: :raises DatabaseError: as :func:`up`
    """
    migrations = load(directory or schema_directory())
    async with exclusive(target, lock_wait_s), connect(target) as db:
        await history.ensure(db)
        chosen = to_roll_back(migrations, await history.read(db), to)
        if delete_data:
            db.settings[DELETE_DATA] = "on"
        await _check_refusals(db, chosen)
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


async def _check_refusals(db: AdminConnection, chosen: Sequence[Migration]) -> None:
    """Run the refusal checks of every file, and roll them back.

    :raises RollbackRefusedError: at least one file refuses
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
    """Run a file. Record it in its last transaction, or after the file if that does not end with a transaction."""
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
    """Return whether the index of a concurrent build exists and is valid.

    IF NOT EXISTS is not enough on a partitioned table: PostgreSQL rejects CONCURRENTLY first.
    """
    index = statement.concurrent_index
    return index is not None and bool(await db.rows(queries.load("migrate_index_is_built"), index))


async def _is_built_by_partition(db: AdminConnection, file: str, block: Block) -> bool:
    """Build the index of a concurrent build if its table is partitioned; return False if it is not."""
    statement = block.statements[0]
    try:
        return statement.concurrent_index is not None and await partitioned_index.build(db, statement.sql)
    except StatementError as error:
        raise StatementRefusedError(file, statement.line, error) from error
