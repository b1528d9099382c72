"""Reduces spans and log events to the parts that staged_spans stores, and derives their ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import starmap
from typing import NamedTuple

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from consumer.events.otlp import mapping, wire
from consumer.events.otlp.fold import Folding
from consumer.events.otlp.kinds import Kept, Signal, SignalKind, SpanReason
from consumer.events.otlp.mapping import Role
from consumer.events.otlp.roles import SPEAKING, Shape, shape_of
from consumer.events.otlp.trace import value_of

_ID_BYTES = 16
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
    reduce = _reduce_span if kind.signal is Signal.SPANS else _reduce_log
    reduced: list[_Reduced] = []
    skipped: list[SpanReason] = []
    resources: dict[int, bytes] = {}
    for resource, item in wire.read(value, kind.signal):
        if not wire.is_valid(item):
            skipped.append(SpanReason.INVALID)
            continue
        one = reduce(item, kind.folding)
        if one is None:
            skipped.append(SpanReason.UNRELATED)
            continue
        raw = resources.get(id(resource))
        if raw is None:
            raw = resources[id(resource)] = _resource(resource)
        reduced.append((raw, *one))
    kept = list(starmap(_kept, reduced))
    return RecordSpans(kept, skipped, any(not one.is_outline for one in kept))


_Reduced = tuple[bytes, Span | LogRecord, SpanReason, bytes]
"""The resource of a span or log event, the item without what is not staged, why it is kept, and the user it names."""


def _resource(resource: Resource) -> bytes:
    return Resource(attributes=[one for one in resource.attributes if one.key in _RESOURCE_NAMES]).SerializeToString()


def _kept(resource: bytes, item: Span | LogRecord, reason: SpanReason, user: bytes) -> Kept:
    content, trace_id = item.SerializeToString(), item.trace_id
    is_log = reason is SpanReason.EVENT
    name = b"".join((trace_id, item.span_id, b"\1" if is_log else b"\0", resource, content))
    id_ = hashlib.sha256(name).digest()[:_ID_BYTES]
    is_root = isinstance(item, Span) and not item.parent_span_id
    return Kept(id_, trace_id, user, is_log, reason is SpanReason.OUTLINE, is_root, resource, content, reason)


def _reduce_span(span: Span, folding: Folding) -> tuple[Span, SpanReason, bytes] | None:
    attributes = span.attributes
    shape = shape_of(tuple([one.key for one in attributes]))
    if shape.pending is not None and attributes[shape.pending].value.string_value == "pending_span":
        return None
    role = shape.role_of(attributes)
    if role is Role.OTHER and span.events and any(event.name == mapping.RESULT_EVENT for event in span.events):
        role = Role.RETRIEVAL
    if role not in SPEAKING and not shape.speaks:
        _outline(span, shape)
        return span, SpanReason.OUTLINE, b""
    user = _user([attributes[place].value for place in shape.users], folding) if shape.users else b""
    _trim(span, shape, role)
    return span, _REASONS.get(role, SpanReason.CONTEXT), user


_REASONS = {
    Role.MODEL_CALL: SpanReason.MODEL_CALL,
    Role.RETRIEVAL: SpanReason.RETRIEVAL,
    Role.RERANKING: SpanReason.RETRIEVAL,
}


def _outline(span: Span, shape: Shape) -> None:
    """Keep only the parts that define the shape of a trace: ids, times, role, error."""
    for name in ("name", "links", "events", "trace_state", "kind", "flags", "dropped_attributes_count"):
        span.ClearField(name)
    _set_status(span)
    for place in shape.unwanted_of_outline:
        del span.attributes[place]


def _trim(span: Span, shape: Shape, role: Role) -> None:
    """Keep only the parts that the mapping knows."""
    for name in ("name", "links", "trace_state", "kind", "flags"):
        span.ClearField(name)
    _set_status(span)
    for place in shape.unwanted_by(role):
        del span.attributes[place]
    if span.events:
        for place in range(len(span.events) - 1, -1, -1):
            if span.events[place].name not in mapping.EVENTS:
                del span.events[place]


def _set_status(span: Span) -> None:
    """Keep only whether the span failed, because the status message may quote any text."""
    if span.HasField("status"):
        code = span.status.code
        span.ClearField("status")
        if code == Status.STATUS_CODE_ERROR:
            span.status.code = code


def _reduce_log(log: LogRecord, folding: Folding) -> tuple[LogRecord, SpanReason, bytes] | None:
    values = {one.key: one.value for one in log.attributes}
    name = log.event_name or ("event.name" in values and values["event.name"].string_value)
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
    users = [values[attribute.name] for attribute in mapping.USER if attribute.name in values]
    return small, SpanReason.EVENT, _user(users, folding)


def _user(values: Iterable[AnyValue], folding: Folding) -> bytes:
    """The 16 bytes of the id of the user that the first of these values names; empty if none does."""
    for value in map(value_of, values):
        if value is not None and value != "":
            with suppress(ValueError):  # not a valid id: the fold will reject the trace
                return folding.user_of(value).bytes
    return b""
