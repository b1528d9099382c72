"""Publishes dialogues in the form that peers accept: numbers and times as stored, nested members as JSON strings.

Debezium's sink needs this form: a nested object, or a number in a string, would become NULL or make its task fail.
Bento could map the events itself, but it reads the same topic, so that both peers have the same work.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from bench import topics
from bench.events import DECIMAL_COLUMNS, JSON_COLUMNS, Event
from bench.servers import Servers

TOPIC = "bench.flat"
_HUNDREDTH = Decimal("0.01")


def publish(servers: Servers, events: Iterable[Event]) -> None:
    """Fill the topic without duplicates, with the same partitions as the topic of dialogues.

    :raises BenchError: a record was not acknowledged
    """
    filler = topics.Filler(servers.kafka.bootstrap_servers)
    for event in events:
        if event.row is not None:
            filler.publish(TOPIC, flatten(event.row), event.timestamp_ms)
    filler.close()


def flatten(row: Mapping[str, Any]) -> bytes:
    """The value of one record."""
    return json.dumps({name: _flat(name, value) for name, value in row.items()}, ensure_ascii=False).encode()


def _flat(name: str, value: Any) -> Any:
    if name in JSON_COLUMNS:
        return json.dumps(value, ensure_ascii=False)
    if name in DECIMAL_COLUMNS:
        return float(Decimal(str(value)).quantize(_HUNDREDTH, ROUND_HALF_UP))
    return value.isoformat() if isinstance(value, datetime) else value
