"""The one error that ends a run."""

from __future__ import annotations


class BenchError(RuntimeError):
    """The benchmark cannot go on, or what it measured is not right; the message says what to do."""
