"""Migrations of the schema: `up`, `down`, `status`, `plan`, `verify`.

They run the files under schema/, which psql can run too. `statements` splits a file into its statements and
transactions, `history` records in schema_migrations which files have run, and `planning` decides without a database
which files to run.
"""

from consumer.admin.migrate.checks import Check
from consumer.admin.migrate.errors import (
    ChangedFileError,
    EncodingError,
    ForeignHistoryError,
    MigrationError,
    NoPlaceError,
    ReadOnlyError,
    RollbackRefusedError,
    SchemaFilesError,
    StatementRefusedError,
    UnknownVersionError,
)
from consumer.admin.migrate.files import schema_directory
from consumer.admin.migrate.planning import Applied, MigrationStatus, State
from consumer.admin.migrate.report import Planned, Status, plan, status
from consumer.admin.migrate.runner import Progress, Step, down, up
from consumer.admin.migrate.verify import verify

__all__ = [
    "Applied",
    "ChangedFileError",
    "Check",
    "EncodingError",
    "ForeignHistoryError",
    "MigrationError",
    "MigrationStatus",
    "NoPlaceError",
    "Planned",
    "Progress",
    "ReadOnlyError",
    "RollbackRefusedError",
    "SchemaFilesError",
    "State",
    "StatementRefusedError",
    "Status",
    "Step",
    "UnknownVersionError",
    "down",
    "plan",
    "schema_directory",
    "status",
    "up",
    "verify",
]
