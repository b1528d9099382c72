"""Tests the wheel: two builds are equal, and installed into an empty environment it works."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chart import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.environ.get("RAGLEDGER_TEST_STACK") == "docker", reason="tests the embedded servers"),
]

EVENTS = 200


def build(directory: Path) -> Path:
    """Build the wheel with the project's own hatchling."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = directory.glob("*.whl")
    return wheel


def constraints(file: Path) -> Path:
    """Return the pinned versions without hashes, which pip would require for the wheel too."""
    pinned = re.findall(
        r"^[a-z][\w.-]*==\S+(?: ; [^\\\n]+)?", (ROOT / "requirements" / "dev.txt").read_text("utf-8"), re.M
    )
    file.write_text("\n".join(pinned))
    return file


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Return a directory that every user may enter, because PostgreSQL's user has to."""
    directory = Path(tempfile.mkdtemp(prefix="wheel-test-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def installed(place: Path) -> Path:
    """Return the command in an environment with only the wheel and its requirements."""
    wheel, environment = build(place / "dist"), place / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=120)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pinned = ["--constraint", str(constraints(place / "constraints.txt"))]
    subprocess.run([*pip, *pinned, f"{wheel}[embedded]"], cwd=place, check=True, timeout=600)
    return environment / "bin" / "ragledger"


def run(command: Path, *arguments: str) -> str:
    """Return the output of the command, started outside the repository."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAGLEDGER_", "PYTHON"))}
    environment |= {"PATH": "/usr/bin:/bin", "TMPDIR": str(command.parents[2])}
    done = subprocess.run(
        [command, *arguments], cwd="/", env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_builds_of_the_wheel_are_equal(tmp_path: Path) -> None:
    """Byte for byte, so that anybody can build it again and compare."""
    assert build(tmp_path / "one").read_bytes() == build(tmp_path / "two").read_bytes()


def test_the_demo_runs_from_the_wheel(installed: Path) -> None:
    """Kafka, PostgreSQL, migrations and the service come with the wheel and its requirements."""
    found = json.loads(run(installed, "demo", "--events", str(EVENTS), "--exit", "--json"))
    assert found["published"]["events"] == EVENTS
    assert (found["ledger"]["holds"], found["ledger"]["caught_up"]) == (True, True)
    modules = run(installed.with_name("python"), "-c", "import consumer; print(consumer.__file__)")
    assert str(ROOT) not in modules
