"""Producers based on librdkafka, which is another implementation than the client of the service."""

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from confluent_kafka import Producer

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
MODELS = ("gpt-5-mini", "claude-haiku", "llama-4-scout")


@dataclass
class Published:
    """The acknowledged records, and their intended outcomes."""

    rows: dict[UUID, str] = field(default_factory=dict)
    duplicates: int = 0
    bad: int = 0

    @property
    def records(self) -> int:
        """Number of committed records."""
        return len(self.rows) + self.duplicates + self.bad


def dialogue(chance: random.Random, **changes: Any) -> dict[str, Any]:
    """Return a valid dialogue."""
    members: dict[str, Any] = {
        "id": str(random_uuid(chance)),
        "user_id": str(UUID(int=chance.randrange(50) + 1)),
        "session_id": str(random_uuid(chance)),
        "query": "Wie lange dürfen Aufnahmen aufbewahrt werden? ✓" * chance.randint(1, 5),
        "response": "Zwölf Monate, sofern nichts anderes vereinbart ist. " * chance.randint(1, 40),
        "model_used": chance.choice(MODELS),
        "citations": [
            {"source": f"https://library.example/{n}", "confidence": 0.75, "timestamp": "2026-01-02T03:04:05+00:00"}
            for n in range(chance.randint(0, 3))
        ],
        "latency_ms": chance.randint(50, 6000),
        "token_cost_jpy": str(chance.randint(0, 999) / 100),
        "prompt_tokens": chance.randint(1, 5000),
        "completion_tokens": chance.randint(1, 900),
        "relevance_score": chance.randint(0, 100) / 100,
        "user_feedback": chance.choice([None, -1, 0, 1]),
    }
    return members | changes


def provenance(chance: random.Random, **changes: Any) -> dict[str, Any]:
    """Return valid provenance."""
    members: dict[str, Any] = {
        "id": str(random_uuid(chance)),
        "content_id": str(random_uuid(chance)),
        "content_type": "material",
        "source_uri": f"https://library.example/{chance.randint(1, 999)}",
        "license_type": chance.choice(["CC-BY-4.0", "mit", "unknown"]),
        "acquisition_method": "api_fetch",
        "acquired_at": "2026-03-04T05:06:07.891+09:00",
        "retention_years": 3,
        "access_policy": {"visibility": "members"},
    }
    return members | changes


def feedback(chance: random.Random, **changes: Any) -> dict[str, Any]:
    """Return valid feedback on a dialogue."""
    members: dict[str, Any] = {
        "dialogue_id": str(random_uuid(chance)),
        "user_feedback": chance.choice([-1, 0, 1]),
        "given_at": "2026-01-02T03:04:05.25+09:00",
    }
    return members | changes


def verification(chance: random.Random, **changes: Any) -> dict[str, Any]:
    """Return a valid check of provenance."""
    members: dict[str, Any] = {
        "provenance_id": str(random_uuid(chance)),
        "verified_at": "2026-03-05T00:00:00Z",
        "permission_flag": chance.random() < 0.5,
        "license_type": chance.choice(["CC-BY-4.0", "mit", None]),
    }
    return members | changes


def plugin(chance: random.Random, **changes: Any) -> dict[str, Any]:
    """Return a valid report of a content source."""
    members: dict[str, Any] = {
        "name": f"Wiki größe {chance.randint(1, 99)}",
        "source": "https://wiki.example/api",
        "capabilities": {"search": True, "formats": ["html", "md"]},
        "version": "1.4.2",
        "enabled": chance.random() < 0.9,
        "health_status": chance.choice(["healthy", "degraded", "unhealthy", "unknown"]),
        "reported_at": "2026-03-05T00:00:00Z",
        "config": {
            "poll_interval_s": 60,
            "languages": ["de", "ja"],
            "auth": {"type": "api_key", "secret_ref": "vault:wiki"},
        },
    }
    return members | changes


def random_uuid(chance: random.Random) -> UUID:
    """Return a version 4 id from a seeded source."""
    return UUID(int=chance.getrandbits(128), version=4)


def bad_value(chance: random.Random) -> bytes | None:
    """Return a value that cannot become a row, in one of many ways."""
    ways: list[bytes | None] = [
        None,
        b"",
        b"not json",
        b"[1, 2]",
        b'{"query": "\xff"}',
        json.dumps(dialogue(chance, latency_ms=-1)).encode(),
        json.dumps(dialogue(chance, query=None)).encode(),
        json.dumps(dialogue(chance, response="a\0b")).encode(),
        json.dumps(dialogue(chance, model_used="m" * 256)).encode(),
        json.dumps(dialogue(chance, citations=[{"source": "s", "weight": 0.75}])).replace("0.75", "1e400000").encode(),
    ]
    return chance.choice(ways)


def produce(
    bootstrap_servers: str,
    records: Iterable[tuple[str, bytes | None]],
    config: Mapping[str, Any] | None = None,
    acknowledged: Callable[[int], None] = lambda _: None,
) -> None:
    """Publish and wait for every acknowledgement; `acknowledged` is given the place of each record.

    Raises:
        AssertionError: a record was not acknowledged.
    """
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 5, **(config or {})})
    for place, (topic, value) in enumerate(records):
        producer.poll(0)
        _send(producer, topic, value, place, acknowledged)
    assert producer.flush(60) == 0


def _send(producer: Any, topic: str, value: bytes | None, place: int, acknowledged: Callable[[int], None]) -> None:
    def delivered(error: Any, _message: Any) -> None:
        assert error is None, error
        acknowledged(place)

    while True:
        try:
            producer.produce(topic, value, on_delivery=delivered)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def produce_transactions(
    bootstrap_servers: str, name: str, batches: Iterable[tuple[bool, list[tuple[str, bytes | None]]]]
) -> None:
    """Publish each batch in a transaction; commit it if its flag is true, otherwise abort it."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "transactional.id": name, "linger.ms": 5})
    producer.init_transactions(30)
    for commit, records in batches:
        producer.begin_transaction()
        for topic, value in records:
            producer.produce(topic, value)
            producer.poll(0)
        producer.flush(30)
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)
