"""`ragledger partition`: plan, convert to, archive and restore the monthly partitions of ai_dialogue_log."""

from consumer.maintenance.table_partitions.archive import Archived, archive
from consumer.maintenance.table_partitions.archive_file import PATTERNS, rows_of
from consumer.maintenance.table_partitions.conversion import Converted, abort, convert
from consumer.maintenance.table_partitions.errors import (
    ArchiveError,
    LockNotTakenError,
    NotEqualError,
    NotPreparedError,
    ObstacleError,
    PartitionError,
)
from consumer.maintenance.table_partitions.formats import FORMATS, ArchiveFormat, FormatName, format_of
from consumer.maintenance.table_partitions.locks import Lock
from consumer.maintenance.table_partitions.places import Place, place_of
from consumer.maintenance.table_partitions.plan import Plan, plan
from consumer.maintenance.table_partitions.restore import Restored, attach, restore

__all__ = [
    "FORMATS",
    "PATTERNS",
    "ArchiveError",
    "ArchiveFormat",
    "Archived",
    "Converted",
    "FormatName",
    "Lock",
    "LockNotTakenError",
    "NotEqualError",
    "NotPreparedError",
    "ObstacleError",
    "PartitionError",
    "Place",
    "Plan",
    "Restored",
    "abort",
    "archive",
    "attach",
    "convert",
    "format_of",
    "place_of",
    "plan",
    "restore",
    "rows_of",
]
