"""Kafka and PostgreSQL behind proxies for the service; producers and observers connect directly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer.admin import migrate
from consumer.devstack import KafkaCluster, KafkaNode, PostgresServer, Workspace
from consumer.devstack.server import free_ports
from tests.faults.loop import LoopThread
from tests.faults.proxy import Proxy
from tests.support.ingestion import TABLES
from tests.support.psql import execute
from tests.support.service import Environment
from tests.support.stack import QUICK_RESTART, REQUEST_TIMEOUT_S, fresh_database

BROKER_PROPERTIES = {
    **QUICK_RESTART,
    # A producer that ends during a transaction holds back all readers until the broker ends the transaction.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "message.max.bytes": "33554432",
    "log.retention.check.interval.ms": "1000",
}
POSTGRES_SETTINGS = {"max_connections": "60", "log_error_verbosity": "terse"}
TEMPLATE = "ragledger"
# Logins as in docs/roles.md, without COPY and with it; superusers still have connections if others have none.
WRITERS = ("ragledger_writer", "ragledger_copier")
ROLES = (
    f"CREATE ROLE {WRITERS[0]} LOGIN IN ROLE ragledger_ingest",
    f"CREATE ROLE {WRITERS[1]} LOGIN IN ROLE ragledger_ingest BYPASSRLS",
)


@dataclass(frozen=True)
class Lab:
    """The servers, and the proxies in front of the brokers; each replica has its own proxy in front of PostgreSQL."""

    thread: LoopThread
    brokers: Sequence[KafkaNode]
    broker_proxies: Sequence[Proxy]
    postgres: PostgresServer

    @property
    def bootstrap_servers(self) -> str:
        """Addresses of the brokers without proxies."""
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    @property
    def proxied_bootstrap_servers(self) -> str:
        """Addresses of the brokers through their proxies."""
        return ",".join(f"127.0.0.1:{proxy.port}" for proxy in self.broker_proxies)

    @property
    def dsn(self) -> str:
        """DSN of a migrated database without a proxy, to be copied."""
        return self.postgres.dsn

    @contextmanager
    def environment(self, partitions: int, **settings: str) -> Iterator[Environment]:
        """Create topics of both kinds on up to three brokers, and a migrated database."""
        with ExitStack() as undo:
            admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
            names = {kind: f"{kind}-{uuid4().hex}" for kind in TABLES}
            undo.callback(delete_topics, admin, list(names.values()))
            make_topics(admin, list(names.values()), partitions, min(3, len(self.brokers)))
            dsn = undo.enter_context(fresh_database(self.postgres.dsn_of("postgres"), TEMPLATE))
            made = Environment(dsn, self.proxied_bootstrap_servers, names, **settings)
            made.variables["RAGLEDGER_POSTGRES__DSN"] = dsn.replace("//postgres@", f"//{WRITERS[0]}@")
            yield made

    def heal(self) -> None:
        """Run all servers, and end all network faults."""
        for server in (*self.brokers, self.postgres):
            if not server.is_running:
                server.start()
        for proxy in self.broker_proxies:
            proxy.heal()


def make_topics(admin: AdminClient, names: Sequence[str], partitions: int, replicas: int = 1, **config: str) -> None:
    """Create topics."""
    topics = [NewTopic(name, partitions, replicas, config=config) for name in names]
    for creation in admin.create_topics(topics).values():
        creation.result(REQUEST_TIMEOUT_S)


def delete_topics(admin: AdminClient, names: Sequence[str]) -> None:
    """Delete topics."""
    for deletion in admin.delete_topics(list(names)).values():
        deletion.result(REQUEST_TIMEOUT_S)


@contextmanager
def open_lab(brokers: int = 1) -> Iterator[Lab]:
    """Start servers of their own, to be killed."""
    with ExitStack() as undo:
        thread, workspace = undo.enter_context(LoopThread()), undo.enter_context(Workspace())
        nodes = _nodes(workspace, brokers)
        proxies = [_proxied(thread, node) for node in nodes]
        postgres = PostgresServer(workspace, settings=POSTGRES_SETTINGS)
        for server in (*nodes, postgres):
            server.launch()
        for server in (*nodes, postgres):
            server.wait_ready()
        undo.callback(postgres.stop)
        for proxy in proxies:
            proxy.open()
            undo.callback(proxy.close)
        asyncio.run(migrate.up(postgres.dsn))
        execute(postgres.dsn, *ROLES)
        yield Lab(thread, nodes, proxies, postgres)


def _nodes(workspace: Workspace, count: int) -> Sequence[KafkaNode]:
    if count > 1:
        return KafkaCluster(workspace, size=count, properties=BROKER_PROPERTIES).nodes
    return [KafkaNode(workspace, properties=BROKER_PROPERTIES)]


def _proxied(thread: LoopThread, node: KafkaNode) -> Proxy:
    """Return a second listener whose clients go through a proxy."""
    (port,) = free_ports(1)
    proxy = Proxy(thread, port)
    properties = {
        "listeners": f"PROXIED://127.0.0.1:{port}",
        "advertised.listeners": f"PROXIED://127.0.0.1:{proxy.port}",
        "listener.security.protocol.map": "PROXIED:PLAINTEXT",
    }
    for name, addition in properties.items():
        node.properties[name] += f",{addition}"
    return proxy


def through(dsn: str, port: int, writer: str) -> str:
    """Return the same database through another port, for one of the writers."""
    return urlunsplit(urlsplit(dsn)._replace(netloc=f"{writer}@127.0.0.1:{port}"))
