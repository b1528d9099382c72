"""Tests the client's distribution alone: two builds are equal, and it works in an environment with nothing else."""

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.chart import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CLIENT = ROOT / "client"
# The files of confluent-kafka, so that no network is needed.
BORROWED = "confluent_kafka*", "typing_extensions*"
APPLICATION = """
from uuid import UUID, uuid4
from ragledger_client import Ledger

ledger = Ledger("localhost:9092", config={"test.mock.num.brokers": 1})
with ledger.answer(user_id=uuid4(), session_id=uuid4(), query="?", temperature=0.5) as answer:
    answer.respond("!", model="m", citations=[{"source": "s"}])
ledger.close(30)
print(ledger.stats().delivered, UUID(answer.id).version)
"""


def run(*command: str | Path, cwd: Path = CLIENT) -> str:
    """Run a command that must succeed. Return its output."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(directory: Path) -> tuple[Path, Path]:
    """Build the sdist and the wheel."""
    run(sys.executable, "-m", "hatchling", "build", "--directory", directory)
    (sdist,), (wheel,) = directory.glob("*.tar.gz"), directory.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the sdist and the wheel."""
    return build(tmp_path_factory.mktemp("dist"))


def test_two_builds_are_equal(built: tuple[Path, Path], tmp_path: Path) -> None:
    """They are equal byte for byte, and the wheel that is built from the sdist is equal too."""
    again = build(tmp_path / "again")
    assert [one.read_bytes() for one in built] == [one.read_bytes() for one in again]
    with tarfile.open(built[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("ragledger_client-*")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path / "wheel", cwd=source)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    assert wheel.read_bytes() == built[1].read_bytes()


def test_the_wheel_holds_the_package_and_no_more(built: tuple[Path, Path]) -> None:
    """It includes the types and the licence, and requires only confluent-kafka."""
    with zipfile.ZipFile(built[1]) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA")]
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    files = {f"ragledger_client/{path.name}" for path in (CLIENT / "ragledger_client").glob("*.*")}
    assert names == files
    assert "ragledger_client/py.typed" in names
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert [line.split()[1].split(">")[0] for line in required] == ["confluent-kafka"]
    assert (CLIENT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_it_works_in_an_empty_environment(built: tuple[Path, Path], tmp_path: Path) -> None:
    """It is installed from local files, delivers an event, and type checkers accept the application."""
    environment, application = tmp_path / "environment", tmp_path / "application.py"
    run(sys.executable, "-m", "venv", environment)
    (packages,) = environment.glob("lib/python*/site-packages")
    for pattern in BORROWED:
        for part in Path(sysconfig.get_path("platlib")).glob(pattern):
            (packages / part.name).symlink_to(part)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check", built[1])
    application.write_text(APPLICATION)
    assert run(python, "-I", application, cwd=tmp_path).split() == ["1", "7"]
    run(
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--python-executable={python}",
        application,
        cwd=tmp_path,
    )
