"""Logins with the roles of ragledger."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql


def as_role(dsn: str, name: str) -> str:
    """Return the DSN of the same database for another role, which needs no password."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}"))


@contextmanager
def login(dsn: str, *groups: str, attributes: str = "") -> Iterator[str]:
    """Create a role that may log in, a member of `groups`. Return its DSN."""
    name = f"login_{uuid4().hex}"
    create = sql.SQL("CREATE ROLE {} LOGIN {}").format(sql.Identifier(name), sql.SQL(attributes))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(create)
        for group in groups:
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(name)))
    try:
        yield as_role(dsn, name)
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def name_of(dsn: str) -> str:
    """Return the role of a DSN."""
    return str(urlsplit(dsn).username)
