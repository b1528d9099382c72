"""The SQL, one statement a file, each described at its top."""

from functools import cache
from importlib.resources import files

_names: dict[str, str] = {}


@cache
def load(name: str) -> str:
    """The statement in ``name.sql``."""
    statement = (files(__name__) / f"{name}.sql").read_text()
    _names[_first_line(statement)] = name
    return statement


def name_of(statement: str) -> str:
    """What a statement is called in messages: its file, whatever was formatted in, or else its first words."""
    first = _first_line(statement)
    return _names.get(first) or " ".join(first.removeprefix("--").split()[:2])


def _first_line(statement: str) -> str:
    return statement.partition("\n")[0]
