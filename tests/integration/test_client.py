"""Tests the client with a real Kafka and the real service: the tables contain what the application recorded."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

from confluent_kafka import Consumer

from ragledger_client import Ledger
from tests.support.ingestion import environment_on, ingest
from tests.support.service import Environment
from tests.support.stack import Servers

KINDS = ("dialogue", "feedback", "provenance")
NAMESPACE = uuid4()


def make_ledger(environment: Environment, servers: str, **settings: Any) -> Ledger:
    """Return a ledger for the topics of a test."""
    topics = {kind: environment.topics[kind] for kind in KINDS}
    return Ledger(servers, topics=topics, flush_on_sigterm=False, **settings)


async def test_recorded_events_are_in_the_tables(stack: Servers, migrated_template: str, tmp_path: Path) -> None:
    """Answers of both kinds of blocks, feedback and provenance are recorded. Ids that are no UUIDs equal those of the
    service.
    """
    with environment_on(stack, migrated_template, kinds=KINDS) as environment:
        ledger = make_ledger(environment, stack.bootstrap_servers, namespace=NAMESPACE)
        with ledger.answer(user_id="auth0|123", session_id="s-1", query="休日は?") as one:
            one.respond("十日", model="m", citations=[{"source": "s", "title": "休日"}], prompt_tokens=7)
        async with ledger.answer(user_id=uuid4(), session_id=uuid4(), query="?", temperature=0.25) as other:
            other.respond("!", model="m", latency_ms=840)
        ledger.feedback(one.id, +1)
        source = ledger.provenance(
            content_id=uuid4(),
            content_type="material",
            source_uri="https://handbook.example/leave",
            license_type="CC-BY-4.0",
            acquisition_method="api_fetch",
            acquired_by="auth0|123",
        )
        ledger.close(30)
        assert ledger.stats().delivered == 4
        ingest(environment, 4, tmp_path / "log")
        rows = {row["id"]: row for row in environment.query("SELECT * FROM ai_dialogue_log")}
        first, second = rows[UUID(one.id)], rows[UUID(other.id)]
        assert first["user_id"] == uuid5(NAMESPACE, "user:auth0|123")
        assert first["session_id"] == uuid5(NAMESPACE, "session:s-1")
        assert (first["query"], first["response"], first["user_feedback"]) == ("休日は?", "十日", 1)
        assert first["citations"] == [{"source": "s", "title": "休日"}]
        assert first["latency_ms"] >= 0
        assert (second["latency_ms"], float(second["temperature"])) == (840, 0.25)
        (row,) = environment.query("SELECT * FROM provenance")
        assert (row["id"], row["acquired_by"]) == (UUID(source), uuid5(NAMESPACE, "user:auth0|123"))


def test_a_session_keeps_its_order(stack: Servers, migrated_template: str) -> None:
    """Its dialogues are in one partition, in the order of the answers. Sessions are spread over all partitions."""
    with environment_on(stack, migrated_template, kinds=KINDS, partitions=4) as environment:
        ledger, sessions = make_ledger(environment, stack.bootstrap_servers), [uuid4() for _ in range(40)]
        for number in range(200):
            with ledger.answer(user_id=uuid4(), session_id=sessions[number % 40], query=str(number)) as one:
                one.respond("!", model="m")
        ledger.close(30)
        found: dict[str, list[tuple[int, int]]] = {}
        for message in read(stack.bootstrap_servers, environment.topics["dialogue"], 200):
            event = json.loads(message.value())
            assert message.key().decode() == event["session_id"]
            found.setdefault(event["session_id"], []).append((message.partition(), int(event["query"])))
    assert len(found) == 40
    assert all(len({partition for partition, _ in one}) == 1 for one in found.values())
    assert all([number for _, number in one] == sorted(number for _, number in one) for one in found.values())
    assert len({one[0][0] for one in found.values()}) == 4


def read(servers: str, topic: str, count: int) -> list[Any]:
    """Return so many records of a topic."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": uuid4().hex, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    try:
        found: list[Any] = []
        deadline = time.monotonic() + 60
        while len(found) < count and time.monotonic() < deadline:
            found += consumer.consume(500, 1)
        return found
    finally:
        consumer.close()


def test_an_application_that_never_records_starts_no_thread() -> None:
    """A process that forks later has no running thread of librdkafka."""
    script = "import threading, ragledger_client as r; r.Ledger('127.0.0.1:9'); print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["1"]
