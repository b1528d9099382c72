"""Reduces spans and log events to the parts that staged_spans stores, and derives their ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from consumer.events.otlp import mapping, wire
from consumer.events.otlp.fold import Folding
from consumer.events.otlp.kinds import Kept, Signal, SignalKind, SpanReason
from consumer.events.otlp.mapping import Role
from consumer.events.otlp.roles import are_kept, role_of, speaks
from consumer.events.otlp.trace import value_of

_RESOURCE_NAMES = frozenset(attribute.name for attribute in (*mapping.SERVICE, *mapping.ENVIRONMENT))
_LOG_NAMES = frozenset({"event.name", *mapping.EVENT_ATTRIBUTES}) | mapping.CALL_NAMES | mapping.IDENTITY_NAMES


class RecordSpans(NamedTuple):
    """The contents of a record: the staged spans, and the reason for each skipped one.

    :param speaks: whether any of the spans contributes to a dialogue
    """

    kept: Sequence[Kept]
    skipped: Sequence[SpanReason]
    speaks: bool


def read_spans(value: bytes | None, kind: SignalKind) -> RecordSpans:
    """Read a record, and reduce its spans to the parts that are staged.

    :raises Rejected: the value is not OTLP, or it holds another signal
    """
    kept: list[Kept] = []
    skipped: list[SpanReason] = []
    resources: dict[int, bytes] = {}
    for resource, item in wire.read(value, kind.signal):
        if not wire.is_valid(item):
            skipped.append(SpanReason.INVALID)
            continue
        raw = resources.get(id(resource))
        if raw is None:
            raw = resources[id(resource)] = _resource(resource)
        one = _keep_span(item, raw, kind.folding) if kind.signal is Signal.SPANS else _keep_log(item, raw, kind.folding)
        if one is None:
            skipped.append(SpanReason.UNRELATED)
        else:
            kept.append(one)
    return RecordSpans(kept, skipped, any(not one.is_outline for one in kept))


def _resource(resource: Resource) -> bytes:
    return Resource(attributes=[one for one in resource.attributes if one.key in _RESOURCE_NAMES]).SerializeToString()


def _keep_span(span: Span, resource: bytes, folding: Folding) -> Kept | None:
    attributes = {one.key: one.value.string_value for one in span.attributes}
    if attributes.get(mapping.PENDING.name) == "pending_span":
        return None
    role, is_result = role_of(attributes), any(event.name == mapping.RESULT_EVENT for event in span.events)
    if is_result and role is Role.OTHER:
        role = Role.RETRIEVAL
    is_outline = not speaks(role, attributes)
    if is_outline:
        _outline(span)
    else:
        _trim(span, role)
    reason = SpanReason.OUTLINE if is_outline else _REASONS.get(role, SpanReason.CONTEXT)
    user = b"" if is_outline else _user(span.attributes, attributes, folding)
    return _kept(span, resource, user, is_outline, reason)


def _kept(item: Any, resource: bytes, user: bytes, is_outline: bool, reason: SpanReason) -> Kept:
    content, is_log = item.SerializeToString(), reason is SpanReason.EVENT
    name = b"".join((item.trace_id, item.span_id, b"\1" if is_log else b"\0", resource, content))
    id_ = hashlib.blake2b(name, digest_size=16).digest()
    is_root = not is_log and not item.parent_span_id
    return Kept(id_, item.trace_id, user, is_log, is_outline, is_root, resource, content, reason)


_REASONS = {
    Role.MODEL_CALL: SpanReason.MODEL_CALL,
    Role.RETRIEVAL: SpanReason.RETRIEVAL,
    Role.RERANKING: SpanReason.RETRIEVAL,
}


def _outline(span: Span) -> None:
    """Keep only the parts that define the shape of a trace: ids, times, role, error."""
    for name in ("name", "links", "events", "trace_state", "kind", "flags", "dropped_attributes_count"):
        span.ClearField(name)
    _set_status(span)
    _leave(span.attributes, [one.key in mapping.ROLE_NAMES for one in span.attributes])


def _trim(span: Span, role: Role) -> None:
    """Keep only the parts that the mapping knows. Headers, vectors and tool definitions are dropped."""
    for name in ("name", "links", "trace_state", "kind", "flags"):
        span.ClearField(name)
    _set_status(span)
    _leave(span.attributes, are_kept([one.key for one in span.attributes], role))
    _leave(span.events, [event.name in mapping.EVENTS for event in span.events])


def _set_status(span: Span) -> None:
    """Keep only whether the span failed, because the status message may quote any text."""
    if span.HasField("status"):
        code = span.status.code
        span.ClearField("status")
        if code == Status.STATUS_CODE_ERROR:
            span.status.code = code


def _leave(repeated: Any, wanted: Sequence[bool]) -> None:
    """Delete the unwanted items, from the end, so that the indexes of earlier items stay valid."""
    for place in range(len(wanted) - 1, -1, -1):
        if not wanted[place]:
            del repeated[place]


def _keep_log(log: LogRecord, resource: bytes, folding: Folding) -> Kept | None:
    attributes = {one.key: one.value.string_value for one in log.attributes}
    name = log.event_name or attributes.get("event.name", "")
    if not log.trace_id or name not in mapping.EVENTS:
        return None
    kept = [one for one in log.attributes if one.key in _LOG_NAMES]
    small = LogRecord(
        trace_id=log.trace_id,
        span_id=log.span_id,
        event_name=name,
        time_unix_nano=log.time_unix_nano or log.observed_time_unix_nano,
        attributes=kept,
    )
    if log.HasField("body"):
        small.body.CopyFrom(log.body)
    return _kept(small, resource, _user(log.attributes, attributes, folding), False, SpanReason.EVENT)


def _user(found: Iterable[Any], names: Any, folding: Folding) -> bytes:
    """The 16 bytes of the id of the named user; empty if no user is named."""
    for attribute in mapping.USER:
        if attribute.name in names:
            value = next(value_of(one.value) for one in found if one.key == attribute.name)
            if value is not None and value != "":
                with suppress(ValueError):  # not a valid id: the fold will reject the trace
                    return folding.user_of(value).bytes
    return b""
