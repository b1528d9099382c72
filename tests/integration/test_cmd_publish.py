"""`ragledger publish`: all lines or none, and what is wrong by line and field."""

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

BRIEF = 12  # lines of an error message a person reads


@pytest.fixture(scope="module")
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Topics and a database for all tests of this file."""
    with environment_on(stack, migrated_template) as made:
        yield made


@pytest.fixture
def topic(environment: Environment) -> str:
    """The topic of dialogues."""
    return environment.topics["dialogue"]


def good_line(seed: int, **changes: object) -> bytes:
    """A line that is right."""
    return as_json(small_dialogue(random.Random(seed), **changes))


def values(bootstrap_servers: str, topic: str, first: int) -> list[bytes]:
    """The values of a topic of one partition from an offset on."""
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
    """Empty lines, CRLF, non-ASCII text and a last line without its end: each line is one record, as it was."""
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


def test_what_is_published_lands_in_the_tables(
    stack: Servers, migrated_template: str, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Dialogues and provenance: every line a row."""
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


def test_each_wrong_line_is_named_with_each_wrong_field_and_nothing_is_published(
    environment: Environment, bootstrap_servers: str, topic: str
) -> None:
    """Line numbers are those of the file, empty lines included; the right lines stay unpublished too."""
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


def test_skip_invalid_publishes_the_right_lines_and_still_names_the_wrong_ones(
    environment: Environment, bootstrap_servers: str, topic: str
) -> None:
    """With many wrong lines the first ones are named and the others counted."""
    first = watermark(bootstrap_servers, topic)
    content = b"\n".join([b"{"] * 99 + [good_line(8), b"nope"])
    done = environment.run("publish", "-", "--topic", topic, "--skip-invalid", stdin=content)
    assert done.returncode == 0
    assert "line 1:" in done.stderr
    named = sum(line.startswith("line ") for line in done.stderr.splitlines())
    assert str(100 - named) in done.stderr.splitlines()[-1]
    assert values(bootstrap_servers, topic, first) == [good_line(8)]


def test_json_says_what_was_published_and_what_is_wrong(
    environment: Environment, bootstrap_servers: str, topic: str
) -> None:
    """One document on standard output, whether lines were left out or everything was refused."""
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
    """The topic decides the kind, so only those of the settings are taken; the message names them."""
    done = environment.run("publish", "-", "--topic", "elsewhere", stdin=good_line(11))
    assert (done.returncode, done.stdout) == (2, "")
    assert "elsewhere" in done.stderr
    assert topic in done.stderr
    assert environment.run("publish", "-", stdin=good_line(11)).returncode == 2


def test_a_file_that_cannot_be_read_is_named(environment: Environment, topic: str, tmp_path: Path) -> None:
    """No traceback, but the name of the file and what is wrong with it."""
    for path in (tmp_path / "missing.jsonl", tmp_path):
        done = environment.run("publish", str(path), "--topic", topic)
        assert done.returncode != 0
        assert str(path) in done.stderr.replace("\n", "")
        assert "Traceback" not in done.stderr


def test_a_topic_that_kafka_does_not_have_is_said_at_once(environment: Environment) -> None:
    """The settings name it, but nobody has made it: one line with its name, not a minute of retries."""
    changed = {**environment.topics, "dialogue": "not-made-yet"}
    without = Environment(environment.dsn, environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"], changed)
    started = time.monotonic()
    done = without.run("publish", "-", "--topic", "not-made-yet", stdin=good_line(12))
    assert (done.returncode, done.stdout) == (1, "")
    assert "not-made-yet" in done.stderr
    assert len(done.stderr.splitlines()) <= BRIEF
    assert time.monotonic() - started < 20


def test_kafka_out_of_reach_is_said_with_its_address(environment: Environment, topic: str) -> None:
    """Nothing listens there: exit code 1 and a message for people."""
    away = Environment(environment.dsn, "127.0.0.1:9", environment.topics)
    done = away.run("publish", "-", "--topic", topic, stdin=good_line(13))
    assert (done.returncode, done.stdout) == (1, "")
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= BRIEF


def test_a_line_too_large_for_kafka_stops_everything_before_it_begins(
    environment: Environment, bootstrap_servers: str, topic: str
) -> None:
    """Such a line is wrong like any other: named, and nothing is published."""
    first = watermark(bootstrap_servers, topic)
    large = good_line(14, response=random.Random(14).randbytes(2_000_000).hex())
    done = environment.run("publish", "-", "--topic", topic, stdin=b"\n".join([good_line(15)] * 3 + [large]))
    assert done.returncode == 1
    assert watermark(bootstrap_servers, topic) == first
    assert "line 4" in done.stderr


def test_a_line_that_the_service_would_not_take_for_its_size_is_wrong(
    environment: Environment, bootstrap_servers: str, topic: str
) -> None:
    """The limit of the service's own settings holds for publishing too, or a dead letter is published knowingly."""
    first = watermark(bootstrap_servers, topic)
    strict = Environment(
        environment.dsn, bootstrap_servers, environment.topics, RAGLEDGER_BATCH__MAX_RECORD_BYTES="600"
    )
    done = strict.run("publish", "-", "--topic", topic, stdin=good_line(16, response="x" * 600))
    assert done.returncode == 1
    assert "line 1" in done.stderr
    assert watermark(bootstrap_servers, topic) == first


# ── interrupted, and larger than memory should be ──


def started(environment: Environment, *arguments: str, stdin: int | None = None) -> "subprocess.Popen[str]":
    """`ragledger publish`, not waited for."""
    return subprocess.Popen(
        [sys.executable, "-m", "consumer", "publish", *arguments],
        env=os.environ | environment.variables,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_says_what_is_published_and_where_to_go_on(
    stack: Servers, migrated_template: str, bootstrap_servers: str, tmp_path: Path, number: signal.Signals
) -> None:
    """From the line it names the rest can be published; together it is everything."""
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
def test_an_interruption_before_anything_is_published_says_so(
    environment: Environment, bootstrap_servers: str, topic: str, number: signal.Signals
) -> None:
    """While standard input is waited for."""
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
    """Whether a process handles a signal, by what the kernel says of it."""
    (mask,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(mask >> (number - 1) & 1)


def test_a_pipe_is_read_twice_as_well(
    environment: Environment, bootstrap_servers: str, topic: str, tmp_path: Path
) -> None:
    """A named one, and one wrong line at its end: nothing is published; with room nowhere, that is said."""
    first = watermark(bootstrap_servers, topic)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = started(environment, str(pipe), "--topic", topic)
    pipe.write_bytes(good_line(20) + b"\n{\n")
    _, problem = process.communicate(timeout=60)
    assert (process.returncode, "line 2" in problem) == (1, True)
    assert watermark(bootstrap_servers, topic) == first


def test_a_line_without_end_is_wrong_and_not_held(environment: Environment, topic: str) -> None:
    """Many times as long as any record may be: named as too large, the line behind it by its number."""
    content = b"x" * 100_000_000 + b"\n" + b" " * 40_000_000 + b"{}\n{\n"
    done = environment.run("publish", "-", "--topic", topic, stdin=content)
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()[:3]] == ["line 1", "line 2", "line 3"]
    assert "bytes" in done.stderr.splitlines()[0]
