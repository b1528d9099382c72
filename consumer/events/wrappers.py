"""Recognises an object that wraps the event: Kafka Connect's, an outbox's, or a CloudEvent without its header."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from consumer.events.envelope import ATTRIBUTES, STRUCTURED, media_type
from consumer.events.record import Record
from consumer.events.rejection import Fault, Reason, Rejected


def wrapper_of(members: Mapping[str, Any], record: Record, required: Collection[str]) -> Rejected | None:
    """Return the error for an object that lacks every required field; None if it is not a known wrapper."""
    if _is_from_connect(members):
        problem = (
            "wrapped by Kafka Connect's JsonConverter (schemas.enable=true): the value holds schema and payload, and"
            " the event is the payload; set schemas.enable=false and publish again"
        )
        return Rejected.whole(Reason.INVALID_ENVELOPE, problem)
    if all(isinstance(members.get(name), str) for name in ATTRIBUTES):
        return Rejected(Reason.INVALID_ENVELOPE, [_hidden_cloud_event(media_type(dict(record.headers)))])
    for name in sorted(_WRAPPING & members.keys()):
        if _holds_event(members[name], required):
            problem = "holds the event; the value of the record must be the event itself, without the wrapper"
            return Rejected(Reason.INVALID_ENVELOPE, [Fault(name, problem)])
    return None


# Debezium's members, and those of outboxes, of cloud queues and event buses, and of webhooks.
_WRAPPING = frozenset(
    {
        "after",
        "body",
        "content",
        "data",
        "detail",
        "event",
        "message",
        "Message",
        "object",
        "payload",
        "record",
        "value",
    }
)


def _holds_event(value: Any, required: Collection[str]) -> bool:
    """Whether the value has all required fields. JSON in a string is searched for their names, not parsed."""
    if isinstance(value, str):
        return value.lstrip().startswith("{") and all(f'"{name}"' in value for name in required)
    return isinstance(value, dict) and all(value.get(name) is not None for name in required)


def _is_from_connect(members: Mapping[str, Any]) -> bool:
    return members.keys() == {"schema", "payload"} and isinstance(members["schema"], dict | None)


def _hidden_cloud_event(content_type: str) -> Fault:
    if content_type == STRUCTURED:
        return Fault("data", "is a CloudEvent itself; it must be the event")
    claim = f"does not say {STRUCTURED}" if content_type else f"is missing ({STRUCTURED})"
    return Fault("content-type", f"this looks like a structured CloudEvent; its content-type header {claim}")
