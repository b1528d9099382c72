"""Errors of the partition commands. Each message says what is wrong, where, and what to do.

PartitionError
├── NotPreparedError    the table or migration 0011 is missing
├── ObstacleError       the table has a property that prevents a conversion
├── LockNotTakenError   other sessions held the lock in every try
├── NotEqualError       the copy differs from the table: a bug; the table was not replaced
└── ArchiveError        a month cannot be archived or restored

Errors of the connection itself are :class:`consumer.postgres.admin.DatabaseError`.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumer.errors import OperationError


class PartitionError(OperationError):
    """A partition command cannot do its job."""


class NotPreparedError(PartitionError):
    """The table, or an object that partitions need, is missing."""

    def __init__(self) -> None:
        """Name the command that makes it."""
        super().__init__(
            "ai_dialogue_log, or an object that its partitions need, is missing: run `ragledger migrate up`"
        )


class ObstacleError(PartitionError):
    """The table cannot be converted in its present form."""

    def __init__(self, obstacles: Sequence[str]) -> None:
        """List all obstacles."""
        listed = "\n".join(f"  - {obstacle}" for obstacle in obstacles)
        super().__init__(f"ai_dialogue_log cannot be converted in its present form; nothing was changed:\n{listed}")


class LockNotTakenError(PartitionError):
    """Other sessions held the lock in every try."""

    def __init__(self, step: str, attempts: int, holders: Sequence[str]) -> None:
        """Name the step and the sessions that hold locks now."""
        now = "; ".join(holders) or "no session any more"
        super().__init__(
            f"{step}: the lock was not available in {attempts} tries, each too short to delay others. Locks on the"
            f" table are held by: {now}. Wait until they end, or end them, and run the command again: it continues"
            " from here, and nothing is lost."
        )


class NotEqualError(PartitionError):
    """The copy differs from the table."""

    def __init__(self, differences: str) -> None:
        """Name the differences."""
        super().__init__(
            f"The copy is not equal to ai_dialogue_log: {differences}. The table was not replaced and stays in use."
            " Drop the copy with `ragledger partition convert --abort`, and report this."
        )


class ArchiveError(PartitionError):
    """A month cannot be archived or restored."""
