"""Errors of migrations. Each message says what is wrong, where, and what to do.

MigrationError
├── SchemaFilesError        no files, a bad name, a file without its twin, or one that cannot be split
├── UnknownVersionError     no file, or no longer any file, has the named version
├── ChangedFileError        a file differs from the one that was applied
├── ForeignHistoryError     schema_migrations belongs to another tool
├── EncodingError           the database is not UTF-8
├── NoPlaceError            the role may not make tables in any schema
├── ReadOnlyError           the server accepts no writes: a standby, or read-only transactions
└── StatementRefusedError   the database rejected a statement of a file
    └── RollbackRefusedError    a rollback would delete needed data; nothing was rolled back

Errors of the connection itself are :class:`consumer.postgres.admin.DatabaseError`.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumer.errors import OperationError
from consumer.postgres.admin import StatementError

_WHAT_TO_DO = {
    "55P03": "Another session is using the table. Run it again when the longest transaction has ended.",
    "40P01": "A deadlock with another transaction ended it. Run it again.",
    "57014": "A statement_timeout of the role or the database ended it. Raise the timeout and run it again.",
    "42501": "Migrate as the owner of the tables, with CREATE on the schema.",
    "2BP01": "An object outside these files depends on it. Drop that object first, or keep this version.",
    "23503": "Existing rows refer to rows that are missing. Correct or delete them and run it again.",
    "23505": "Existing rows have the same key. Keep one of each and run it again.",
    "23514": "Existing rows break the rule. Correct them and run it again.",
}


class MigrationError(OperationError):
    """The schema could not be migrated, or its state could not be read."""


class SchemaFilesError(MigrationError):
    """The schema files cannot be used."""


class UnknownVersionError(MigrationError):
    """No file has this version."""


class ChangedFileError(MigrationError):
    """A file differs from the one that was applied."""

    def __init__(self, name: str, version: int, *, applied: str, found: str) -> None:
        """Name the file, both checksums and the two solutions."""
        super().__init__(
            f"{name}.sql is not the file that was applied.\n"
            f"  applied: sha256 {applied}\n  found:   sha256 {found}\n"
            "Restore the applied file, and make the change in a new file with the next number. If the change to the"
            f" file is intended, delete its row (version = {version}) from schema_migrations and run"
            " `ragledger migrate up` again: it runs the file again, which does not damage existing objects."
        )


class ForeignHistoryError(MigrationError):
    """The table schema_migrations belongs to another tool."""

    def __init__(self, missing: Sequence[str]) -> None:
        """Name the missing columns."""
        super().__init__(
            f"The table schema_migrations belongs to another tool: it has no column {', '.join(missing)}."
            " Give ragledger a schema of its own (`?options=-csearch_path%3Dragledger` in the DSN), or run"
            " the files with psql, which does not need this table."
        )


class EncodingError(MigrationError):
    """The database is not UTF-8, so it cannot store every text."""

    def __init__(self, encoding: str) -> None:
        """Name the encoding and the solution."""
        super().__init__(
            f"The encoding of this database is {encoding}, but events are UTF-8: text that it cannot represent would be"
            " rejected or corrupted. Nothing was changed. Create another database with"
            " `CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0` and use it in RAGLEDGER_POSTGRES__DSN."
        )


class ReadOnlyError(MigrationError):
    """The server or the role accepts no writes."""

    def __init__(self, *, is_standby: bool) -> None:
        """Name the reason and the solution."""
        super().__init__(
            "This server is a standby: name the primary in RAGLEDGER_POSTGRES__DSN."
            if is_standby
            else "Transactions are read-only by default: default_transaction_read_only is on for this role or this"
            " database. ALTER ROLE or ALTER DATABASE … RESET default_transaction_read_only, or use another role."
        )


class NoPlaceError(MigrationError):
    """This role may not make tables in any schema."""

    def __init__(self, role: str, schema: str | None) -> None:
        """Name the role, the schema if there is one, and the solution."""
        super().__init__(
            f"Role {role} may not make tables in schema {schema}; since PostgreSQL 15, public needs an explicit grant."
            f' As an administrator: GRANT CREATE ON SCHEMA {schema} TO "{role}", or make {role} the owner of the'
            " database."
            if schema
            else f"No schema in the search_path of role {role} exists: create one with"
            f' `CREATE SCHEMA name AUTHORIZATION "{role}"`, or name another in the DSN'
            " (`?options=-csearch_path%3Dname`)."
        )


class StatementRefusedError(MigrationError):
    """The database rejected a statement of a file."""

    def __init__(self, file: str, line: int, cause: StatementError) -> None:
        """Name the file and line, the reason, and the usual solution."""
        self.file = file
        self.line = line
        self.sqlstate = cause.sqlstate
        advice = _WHAT_TO_DO.get(cause.sqlstate) or cause.hint or "Remove the cause and run it again."
        super().__init__(
            f"{file}, line {line}: {cause}\n{advice} Earlier transactions of the file stay committed; running the file"
            " again is safe."
        )


class RollbackRefusedError(StatementRefusedError):
    """A rollback was refused before anything was undone."""

    def __init__(self, refused: Sequence[tuple[str, int, StatementError]]) -> None:
        """Name each file with its reason and its solution."""
        self.file, self.line, first = refused[0]
        self.sqlstate = first.sqlstate
        reasons = [f"{file}: {cause}. {cause.hint or ''}".rstrip() for file, _, cause in refused]
        MigrationError.__init__(self, "\n".join([*reasons, "Nothing was rolled back."]))
