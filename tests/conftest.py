"""Fixtures: one Kafka for the run, one PostgreSQL of each version for each worker, a database and topics for
each test. Only requested servers start. With `RAGLEDGER_TEST_STACK=docker` they run in containers.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Generator, Iterator
from urllib.parse import urlsplit

import pytest
import structlog

from consumer.devstack import EmbeddedError, PostgresServer, Workspace
from consumer.devstack.postgres import BUNDLED_VERSION
from tests.support.service import ServiceProcess
from tests.support.shared import Kafka, Run, is_worker, kafka_of
from tests.support.stack import Database, DockerPostgres, Servers, SharedServers, Topics, fresh_database, uses_docker

# A shell ignores SIGINT for background processes, and the programs under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `make fuzz` and of manual runs."""
    group, default = parser.getgroup("ragledger"), "(default: %(default)s)"
    group.addoption("--fuzz-records", type=int, default=8000, help=f"number of hostile records {default}")
    group.addoption("--fuzz-seed", type=int, default=1, help=f"seed of the hostile records {default}")
    group.addoption("--faults-seed", type=int, default=1, help=f"seed of the faults {default}")
    group.addoption(
        "--write-docs", action="store_true", help="write docs/reliability.md from the results of the faults"
    )
    group.addoption("--long", type=float, default=0.0, help=f"share of the long run of faults to run {default}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of the service logs to a failure. In CI a skipped test fails, because nobody reads the list of
    skipped tests.
    """
    report = yield
    if report.skipped and "not installed" in str(report.longrepr) and os.environ.get("CI"):
        report.outcome = "failed"
    if report.failed:
        report.sections += [(f"log of {one.log.name}", one.last_lines()) for one in ServiceProcess.started]
    return report


def pytest_runtest_logfinish() -> None:
    """Forget the logs of services that have ended."""
    ServiceProcess.started[:] = [one for one in ServiceProcess.started if one.running.poll() is None]


def pytest_configure(config: pytest.Config) -> None:
    """Let the main process own the parts that all workers share."""
    if not is_worker(config):
        config.pluginmanager.register(Run(), "ragledger-run")


@pytest.fixture(scope="session", autouse=True)
def _working_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let programs that write into their working directory, as `erase` does with a receipt, not write into the tree."""
    os.chdir(tmp_path_factory.mktemp("working-directory"))


@pytest.fixture(autouse=True)
def _logging_is_restored() -> Iterator[None]:
    """Restore the configuration of logs, which a command sets for its process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Kafka:
    """Return the broker of the run, shared by all tests of all workers; tests leave it running."""
    return kafka_of(request.config)


@pytest.fixture(scope="session")
def bootstrap_servers(kafka: Kafka) -> str:
    """Return the address of Kafka as `host:port`."""
    return kafka.bootstrap_servers


@pytest.fixture(scope="session")
def postgres18() -> Iterator[Database]:
    """Return the newest PostgreSQL, shared by all tests of this worker; tests leave it running."""
    yield from _postgres(BUNDLED_VERSION)


@pytest.fixture(scope="session")
def postgres15() -> Iterator[Database]:
    """Return the oldest supported PostgreSQL, shared by all tests of this worker."""
    yield from _postgres(15)


def _postgres(version: int) -> Iterator[Database]:
    if uses_docker():
        with DockerPostgres(version) as container:
            yield container
        return
    with Workspace() as workspace:
        server = _installed(workspace, version)
        server.start()
        yield server
        # Without a checkpoint, because the directory is removed.
        server.stop(signal.SIGQUIT)


def _installed(workspace: Workspace, version: int) -> PostgresServer:
    try:
        return PostgresServer(workspace, version=version, durable=False)
    except EmbeddedError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def stack(bootstrap_servers: str, postgres18: Database) -> Servers:
    """Return Kafka and PostgreSQL."""
    return SharedServers(bootstrap_servers, postgres18.dsn)


@pytest.fixture
def postgres_server(postgres18: Database) -> PostgresServer:
    """Return the worker's server for tests that kill and restart it; they leave it running at their end."""
    if not isinstance(postgres18, PostgresServer):
        pytest.skip("only an embedded PostgreSQL can be killed and restarted")
    return postgres18


@pytest.fixture(scope="session")
def migrated_template(postgres18: Database) -> Iterator[str]:
    """Return the name of a migrated database, which `database` copies."""
    from consumer.admin import migrate

    with fresh_database(postgres18.dsn) as dsn:
        asyncio.run(migrate.up(dsn))
        yield urlsplit(dsn).path.removeprefix("/")


@pytest.fixture
def database(postgres18: Database, migrated_template: str) -> Iterator[str]:
    """Return the DSN of a migrated database for this test."""
    with fresh_database(postgres18.dsn, migrated_template) as dsn:
        yield dsn


@pytest.fixture
def empty_database(postgres18: Database) -> Iterator[str]:
    """Return the DSN of an empty database for this test."""
    with fresh_database(postgres18.dsn) as dsn:
        yield dsn


@pytest.fixture
def topic_factory(bootstrap_servers: str) -> Iterator[Callable[..., str]]:
    """Return a function: `topic_factory(partitions=1, prefix="test")` creates a topic with a new name and returns
    the name.
    """
    topics = Topics(bootstrap_servers)
    yield topics.create
    topics.delete_all()
