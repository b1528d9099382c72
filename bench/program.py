"""Starts, watches and ends a program that consumes the topics."""

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
    """A running program. The workspace ends it if its owner cannot."""

    def __init__(
        self, workspace: Workspace, name: str, command: Sequence[str | Path], environment: Mapping[str, str]
    ) -> None:
        """Start the program. Its output goes to a log file of its own.

        :raises OSError: the program cannot be executed
        """
        self.name = name
        self._log = workspace.directory / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.log"
        self._log.write_bytes(b"")
        # `env` executes the program in its own process, so the process id stays the same.
        variables = [f"{key}={value}" for key, value in environment.items()]
        self.started = time.monotonic()
        self._process = workspace.spawn(["env", *variables, *command], log=self._log)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def check(self) -> None:
        """Check that the program is still running.

        :raises BenchError: the program has ended by itself
        """
        code = self._process.poll()
        if code is not None:
            raise BenchError(f"{self.name} ended by itself with exit code {code}")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Add the end of the program's log to errors in this context, because the workspace deletes the log."""
        try:
            yield
        except BenchError as error:
            raise BenchError(f"{error}. The end of its log:\n{self._tail()}") from error

    def _tail(self) -> str:
        return self._log.read_bytes()[-_LOG_BYTES:].decode(errors="replace")

    def stop(self) -> int:
        """Send SIGTERM, wait for the end, and return the exit code.

        :raises BenchError: the program did not end in time and was killed
        """
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise BenchError(f"{self.name} did not end within {STOP_TIMEOUT_S:.0f} s of SIGTERM") from None

    def kill(self) -> None:
        """Kill the program if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
