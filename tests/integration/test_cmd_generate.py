"""Tests `ragledger generate`: the same bytes for the same seed, at the given rate, to a file or to Kafka."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ingestion import environment_on, watermark
from tests.support.service import Environment, eventually
from tests.support.stack import Servers

pytestmark = pytest.mark.timeout(120)
KINDS = ("dialogue", "provenance", "feedback", "verification", "plugin")
COMMAND = [sys.executable, "-m", "consumer", "generate"]


@pytest.fixture(scope="module")
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return topics for all tests of this file."""
    with environment_on(stack, migrated_template, kinds=KINDS) as made:
        yield made


def generate(*arguments: str, environment: Environment | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    variables = os.environ | environment.variables if environment else None
    return subprocess.run([*COMMAND, *arguments], env=variables, capture_output=True, timeout=100, check=False)


def written(environment: Environment, kind: str) -> int:
    """Return the number of records in the topic of a kind."""
    return watermark(environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"], environment.topics[kind])


def test_a_file_and_standard_output_hold_the_same_lines(tmp_path: Path) -> None:
    """There is one event in each line. Another seed gives other lines."""
    file = tmp_path / "events.jsonl"
    done = generate("--count", "20", "--seed", "3", "--output", str(file), "--json")
    assert done.returncode == 0, done.stderr
    lines = file.read_bytes()
    assert json.loads(done.stdout) | {"seconds": 0} == {"events": 20, "bytes": len(lines) - 20, "seconds": 0}
    assert generate("--count", "20", "--seed", "3").stdout == lines
    assert generate("--count", "20", "--seed", "4").stdout != lines
    assert len([json.loads(line) for line in lines.splitlines()]) == 20


@pytest.mark.parametrize(
    "arguments",
    [
        ("--kind", "all"),
        ("--kind", "nothing"),
        ("--shape", "nothing"),
        ("--json",),
        ("--topic", "t", "--output", "f"),
        ("--start", "noon"),
        ("--kind", "feedback", "--topic", "rag.dialogue"),
        ("--count", "-1"),
    ],
)
def test_wrong_use(arguments: tuple[str, ...]) -> None:
    """It is reported before any event is generated."""
    done = generate(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")


def test_an_interrupted_run_leaves_no_file(tmp_path: Path) -> None:
    """Half a file could be taken for a complete one."""
    file = tmp_path / "events.jsonl"
    running = subprocess.Popen([*COMMAND, "--count", "100000", "--rate", "50", "-o", str(file)], stderr=subprocess.PIPE)
    eventually(lambda: any(tmp_path.iterdir()), timeout=60, message="the draft exists")
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 1
    assert b"was not written" in errors
    assert not list(tmp_path.iterdir())


def test_without_a_count_it_runs_until_ctrl_c() -> None:
    """Only complete lines were written."""
    running = subprocess.Popen([*COMMAND, "--count", "0", "--rate", "200"], stdout=subprocess.PIPE, bufsize=0)
    assert running.stdout is not None
    first = running.stdout.readline()
    running.send_signal(signal.SIGINT)
    rest, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert all(json.loads(line) for line in (first + rest).splitlines())


def test_the_rate_is_kept(tmp_path: Path) -> None:
    """The last of 101 events at 50 a second is due two seconds after the first."""
    began = time.monotonic()
    done = generate("--count", "101", "--rate", "50", "--kind", "feedback", "-o", str(tmp_path / "f"), "--json")
    assert 2.0 <= json.loads(done.stdout)["seconds"] <= time.monotonic() - began


def test_every_kind_goes_to_its_topic(environment: Environment) -> None:
    """This holds with --publish. With --topic, one kind goes to the named topic."""
    done = generate("--kind", "all", "--count", "300", "--publish", "--json", environment=environment)
    assert done.returncode == 0, done.stderr
    counts = {kind: written(environment, kind) for kind in KINDS}
    assert sum(counts.values()) == 300
    assert min(counts["dialogue"], counts["provenance"], counts["feedback"]) > 0
    done = generate("--count", "10", "--topic", environment.topics["dialogue"], environment=environment)
    assert done.returncode == 0, done.stderr
    assert written(environment, "dialogue") == counts["dialogue"] + 10


def test_a_topic_that_does_not_exist_is_named(environment: Environment) -> None:
    """No command creates it."""
    done = generate("--topic", "nobody.made.it", environment=environment)
    assert done.returncode == 1
    assert b"nobody.made.it" in done.stderr
