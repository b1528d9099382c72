"""Errors of operators' jobs: each message says what is wrong, where, and what to do."""

from __future__ import annotations


class OperationError(Exception):
    """The job cannot be done."""
