"""Fixtures: one Kafka and one PostgreSQL for each worker of the run, a database and topics for each test.

Only what a test asks for is started. With `RAGLEDGER_TEST_STACK=docker` the servers run in containers.
"""

import asyncio
import os
from collections.abc import Callable, Generator, Iterator
from urllib.parse import urlsplit

import pytest

from consumer.embedded import EmbeddedError, PostgresServer, Stack, Workspace
from tests.stack import (
    QUICK_RESTART,
    Database,
    DockerPostgres,
    DockerStack,
    Servers,
    Topics,
    fresh_database,
    uses_docker,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `make fuzz` and a person at work may want otherwise."""
    group, default = parser.getgroup("ragledger"), "(default: %(default)s)"
    group.addoption("--fuzz-records", type=int, default=8000, help=f"hostile records to make {default}")
    group.addoption("--fuzz-seed", type=int, default=1, help=f"where their chance begins {default}")
    group.addoption("--faults-seed", type=int, default=1, help=f"where the chance of faults begins {default}")
    group.addoption("--write-docs", action="store_true", help="write docs/reliability.md from what the faults did")
    group.addoption("--long", type=float, default=0.0, help=f"how much of the long run of faults to run {default}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Nobody reads the list of skipped tests of a build: there, what is not installed fails."""
    report = yield
    if report.skipped and "not installed" in str(report.longrepr) and os.environ.get("CI"):
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session")
def stack() -> Iterator[Servers]:
    """Kafka and PostgreSQL, shared by all tests: leave them running."""
    with DockerStack() if uses_docker() else Stack(durable=False, kafka_properties=QUICK_RESTART) as servers:
        yield servers


@pytest.fixture(scope="session")
def bootstrap_servers(stack: Servers) -> str:
    """Where Kafka is, as `host:port`."""
    return stack.bootstrap_servers


@pytest.fixture
def postgres_server(stack: Servers) -> PostgresServer:
    """The shared server itself, to be killed and restarted; who does leaves it running."""
    if not isinstance(stack, Stack):
        pytest.skip("only an embedded PostgreSQL can be killed and restarted")
    return stack.postgres


@pytest.fixture(scope="session")
def postgres15() -> Iterator[Database]:
    """The oldest PostgreSQL that is supported, shared by all tests."""
    if uses_docker():
        with DockerPostgres(15) as container:
            yield container
        return
    with Workspace() as workspace:
        server = _postgres15(workspace)
        server.start()
        yield server
        server.stop()


def _postgres15(workspace: Workspace) -> PostgresServer:
    try:
        return PostgresServer(workspace, version=15, durable=False)
    except EmbeddedError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def migrated_template(stack: Servers) -> Iterator[str]:
    """The name of a database with every migration applied, for `database` to copy."""
    from consumer.operations import migrate

    with fresh_database(stack.dsn) as dsn:
        asyncio.run(migrate.up(dsn))
        yield urlsplit(dsn).path.removeprefix("/")


@pytest.fixture
def database(stack: Servers, migrated_template: str) -> Iterator[str]:
    """The DSN of a migrated database of this test's own."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        yield dsn


@pytest.fixture
def empty_database(stack: Servers) -> Iterator[str]:
    """The DSN of an empty database of this test's own."""
    with fresh_database(stack.dsn) as dsn:
        yield dsn


@pytest.fixture
def topic_factory(bootstrap_servers: str) -> Iterator[Callable[..., str]]:
    """Creates topics: `topic_factory(partitions=1, prefix="test")` returns a name not used before."""
    topics = Topics(bootstrap_servers)
    yield topics.create
    topics.delete_all()
