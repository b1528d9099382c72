"""What asyncpg reads beside the DSN when it connects: variables PG*, a service file, a password file.

What is wrong with them are errors of Python's own, which quote the line, and in it the password.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from consumer.settings.dsn import DsnError

PROBLEM = (
    "the DSN, a variable PG*, the service file (PGSERVICEFILE) or the password file (PGPASSFILE) cannot be read:"
    " see what PostgreSQL's own client, psql, says of it"
)


class UnreadableError(Exception):
    """One of them cannot be read; quotes nothing of it."""

    def __init__(self) -> None:
        """Say where to look."""
        super().__init__(PROBLEM)


@contextmanager
def read_by_client() -> Iterator[None]:
    """For whatever connects.

    :raises UnreadableError: instead of the errors that quote
    """
    try:
        yield
    except (asyncpg.InterfaceError, DsnError, OSError):  # those of asyncpg, ours, and of TLS, which quote nothing
        raise
    except (configparser.Error, ValueError):
        raise UnreadableError from None
