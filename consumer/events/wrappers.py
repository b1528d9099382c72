"""Names an object that wraps the event instead of being it: Kafka Connect's, or a CloudEvent that its headers hide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consumer.events.envelope import ATTRIBUTES, STRUCTURED, media_type
from consumer.events.record import Record
from consumer.events.rejection import Fault, Reason, Rejected


def wrapper_of(members: Mapping[str, Any], record: Record) -> Rejected | None:
    """Why an object without any field that the event requires is refused; None if it is no known wrapper."""
    if _is_from_connect(members):
        problem = (
            "wrapped by Kafka Connect's JsonConverter (schemas.enable=true): the value holds schema and payload, and"
            " the event is the payload; set schemas.enable=false and publish again"
        )
        return Rejected.whole(Reason.INVALID_ENVELOPE, problem)
    if all(isinstance(members.get(name), str) for name in ATTRIBUTES):
        return Rejected(Reason.INVALID_ENVELOPE, [_hidden_cloud_event(media_type(dict(record.headers)))])
    return None


def _is_from_connect(members: Mapping[str, Any]) -> bool:
    return members.keys() == {"schema", "payload"} and isinstance(members["schema"], dict | None)


def _hidden_cloud_event(content_type: str) -> Fault:
    if content_type == STRUCTURED:
        return Fault("data", "is a CloudEvent itself; it must be the event")
    said = f"does not say {STRUCTURED}" if content_type else f"is missing ({STRUCTURED})"
    return Fault("content-type", f"this looks like a structured CloudEvent; its content-type header {said}")
