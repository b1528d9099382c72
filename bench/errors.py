"""The error that ends a run."""

from __future__ import annotations


class BenchError(RuntimeError):
    """The benchmark cannot continue, or a result is wrong. The message says what to do."""
