"""ragledger as a contestant: `ragledger run`, one process, everything but the addresses as a user would have it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping, Sequence

from bench import database, usage
from bench.dataset import TOPICS, Rows
from bench.errors import BenchError
from bench.measure import IdleStart, Measurement, check_rows, measure_program
from bench.program import Program
from bench.servers import Servers
from consumer.embedded.server import free_ports
from consumer.settings import Topics, variable

NAME = "ragledger"
IDLE = "idle."
READY_TIMEOUT_S = 60.0
LEDGER_TIMEOUT_S = 60.0
_RUN = (sys.executable, "-m", "consumer")


def topic_names() -> list[str]:
    """Every topic that ragledger reads, and an empty twin of each."""
    names = [str(name) for name in Topics().model_dump().values()]
    return [*names, *(f"{IDLE}{name}" for name in names)]


class Ragledger:
    """Runs it, once a round, under a consumer group of its own."""

    name = NAME

    def __init__(self, servers: Servers, rows: Sequence[Rows]) -> None:
        self._servers, self._rows = servers, rows
        self.idle = IdleStart(0.0, 0.0)

    def prepare(self, times: int) -> None:
        """Find out what a start costs that finds nothing to read: the median of several."""
        self.idle = IdleStart.median([self._idle_start(number) for number in range(times)])

    def _idle_start(self, number: int) -> IdleStart:
        environment = self._environment(f"idle-{number}-{len(self._rows)}", idle=TOPICS.values())
        program = self._start(environment)
        try:
            with program.explained():
                _wait_until_ready(program, environment[variable("http", "port")])
            return IdleStart(usage.cpu_seconds(program.pid), time.monotonic() - program.started)
        finally:
            program.kill()

    def measure(self, number: int) -> Measurement:
        """One round, its rows and its ledger checked.

        :raises BenchError: something is not as it must be
        """
        database.reset(self._servers.connection)
        unused = TOPICS.keys() - {part.table for part in self._rows}
        environment = self._environment(f"round-{number}-{len(self._rows)}", {TOPICS[table] for table in unused})
        program = self._start(environment)
        try:
            measured = measure_program(self._servers, self._rows, program, self.idle)
            program.stop()
        finally:
            program.kill()
        check_rows(self._servers, self._rows, NAME)
        _check_ledger(environment)
        return measured

    def _start(self, environment: Mapping[str, str]) -> Program:
        return Program(self._servers.workspace, NAME, [*_RUN, "run"], environment)

    def _environment(self, group: str, idle: Collection[str]) -> dict[str, str]:
        """:param idle: topics to read the empty twins of instead."""
        topics = {name: f"{IDLE}{topic}" if topic in idle else topic for name, topic in Topics().model_dump().items()}
        return {
            variable("kafka", "bootstrap_servers"): self._servers.kafka.bootstrap_servers,
            variable("kafka", "group_id"): group,
            variable("postgres", "dsn"): self._servers.postgres.dsn,
            variable("http", "host"): "127.0.0.1",
            variable("http", "port"): str(free_ports(1)[0]),
            **{variable("topics", name): topic for name, topic in topics.items()},
        }


def _wait_until_ready(program: Program, port: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not _is_ready(port):
        program.check()
        if time.monotonic() > deadline:
            raise BenchError(f"{NAME} was not ready within {READY_TIMEOUT_S:.0f} s")
        time.sleep(0.02)


def _is_ready(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _check_ledger(environment: Mapping[str, str]) -> None:
    """The ledger's equation, and that nothing waits, as an operator would ask."""
    done = subprocess.run(
        [*_RUN, "ledger", "--check", "--caught-up"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LEDGER_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"the ledger does not hold (exit code {done.returncode}):\n{done.stdout}{done.stderr}")
