"""Databases on the oldest and the newest PostgreSQL that is supported."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.archives import HOURLY, roll_up
from tests.support.partitions import converted, dress_up
from tests.support.psql import FILES, execute, run_files, server_dsn
from tests.support.stack import fresh_database

# Where each test begins with an empty database it takes a second or two: on the oldest version with the slow tests.
LARGE = [pytest.param(15, marks=pytest.mark.slow), 18]


@pytest.fixture(params=LARGE)
def blank(request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of an empty database, on either version."""
    with fresh_database(server_dsn(request)) as dsn:
        yield dsn


@pytest.fixture(scope="session", params=[15, 18])
def filled_template(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A server's DSN, on either version, and the name of a database on it in which every file has run."""
    server = server_dsn(request)
    with fresh_database(server) as dsn:
        run_files(dsn, *FILES)
        yield server, urlsplit(dsn).path.removeprefix("/")


@pytest.fixture
def filled(filled_template: tuple[str, str]) -> Iterator[str]:
    """The DSN of a database in which every file has run."""
    with fresh_database(*filled_template) as dsn:
        yield dsn


@pytest.fixture(scope="session", params=LARGE)
def dressed_template(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A server's DSN, on either version, and the name of a database on it with all that a table may have."""
    server = server_dsn(request)
    with fresh_database(server) as dsn:
        dress_up(dsn)
        yield server, urlsplit(dsn).path.removeprefix("/")


@pytest.fixture
def dressed(dressed_template: tuple[str, str]) -> Iterator[str]:
    """The DSN of a database with a filled table that has all that a table may have, foreign keys included."""
    with fresh_database(*dressed_template) as dsn:
        yield dsn


@pytest.fixture(scope="session", params=LARGE)
def hourly_template(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A server's DSN, on either version, and the name of a database on it with three months in partitions."""
    server = server_dsn(request)
    with fresh_database(server) as dsn:
        run_files(dsn, *FILES)
        execute(dsn, HOURLY)
        converted(dsn)
        roll_up(dsn)
        yield server, urlsplit(dsn).path.removeprefix("/")


@pytest.fixture
def hourly(hourly_template: tuple[str, str]) -> Iterator[str]:
    """The DSN of a database with three months in partitions, rolled up."""
    with fresh_database(*hourly_template) as dsn:
        yield dsn
