"""The common part of the embedded servers: a process with a log that can be started, stopped, killed and restarted."""

import random
import signal
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil

from consumer.devstack.guard import kill_trees
from consumer.devstack.workspace import Workspace

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
_POLL_S = 0.02
_LOG_LINES = 20
# Below the range that systems use for outgoing connections. A client that retries against a stopped server on such a
# port may connect to itself, and then the server cannot bind the port again.
_PORTS = range(15_000, 30_000)

Progress = Callable[[str], None]


class EmbeddedError(OSError):
    """An embedded server could not be prepared, started or stopped; the message says why and what to do."""


def silent(_message: str) -> None:
    """Ignore a progress message."""


def free_ports(count: int) -> list[int]:
    """Return distinct TCP ports of the loopback interface on which no program listens.

    Raises:
        EmbeddedError: there are not enough free ports.
    """
    found: list[int] = []
    with ExitStack() as held:
        for port in random.sample(_PORTS, k=len(_PORTS)):
            if len(found) == count:
                return found
            if _try_bind(held.enter_context(socket.socket()), port):
                found.append(port)
    raise EmbeddedError(f"Fewer than {count} TCP ports are free between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1.")


def _try_bind(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def last_lines(log: Path) -> str:
    """Return the last lines of a log, without indented lines such as stack frames and lists of settings."""
    if not log.exists():
        return "(no log was written)"
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join([line for line in lines if line and not line[0].isspace()][-_LOG_LINES:])


class Server(ABC):
    """One server in a workspace. It is prepared once, then started, stopped, killed and restarted on the same data.

    Every method is synchronous. Call them from any thread, but one at a time; only `abort` may run beside another one.
    """

    stop_signal = signal.SIGTERM

    def __init__(self, workspace: Workspace, name: str, progress: Progress) -> None:
        """Set the name and the log; nothing is started."""
        self.workspace = workspace
        self.name = name
        self.log = workspace.directory / f"{name}.log"
        self.user: str | None = None
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._prepared = False
        self._aborted = threading.Event()

    @abstractmethod
    def _prepare(self) -> None:
        """Create the data directory and the configuration."""

    @abstractmethod
    def _command(self) -> list[str | Path]:
        """Return the command that runs the server in the foreground."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Return whether the running process accepts clients."""

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the server.

        Raises:
            EmbeddedError: the server does not run.
        """
        if self._process is None or not self.is_running:
            raise EmbeddedError(f"{self.name} is not running.")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it accepts clients.

        Raises:
            EmbeddedError: it could not be prepared or started; the message has the last lines of its log.
        """
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the process without waiting for it; the members of a cluster need this.

        Raises:
            EmbeddedError: the data directory could not be prepared, or the server already runs.
        """
        if self.is_running:
            raise EmbeddedError(f"{self.name} is already running (pid {self.pid}).")
        if not self._prepared:
            self._prepare()
            self._prepared = True
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._process = self.workspace.spawn(self._command(), log=self.log, user=self.user)

    def wait_ready(self) -> None:
        """Wait until the launched server accepts clients.

        Raises:
            EmbeddedError: it ended, or is not ready after `START_TIMEOUT_S` seconds.
        """
        assert self._process is not None
        self._wait(self._process, self._is_ready, START_TIMEOUT_S, f"{self.name} did not start")

    def stop(self, number: signal.Signals | None = None) -> None:
        """End the server with a signal (default: an orderly stop). Do nothing if it does not run.

        Raises:
            EmbeddedError: it did not end within `STOP_TIMEOUT_S` seconds and was killed.
        """
        if self._process is None or not self.is_running:
            return
        self._process.send_signal(number or self.stop_signal)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            self.kill()
            message = f"{self.name} did not stop within {STOP_TIMEOUT_S:.0f} s and was killed"
            raise self._failure(message, self.log) from error

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would, together with all its child processes."""
        if self._process is not None and self.is_running:
            kill_trees([psutil.Process(self._process.pid)])
            self._process.wait()

    def restart(self) -> None:
        """Stop the server if it runs, and start it on the same port and data.

        Raises:
            EmbeddedError: as `stop` and `start`.
        """
        self.stop()
        self.start()

    def abort(self) -> None:
        """Make a `start` in another thread end with an `EmbeddedError`."""
        self._aborted.set()

    def check(self) -> None:
        """Raise if the server has ended unexpectedly.

        Raises:
            EmbeddedError: it has ended; the message has the last lines of its log.
        """
        if not self.is_running:
            raise self._failure(f"{self.name} has ended", self.log)

    def _run(self, command: Sequence[str | Path], *, timeout_s: float, failure: str) -> None:
        """Run a command of the preparation to its end; `failure` says what failed and what to do."""
        log = self.workspace.directory / f"{self.name}-setup.log"
        process = self.workspace.spawn(command, log=log, user=self.user)
        self._wait(process, lambda: process.poll() == 0, timeout_s, failure, log)

    def _wait(
        self,
        process: subprocess.Popen[bytes],
        is_done: Callable[[], bool],
        timeout_s: float,
        failure: str,
        log: Path | None = None,
    ) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            has_ended = process.poll() is not None
            if is_done():
                return
            if has_ended:
                raise self._failure(f"{failure} (exit code {process.returncode})", log or self.log)
            if self._aborted.wait(_POLL_S) or time.monotonic() > deadline:
                kill_trees([psutil.Process(process.pid)])
                reason = "cancelled" if self._aborted.is_set() else f"not done after {timeout_s:.0f} s"
                raise self._failure(f"{failure} ({reason})", log or self.log)

    @staticmethod
    def _failure(message: str, log: Path) -> EmbeddedError:
        return EmbeddedError(f"{message}. The last lines of {log}:\n{last_lines(log)}")
