"""Replicas, each with its own proxy in front of PostgreSQL, and a supervisor that restarts them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults.lab import WRITERS, Lab, through
from tests.faults.postgres_wire import PostgresProxy
from tests.support.service import Environment, ServiceProcess, eventually

LOOK_SECONDS = 0.2


class Replica:
    """The place of one process: when the process ends, a new one takes its place."""

    def __init__(self, lab: Lab, environment: Environment, directory: Path, number: int) -> None:
        self.name = f"replica-{number}"
        self.log = directory / f"{self.name}.log"
        self.postgres = PostgresProxy(lab.thread, lab.postgres.port)
        self._environment = environment
        self._dsn = through(environment.dsn, self.postgres.port, WRITERS[number % len(WRITERS)])
        self.is_wanted = False
        self.process: ServiceProcess | None = None

    @property
    def service(self) -> ServiceProcess:
        """The present process, or the last one."""
        assert self.process is not None
        return self.process

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self.service.running.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self.process is None or self.process.running.poll() is not None

    def start(self) -> None:
        """Start a process."""
        self.process = ServiceProcess(self._environment, self.log, RAGLEDGER_POSTGRES__DSN=self._dsn).__enter__()
        self.is_wanted = True

    def wait_ready(self) -> None:
        """Wait until the present process is ready."""
        eventually(lambda: self.service.get("/readyz")[0] == 200, message=f"{self.name} is ready")

    def wait_answering(self) -> None:
        """Wait until it answers requests."""
        eventually(lambda: self.service.get("/metrics")[0] == 200, timeout=10, message=f"{self.name} answers")

    def wait_not_ready(self) -> None:
        """Wait until it reports that it is not ready."""
        eventually(lambda: self.service.get("/readyz")[0] == 503, message=f"{self.name} is not ready")

    def wait_ended(self) -> None:
        """Wait until the process has ended."""
        eventually(lambda: self.has_ended, message=f"{self.name} has ended")

    def kill(self) -> None:
        """Send SIGKILL; the supervisor does not restart it before the next :meth:`start`."""
        self.is_wanted = False
        self.service.kill()

    def stop(self) -> int:
        """Send SIGTERM. Return the exit code."""
        self.is_wanted = False
        return self.service.stop()

    def leave(self) -> None:
        """Send SIGTERM without waiting."""
        self.is_wanted = False
        self.service.send(signal.SIGTERM)

    def freeze(self) -> None:
        """Send SIGSTOP."""
        self.service.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT."""
        self.service.send(signal.SIGCONT)

    def end(self) -> None:
        """End it by any means."""
        self.is_wanted = False
        if self.process is not None:
            self.process.__exit__(None, None, None)


class Fleet:
    """Some replicas; a context manager that ends them all."""

    def __init__(self, lab: Lab, environment: Environment, directory: Path, size: int) -> None:
        self.replicas: Sequence[Replica] = [Replica(lab, environment, directory, number) for number in range(size)]
        self.ended_by_themselves = 0
        self._is_over = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    def __enter__(self) -> Self:
        for replica in self.replicas:
            replica.postgres.open()
            replica.start()
        self._supervisor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._supervisor.join(30)
        for replica in self.replicas:
            replica.postgres.heal()
            with suppress(ProcessLookupError):
                replica.end()
            replica.postgres.close()

    def wait_ready(self) -> None:
        """Wait until every replica that should run is ready."""
        for replica in self.replicas:
            if replica.is_wanted:
                replica.wait_ready()

    def heal(self) -> None:
        """End the network faults of all."""
        for replica in self.replicas:
            replica.postgres.heal()

    def _supervise(self) -> None:
        """Restart processes that ended by themselves, as a real supervisor does."""
        while not self._is_over.wait(LOOK_SECONDS):
            for replica in self.replicas:
                if replica.is_wanted and replica.has_ended and not self._is_over.is_set():
                    self.ended_by_themselves += 1
                    replica.start()
