"""Tests outages of Kafka: the service waits, logs them once, and nothing is lost, duplicated or a dead letter."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.devstack import KafkaNode, Workspace
from tests.support.frozen import frozen
from tests.support.ingestion import environment_on, log_lines, wait_for_records
from tests.support.load import Load, assert_alive_but_not_ready
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import QUICK_RESTART, Database, SharedServers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.environ.get("RAGLEDGER_TEST_STACK") == "docker", reason="kills embedded servers"),
]

SMALL_BATCHES = {"RAGLEDGER_BATCH__MAX_ROWS": "20", "RAGLEDGER_BATCH__MAX_DELAY_MS": "50"}
NOTICED_S = 16.0  # one check every 5 s, and 10 s for the answer


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaNode]:
    """Return a broker for this file; a test that kills it starts it again."""
    with Workspace() as workspace:
        node = KafkaNode(workspace, properties=QUICK_RESTART)
        node.start()
        yield node


@pytest.fixture
def environment(kafka: KafkaNode, postgres18: Database, migrated_template: str) -> Iterator[Environment]:
    """Return small batches, so that an outage falls between many."""
    servers = SharedServers(kafka.bootstrap_servers, postgres18.dsn)
    with environment_on(servers, migrated_template, partitions=2, **SMALL_BATCHES) as made:
        yield made


def test_a_kill_of_kafka_under_load(kafka: KafkaNode, environment: Environment, tmp_path: Path) -> None:
    """It is killed during reads and returns at the same address: all is read exactly, logged once, without a
    flood of lines.
    """
    load, log = Load(environment), tmp_path / "log"
    load.publish(1500)
    with ServiceProcess(environment, log) as service:
        wait_for_records(environment, 200)
        kafka.kill()
        try:
            eventually(
                lambda: service.metric("rag_up", server="kafka") == 0,
                timeout=NOTICED_S,
                message="the outage is noticed",
            )
            assert_alive_but_not_ready(service)
            lines = len(log.read_text().splitlines())
            failed = service.metric("rag_client_errors_total")
            eventually(lambda: service.metric("rag_client_errors_total") > failed + 100, message="the client complains")
            assert len(log.read_text().splitlines()) < lines + 20
        finally:
            kafka.restart()
        load.publish(200)
        load.assert_exact(service)
        eventually(lambda: service.get("/readyz")[0] == 200, message="the replica is ready")
        assert service.stop() == 0
    assert len(log_lines(log, "kafka_unavailable")) == len(log_lines(log, "kafka_available")) == 1
    assert len(log.read_text().splitlines()) < 100


def test_a_frozen_kafka_is_noticed(kafka: KafkaNode, environment: Environment, tmp_path: Path) -> None:
    """It accepts connections and answers nothing; the watchdog does not end the process, because a new client
    would not help.
    """
    load, log = Load(environment), tmp_path / "log"
    load.publish(300)
    with ServiceProcess(environment, log, RAGLEDGER_WATCHDOG__STALL_S="5") as service:
        load.assert_exact(service)
        with frozen(kafka.pid):
            eventually(
                lambda: service.metric("rag_up", server="kafka") == 0, timeout=30, message="the outage is noticed"
            )
            assert_alive_but_not_ready(service)
            eventually(lambda: service.metric("rag_client_errors_total") > 3, timeout=60, message="requests time out")
            assert service.running.poll() is None
        eventually(lambda: service.get("/readyz")[0] == 200, message="Kafka answers again")
        load.publish(100)
        load.assert_exact(service)
        eventually(lambda: service.get("/readyz")[0] == 200, message="the replica is ready")
        assert service.stop() == 0
    assert len(log_lines(log, "kafka_unavailable")) == 1
    assert log_lines(log, "stalled") == []
