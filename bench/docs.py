"""docs."""

from __future__ import annotations

from pathlib import Path

from bench.results import Results


def write(results: Results) -> list[Path]:
    """x."""
    return []
