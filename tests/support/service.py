"""Runs the service as a process, and observes it only from outside."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from uuid import uuid4

import psycopg
from psycopg.rows import DictRow, dict_row

from consumer.devstack.server import free_ports, last_lines
from consumer.settings.model import Topics
from tests.support import program

POLL_S = 0.05
START_S = 60.0


def eventually(condition: Callable[[], Any], *, timeout: float = 60.0, message: str = "") -> Any:
    """Poll until `condition` returns something true, and return that.

    Raises:
        TimeoutError: it was not true within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {message or condition}; last seen: {value!r}")
        time.sleep(POLL_S)
    return value


class Environment:
    """Settings for one test: its own database, topics and consumer group."""

    def __init__(self, dsn: str, bootstrap_servers: str, topics: Mapping[str, str], **settings: str) -> None:
        self.dsn = dsn
        self.topics = dict(topics)
        unused = {kind: f"none-{uuid4().hex}" for kind, field in Topics.model_fields.items() if field.default}
        self.group = f"group-{uuid4().hex}"
        self.variables = {
            "RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
            "RAGLEDGER_KAFKA__GROUP_ID": self.group,
            "RAGLEDGER_POSTGRES__DSN": dsn,
            "RAGLEDGER_HTTP__HOST": "127.0.0.1",
            "RAGLEDGER_ROLLUP__INTERVAL_S": "0.5",
            "RAGLEDGER_LOG__FORMAT": "json",
            **{f"RAGLEDGER_TOPICS__{kind.upper()}": topic for kind, topic in {**unused, **topics}.items()},
            **settings,
        }

    def run(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return program.run("consumer", *arguments, environment=os.environ | self.variables, stdin=stdin)

    def run_json(self, *arguments: str) -> Any:
        """Return the output of a command with --json."""
        done = self.run(*arguments, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def query(self, sql: str, *arguments: Any) -> list[DictRow]:
        """Return the rows of a query."""
        with psycopg.connect(self.dsn, row_factory=dict_row, autocommit=True) as connection:
            return connection.execute(sql, arguments or None).fetchall()

    def value(self, sql: str, *arguments: Any) -> Any:
        """Return the only value of a query."""
        return next(iter(self.query(sql, *arguments)[0].values()))

    def accounted_for(self) -> int:
        """Return the number of records that the ledger covers."""
        columns = "inserted + duplicates + amended + dead_lettered + ignored"
        return int(self.value(f"SELECT coalesce(sum({columns}), 0) FROM ingest_ledger"))

    def assert_caught_up(self, *, timeout: float = 60.0) -> None:
        """Wait until the ledger adds up and no record waits."""
        eventually(
            lambda: self.run("ledger", "--check", "--caught-up").returncode == 0,
            timeout=timeout,
            message="ledger --check --caught-up",
        )


class ServiceProcess:
    """`ragledger run` as a context manager; stopped with SIGTERM at the end if it still runs."""

    started: ClassVar[list["ServiceProcess"]] = []

    def __init__(self, environment: Environment, log: Path, **settings: str) -> None:
        self.port = free_ports(1)[0]
        self.command: tuple[str, ...] = ("consumer", "run")
        self.log = log
        self._output = log.open("ab")
        self._variables = {**environment.variables, "RAGLEDGER_HTTP__PORT": str(self.port), **settings}
        self.process: program.Program | None = None

    def __enter__(self) -> Self:
        module, *arguments = self.command
        with Path(os.devnull).open("rb") as nothing:
            streams = nothing, self._output, self._output
            self.process = program.Program(module, arguments, os.environ | self._variables, *streams)
        self.started.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running.poll() is None:
            self.running.send_signal(signal.SIGCONT)
            self.running.terminate()
            try:
                self.running.wait(60)
            except subprocess.TimeoutExpired:
                self.running.kill()
                self.running.wait()
        self._output.close()

    @property
    def running(self) -> program.Program:
        """Return the process."""
        assert self.process is not None
        return self.process

    def last_lines(self) -> str:
        """Return the end of its log, for the report of a failed test."""
        return last_lines(self.log)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.running.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL, and wait until it has ended."""
        self.running.kill()
        self.running.wait(30)

    def stop(self, timeout: float = 60.0) -> int:
        """Send SIGTERM. Return the exit code."""
        self.running.terminate()
        return self.running.wait(timeout)

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body; status 0 if the port is closed."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self) -> None:
        """Wait for /readyz."""
        eventually(lambda: self.get("/readyz")[0] == 200, timeout=START_S, message=f"ready: {self.get('/readyz')}")

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over all series with these labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(name) and line[len(name)] in "{ ":
                series, _, value = line.rpartition(" ")
                if all(f'{label}="{wanted}"' in series for label, wanted in labels.items()):
                    total += float(value)
        return total

    def wait_metric(self, name: str, value: Any, *, timeout: float = 20.0, **labels: str) -> None:
        """Wait until a metric has a value: counters follow the commit after a moment."""
        eventually(
            lambda: self.metric(name, **labels) == value,
            timeout=timeout,
            message=f"{name}{labels or ''} == {value}",
        )

    def wait_metric_above(self, name: str, bound: float, *, timeout: float = 20.0, **labels: str) -> None:
        """Wait until a metric exceeds a bound."""
        eventually(
            lambda: self.metric(name, **labels) > bound,
            timeout=timeout,
            message=f"{name}{labels or ''} > {bound}",
        )

    def wait_page(self, path: str, status: int, *, timeout: float = 20.0) -> None:
        """Wait until a page answers with a status."""
        eventually(lambda: self.get(path)[0] == status, timeout=timeout, message=f"{path} answers with {status}")

    def checks(self) -> dict[str, str]:
        """Return the text of /readyz for each check; empty if it does not answer."""
        body = self.get("/readyz")[1]
        return dict(json.loads(body)["checks"]) if body else {}

    def wait_check(self, name: str, *words: str, timeout: float = 20.0) -> None:
        """Wait until /readyz is red with these words in a check."""

        def has_words() -> bool:
            said = self.checks().get(name, "")
            return all(word in said for word in words) and self.get("/readyz")[0] == 503

        eventually(has_words, timeout=timeout, message=f"{name}: {words} in {self.checks()}")
