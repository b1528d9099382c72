"""Decides which files have run, which to run, and which cannot run. It needs no database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from consumer.admin.migrate.errors import ChangedFileError, UnknownVersionError
from consumer.admin.migrate.files import Migration


class State(StrEnum):
    """The state of a version."""

    APPLIED = "applied"
    PENDING = "pending"
    SKIPPED = "skipped"  # optional, and the tables it needs are missing
    CHANGED = "changed"  # applied, but the file has changed since
    UNKNOWN = "unknown"  # applied by a newer ragledger; the file is missing here


@dataclass(frozen=True, slots=True)
class Applied:
    """A row of schema_migrations. `applied_at` is aware, `execution_ms` in milliseconds."""

    version: int
    name: str
    checksum: str
    applied_at: datetime
    applied_by: str
    execution_ms: int


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """The state of one version, a reason if one is needed, and its row in schema_migrations if it has one."""

    version: int
    name: str
    state: State
    reason: str | None
    applied: Applied | None


def assess(
    migrations: Sequence[Migration], history: Mapping[int, Applied], missing_tables: Collection[str]
) -> tuple[MigrationStatus, ...]:
    """Return the state of every version, in order."""
    known = {migration.version for migration in migrations}
    ours = [_assess(migration, history.get(migration.version), missing_tables) for migration in migrations]
    newer = [_newer(applied) for version, applied in history.items() if version not in known]
    return tuple(sorted(ours + newer, key=lambda status: status.version))


def to_apply(
    migrations: Sequence[Migration], statuses: Sequence[MigrationStatus], to: int | None
) -> tuple[tuple[Migration, MigrationStatus], ...]:
    """Return the files that `up` runs or skips: all pending or skipped versions up to and including `to`.

    :raises ChangedFileError: an applied file has changed
    :raises UnknownVersionError: no file has version `to`
    """
    by_version = {migration.version: migration for migration in migrations}
    if to is not None and to not in by_version:
        raise UnknownVersionError(f"There is no version {to}: choose one of {_listed(by_version)}.")
    for status in statuses:
        if status.state is State.CHANGED and status.applied:
            found = by_version[status.version].forward.checksum
            raise ChangedFileError(status.name, status.version, applied=status.applied.checksum, found=found)
    open_ones = [status for status in statuses if status.state in (State.PENDING, State.SKIPPED)]
    return tuple((by_version[s.version], s) for s in open_ones if to is None or s.version <= to)


def to_roll_back(migrations: Sequence[Migration], history: Collection[int], to: int) -> tuple[Migration, ...]:
    """Return the migrations that `down` rolls back: all above version `to`, newest first; 0 or 1 means all.

    Versions without a row in schema_migrations are included, because psql may have applied them; a rollback that finds
    nothing does nothing. Changed files are included too, because a rollback may be urgent.

    :raises UnknownVersionError: no file has version `to`, or a newer ragledger has applied later versions
    """
    versions = [migration.version for migration in migrations]
    if to not in (0, 1, *versions):
        raise UnknownVersionError(
            f"There is no version {to} to go back to: choose 0 for none, or one of {_listed(versions)}."
        )
    if newer := sorted(set(history) - set(versions)):
        raise UnknownVersionError(
            f"This database has {_listed(newer)}, for which this ragledger has no files: use a newer one."
        )
    return tuple(migration for migration in reversed(migrations) if migration.version > to)


def _assess(migration: Migration, applied: Applied | None, missing_tables: Collection[str]) -> MigrationStatus:
    state, reason = State.PENDING, None
    if applied is not None and applied.checksum in (migration.forward.checksum, *migration.formerly):
        state = State.APPLIED
    elif applied is not None:
        state, reason = State.CHANGED, "the file is not the one that was applied"
    elif missing := [table for table in migration.requires if table in missing_tables]:
        state = State.SKIPPED
        one = len(missing) == 1
        reason = f"{'table' if one else 'tables'} {' and '.join(missing)} {'is' if one else 'are'} missing"
    return MigrationStatus(migration.version, migration.name, state, reason, applied)


def _newer(applied: Applied) -> MigrationStatus:
    reason = "applied by a newer ragledger; this one does not have the file"
    return MigrationStatus(applied.version, applied.name, State.UNKNOWN, reason, applied)


def _listed(versions: Collection[int]) -> str:
    return ", ".join(f"{version:04}" for version in sorted(versions))
