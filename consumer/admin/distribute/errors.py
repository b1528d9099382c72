"""Errors of the distribute commands. Each message says what is wrong, where, and what to do.

DistributeError
├── CannotDistributeError   the server, the table or a session prevents it; nothing was changed
└── NotEqualError           the distributed table has another number of rows: a bug; nothing was changed

Errors of the connection itself are :class:`consumer.postgres.admin.DatabaseError`.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumer.errors import OperationError


class DistributeError(OperationError):
    """The table cannot be distributed."""


class CannotDistributeError(DistributeError):
    """Something prevents it."""

    def __init__(self, obstacles: Sequence[str]) -> None:
        """List all obstacles."""
        listed = "\n".join(f"  - {obstacle}" for obstacle in obstacles)
        super().__init__(f"ai_dialogue_log cannot be distributed as it is; nothing was changed:\n{listed}")


class NotEqualError(DistributeError):
    """The workers hold another number of rows than the table did."""

    def __init__(self, before: int, after: int) -> None:
        """Give both numbers."""
        super().__init__(
            f"ai_dialogue_log had {before:,} rows, and the workers would hold {after:,}. Nothing was changed."
            " Report this."
        )
