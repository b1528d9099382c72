"""The Kafka and the PostgreSQL that everybody is measured on, and the connection that watches them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from consumer.admin import migrate
from consumer.devstack import KafkaNode, PostgresServer, Workspace

# A broker that is let run: the embedded one starts quicker, but never compiles its hot code well.
JVM_OPTIONS = ("-Xms1g", "-Xmx1g")
# As durable as PostgreSQL comes (fsync, full_page_writes, synchronous_commit are on). Checkpoints come when the
# benchmark asks for one, and log files of the size that a round needs are kept: no round pays for another.
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
    """Both servers, the workspace that cleans up after every process, and a connection to watch with."""

    workspace: Workspace
    kafka: KafkaNode
    postgres: PostgresServer
    connection: Connection

    @property
    def backend_pid(self) -> int:
        """The process that answers the watching connection; its work is nobody's."""
        return self.connection.info.backend_pid


@contextmanager
def started_servers(progress: Callable[[str], None]) -> Iterator[Servers]:
    """Both servers with the schema in place; every process and file is gone afterwards.

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
