"""The stores of the suite: the fake, and PostgreSQL 18 and 15 with dialogues in one table and in partitions."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from consumer.admin import migrate
from consumer.maintenance.table_partitions import convert
from consumer.postgres.client import Database
from consumer.settings.model import Postgres
from tests.support.stack import fresh_database
from tests.support.stores import REAL, Backend, FakeBackend, PostgresBackend


@pytest.fixture(scope="session")
def template15(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A server of the oldest version that is supported, and the name of a migrated database on it."""
    server = request.getfixturevalue("postgres15").dsn
    with fresh_database(server) as dsn:
        asyncio.run(migrate.up(dsn))
        yield server, urlsplit(dsn).path.removeprefix("/")


@pytest.fixture(scope="session")
def template18(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The same of the newest version."""
    return request.getfixturevalue("postgres18").dsn, request.getfixturevalue("migrated_template")


def partitioned(template: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """The same with the dialogues in partitions."""
    with fresh_database(*template) as dsn:
        asyncio.run(convert(dsn, months_ahead=1))
        yield template[0], urlsplit(dsn).path.removeprefix("/")


@pytest.fixture(scope="session")
def partitioned18(template18: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """The newest version, in partitions."""
    yield from partitioned(template18)


@pytest.fixture(scope="session")
def partitioned15(template15: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """The oldest version, in partitions."""
    yield from partitioned(template15)


@pytest.fixture(params=["fake", *REAL])
def place(request: pytest.FixtureRequest) -> tuple[str, str] | None:
    """A server and the name of a migrated database on it; none for the fake."""
    if request.param == "fake":
        return None
    found: tuple[str, str] = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def backend(place: tuple[str, str] | None) -> AsyncIterator[Backend]:
    """An empty database of this test's own."""
    if place is None:
        yield FakeBackend()
        return
    with fresh_database(*place) as dsn:
        database = Database(Postgres(dsn=SecretStr(dsn)))
        await database.open()
        try:
            yield PostgresBackend(dsn, database)
        finally:
            await database.close(5)
