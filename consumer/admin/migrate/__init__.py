"""The schema's migrations: `up`, `down`, `status`, `plan`, `verify`.

The files under schema/ are what runs, the very same that psql runs. Each is taken apart into its statements
and its own transactions (`statements`), what has run is noted in schema_migrations (`history`), and what is
to run is decided without a database (`planning`).
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
