"""Tests `ragledger stack` as a process: it prints one line when ready, and leaves nothing behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from tests.support.service import eventually

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.environ.get("RAGLEDGER_TEST_STACK") == "docker", reason="tests the embedded servers"),
]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Return a directory for temporary files that every user may enter, because PostgreSQL's user has to."""
    directory = Path(tempfile.mkdtemp(prefix="stack-test-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


class StackProcess:
    """The running command."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.family: list[psutil.Process] = []

    @property
    def output(self) -> IO[str]:
        """Return its standard output."""
        assert self.process.stdout is not None
        return self.process.stdout

    def remember_family(self) -> list[psutil.Process]:
        """Record every process that it has started so far."""
        self.family = psutil.Process(self.process.pid).children(recursive=True)
        return self.family

    def end(self, number: signal.Signals) -> int:
        """Send a signal. Return the exit code."""
        self.remember_family()
        self.process.send_signal(number)
        return self.process.wait(30)

    def assert_nothing_left(self, temporary: Path) -> None:
        """Assert that no process and no file is left."""
        eventually(
            lambda: not any(alive(process) for process in self.family), timeout=10, message="all processes have ended"
        )
        assert list(temporary.iterdir()) == []


def alive(process: psutil.Process) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def started(temporary: Path, *arguments: str) -> Iterator[StackProcess]:
    """Start `ragledger stack`, and kill it at the end of the test if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "consumer", "stack", *arguments],
        env=os.environ | {"TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield StackProcess(process)
        finally:
            process.kill()


@pytest.mark.slow
def test_one_line_of_json_when_both_are_ready_and_nothing_left_after_sigterm(temporary: Path) -> None:
    """The addresses work at once; SIGTERM ends it with exit code 0; nothing else was printed."""
    with started(temporary, "--json") as stack:
        addresses = json.loads(stack.output.readline())
        assert addresses.keys() == {"bootstrap_servers", "dsn"}
        assert AdminClient({"bootstrap.servers": addresses["bootstrap_servers"]}).list_topics(timeout=10).brokers
        with psycopg.connect(addresses["dsn"]) as connection:
            assert connection.info.server_version >= 180000
        assert stack.end(signal.SIGTERM) == 0
        assert stack.output.read() == ""
        stack.assert_nothing_left(temporary)


@pytest.mark.slow
def test_a_stop_during_the_start_leaves_nothing(temporary: Path) -> None:
    """Ctrl-C comes when the first server process has started."""
    with started(temporary) as stack:
        eventually(lambda: len(stack.remember_family()) > 1, message="the first server process has started")
        assert stack.end(signal.SIGINT) == 0
        assert stack.output.read() == ""
        stack.assert_nothing_left(temporary)


@pytest.mark.slow
def test_a_server_that_ends_unexpectedly_ends_the_command_with_1(temporary: Path) -> None:
    """It is killed from outside, and the command reports it."""
    with started(temporary) as stack:
        line = stack.output.readline()
        assert "bootstrap_servers=" in line
        assert "dsn=postgresql://" in line
        [java] = [process for process in stack.remember_family() if process.name() == "java"]
        java.kill()
        assert stack.process.wait(30) == 1
        stack.assert_nothing_left(temporary)


def test_a_version_that_is_not_installed_is_reported(temporary: Path) -> None:
    """Exit code 1, the missing version, and no file left."""
    done = subprocess.run(
        [sys.executable, "-m", "consumer", "stack", "--postgres-version", "9"],
        env=os.environ | {"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "PostgreSQL 9" in done.stderr
    assert "Traceback" not in done.stderr
    eventually(lambda: not list(temporary.iterdir()), timeout=10)
