"""Databases on the oldest and the newest supported PostgreSQL."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.archives import HOURLY, roll_up
from tests.support.partitions import converted, make_with_properties
from tests.support.psql import FILES, VERSIONS, execute, run_files, server_dsn
from tests.support.stack import fresh_database


@pytest.fixture(params=VERSIONS)
def blank(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the DSN of an empty database, on either version."""
    with fresh_database(server_dsn(request)) as dsn:
        yield dsn


@pytest.fixture(scope="session", params=VERSIONS)
def filled_template(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Return the DSN of a server, on either version, and the name of a migrated database on it."""
    server = server_dsn(request)
    with fresh_database(server) as dsn:
        run_files(dsn, *FILES)
        yield server, urlsplit(dsn).path.removeprefix("/")


@pytest.fixture
def filled(filled_template: tuple[str, str]) -> Iterator[str]:
    """Return the DSN of a migrated database."""
    with fresh_database(*filled_template) as dsn:
        yield dsn


@pytest.fixture(scope="session", params=VERSIONS)
def template_with_properties(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Return the DSN of a server, on either version, and the name of a database whose table has every possible
    property.
    """
    server = server_dsn(request)
    with fresh_database(server) as dsn:
        make_with_properties(dsn)
        yield server, urlsplit(dsn).path.removeprefix("/")


@pytest.fixture
def with_properties(template_with_properties: tuple[str, str]) -> Iterator[str]:
    """Return the DSN of a database with a filled table that has every possible property, foreign keys included."""
    with fresh_database(*template_with_properties) as dsn:
        yield dsn


@pytest.fixture(scope="session", params=VERSIONS)
def hourly_template(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Return the DSN of a server, on either version, and the name of a database with three monthly partitions."""
    server = server_dsn(request)
    with fresh_database(server) as dsn:
        run_files(dsn, *FILES)
        execute(dsn, HOURLY)
        converted(dsn)
        roll_up(dsn)
        yield server, urlsplit(dsn).path.removeprefix("/")


@pytest.fixture
def hourly(hourly_template: tuple[str, str]) -> Iterator[str]:
    """Return the DSN of a database with three monthly partitions, rolled up."""
    with fresh_database(*hourly_template) as dsn:
        yield dsn
