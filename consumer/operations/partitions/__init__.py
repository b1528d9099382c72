"""Partitions of ai_dialogue_log: `plan`, `convert`, `archive`; `ensure` is the service's own, in its adapter."""

from consumer.operations.partitions.archive import Archived, archive
from consumer.operations.partitions.archive_file import rows_of
from consumer.operations.partitions.conversion import Converted, abort, convert
from consumer.operations.partitions.errors import (
    ArchiveError,
    LockNotTakenError,
    NotEqualError,
    NotPreparedError,
    ObstacleError,
    PartitionError,
)
from consumer.operations.partitions.locks import Lock
from consumer.operations.partitions.plan import Plan, plan
from consumer.operations.partitions.restore import Restored, attach, restore

__all__ = [
    "ArchiveError",
    "Archived",
    "Converted",
    "Lock",
    "LockNotTakenError",
    "NotEqualError",
    "NotPreparedError",
    "ObstacleError",
    "PartitionError",
    "Plan",
    "Restored",
    "abort",
    "archive",
    "attach",
    "convert",
    "plan",
    "restore",
    "rows_of",
]
