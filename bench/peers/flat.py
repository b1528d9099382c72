"""The dialogues as Debezium's sink can take them: what is nested as a JSON string, and the sum already made.

A nested object would become NULL or make its task fail, so it gets a topic of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from bench import topics
from bench.events import JSON_COLUMNS, Event
from bench.servers import Servers

TOPIC = "bench.flat"


def publish(servers: Servers, events: Iterable[Event]) -> None:
    """Fill the topic, partition by partition as the dialogues' own is filled.

    :raises BenchError: Kafka refuses
    """
    filler = topics.Filler(servers.kafka.bootstrap_servers)
    for event in events:
        filler.publish(TOPIC, flatten(event.value))
    filler.close()


def flatten(value: bytes) -> bytes:
    """One record's value."""
    members: dict[str, Any] = json.loads(value)
    members["total_tokens"] = members["prompt_tokens"] + members["completion_tokens"]
    for name in JSON_COLUMNS & members.keys():
        members[name] = json.dumps(members[name], ensure_ascii=False)
    return json.dumps(members, ensure_ascii=False).encode()
