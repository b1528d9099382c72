"""The Kafka and PostgreSQL of the tests, and common operations on them."""

import inspect
import os
import time
from asyncio import sleep
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from psycopg import sql
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from consumer.devstack.jars import KAFKA_VERSION
from consumer.devstack.kafka import PROPERTIES
from consumer.devstack.postgres import BUNDLED_VERSION
from consumer.devstack.server import free_ports

T = TypeVar("T")
POLL_S = 0.05
REQUEST_TIMEOUT_S = 30.0

# A killed broker may rejoin when its old session has ended; with the default each restart takes 10 s.
QUICK_RESTART = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
POSTGRES_OPTIONS = ["-c", "max_connections=200", "-c", "shared_preload_libraries=pg_stat_statements"]


class Servers(Protocol):
    """Addresses of Kafka and PostgreSQL."""

    @property
    def bootstrap_servers(self) -> str: ...

    @property
    def dsn(self) -> str: ...


class SharedServers(NamedTuple):
    """The Kafka of the run and the PostgreSQL of the worker; tests leave them running."""

    bootstrap_servers: str
    dsn: str


class Database(Protocol):
    """Address of a PostgreSQL."""

    @property
    def dsn(self) -> str: ...


class DockerPostgres:
    """PostgreSQL in a container."""

    def __init__(self, version: int = BUNDLED_VERSION) -> None:
        self._container = PostgresContainer(
            f"postgres:{version}", username="postgres", password="postgres", dbname="ragledger", driver=None
        ).with_command(["postgres", *POSTGRES_OPTIONS])

    @property
    def dsn(self) -> str:
        return str(self._container.get_connection_url())

    def __enter__(self) -> Self:
        self._container.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.stop()


class DockerKafka:
    """Kafka in a container, with the image of the compose file."""

    def __init__(self) -> None:
        self._port = free_ports(1)[0]
        self._container = (
            DockerContainer(f"apache/kafka:{KAFKA_VERSION}", env=kafka_environment(self._port))
            .with_bind_ports(9092, self._port)
            .waiting_for(LogMessageWaitStrategy("Kafka Server started"))
        )

    @property
    def bootstrap_servers(self) -> str:
        return f"localhost:{self._port}"

    def start(self) -> None:
        self._container.start()

    def stop(self) -> None:
        self._container.stop()


def kafka_environment(port: int) -> dict[str, str]:
    """Return the whole environment of the image: if one listener is set, it ignores all of its defaults."""
    properties = {
        **PROPERTIES,
        "node.id": "1",
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://localhost:{port}",
        "controller.quorum.voters": "1@localhost:9093",
    }
    return {_variable(name): value for name, value in properties.items()}


def _variable(name: str) -> str:
    escaped = name.replace("_", "__").replace("-", "___").replace(".", "_")
    return f"KAFKA_{escaped.upper()}"


def uses_docker() -> bool:
    """Return whether `RAGLEDGER_TEST_STACK` asks for containers."""
    chosen = os.environ.get("RAGLEDGER_TEST_STACK", "embedded")
    if chosen not in ("embedded", "docker"):
        raise ValueError(f"RAGLEDGER_TEST_STACK is {chosen!r}; it may be 'embedded' or 'docker'")
    return chosen == "docker"


async def wait_for(
    condition: Callable[[], T | Awaitable[T]], *, timeout: float = REQUEST_TIMEOUT_S, message: str = ""
) -> T:
    """Poll a condition, sync or async, until it returns something true, and return that.

    Raises:
        TimeoutError: it was not true within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        value = await result if inspect.isawaitable(result) else result
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {message or condition}; last seen: {value!r}")
        await sleep(POLL_S)


def with_database(dsn: str, name: str) -> str:
    """Return the DSN of another database of the same server."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


@contextmanager
def fresh_database(server: str, template: str | None = None) -> Iterator[str]:
    """Create a database, empty or as a copy of `template`. Yield its DSN, and drop it afterwards."""
    name = f"test_{uuid4().hex}"
    source = sql.SQL("TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
    _execute(server, sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), source))
    try:
        yield with_database(server, name)
    finally:
        _execute(server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(dsn: str, statement: sql.Composed) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)


class Topics:
    """Creates topics with unique names, and deletes them at the end."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers})
        self._names: list[str] = []

    def create(self, partitions: int = 1, *, prefix: str = "test", replication_factor: int = 1) -> str:
        """Create a topic and return its name."""
        name = f"{prefix}-{uuid4().hex}"
        topic = NewTopic(name, num_partitions=partitions, replication_factor=replication_factor)
        self._admin.create_topics([topic])[name].result(REQUEST_TIMEOUT_S)
        self._names.append(name)
        return name

    def later(self, *, prefix: str = "test") -> str:
        """Return the name of a topic that the test creates itself."""
        name = f"{prefix}-{uuid4().hex}"
        self._names.append(name)
        return name

    def delete_all(self) -> None:
        """Delete all created topics."""
        if self._names:
            for deletion in self._admin.delete_topics(self._names).values():
                deletion.result(REQUEST_TIMEOUT_S)
