"""The parts that the processes of a test run share: a folder for temporary files, and one Kafka for all workers.

Kafka takes seconds of CPU to start, and the topics of many tests do not disturb each other. PostgreSQL starts quickly,
and tests change its roles and settings and restart it, so each worker has its own.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

import pytest

from consumer.devstack import EmbeddedError, KafkaNode, Workspace, jars
from tests.support.stack import QUICK_RESTART, DockerKafka, uses_docker

WITH_KAFKA = "tests/integration/"
CLEANED_UP_S = 20.0
LONG_S = 20.0
DOWNLOAD_S = 600


class Kafka(NamedTuple):
    """The address of the broker, and the directory of its files (empty if they are in a container)."""

    bootstrap_servers: str
    directory: str


class Worker(Protocol):
    """A worker of pytest-xdist, as seen by the process that starts it."""

    workerinput: dict[str, tuple[str, str]]


class Run:
    """A plugin for the process that a person starts: it starts Kafka for the workers, and cleans up after all of them.

    The folder belongs to a `Workspace`, so that a guard removes it even if this process is killed.
    """

    def __init__(self) -> None:
        self._workspace = Workspace()
        self._broker = DockerKafka() if uses_docker() else KafkaNode(self._workspace, properties=QUICK_RESTART)
        self._is_started = False
        self._seconds: defaultdict[str, float] = defaultdict(float)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self._workspace.directory)

    def kafka(self) -> Kafka:
        """Return the broker, started by the first call.

        Raises:
            EmbeddedError: it could not be downloaded or started; the message says what to do.
        """
        if not self._is_started:
            self._is_started = True
            _download()
            self._broker.start()
        return self._place()

    def _place(self) -> Kafka:
        return Kafka(self._broker.bootstrap_servers, "" if uses_docker() else str(self._workspace.directory))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Worker) -> None:
        """Give each worker the future address of Kafka."""
        node.workerinput["kafka"] = (*self._place(),)  # only plain types can be sent

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Start Kafka before the first test, so that its start or its download does not count as a test's time."""
        if any(name.startswith(WITH_KAFKA) for name in ids):
            try:
                self.kafka()
            except EmbeddedError as error:
                pytest.exit(str(error), returncode=pytest.ExitCode.INTERNAL_ERROR)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up the time of each test that is not marked as slow, including its fixtures."""
        if "slow" not in report.keywords:
            self._seconds[report.nodeid] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List the long tests. They do not fail, because every test takes long on a busy machine."""
        long = [(name, seconds) for name, seconds in self._seconds.items() if seconds > LONG_S]
        if long:
            advice = f"over {LONG_S:.0f} s: if that is so on a quiet machine, mark it with pytest.mark.slow"
            terminalreporter.section(advice)
            for name, seconds in sorted(long, key=lambda one: -one[1]):
                terminalreporter.write_line(f"{seconds:5.1f} s  {name}")

    def pytest_unconfigure(self) -> None:
        """End Kafka and remove the folder. The workers' folders are removed first, because the guard of a killed worker
        needs a moment.
        """
        self._broker.stop()
        deadline = time.monotonic() + CLEANED_UP_S
        while any(self._workspace.directory.glob("ragledger-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        self._workspace.close()


def _download() -> None:
    """Download Kafka if it is not cached, with a message for the person who waits."""
    if uses_docker() or jars.cached_classpath() is not None:
        return
    print("downloading Kafka, once: about a minute", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, "-P", jars.__file__], capture_output=True, text=True, timeout=DOWNLOAD_S, check=False
    )
    if done.returncode != 0:
        raise EmbeddedError(f"Kafka could not be downloaded, which the first run needs the network for:\n{done.stderr}")


def is_worker(config: pytest.Config) -> bool:
    """Whether this process was started by pytest-xdist."""
    return hasattr(config, "workerinput")


def kafka_of(config: pytest.Config) -> Kafka:
    """Return the broker of this run."""
    if is_worker(config):
        return Kafka(*cast(Worker, config).workerinput["kafka"])
    run = config.pluginmanager.get_plugin("ragledger-run")
    assert isinstance(run, Run)
    return run.kafka()
