"""What asyncpg reads beside the DSN when it connects: variables PG*, a service file, a password file, the user's name
and home.

What is wrong with them are errors that quote the line or the value, and in it the password; or that say of a file only
that it may not be read.
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
NAMELESS = "the DSN names no user, and the user of this process has no name: write postgresql://user@host/database"
HOMELESS = (
    "{file} may not be looked at by the user of this process: set HOME to a directory that it may read, or name no file"
    " there"
)


class UnreadableError(Exception):
    """One of them cannot be read; quotes nothing of it."""

    def __init__(self, problem: str = PROBLEM) -> None:
        """Say where to look."""
        super().__init__(problem)


@contextmanager
def read_by_client() -> Iterator[None]:
    """For whatever connects.

    :raises UnreadableError: instead of the errors that quote
    """
    try:
        yield
    except asyncpg.exceptions.ClientConfigurationError:  # quotes the value, such as of PGTARGETSESSIONATTRS
        raise UnreadableError from None
    except PermissionError as error:
        if error.filename is None:  # a socket
            raise
        raise UnreadableError(HOMELESS.format(file=error.filename)) from None
    except KeyError:  # of getpass.getuser
        raise UnreadableError(NAMELESS) from None
    except (asyncpg.InterfaceError, DsnError, OSError):  # those of asyncpg, ours, and of TLS, which quote nothing
        raise
    except (configparser.Error, ValueError):
        raise UnreadableError from None
