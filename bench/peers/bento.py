"""Runs Bento, with many rows in each INSERT."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bench.contestant import Consumer
from bench.dataset import TOPICS, Rows
from bench.events import COLUMNS, DIALOGUE_TABLE
from bench.local import is_ok
from bench.peers import flat
from bench.program import Program
from bench.ragledger import IDLE
from bench.servers import Servers
from consumer.devstack.server import free_ports

NAME = "Bento"


class Bento(Consumer):
    """One process of Bento."""

    def __init__(self, servers: Servers, rows: Sequence[Rows], program: Path) -> None:
        super().__init__(NAME, servers, rows)
        self._program = program
        self._port = 0

    def _start(self, group: str, *, idle: bool) -> Program:
        self._port = free_ports(1)[0]
        topic = f"{IDLE}{TOPICS['dialogue']}" if idle else flat.TOPIC
        file = self._servers.workspace.directory / f"{group}-bento.json"
        file.write_text(json.dumps(self._configuration(group, topic), indent=1))
        return Program(self._servers.workspace, self.name, [self._program, "-c", file], {})

    def _configuration(self, group: str, topic: str) -> dict[str, object]:
        """The configuration as JSON, which is also valid YAML."""
        return {
            "http": {"address": f"127.0.0.1:{self._port}"},
            "input": {
                "kafka_franz": {
                    "seed_brokers": [self._servers.kafka.bootstrap_servers],
                    "topics": [topic],
                    "consumer_group": f"{group}-bento",
                    "checkpoint_limit": 20_000,
                    "batching": {"count": 3000, "period": "100ms"},
                }
            },
            "output": {
                "sql_insert": {
                    "driver": "postgres",
                    "dsn": f"{self._servers.postgres.dsn}?sslmode=disable",
                    "table": DIALOGUE_TABLE,
                    "columns": list(COLUMNS[DIALOGUE_TABLE]),
                    "args_mapping": f"root = [{', '.join(f'this.{name}' for name in COLUMNS[DIALOGUE_TABLE])}]",
                    "suffix": "ON CONFLICT DO NOTHING",
                    "max_in_flight": 4,
                }
            },
        }

    def _is_ready(self) -> bool:
        return is_ok(self._port, "/ready")
