"""Tests that a test run leaves no process and no folder, however it ends, and that a failure shows the
service's log.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.service import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("RAGLEDGER_TEST_STACK") == "docker", reason="tests the embedded servers"),
]

ROOT = Path(__file__).parents[2]
HANGING = """
import os, pathlib, threading, pytest
from tests.support.service import Environment, ServiceProcess

@pytest.mark.timeout({seconds}, func_only=True)
def test_that_hangs(database, tmp_path):
    with ServiceProcess(Environment(database, "127.0.0.1:9", {{}}), tmp_path / "log") as service:
        service.wait_page("/healthz", 200)
        pathlib.Path(os.environ["PID_FILE"]).write_text(str(service.running.pid))
        threading.Event().wait()
"""


@contextmanager
def hanging_run(directory: Path, seconds: int, *options: str) -> "Iterator[subprocess.Popen[str]]":
    """Start a test run that holds a PostgreSQL and a service, and hangs."""
    (directory / "test_hanging.py").write_text(HANGING.format(seconds=seconds))
    (directory / "tmp").mkdir(mode=0o711)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"), *options]
    process = subprocess.Popen(
        [*command, "-p", "no:cacheprovider", str(directory / "test_hanging.py")],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(directory / "tmp"), "PID_FILE": str(directory / "pid")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a folder that PostgreSQL's user may enter."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == Path.home().owner() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    return tmp_path


def assert_nothing_left(directory: Path) -> None:
    """Assert that no folder and no process of the run is left."""
    eventually(lambda: not list((directory / "tmp").iterdir()), message="the folder is removed")
    eventually(lambda: not psutil.pid_exists(int((directory / "pid").read_text())), message="the service has ended")
    found = [one for one in psutil.process_iter(["cmdline"]) if str(directory) in " ".join(one.info["cmdline"] or ())]
    assert found == []


@pytest.mark.parametrize("workers", ["0", "1"])
def test_after_a_timeout(directory: Path, workers: str) -> None:
    """The test fails, its fixtures end their processes, and the log of the service is shown."""
    with hanging_run(directory, 25, "-n", workers) as run:
        said, _ = run.communicate(timeout=100)
        assert run.returncode == 1
    assert "Timeout (>25.0s)" in said
    assert "log of log" in said
    assert '"event"' in said
    assert_nothing_left(directory)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_after_a_signal(directory: Path, number: signal.Signals) -> None:
    """The signal is Ctrl-C for the whole group, or a signal to the started process alone."""
    with hanging_run(directory, 100, "-n", "1") as run:
        eventually(lambda: (directory / "pid").exists(), message="the run hangs")
        if number == signal.SIGINT:
            os.killpg(run.pid, number)
        else:
            run.send_signal(number)
        run.communicate(timeout=60)
        assert_nothing_left(directory)
