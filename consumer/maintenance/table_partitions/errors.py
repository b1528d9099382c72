"""What can go wrong with partitions; every message says what, where and what to do.

    PartitionError
    ├── NotPreparedError    the table or migration 0011 is missing
    ├── ObstacleError       something about the table stands in the way of a conversion
    ├── LockNotTakenError   others kept the table locked for as long as we tried
    ├── NotEqualError       the copy is not equal to the table: a bug, and why the table was not replaced
    └── ArchiveError        a month cannot be archived or brought back

Errors of the connection itself are :class:`consumer.postgres.admin.DatabaseError`.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumer.errors import OperationError


class PartitionError(OperationError):
    """The job on the partitions cannot be done."""


class NotPreparedError(PartitionError):
    """What partitions rest on is missing."""

    def __init__(self) -> None:
        """Say how to get it."""
        super().__init__("ai_dialogue_log, or what its partitions rest on, is missing: run `ragledger migrate up`")


class ObstacleError(PartitionError):
    """The table cannot be converted as it is."""

    def __init__(self, obstacles: Sequence[str]) -> None:
        """Name everything that stands in the way."""
        listed = "\n".join(f"  - {obstacle}" for obstacle in obstacles)
        super().__init__(f"ai_dialogue_log cannot be converted as it is; nothing was changed:\n{listed}")


class LockNotTakenError(PartitionError):
    """Others kept the table."""

    def __init__(self, step: str, attempts: int, holders: Sequence[str]) -> None:
        """Name the step and who was in the way."""
        who = "; ".join(holders) or "nobody any more"
        super().__init__(
            f"{step}: no lock in {attempts} tries, each too short to hold others up. In the way now: {who}."
            " Let that end and run the command again: it goes on from here, and nothing is lost."
        )


class NotEqualError(PartitionError):
    """The copy differs from the table."""

    def __init__(self, differences: str) -> None:
        """Say how it differs."""
        super().__init__(
            f"The copy is not equal to ai_dialogue_log: {differences}. The table was not replaced and goes on as it is."
            " Take the copy back with `ragledger partition convert --abort`, and report this."
        )


class ArchiveError(PartitionError):
    """A month cannot be archived or brought back."""
