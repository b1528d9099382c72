"""Shared by tests of commands and of operation: records with keys and headers, and their outcomes."""

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from tests.support.producers import dialogue, random_uuid
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers, Topics, fresh_database

TABLES = {"dialogue": "ai_dialogue_log", "provenance": "provenance"}
NO_LEADER = frozenset({KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION})
SMALL = {"query": "q", "response": "r", "citations": []}


class Outgoing(NamedTuple):
    """A record before it is published."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp_ms: int = 0
    partition: int = -1


def send(bootstrap_servers: str, records: Iterable[Outgoing], **config: Any) -> None:
    """Publish in order and wait until every record is acknowledged. Raises AssertionError if one is not."""
    errors: list[Any] = []
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 5, **config})
    for record in records:
        producer.produce(
            record.topic,
            record.value,
            record.key,
            record.partition,
            on_delivery=lambda error, _: errors.append(error) if error else None,
            timestamp=record.timestamp_ms,
            headers=list(record.headers),
        )
        producer.poll(0)
    assert producer.flush(100) == 0  # the controller has to accept a broker again that was frozen
    assert not errors, errors


def small_dialogue(chance: random.Random, **changes: Any) -> dict[str, Any]:
    """Return a valid small dialogue."""
    return dialogue(chance, **{**SMALL, **changes})


def as_json(event: Mapping[str, Any]) -> bytes:
    """Return the event as the value of a record."""
    return json.dumps(event, ensure_ascii=False).encode()


def dialogues(topic: str, count: int, seed: int, **changes: Any) -> dict[UUID, Outgoing]:
    """Return valid dialogues by id; the same seed gives the same dialogues."""
    chance = random.Random(seed)
    events = [small_dialogue(chance, id=str(random_uuid(chance)), **changes) for _ in range(count)]
    return {UUID(event["id"]): Outgoing(topic, as_json(event)) for event in events}


def watermark(bootstrap_servers: str, topic: str, partitions: int = 1) -> int:
    """Return how many records were ever written to a topic. Wait until each partition has a leader, which is a moment
    after its broker has started.
    """
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "watermarks"})
    places = [TopicPartition(topic, number) for number in range(partitions)]
    try:
        ends = [eventually(partial(_end, consumer, place), message=f"{place} has a leader") for place in places]
    finally:
        consumer.close()
    return sum(end for (end,) in ends)


def _end(consumer: Consumer, place: TopicPartition) -> tuple[int] | None:
    """Return the end of a partition, or None as long as it has no leader."""
    try:
        return (consumer.get_watermark_offsets(place, timeout=30)[1],)
    except KafkaException as error:
        if error.args[0].code() not in NO_LEADER:
            raise
        return None


def committed_offsets(bootstrap_servers: str, group: str, topic: str, partitions: int) -> list[int]:
    """Return the offsets that the group has committed to Kafka."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group})
    try:
        wanted = [TopicPartition(topic, n) for n in range(partitions)]
        return [found.offset for found in consumer.committed(wanted, timeout=30)]
    finally:
        consumer.close()


@contextmanager
def environment_on(
    servers: Servers, template: str | None, *, partitions: int = 1, kinds: Iterable[str] = TABLES, **settings: str
) -> Iterator[Environment]:
    """Create topics of these kinds and a database, a copy of `template`, for the duration of the context."""
    topics = Topics(servers.bootstrap_servers)
    try:
        names = {kind: topics.create(partitions, prefix=kind) for kind in kinds}
        with fresh_database(servers.dsn, template) as dsn:
            yield Environment(dsn, servers.bootstrap_servers, names, **settings)
    finally:
        topics.delete_all()


def on_other_database(environment: Environment, dsn: str) -> Environment:
    """Return the same topics and settings with another database."""
    other = Environment(dsn, "127.0.0.1:9", environment.topics)
    other.group = environment.group
    other.variables = {**environment.variables, "RAGLEDGER_POSTGRES__DSN": dsn}
    return other


def ids(environment: Environment, kind: str = "dialogue") -> set[UUID]:
    """Return the ids of the rows of a kind."""
    return {row["id"] for row in environment.query(f"SELECT id FROM {TABLES[kind]}")}


def counts(environment: Environment) -> dict[str, int]:
    """Return the sums of the ledger after checking its equation."""
    row = environment.query(
        "SELECT coalesce(sum(inserted), 0)::int AS inserted, coalesce(sum(duplicates), 0)::int AS duplicates,"
        " coalesce(sum(dead_lettered), 0)::int AS dead, coalesce(bool_and(next_offset - start_offset ="
        " inserted + duplicates + amended + dead_lettered + ignored + gaps), true) AS holds FROM ingest_ledger"
        " WHERE consumer_group = %s",
        environment.group,
    )[0]
    assert row.pop("holds")
    return row


def wait_for_records(environment: Environment, count: int, *, timeout: float = 60.0) -> None:
    """Wait until the ledgers of all groups cover so many records."""
    eventually(lambda: environment.accounted_for() >= count, timeout=timeout, message=f"{count} processed")


def ingest(environment: Environment, count: int, log: Path, **settings: str) -> None:
    """Run the service until so many records are processed, and stop it."""
    with ServiceProcess(environment, log, **settings) as service:
        wait_for_records(environment, count)
        assert service.stop() == 0


def log_lines(log: Path, event: str) -> list[dict[str, Any]]:
    """Return the service's own log lines with this event name."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    return [said for said in map(json.loads, lines) if said.get("event") == event]
