"""Short functions that make records and events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from consumer.decode.lanes import decode
from consumer.decode.rows import Row, decode_exactly
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.provenance import PROVENANCE
from consumer.events.record import StoredRecord
from consumer.events.rejection import Rejected
from consumer.ingest.batch import BatchLimits
from tests.support.copy_reader import read_tuple

Headers = Iterable[tuple[str, bytes | None]]

USER = "11111111-1111-4111-8111-111111111111"
SESSION = "22222222-2222-4222-8222-222222222222"
TIMESTAMP = 1_767_225_600_123  # 2026-01-01T00:00:00.123Z
CREATED_AT = "2026-01-01T00:00:00.123Z"

DIALOGUE_TOPIC, PROVENANCE_TOPIC = "rag.dialogue", "rag.provenance"
# No batch of a test reaches these.
ROOMY = BatchLimits(max_rows=10_000, max_bytes=1 << 30, max_delay=60.0)
KINDS: Mapping[str, Kind] = {DIALOGUE_TOPIC: DIALOGUE, PROVENANCE_TOPIC: PROVENANCE}

_DIALOGUE = {"user_id": USER, "session_id": SESSION, "query": "q", "response": "r", "model_used": "m"}
_PROVENANCE = {
    "content_id": "33333333-3333-4333-8333-333333333333",
    "content_type": "material",
    "source_uri": "https://example.org/a",
    "license_type": "mit",
    "acquisition_method": "api_fetch",
    "acquired_at": CREATED_AT,
}


def dialogue(**members: Any) -> dict[str, Any]:
    """Return a dialogue event with the required fields and `members`."""
    return {**_DIALOGUE, **members}


def provenance(**members: Any) -> dict[str, Any]:
    """Return a provenance event with the required fields and `members`."""
    return {**_PROVENANCE, **members}


def encode(event: Mapping[str, Any]) -> bytes:
    """Return the event as compact JSON."""
    return json.dumps(event, separators=(",", ":")).encode()


def with_raw(event: Mapping[str, Any], **members: str) -> bytes:
    """Return the event as JSON, with further members given as literal JSON text."""
    parts = [encode(event)[1:-1].decode(), *(f'"{name}":{text}' for name, text in members.items())]
    return ("{" + ",".join(part for part in parts if part) + "}").encode()


def record(
    value: bytes | Mapping[str, Any] | None,
    headers: Headers = (),
    *,
    topic: str = DIALOGUE_TOPIC,
    partition: int = 0,
    offset: int = 0,
    timestamp: int = TIMESTAMP,
    key: bytes | None = None,
) -> StoredRecord:
    """Return a record; a mapping as value is encoded as JSON."""
    raw = encode(value) if isinstance(value, Mapping) else value
    return StoredRecord(topic, partition, offset, timestamp, key, raw, tuple(headers))


@dataclass(frozen=True)
class Stored:
    """The result of an event: the row as PostgreSQL reads it, and its other data."""

    row: Row
    columns: Mapping[str, Any]

    @property
    def id(self) -> UUID:
        """Id of the event."""
        id_: UUID = self.columns["id"]
        return id_

    def __getitem__(self, name: str) -> Any:
        return self.columns[name]


def accept(value: bytes | Mapping[str, Any] | None, kind: Kind = DIALOGUE, headers: Headers = ()) -> Stored:
    """Decode the event in both lanes and return the result."""
    return stored(kind, record(value, headers))


def stored(kind: Kind, taken: StoredRecord) -> Stored:
    """Decode the record in both lanes, which must agree, and return the result."""
    row = decode(kind, taken)
    assert row == decode_exactly(kind, taken)
    return Stored(row, read_tuple(row.encoded, kind))


def reject(value: bytes | Mapping[str, Any] | None, kind: Kind = DIALOGUE, headers: Headers = ()) -> Rejected:
    """Return why both lanes reject the event."""
    return rejection(kind, record(value, headers))


def rejection(kind: Kind, taken: StoredRecord) -> Rejected:
    """Return why both lanes reject the record."""
    with pytest.raises(Rejected) as caught:
        decode(kind, taken)
    with pytest.raises(Rejected) as exactly:
        decode_exactly(kind, taken)
    assert caught.value.detail() == exactly.value.detail()
    return caught.value


def paths(rejected: Rejected) -> list[str]:
    """Return the paths of the faults."""
    return [fault.path for fault in rejected.faults]


def cloud_headers(**changes: bytes | None) -> list[tuple[str, bytes | None]]:
    """Return the headers of a CloudEvent in binary mode; a change to None leaves the header out."""
    attributes: dict[str, bytes | None] = {
        "specversion": b"1.0",
        "type": b"rag.dialogue",
        "source": b"/chat",
        "id": b"e-1",
        **changes,
    }
    return [(f"ce_{name}", value) for name, value in attributes.items() if value is not None]


STRUCTURED: Headers = (("content-type", b"application/cloudevents+json"),)


def cloud_event(**members: Any) -> dict[str, Any]:
    """Return a CloudEvent in structured mode without its data."""
    return {"specversion": "1.0", "type": "rag.dialogue", "source": "/chat", "id": "e-1", **members}
