"""The SQL, one statement a file, each described at its top."""

from functools import cache
from importlib.resources import files


@cache
def load(name: str) -> str:
    """The statement in ``name.sql``."""
    return (files(__name__) / f"{name}.sql").read_text()
