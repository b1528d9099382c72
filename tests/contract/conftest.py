"""Databases on the oldest PostgreSQL that is supported."""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from consumer.operations import migrate
from tests.stack import fresh_database


@pytest.fixture(scope="session")
def template15(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A server of the oldest version that is supported, and the name of a migrated database on it."""
    server = request.getfixturevalue("postgres15").dsn
    with fresh_database(server) as dsn:
        asyncio.run(migrate.up(dsn))
        yield server, urlsplit(dsn).path.removeprefix("/")
