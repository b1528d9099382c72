"""What can go wrong with a migration; every message says what, where and what to do.

    MigrationError
    ├── SchemaFilesError        the files: none found, badly named, without a twin, not to be split
    ├── UnknownVersionError     a version was named that no file, or no longer any file, has
    ├── ChangedFileError        a file is not the one that was applied
    ├── ForeignHistoryError     schema_migrations belongs to another tool
    ├── EncodingError           the database is not UTF-8
    ├── NoPlaceError            no schema that tables may be made in
    ├── ReadOnlyError           nothing can be written: a standby, or the default of transactions
    └── StatementRefusedError   the database refused a statement of a file
        └── RollbackRefusedError    data needs what a rollback would take away; nothing was rolled back

Errors of the connection itself are :class:`consumer.postgres.admin.DatabaseError`.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumer.errors import OperationError
from consumer.postgres.admin import StatementError

_WHAT_TO_DO = {
    "55P03": "Somebody else is using the table. Run it again when the longest transaction has ended.",
    "40P01": "It ran into a transaction of somebody else. Run it again.",
    "57014": "A statement_timeout of the role or the database ended it. Raise that and run it again.",
    "42501": "Migrate as the owner of the tables, with CREATE on the schema.",
    "2BP01": "Something outside these files depends on it. Remove that first, or keep this version.",
    "23503": "Rows from before refer to something that is gone. Mend or delete them and run it again.",
    "23505": "Rows from before are doubled. Keep one of each and run it again.",
    "23514": "Rows from before break the rule. Mend them and run it again.",
}


class MigrationError(OperationError):
    """The schema could not be migrated, or its state not be told."""


class SchemaFilesError(MigrationError):
    """The schema's files cannot be used as they are."""


class UnknownVersionError(MigrationError):
    """No file has this version."""


class ChangedFileError(MigrationError):
    """A file differs from the one that was applied."""

    def __init__(self, name: str, version: int, *, applied: str, found: str) -> None:
        """Name the file, both checksums and the two ways out."""
        super().__init__(
            f"{name}.sql is not the file that was applied.\n"
            f"  applied: sha256 {applied}\n  found:   sha256 {found}\n"
            "Put the applied file back, and make the change in a new file with the next number. Where the"
            f" changed file is meant, delete its row (version = {version}) from schema_migrations and run"
            " `ragledger migrate up` again: it then runs once more, without harm to what is there."
        )


class ForeignHistoryError(MigrationError):
    """There is a table schema_migrations, and it is not ours."""

    def __init__(self, missing: Sequence[str]) -> None:
        """Name the columns by which it was told."""
        super().__init__(
            f"The table schema_migrations belongs to another tool: it has no column {', '.join(missing)}."
            " Give ragledger a schema of its own (`?options=-csearch_path%3Dragledger` in the DSN), or run"
            " the files with psql, which needs no such table."
        )


class EncodingError(MigrationError):
    """The database cannot hold every text."""

    def __init__(self, encoding: str) -> None:
        """Name the encoding and the way out."""
        super().__init__(
            f"The encoding of this database is {encoding}, and events are UTF-8: text that it does not have would be"
            " refused or mixed up. Nothing was changed. Make another database with"
            " `CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0` and name it in RAGLEDGER_POSTGRES__DSN."
        )


class ReadOnlyError(MigrationError):
    """Nothing can be written."""

    def __init__(self, *, is_standby: bool) -> None:
        """Say why, and what to do."""
        super().__init__(
            "This server is a standby: let RAGLEDGER_POSTGRES__DSN name the primary."
            if is_standby
            else "Transactions are read-only by default: default_transaction_read_only is on for this role or this"
            " database. ALTER ROLE or ALTER DATABASE … RESET default_transaction_read_only, or use another role."
        )


class NoPlaceError(MigrationError):
    """There is no schema that this role may make tables in."""

    def __init__(self, role: str, schema: str | None) -> None:
        """Name the role and the schema, if there is one, and what to do."""
        super().__init__(
            f"Role {role} may not make tables in schema {schema}; since PostgreSQL 15 nobody may in public without a"
            f' grant. As an administrator: GRANT CREATE ON SCHEMA {schema} TO "{role}", or make {role} the owner of the'
            " database."
            if schema
            else f"No schema of the search_path of role {role} is there: make one with"
            f' `CREATE SCHEMA name AUTHORIZATION "{role}"`, or name another in the DSN'
            " (`?options=-csearch_path%3Dname`)."
        )


class StatementRefusedError(MigrationError):
    """The database refused a statement of a file."""

    def __init__(self, file: str, line: int, cause: StatementError) -> None:
        """Name the place and the reason, and what usually helps."""
        self.file = file
        self.line = line
        self.sqlstate = cause.sqlstate
        advice = _WHAT_TO_DO.get(cause.sqlstate) or cause.hint or "Mend the cause and run it again."
        super().__init__(
            f"{file}, line {line}: {cause}\n{advice} What the file had committed before this line stays, and"
            " does not mind being run again."
        )


class RollbackRefusedError(StatementRefusedError):
    """Rollbacks refused before anything was undone."""

    def __init__(self, refused: Sequence[tuple[str, int, StatementError]]) -> None:
        """Name each file with its reason and what to do."""
        self.file, self.line, first = refused[0]
        self.sqlstate = first.sqlstate
        reasons = [f"{file}: {cause}. {cause.hint or ''}".rstrip() for file, _, cause in refused]
        MigrationError.__init__(self, "\n".join([*reasons, "Nothing was rolled back."]))
