"""Errors in what asyncpg reads besides the DSN when it connects: variables PG*, a service file, a password file.

Python's own errors about these quote the line, and the password with it. They are replaced here.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from consumer.settings.dsn import DsnError

PROBLEM = (
    "the DSN, a variable PG*, the service file (PGSERVICEFILE) or the password file (PGPASSFILE) cannot be read:"
    " try PostgreSQL's own client, psql, for the details"
)


class UnreadableError(Exception):
    """One of them cannot be read. The message quotes nothing."""

    def __init__(self) -> None:
        """Say where to look."""
        super().__init__(PROBLEM)


@contextmanager
def read_by_client() -> Iterator[None]:
    """Connect inside this context.

    :raises UnreadableError: instead of errors that quote a line
    """
    try:
        yield
    except (asyncpg.InterfaceError, DsnError, OSError):  # these quote nothing
        raise
    except (configparser.Error, ValueError):
        raise UnreadableError from None
