"""`ragledger migrate status` and `plan`: show which files have run, and which would run. Both only read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from consumer.admin.migrate import history
from consumer.admin.migrate.files import Migration, load, schema_directory
from consumer.admin.migrate.planning import MigrationStatus, State, assess, to_apply
from consumer.postgres.admin import Target, connect


@dataclass(frozen=True, slots=True)
class Status:
    """Every version, in order."""

    migrations: tuple[MigrationStatus, ...]

    @property
    def is_current(self) -> bool:
        """Whether nothing is left to apply and no applied file has changed."""
        return all(status.state not in (State.PENDING, State.CHANGED) for status in self.migrations)


@dataclass(frozen=True, slots=True)
class Planned:
    """The effect of `up` on one file: it runs `statements`, or skips the file for the reason in `skipped`."""

    version: int
    name: str
    skipped: str | None
    statements: tuple[str, ...]


async def status(target: Target, *, directory: Path | None = None) -> Status:
    """Return the state of every version. Files that only psql has run are pending: `up` records them.

    :raises MigrationError: :raises DatabaseError: as :func:`consumer.admin.migrate.up`
    """
    return Status((await _assess(target, directory))[1])


async def plan(target: Target, *, to: int | None = None, directory: Path | None = None) -> tuple[Planned, ...]:
    """Return the files that `up` would run, with their SQL; empty if there are none.

    :raises MigrationError: :raises DatabaseError: as :func:`consumer.admin.migrate.up`
    """
    migrations, statuses = await _assess(target, directory)
    return tuple(_planned(migration, status) for migration, status in to_apply(migrations, statuses, to))


def _planned(migration: Migration, status: MigrationStatus) -> Planned:
    statements = () if status.state is State.SKIPPED else migration.forward.statements
    return Planned(migration.version, migration.name, status.reason, statements)


async def _assess(target: Target, directory: Path | None) -> tuple[tuple[Migration, ...], tuple[MigrationStatus, ...]]:
    migrations = load(directory or schema_directory())
    async with connect(target) as db:
        missing = await history.missing_tables(db, migrations)
        return migrations, assess(migrations, await history.read(db), missing)
