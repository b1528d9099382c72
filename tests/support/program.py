"""A Python program as a process, started quickly; see `tests.support.prefork`."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from typing import IO


@cache
def _server() -> socket.socket:
    """The process that forks; it ends when its end of the socket is closed with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.prefork", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    return ours


class Program:
    """`python -m MODULE ARGUMENTS…`, with the methods of `subprocess.Popen` that the tests use.

    It ends at the latest with the process that started it.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str], *streams: int | IO[bytes]
    ) -> None:
        """Start it with these standard streams: input, output, errors."""
        self.args = [sys.executable, "-m", module, *arguments]
        self.returncode: int | None = None
        self._said = b""
        request = {"module": module, "arguments": [*arguments], "environment": dict(environment)}
        self._connection, theirs = socket.socketpair()
        descriptors = [one if isinstance(one, int) else one.fileno() for one in streams]
        with theirs:
            socket.send_fds(_server(), [json.dumps(request).encode()], [theirs.fileno(), *descriptors])
        while b"\n" not in self._said:
            self._hear()
        pid, _, self._said = self._said.partition(b"\n")
        self.pid = int(pid)

    def _hear(self) -> None:
        if not (more := self._connection.recv(64)):
            raise RuntimeError(f"the process that starts {self.args} has ended; its output is above")
        self._said += more

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        return self._ended(0)

    def _ended(self, timeout: float | None) -> int | None:
        while self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                return None
            self._hear()
            if self._said.endswith(b"\n"):
                self.returncode = int(self._said)
                self._connection.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Return the exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal; do nothing if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run(
    module: str, *arguments: str, environment: Mapping[str, str], stdin: bytes | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run `python -m MODULE ARGUMENTS…` to its end.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was killed.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        given.write(stdin or b"")
        given.seek(0)
        program = Program(module, arguments, environment, given, out, errors)
        try:
            code = program.wait(timeout)
        except BaseException:
            program.kill()
            program.wait()
            raise
        texts = []
        for stream in (out, errors):
            stream.seek(0)
            texts.append(stream.read().decode())
    return subprocess.CompletedProcess(program.args, code, *texts)
