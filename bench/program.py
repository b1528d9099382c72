"""A program that consumes the topic, started, watched and ended by its process id."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError
from consumer.devstack import Workspace

STOP_TIMEOUT_S = 60.0
_LOG_BYTES = 3000


class Program:
    """A running program. The workspace ends it where its owner cannot."""

    def __init__(
        self, workspace: Workspace, name: str, command: Sequence[str | Path], environment: Mapping[str, str]
    ) -> None:
        """Start it; its output goes to a log of its own.

        :raises OSError: it cannot be executed
        """
        self.name = name
        self._log = workspace.directory / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.log"
        self._log.write_bytes(b"")
        # `env` becomes the program: the process id stays the same.
        variables = [f"{key}={value}" for key, value in environment.items()]
        self.started = time.monotonic()
        self._process = workspace.spawn(["env", *variables, *command], log=self._log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise where it has ended by itself.

        :raises BenchError: with the end of its log
        """
        code = self._process.poll()
        if code is not None:
            raise BenchError(f"{self.name} ended by itself with exit code {code}")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What goes wrong inside is told with the end of the program's log, which goes away with the workspace."""
        try:
            yield
        except BenchError as error:
            raise BenchError(f"{error}. The end of its log:\n{self._tail()}") from error

    def _tail(self) -> str:
        return self._log.read_bytes()[-_LOG_BYTES:].decode(errors="replace")

    def stop(self) -> int:
        """Ask it to end, and wait; its exit code.

        :raises BenchError: it had to be killed
        """
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise BenchError(f"{self.name} did not end within {STOP_TIMEOUT_S:.0f} s of SIGTERM") from None

    def kill(self) -> None:
        """End it at once, where it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
