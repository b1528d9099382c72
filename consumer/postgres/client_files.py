"""Errors in the sources that asyncpg reads besides the DSN when it connects: variables PG*, a service file, a password
file, and the user's name and home directory.

Python's errors about these sources quote the line with the password, or give no advice. They are replaced here.
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
NAMELESS = "the DSN names no user, and the user of this process has no name: write postgresql://user@host/database"
HOMELESS = (
    "the user of this process may not read {file}: set HOME to a directory that it may read, or name no file there"
)


class UnreadableError(Exception):
    """One of these sources cannot be read. The message quotes nothing."""

    def __init__(self, problem: str = PROBLEM) -> None:
        """Name the sources to check."""
        super().__init__(problem)


@contextmanager
def read_by_client() -> Iterator[None]:
    """Connect inside this context.

    :raises UnreadableError: instead of errors that quote a line
    """
    try:
        yield
    except asyncpg.exceptions.ClientConfigurationError:  # the error quotes the value of a variable PG*
        raise UnreadableError from None
    except PermissionError as error:
        if error.filename is None:  # a socket
            raise
        raise UnreadableError(HOMELESS.format(file=error.filename)) from None
    except KeyError:  # of getpass.getuser
        raise UnreadableError(NAMELESS) from None
    except (asyncpg.InterfaceError, DsnError, OSError):  # these quote nothing
        raise
    except (configparser.Error, ValueError):
        raise UnreadableError from None
