"""The schema's migrations: `up`, `down`, `status`, `plan`, `verify`.

The files under schema/ are what runs, the very same that psql runs. Each is taken apart into its statements
and its own transactions (`statements`), what has run is noted in schema_migrations (`history`), and what is
to run is decided without a database (`planning`).
"""

from consumer.operations.migrate.checks import Check
from consumer.operations.migrate.errors import (
    ChangedFileError,
    EncodingError,
    ForeignHistoryError,
    LockTakenError,
    MigrationError,
    NoPlaceError,
    ReadOnlyError,
    RollbackRefusedError,
    SchemaFilesError,
    StatementRefusedError,
    UnknownVersionError,
)
from consumer.operations.migrate.files import schema_directory
from consumer.operations.migrate.planning import Applied, MigrationStatus, State
from consumer.operations.migrate.report import Planned, Status, plan, status
from consumer.operations.migrate.runner import Progress, Step, down, up
from consumer.operations.migrate.verify import verify

__all__ = [
    "Applied",
    "ChangedFileError",
    "Check",
    "EncodingError",
    "ForeignHistoryError",
    "LockTakenError",
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
