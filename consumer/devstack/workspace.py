"""A temporary directory and the processes that use it."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from consumer.devstack import guard

# These variables are meant for the user's own servers and Java programs.
_FOREIGN_VARIABLES = ("PG", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH")


class Workspace:
    """A temporary directory and its processes. Both are removed when their owner ends, in whatever way.

    A small guard process reads from a pipe of the owner, and cleans up if the owner was killed (SIGKILL).
    """

    def __init__(self) -> None:
        """Create the directory and start the guard."""
        self.directory = Path(tempfile.mkdtemp(prefix="ragledger-"))
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root; its user must be able to enter.
            self.directory.chmod(0o711)
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            self._guard = _start_guard(self.directory)
        except OSError:
            self.directory.rmdir()
            raise

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def spawn(self, command: Sequence[str | Path], *, log: Path, user: str | None = None) -> subprocess.Popen[bytes]:
        """Start a process as `user` (None: the current one) and append its output to `log`.

        Raises:
            OSError: the program cannot be executed.
        """
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - commands are built here, from our own paths
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=_environment(),
                start_new_session=True,
                user=user,
                extra_groups=None if user is None else [],
            )
        self._processes.append(process)
        self._register(process.pid)
        return process

    def _register(self, pid: int) -> None:
        assert self._guard.stdin is not None
        os.write(self._guard.stdin.fileno(), f"{pid}\n".encode())

    def close(self) -> None:
        """Kill every process that still runs and remove the directory; a second call does nothing.

        Raises:
            TimeoutError: a process survives SIGKILL.
            OSError: the directory cannot be removed.
        """
        try:
            guard.clean(self.directory, self._running())
            for process in self._processes:
                process.wait()
        finally:
            self._guard.communicate()

    def _running(self) -> list[psutil.Process]:
        found = []
        for process in self._processes:
            if process.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    found.append(psutil.Process(process.pid))
        return found


def _start_guard(directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own file and directory
        [sys.executable, "-P", guard.__file__, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_VARIABLES)}
