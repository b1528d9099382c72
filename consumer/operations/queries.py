"""The SQL of the operator's jobs, by the name of its file in sql/."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_DIRECTORY = Path(__file__).parent / "sql"


@cache
def query(name: str) -> str:
    """Return the text of `sql/NAME.sql`."""
    return (_DIRECTORY / f"{name}.sql").read_text("utf-8")
