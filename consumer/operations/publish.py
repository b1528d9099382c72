"""`ragledger publish`: hold JSON lines against the event's declaration before any of them is published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consumer.adapters.kafka_tools import Message
from consumer.events.kind import Kind
from consumer.events.record import StoredRecord
from consumer.events.rejection import Rejected
from consumer.ingest.decode import decode

# message.max.bytes is a mebibyte unless changed, a batch's header included.
KAFKA_LIMIT_BYTES = 1_048_576 - 1024


class Line(NamedTuple):
    """A line of the input, counted from 1."""

    number: int
    value: bytes


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that ragledger would not store, and why, field by field."""

    number: int
    problem: str


def lines(content: Iterable[bytes]) -> Iterator[Line]:
    """The lines that hold something."""
    for number, text in enumerate(content, 1):
        if text.strip():
            yield Line(number, text.strip())


def sort_out(
    kind: Kind, topic: str, found: Iterable[Line], *, now_ms: int, max_record_bytes: int = KAFKA_LIMIT_BYTES
) -> tuple[list[Line], list[BadLine]]:
    """The lines that would become rows, and those that would not.

    :param now_ms: stands in for the record's timestamp (milliseconds since 1970)
    :param max_record_bytes: the service's limit; Kafka's own default holds as well
    """
    good, bad = [], []
    limit = min(max_record_bytes, KAFKA_LIMIT_BYTES)
    for line in found:
        try:
            decode(kind, StoredRecord(topic, 0, line.number, now_ms, None, line.value), limit)
        except Rejected as rejected:
            bad.append(BadLine(line.number, str(rejected)))
        else:
            good.append(line)
    return good, bad


def messages(topic: str, good: Sequence[Line]) -> Iterator[Message]:
    """The records to publish."""
    return (Message(topic, line.value) for line in good)
