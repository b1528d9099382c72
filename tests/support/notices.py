"""Expired provenance, and the notices about it."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from tests.support import program
from tests.support.service import Environment
from tests.support.stack import Servers, Topics, fresh_database

ALICE, BOB = UUID(int=0xA11CE), UUID(int=0xB0B)
INSERT = """
    INSERT INTO provenance (id, content_id, content_type, source_uri, license_type, acquisition_method, acquired_at,
                            retention_years, acquired_by, access_policy, external_share_consent, last_verified_at)
    VALUES (%(id)s, %(content_id)s, 'material', %(source_uri)s, %(license_type)s, 'api_fetch', %(acquired_at)s,
            %(retention_years)s, %(acquired_by)s, %(access_policy)s, false, '2020-01-02T03:04:05.678901')
"""


class Notice(NamedTuple):
    """A record of the topic of notices."""

    partition: int
    key: bytes | None
    headers: Mapping[str, bytes | None]
    body: Mapping[str, Any]


def acquired(count: int = 1, owner: UUID | None = None, **changes: Any) -> list[dict[str, Any]]:
    """Return rows of provenance, by default expired for years."""
    return [
        {
            "id": uuid4(),
            "content_id": uuid4(),
            "source_uri": f"https://library.example/{number}",
            "license_type": "cc_by",
            "acquired_at": "2019-02-03T04:05:06.000007",
            "retention_years": 1,
            "acquired_by": owner,
            "access_policy": None,
            **changes,
        }
        for number in range(count)
    ]


def insert(dsn: str, *groups: Sequence[Mapping[str, Any]]) -> set[UUID]:
    """Insert rows. Return their ids."""
    rows = [dict(row) for group in groups for row in group]
    for row in rows:
        row["access_policy"] = None if row["access_policy"] is None else json.dumps(row["access_policy"])
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.executemany(INSERT, rows)
    return {row["id"] for row in rows}


@contextmanager
def retention_environment(
    servers: Servers, template: str, *, partitions: int = 2, **settings: str
) -> Iterator[Environment]:
    """Create a database and a topic for notices, without topics of events."""
    topics = Topics(servers.bootstrap_servers)
    try:
        expired = topics.create(partitions, prefix="expired")
        with fresh_database(servers.dsn, template) as dsn:
            yield Environment(dsn, servers.bootstrap_servers, {"expired": expired}, **settings)
    finally:
        topics.delete_all()


def published(environment: Environment) -> list[Notice]:
    """Return every notice in the topic that a read-committed consumer sees."""
    servers, topic = environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"], environment.topics["expired"]
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"reader-{uuid4().hex}",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    try:
        partitions = list(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        return _until_ends(consumer, len(partitions))
    finally:
        consumer.close()


def _until_ends(consumer: Consumer, partitions: int) -> list[Notice]:
    found: list[Notice] = []
    ended: set[int | None] = set()
    while len(ended) < partitions:
        message = consumer.poll(30)
        assert message is not None, "the topic does not end: a transaction is open"
        error = message.error()
        if error is not None:
            assert error.code() == KafkaError._PARTITION_EOF, error
            ended.add(message.partition())
            continue
        value = message.value()
        assert value is not None
        headers = dict(message.headers() or [])
        found.append(Notice(message.partition() or 0, message.key(), headers, json.loads(value)))  # type: ignore[arg-type]
    return found


def run_killed(environment: Environment, step: int, *arguments: str) -> int:
    """Run a command that is killed at a step. Return its exit code: -9 if it reached the step."""
    variables = os.environ | environment.variables | {"KILL_AT": str(step)}
    done = program.run("tests.support.kill_at", *arguments, environment=variables)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode
