"""Starts the Kafka and PostgreSQL servers of the benchmark, and a connection that watches the tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from consumer.admin import migrate
from consumer.devstack import KafkaNode, PostgresServer, Workspace

# A long-running broker needs these options: the default of the embedded broker starts faster, but optimises less.
JVM_OPTIONS = ("-Xms1g", "-Xmx1g")
# PostgreSQL keeps its default durability (fsync, full_page_writes, synchronous_commit are on). Only the benchmark
# starts checkpoints, and the server keeps enough log files for a round, so no round pays for another.
POSTGRES_SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "16GB",
    "min_wal_size": "2GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "track_commit_timestamp": "on",
}

Connection = psycopg.Connection[TupleRow]


@dataclass(frozen=True, slots=True)
class Servers:
    """Both servers, the workspace that cleans up after every process, and a connection that watches the tables."""

    workspace: Workspace
    kafka: KafkaNode
    postgres: PostgresServer
    connection: Connection

    @property
    def backend_pid(self) -> int:
        """The process that serves the watching connection. Its CPU time belongs to no contestant."""
        return self.connection.info.backend_pid


@contextmanager
def started_servers(progress: Callable[[str], None]) -> Iterator[Servers]:
    """Start both servers with the schema. At the end, stop all processes and delete all files.

    :raises EmbeddedError: a server does not start
    """
    with Workspace() as workspace:
        kafka = KafkaNode(workspace, jvm_options=JVM_OPTIONS, progress=progress)
        postgres = PostgresServer(workspace, settings=POSTGRES_SETTINGS, progress=progress)
        kafka.start()
        postgres.start()
        asyncio.run(migrate.up(postgres.dsn))
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            yield Servers(workspace, kafka, postgres, connection)
