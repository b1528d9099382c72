"""Compares the acknowledged records and the content of Kafka with rows, duplicates, dead letters and days."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from confluent_kafka import Consumer, TopicPartition

from tests.faults.traffic import Sent, Traffic
from tests.support.days import assert_day_equals_queries
from tests.support.ingestion import TABLES
from tests.support.service import Environment, eventually

TIMEZONE = "Asia/Tokyo"
READ_SECONDS = 60.0
# The open books, and closed books; other decisions do not close books.
BOOKS = """
    SELECT start_offset, next_offset, inserted, duplicates, amended, dead_lettered, ignored, gaps FROM ingest_ledger
    UNION ALL
    SELECT start_offset, from_offset, inserted, duplicates, amended, dead_lettered, ignored, gaps FROM ledger_decisions
    WHERE begins_anew
"""


class Place(NamedTuple):
    """The place of a record in Kafka."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Account:
    """The outcomes of the records of a scenario. Every figure after `dead_letters` must be 0."""

    records: int
    rows: int
    duplicates: int
    dead_letters: int
    lost: int
    stored_twice: int
    unaccounted: int
    never_sent: int

    @property
    def is_exact(self) -> bool:
        """Return whether every record was counted exactly once."""
        return not (self.lost or self.stored_twice or self.unaccounted or self.never_sent)


def take_account(environment: Environment, traffic: Traffic, bootstrap_servers: str) -> Account:
    """Compare everything. Raises AssertionError if the brokers have lost an acknowledged record, or hold an
    aborted one.
    """
    held = Counter(read_committed(bootstrap_servers, environment.topics).values())
    assert not traffic.acknowledged - held, "the brokers have lost acknowledged records"
    assert not held - traffic.acknowledged - traffic.in_doubt, "the brokers hold records that were never acknowledged"
    return compare(environment, held)


def compare(environment: Environment, held: Counter[Sent]) -> Account:
    """Compare the tables and the ledger with the committed records of Kafka."""
    good = Counter({sent: count for sent, count in held.items() if not sent.is_bad})
    bad = Counter({sent: count for sent, count in held.items() if sent.is_bad})
    rows, letters = _rows(environment), _dead_letters(environment)
    counted = _counted(environment)
    duplicates = good.total() - len(good)
    return Account(
        records=held.total(),
        rows=len(rows),
        duplicates=counted["duplicates"],
        dead_letters=letters.total(),
        lost=len(good.keys() - rows) + (bad - letters).total(),
        stored_twice=(letters - bad).total() + abs(counted["inserted"] - len(rows)),
        unaccounted=abs(counted["duplicates"] - duplicates) + abs(counted["dead_lettered"] - bad.total()),
        never_sent=len(rows - good.keys()),
    )


def _rows(environment: Environment) -> set[Sent]:
    return {
        Sent(kind, str(row["id"]).encode())
        for kind, table in TABLES.items()
        for row in environment.query(f"SELECT id FROM {table}")
    }


def _dead_letters(environment: Environment) -> Counter[Sent]:
    kinds = {topic: kind for kind, topic in environment.topics.items()}
    letters = environment.query("SELECT topic, key FROM dead_letters")
    return Counter(Sent(kinds[letter["topic"]], bytes(letter["key"])) for letter in letters)


def _counted(environment: Environment) -> Counter[str]:
    """Return the sums of all books after checking the equation of each."""
    lines = environment.query(BOOKS)
    for line in lines:
        parts = (line[name] for name in ("inserted", "duplicates", "amended", "dead_lettered", "ignored", "gaps"))
        assert line["next_offset"] - line["start_offset"] == sum(parts), line
    return Counter({name: sum(line[name] for line in lines) for name in ("inserted", "duplicates", "dead_lettered")})


def assert_days_equal_queries(environment: Environment) -> int:
    """Compare every day that has dialogues with the three queries, after the marks are gone. Return the number of
    days.
    """
    eventually(lambda: environment.value("SELECT count(*) FROM touched_days") == 0, message="all days are computed")
    local = f"created_at AT TIME ZONE 'UTC' AT TIME ZONE '{TIMEZONE}'"
    days: list[date] = [
        row["day"] for row in environment.query(f"SELECT DISTINCT ({local})::date AS day FROM ai_dialogue_log")
    ]
    for day in days:
        assert_day_equals_queries(environment, day, TIMEZONE)
    return len(days)


def read_committed(bootstrap_servers: str, topics: Mapping[str, str]) -> Mapping[Place, Sent]:
    """Return every committed record of the topics by its place, read with another client than the service's."""
    kinds = {topic: kind for kind, topic in topics.items()}
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "audit",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
        }
    )
    try:
        left = {(part.topic, part.partition) for part in _assign_all(consumer, topics.values())}
        found: dict[Place, Sent] = {}
        deadline = time.monotonic() + READ_SECONDS
        while left:
            messages = consumer.consume(500, 0.2)
            assert messages or time.monotonic() < deadline, f"Kafka does not answer for {left}"
            found.update(_placed(message, kinds) for message in messages if not message.error())
            left -= {(message.topic(), message.partition()) for message in messages if message.error()}
        return found
    finally:
        consumer.close()


def _placed(message: Any, kinds: Mapping[str, str]) -> tuple[Place, Sent]:
    place = Place(message.topic(), message.partition(), message.offset())
    return place, Sent(kinds[message.topic()], message.key())


def _assign_all(consumer: Any, topics: Collection[str]) -> list[TopicPartition]:
    parts = [
        TopicPartition(topic, number, 0)
        for topic in topics
        for number in consumer.list_topics(topic, READ_SECONDS).topics[topic].partitions
    ]
    consumer.assign(parts)
    return parts
