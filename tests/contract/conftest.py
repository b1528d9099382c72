"""The stores of the suite: the fake, and PostgreSQL 18 and 15 with a plain and with a partitioned table of dialogues.
With a cluster, also a distributed one.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from consumer.admin import migrate
from consumer.maintenance.table_partitions import convert
from consumer.postgres.client import Database
from consumer.settings.servers import Postgres
from tests.support.stack import fresh_database
from tests.support.stores import REAL, Backend, FakeBackend, PostgresBackend, fresh_copy, place_of


@pytest.fixture(scope="session")
def template15(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Return a server of the oldest supported version, and the name of a migrated database on it."""
    server = request.getfixturevalue("postgres15").dsn
    with fresh_database(server) as dsn:
        asyncio.run(migrate.up(dsn))
        yield server, urlsplit(dsn).path.removeprefix("/")


@pytest.fixture(scope="session")
def template18(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the same for the newest version."""
    return request.getfixturevalue("postgres18").dsn, request.getfixturevalue("migrated_template")


def partitioned(template: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """Partition the dialogues of a database."""
    with fresh_database(*template) as dsn:
        asyncio.run(convert(dsn, months_ahead=1))
        yield template[0], urlsplit(dsn).path.removeprefix("/")


@pytest.fixture(scope="session")
def partitioned18(template18: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """Return the newest version, partitioned."""
    yield from partitioned(template18)


@pytest.fixture(scope="session")
def partitioned15(template15: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """Return the oldest version, partitioned."""
    yield from partitioned(template15)


@pytest.fixture(params=["fake", *REAL])
def place(request: pytest.FixtureRequest) -> tuple[str, str] | None:
    """Return a server and the name of a migrated database on it; None for the fake."""
    if request.param == "fake":
        return None
    return place_of(request)


@pytest.fixture
async def backend(place: tuple[str, str] | None) -> AsyncIterator[Backend]:
    """Return an empty database for this test."""
    if place is None:
        yield FakeBackend()
        return
    with fresh_copy(place) as dsn:
        database = Database(Postgres(dsn=SecretStr(dsn)))
        await database.open()
        try:
            yield PostgresBackend(dsn, database)
        finally:
            await database.close(5)
