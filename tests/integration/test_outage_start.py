"""Tests a start before the servers: the service waits, logs each reason once, and continues by itself."""

import os
from itertools import permutations
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer.devstack import KafkaNode, PostgresServer, Workspace
from tests.support.ingestion import log_lines
from tests.support.load import Load, assert_alive_but_not_ready, said, wait_for_retries
from tests.support.service import Environment, ServiceProcess, eventually

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.environ.get("RAGLEDGER_TEST_STACK") == "docker", reason="starts embedded servers"),
]


def test_a_start_before_postgresql(tmp_path: Path) -> None:
    """First the server is missing, then the schema: each is logged once, and the service continues by itself."""
    log = tmp_path / "log"
    with Workspace() as workspace:
        server = PostgresServer(workspace, durable=False)
        environment = Environment(server.dsn, "127.0.0.1:9", {})
        with ServiceProcess(environment, log) as service:
            wait_for_retries(service, 3, cause="connection")
            assert_alive_but_not_ready(service)
            server.start()
            wait_for_retries(service, 3, cause="schema")
            assert_alive_but_not_ready(service)
            assert environment.run("migrate", "up").returncode == 0
            eventually(lambda: said(log, "127.0.0.1:9"), message="it waits for Kafka now")
            assert_alive_but_not_ready(service)
            assert service.stop() == 0
    assert len(said(log, "connection to PostgreSQL")) == 1
    assert len(said(log, "ragledger migrate up")) == 1, "the missing schema is not logged"


@pytest.mark.slow
def test_a_start_before_kafka_and_its_topics(database: str, tmp_path: Path) -> None:
    """First no broker answers, then topics are missing: each is named once, and they are read when they exist."""
    log = tmp_path / "log"
    names = {"dialogue": "late-dialogue", "provenance": "late-provenance"}
    with Workspace() as workspace:
        kafka = KafkaNode(workspace)
        quick = {"RAGLEDGER_KAFKA__METADATA_MAX_AGE_MS": "300"}
        environment = Environment(database, kafka.bootstrap_servers, names, **quick)
        with ServiceProcess(environment, log) as service:
            eventually(lambda: log_lines(log, "kafka_unavailable"), message="Kafka is named")
            assert_alive_but_not_ready(service)
            kafka.start()
            eventually(
                lambda: service.get("/readyz")[0] == 200 or said(log, "late-"),
                message="the replica has joined the group",
            )
            make_topics(environment)
            load = Load(environment)
            load.publish(50)
            load.assert_exact(service)
            service.wait_ready()
            assert service.stop() == 0
    [unavailable] = log_lines(log, "kafka_unavailable")
    assert kafka.bootstrap_servers in unavailable["problem"]
    for name in names.values():
        missing = [line for line in said(log, name) if f"{name}/0" not in line]
        assert missing, f"the missing {name} is not logged"
    assert len(log.read_text().splitlines()) < 40


ORDERS = [
    order
    for order in permutations(("kafka", "topics", "postgresql", "schema"))
    if order.index("kafka") < order.index("topics") and order.index("postgresql") < order.index("schema")
]


@pytest.mark.parametrize("order", ORDERS, ids=">".join)
@pytest.mark.slow
def test_a_start_before_everything_in_any_order(tmp_path: Path, order: tuple[str, ...]) -> None:
    """Until the last of the four exists, it is alive and not ready; each reason is logged once."""
    log = tmp_path / "log"
    names = {"dialogue": "first-dialogue", "provenance": "first-provenance"}
    with Workspace() as workspace:
        kafka, postgres = KafkaNode(workspace), PostgresServer(workspace, durable=False)
        quick = {"RAGLEDGER_KAFKA__METADATA_MAX_AGE_MS": "300"}
        environment = Environment(postgres.dsn, kafka.bootstrap_servers, names, **quick)
        load = Load(environment)

        def start_part(part: str) -> None:
            if part == "topics":
                make_topics(environment)
                load.publish(30)
            elif part == "schema":
                assert environment.run("migrate", "up").returncode == 0
            else:
                (kafka if part == "kafka" else postgres).start()

        with ServiceProcess(environment, log) as service:
            eventually(lambda: service.get("/healthz")[0] == 200, message="the service listens")
            for part in order:
                service.wait_page("/healthz", 200)
                assert service.get("/readyz")[0] == 503 or part == "topics"
                start_part(part)
            service.wait_ready()
            load.assert_exact(service)
            assert service.stop() == 0
    causes = [line["cause"] for line in log_lines(log, "database_unavailable")]
    assert len(causes) == len(set(causes))
    assert len(log_lines(log, "kafka_unavailable")) <= 1
    assert len(log_lines(log, "topics_missing")) <= 1
    assert len(log.read_text().splitlines()) < 60


def make_topics(environment: Environment) -> None:
    """Create the topics of the settings."""
    admin = AdminClient({"bootstrap.servers": environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"]})
    for name in environment.topics.values():
        admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])[name].result(30)
