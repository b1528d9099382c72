"""Tests `ragledger publish`: all lines or none, and every error with its line and field."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.support.ingestion import as_json, environment_on, ids, ingest, small_dialogue, watermark
from tests.support.producers import provenance
from tests.support.service import Environment, eventually
from tests.support.stack import Servers

pytestmark = pytest.mark.timeout(120)

BRIEF = 12  # error lines that are printed


@pytest.fixture(scope="module")
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return topics and a database for all tests of this file."""
    with environment_on(stack, migrated_template) as made:
        yield made


@pytest.fixture
def topic(environment: Environment) -> str:
    """Return the topic of dialogues."""
    return environment.topics["dialogue"]


def good_line(seed: int, **changes: object) -> bytes:
    """Return a valid line."""
    return as_json(small_dialogue(random.Random(seed), **changes))


def values(bootstrap_servers: str, topic: str, first: int) -> list[bytes]:
    """Return the values of a topic with one partition, from an offset on."""
    count = watermark(bootstrap_servers, topic) - first
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "values"})
    try:
        consumer.assign([TopicPartition(topic, 0, first)])
        return [message.value() or b"" for message in consumer.consume(count, timeout=30)]
    finally:
        consumer.close()


def test_a_file_and_standard_input_are_published_byte_for_byte(
    environment: Environment, bootstrap_servers: str, topic: str, tmp_path: Path
) -> None:
    """Each line becomes one record without a change: empty lines, CRLF, non-ASCII text, a last line without a
    line end.
    """
    first = watermark(bootstrap_servers, topic)
    lines = [good_line(1, query="früh ✓"), good_line(2, citations=[{"source": "s", "confidence": 0.10}]), good_line(3)]
    content = b"\n" + lines[0] + b"\r\n\n   \n" + lines[1] + b"\n" + lines[2]
    (tmp_path / "events.jsonl").write_bytes(content)
    from_file = environment.run("publish", str(tmp_path / "events.jsonl"), "--topic", topic)
    assert (from_file.returncode, from_file.stderr) == (0, "")
    assert "3" in from_file.stdout
    assert topic in from_file.stdout.replace("\n", "")
    from_stdin = environment.run("publish", "-", "--topic", topic, stdin=content)
    assert (from_stdin.returncode, from_stdin.stderr) == (0, "")
    assert values(bootstrap_servers, topic, first) == lines * 2


def test_published_lines_become_rows(
    stack: Servers, migrated_template: str, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Every line of dialogues and provenance becomes a row."""
    with environment_on(stack, migrated_template) as environment:
        wanted = {}
        for kind, make in (("dialogue", small_dialogue), ("provenance", provenance)):
            chance = random.Random(4)
            events = [make(chance) for _ in range(50)]
            wanted[kind] = {UUID(event["id"]) for event in events}
            content = b"\n".join(map(as_json, events))
            done = environment.run("publish", "-", "--topic", environment.topics[kind], "--json", stdin=content)
            assert json.loads(done.stdout) == {"published": 50, "invalid": []}
        ingest(environment, 100, tmp_path / "log")
        assert {kind: ids(environment, kind) for kind in wanted} == wanted


def test_each_invalid_line_is_named_with_its_fields_and_nothing_is_published(
    environment: Environment, bootstrap_servers: str, topic: str
) -> None:
    """Line numbers count empty lines too; valid lines are not published either."""
    first = watermark(bootstrap_servers, topic)
    wrong = good_line(6, user_id="x", latency_ms=-1, citations=[{"source": "s"}, {"confidence": 2}])
    content = b"\n".join([good_line(5), b"", b"{", wrong, b"[]", good_line(7, session_id=None)])
    done = environment.run("publish", "-", "--topic", topic, stdin=content)
    assert (done.returncode, done.stdout) == (1, "")
    said = {line.partition(":")[0]: line for line in done.stderr.splitlines()}
    assert {name for name in said if name.startswith("line ")} == {"line 3", "line 4", "line 5", "line 6"}
    assert "JSON" in said["line 3"]
    for path in ("user_id", "latency_ms", "citations[1].source", "citations[1].confidence"):
        assert path in said["line 4"]
    assert "object" in said["line 5"]
    assert "session_id" in said["line 6"]
    assert watermark(bootstrap_servers, topic) == first


def test_skip_invalid_publishes_the_valid_lines_and_names_the_others(
    environment: Environment, bootstrap_servers: str, topic: str
) -> None:
    """If many lines are invalid, the first ones are named and the others counted."""
    first = watermark(bootstrap_servers, topic)
    content = b"\n".join([b"{"] * 99 + [good_line(8), b"nope"])
    done = environment.run("publish", "-", "--topic", topic, "--skip-invalid", stdin=content)
    assert done.returncode == 0
    assert "line 1:" in done.stderr
    named = sum(line.startswith("line ") for line in done.stderr.splitlines())
    assert str(100 - named) in done.stderr.splitlines()[-1]
    assert values(bootstrap_servers, topic, first) == [good_line(8)]


def test_json_reports_published_and_invalid_lines(environment: Environment, bootstrap_servers: str, topic: str) -> None:
    """It is one document, whether lines were skipped or everything was refused."""
    content = b"\n".join([good_line(9), good_line(10, query=None)])
    refused = environment.run("publish", "-", "--topic", topic, "--json", stdin=content)
    assert refused.returncode == 1
    found = json.loads(refused.stdout)
    assert found["published"] == 0
    assert [wrong["line"] for wrong in found["invalid"]] == [2]
    assert "query" in found["invalid"][0]["problem"]
    done = environment.run("publish", "-", "--topic", topic, "--json", "--skip-invalid", stdin=content)
    assert done.returncode == 0
    assert json.loads(done.stdout) == {**found, "published": 1}


def test_an_unknown_topic_is_wrong_use(environment: Environment, topic: str) -> None:
    """The topic decides the kind, so only topics of the settings are accepted; the message names them."""
    done = environment.run("publish", "-", "--topic", "elsewhere", stdin=good_line(11))
    assert (done.returncode, done.stdout) == (2, "")
    assert "elsewhere" in done.stderr
    assert topic in done.stderr
    assert environment.run("publish", "-", stdin=good_line(11)).returncode == 2


def test_an_unreadable_file_is_named(environment: Environment, topic: str, tmp_path: Path) -> None:
    """The message has the name of the file and the problem, but no traceback."""
    for path in (tmp_path / "missing.jsonl", tmp_path):
        done = environment.run("publish", str(path), "--topic", topic)
        assert done.returncode != 0
        assert str(path) in done.stderr.replace("\n", "")
        assert "Traceback" not in done.stderr


def test_a_topic_that_does_not_exist_is_reported_at_once(environment: Environment) -> None:
    """The topic is in the settings but was not created: one line with its name, without a minute of retries."""
    changed = {**environment.topics, "dialogue": "not-made-yet"}
    without = Environment(environment.dsn, environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"], changed)
    started = time.monotonic()
    done = without.run("publish", "-", "--topic", "not-made-yet", stdin=good_line(12))
    assert (done.returncode, done.stdout) == (1, "")
    assert "not-made-yet" in done.stderr
    assert len(done.stderr.splitlines()) <= BRIEF
    assert time.monotonic() - started < 20


def test_an_unavailable_kafka_is_reported_with_its_address(environment: Environment, topic: str) -> None:
    """No program listens there: exit code 1 and a message."""
    without_kafka = Environment(environment.dsn, "127.0.0.1:9", environment.topics)
    done = without_kafka.run("publish", "-", "--topic", topic, stdin=good_line(13))
    assert (done.returncode, done.stdout) == (1, "")
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= BRIEF


def test_a_line_too_large_for_kafka_is_invalid(environment: Environment, bootstrap_servers: str, topic: str) -> None:
    """It is named, and nothing is published."""
    first = watermark(bootstrap_servers, topic)
    large = good_line(14, response=random.Random(14).randbytes(2_000_000).hex())
    done = environment.run("publish", "-", "--topic", topic, stdin=b"\n".join([good_line(15)] * 3 + [large]))
    assert done.returncode == 1
    assert watermark(bootstrap_servers, topic) == first
    assert "line 4" in done.stderr


def test_a_line_larger_than_the_limit_of_the_service_is_invalid(
    environment: Environment, bootstrap_servers: str, topic: str
) -> None:
    """Otherwise it would be published only to become a dead letter."""
    first = watermark(bootstrap_servers, topic)
    strict = Environment(
        environment.dsn, bootstrap_servers, environment.topics, RAGLEDGER_BATCH__MAX_RECORD_BYTES="600"
    )
    done = strict.run("publish", "-", "--topic", topic, stdin=good_line(16, response="x" * 600))
    assert done.returncode == 1
    assert "line 1" in done.stderr
    assert watermark(bootstrap_servers, topic) == first


# ── interruptions and large input ──


def started(environment: Environment, *arguments: str, stdin: int | None = None) -> "subprocess.Popen[str]":
    """Start `ragledger publish` and do not wait for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "consumer", "publish", *arguments],
        env=os.environ | environment.variables,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_an_interruption_reports_where_to_continue(
    stack: Servers, migrated_template: str, bootstrap_servers: str, tmp_path: Path, number: signal.Signals
) -> None:
    """Publishing from the named line on completes the file."""
    with environment_on(stack, migrated_template) as environment:
        topic = environment.topics["dialogue"]
        file = tmp_path / "events.jsonl"
        lines = [good_line(seed) for seed in range(300)] * 200
        file.write_bytes(b"\n".join(lines) + b"\n")
        process = started(environment, str(file), "--topic", topic, "--json")
        eventually(lambda: watermark(bootstrap_servers, topic) > 0)
        process.send_signal(number)
        said, problem = process.communicate(timeout=60)
        found = json.loads(said)
        assert (process.returncode, 0 < found["published"] < len(lines)) == (1, True)
        assert f"Continue from line {found['next_line']}" in problem
        assert f"{found['published']:,} of {len(lines):,} records are known to be in" in problem
        held = watermark(bootstrap_servers, topic)
        assert found["published"] <= held <= found["published"] + found["in_doubt"]
        assert found["next_line"] <= found["published"] + 1 + found["in_doubt"]
        assert values(bootstrap_servers, topic, held - 1) == [lines[held - 1]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_before_the_first_record_is_reported(
    environment: Environment, bootstrap_servers: str, topic: str, number: signal.Signals
) -> None:
    """The command waits for standard input."""
    first = watermark(bootstrap_servers, topic)
    process = started(environment, "-", "--topic", topic, stdin=subprocess.PIPE)
    eventually(lambda: "SigCgt" in (status := Path(f"/proc/{process.pid}/status").read_text()) and caught(status, 15))
    process.send_signal(number)
    assert process.wait(30) == 1
    assert process.stderr is not None
    assert process.stderr.read() == "Interrupted: nothing was published.\n"
    assert watermark(bootstrap_servers, topic) == first
    process.communicate()


def caught(status: str, number: int) -> bool:
    """Return whether a process handles a signal, according to the kernel."""
    (mask,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(mask >> (number - 1) & 1)


def test_a_pipe_is_validated_before_anything_is_published(
    environment: Environment, bootstrap_servers: str, topic: str, tmp_path: Path
) -> None:
    """If the last line is invalid, nothing is published. If there is no room for a copy, this is reported."""
    first = watermark(bootstrap_servers, topic)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = started(environment, str(pipe), "--topic", topic)
    pipe.write_bytes(good_line(20) + b"\n{\n")
    _, problem = process.communicate(timeout=60)
    assert (process.returncode, "line 2" in problem) == (1, True)
    assert watermark(bootstrap_servers, topic) == first


def test_an_extremely_long_line_is_invalid_and_not_held_in_memory(environment: Environment, topic: str) -> None:
    """It is reported as too large, and the line after it has the right number."""
    content = b"x" * 100_000_000 + b"\n" + b" " * 40_000_000 + b"{}\n{\n"
    done = environment.run("publish", "-", "--topic", topic, stdin=content)
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()[:3]] == ["line 1", "line 2", "line 3"]
    assert "bytes" in done.stderr.splitlines()[0]
