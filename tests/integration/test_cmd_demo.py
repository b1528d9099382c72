"""Tests `ragledger demo`: it runs everything once, and its numbers add up."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.environ.get("RAGLEDGER_TEST_STACK") == "docker", reason="tests the embedded servers"),
]

EVENTS = 600


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Return a directory for temporary files that every user may enter, because PostgreSQL's user has to."""
    directory = Path(tempfile.mkdtemp(prefix="demo-test-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


def demo(temporary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end."""
    return subprocess.run(
        [sys.executable, "-m", "consumer", "demo", "--exit", *arguments],
        env=os.environ | {"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def total(found: Any, name: str) -> int:
    """Return the sum of a column of the ledger."""
    return sum(line[name] for line in found["ledger"]["partitions"])


def test_the_numbers_of_the_demo_add_up(temporary: Path) -> None:
    """The published events equal those in the ledger, the dead letters and the day; no file is left behind."""
    done = demo(temporary, "--events", str(EVENTS), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    published = found["published"]
    assert published["events"] == EVENTS == sum(published[fate] for fate in ("good", "amends", "twice", "bad"))
    assert min(published.values()) > 0
    assert (found["ledger"]["holds"], found["ledger"]["caught_up"]) == (True, True)
    assert total(found, "inserted") == published["good"]
    assert total(found, "duplicates") == published["twice"]
    assert total(found, "amended") == published["amends"]
    assert total(found, "dead_lettered") == published["bad"]
    assert total(found, "read") == EVENTS + total(found, "gaps")
    assert sum(letter["records"] for letter in found["dead_letters"]) == published["bad"]
    assert all(letter["reason"] and letter["problem"] for letter in found["dead_letters"])
    assert len({letter["reason"] for letter in found["dead_letters"]}) > 3
    dialogues = sum(day["total_dialogues"] for day in found["days"])
    assert 0 < dialogues <= published["good"]
    assert found["seconds"] > 0
    assert {"Kafka", "PostgreSQL", "metrics"} <= found["addresses"].keys()
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_the_demo_for_people_shows_tables_and_the_verdict(temporary: Path) -> None:
    """One event is enough for the tables and the verdict in the last line."""
    done = demo(temporary, "--events", "1")
    assert done.returncode == 0, done.stderr
    for title in ("Published", "Ledger", "Dead letters", "Objectives"):
        assert title in done.stdout
    assert "the ledger adds up" in done.stdout.splitlines()[-1]
    assert list(temporary.iterdir()) == []


def test_zero_events_are_wrong_use(temporary: Path) -> None:
    """There would be nothing to show."""
    assert demo(temporary, "--events", "0").returncode == 2
