"""The base error of the operator commands. Each message says what is wrong, where, and what to do."""

from __future__ import annotations


class OperationError(Exception):
    """The command cannot do its job."""
