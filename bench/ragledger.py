"""Runs ragledger as a contestant: one process of `ragledger run`, with defaults for all settings except addresses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench import database
from bench.contestant import Consumer
from bench.dataset import TOPICS, Rows
from bench.errors import BenchError
from bench.local import is_ok
from bench.measure import Measurement
from bench.program import Program
from bench.servers import Servers
from consumer.devstack.server import free_ports
from consumer.settings.model import Topics
from consumer.settings.sources import variable

NAME = "ragledger"
IDLE = "idle."
LEDGER_TIMEOUT_S = 60.0
_RAGLEDGER = (sys.executable, "-m", "consumer")
RUN = (*_RAGLEDGER, "run")
_TOPICS: Mapping[str, str] = {kind: topic for kind, topic in Topics().model_dump().items() if topic}
"""The topics that a service reads or writes by default. Those of OpenTelemetry are off."""


def topic_names() -> list[str]:
    """The names of all topics that ragledger reads, and of an empty topic for each."""
    names = list(_TOPICS.values())
    return [*names, *(f"{IDLE}{name}" for name in names)]


def settings(servers: Servers, group: str, wanted: set[str]) -> dict[str, str]:
    """The environment variables of a replica.

    :param wanted: the topics to read; every other topic is replaced by its empty one
    """
    topics = {kind: topic if topic in wanted else f"{IDLE}{topic}" for kind, topic in _TOPICS.items()}
    return {
        variable("kafka", "bootstrap_servers"): servers.kafka.bootstrap_servers,
        variable("kafka", "group_id"): group,
        variable("postgres", "dsn"): servers.postgres.dsn,
        variable("http", "host"): "127.0.0.1",
        variable("http", "port"): str(free_ports(1)[0]),
        **{variable("topics", kind): topic for kind, topic in topics.items()},
    }


class Ragledger(Consumer):
    """Runs ragledger once in each round, and checks its ledger afterwards."""

    def __init__(self, servers: Servers, rows: Sequence[Rows], verdicts: int = 0) -> None:
        """:param verdicts: the number of feedback records to read; with 0, it does not read their topic"""
        super().__init__(NAME, servers, rows)
        self._records = sum(part.records for part in rows) + verdicts
        self._kinds = [*(part.kind for part in rows), *(["feedback"] if verdicts else [])]
        self._environment: Mapping[str, str] = {}

    def _start(self, group: str, *, idle: bool) -> Program:
        wanted = set() if idle else {TOPICS[kind] for kind in self._kinds}
        self._environment = settings(self._servers, group, wanted)
        return Program(self._servers.workspace, self.name, RUN, self._environment)

    def _is_ready(self) -> bool:
        return is_ok(int(self._environment[variable("http", "port")]), "/readyz")

    def _is_done(self, group: str) -> bool:
        return database.records_accounted(self._servers.connection, group) >= self._records

    def _end(self, program: Program) -> None:
        code = program.stop()
        if code:
            raise BenchError(f"{self.name} ended with exit code {code} instead of 0")

    def measure_unchecked(self, group: str) -> Measurement:
        """Measure without checking the rows, but check the ledger.

        :raises BenchError: the program ends by itself, takes too long, or its ledger is wrong
        """
        measured = super().measure_unchecked(group)
        _check_ledger(self._environment)
        return measured

    @contextmanager
    def running_at_the_end(self, batch_delay_ms: int) -> Iterator[None]:
        """Run ragledger from the end of the topics, with this batch delay.

        :raises BenchError: ragledger does not start, or ends by itself
        """
        changes = {variable("kafka", "start_from"): "latest", variable("batch", "max_delay_ms"): str(batch_delay_ms)}
        self._environment = settings(self._servers, f"bench-delay-{batch_delay_ms}", {TOPICS["dialogue"]}) | changes
        program = Program(self._servers.workspace, self.name, RUN, self._environment)
        try:
            with program.explained():
                self.wait_until_ready(program)
                yield
                self._end(program)
        finally:
            program.kill()


def _check_ledger(environment: Mapping[str, str]) -> None:
    """Check the ledger's equation and that no record waits, with the command for operators."""
    done = subprocess.run(
        [*_RAGLEDGER, "ledger", "--check", "--caught-up"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LEDGER_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"the check of the ledger failed (exit code {done.returncode}):\n{done.stdout}{done.stderr}")
