"""Decodes OTLP in JSON to the same messages as OTLP in protobuf.

Ids are in hex, and 64-bit numbers may be strings (OTLP 1.x, "JSON Protobuf Encoding"). All other members
are ignored, as the specification requires.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

import msgspec
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status, TracesData

# A level takes up to three nested messages, and protobuf's own parser accepts at most a hundred.
MOST_LEVELS = 25
_Number = int | str


class _Struct(msgspec.Struct, rename="camel", gc=False):
    """A JSON object. An absent member, or a null, has its default."""


class _Value(_Struct):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: _Number | None = None
    double_value: float | _Number | None = None
    bytes_value: str | None = None
    array_value: _Values | None = None
    kvlist_value: _Members | None = None


class _Values(_Struct):
    values: list[_Value | None] | None = None


class _Member(_Struct):
    key: str = ""
    value: _Value | None = None


class _Members(_Struct):
    values: list[_Member] | None = None


class _Event(_Struct):
    name: str = ""
    time_unix_nano: _Number | None = None
    attributes: list[_Member] | None = None


class _Status(_Struct):
    code: _Number | None = None


class _Span(_Struct):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str | None = None
    name: str | None = None
    start_time_unix_nano: _Number | None = None
    end_time_unix_nano: _Number | None = None
    attributes: list[_Member] | None = None
    dropped_attributes_count: _Number | None = None
    events: list[_Event] | None = None
    status: _Status | None = None


class _Log(_Struct):
    trace_id: str | None = None
    span_id: str | None = None
    time_unix_nano: _Number | None = None
    observed_time_unix_nano: _Number | None = None
    event_name: str | None = None
    body: _Value | None = None
    attributes: list[_Member] | None = None


class _Resource(_Struct):
    attributes: list[_Member] | None = None


class _ScopeSpans(_Struct):
    spans: list[_Span] | None = None


class _ResourceSpans(_Struct):
    resource: _Resource | None = None
    scope_spans: list[_ScopeSpans] | None = None


class _Traces(_Struct):
    resource_spans: list[_ResourceSpans]


class _ScopeLogs(_Struct):
    log_records: list[_Log] | None = None


class _ResourceLogs(_Struct):
    resource: _Resource | None = None
    scope_logs: list[_ScopeLogs] | None = None


class _Logs(_Struct):
    resource_logs: list[_ResourceLogs]


_traces, _logs = msgspec.json.Decoder(_Traces), msgspec.json.Decoder(_Logs)


def traces(text: bytes) -> TracesData:
    """Decode the spans.

    :raises ValueError: a member does not have the form of OTLP; the message quotes no value
    """
    return TracesData(
        resource_spans=[
            ResourceSpans(
                resource=_resource(one.resource),
                scope_spans=[ScopeSpans(spans=map(_span, scope.spans or ())) for scope in one.scope_spans or ()],
            )
            for one in _traces.decode(text).resource_spans
        ]
    )


def logs(text: bytes) -> LogsData:
    """Decode the log records. It raises the same errors as :func:`traces`."""
    return LogsData(
        resource_logs=[
            ResourceLogs(
                resource=_resource(one.resource),
                scope_logs=[
                    ScopeLogs(log_records=map(_log, scope.log_records or ())) for scope in one.scope_logs or ()
                ],
            )
            for one in _logs.decode(text).resource_logs
        ]
    )


def _resource(resource: _Resource | None) -> Resource:
    return Resource(attributes=_members(resource.attributes if resource else None, 0))


def _span(span: _Span) -> Span:
    return Span(
        trace_id=_id(span.trace_id),
        span_id=_id(span.span_id),
        parent_span_id=_id(span.parent_span_id),
        name=span.name or "",
        start_time_unix_nano=_count(span.start_time_unix_nano, 64),
        end_time_unix_nano=_count(span.end_time_unix_nano, 64),
        attributes=_members(span.attributes, 0),
        dropped_attributes_count=_count(span.dropped_attributes_count, 32),
        events=map(_event, span.events or ()),
        status=Status(code=_status(span.status)),
    )


def _event(event: _Event) -> Span.Event:
    return Span.Event(
        name=event.name, time_unix_nano=_count(event.time_unix_nano, 64), attributes=_members(event.attributes, 0)
    )


def _log(log: _Log) -> LogRecord:
    return LogRecord(
        trace_id=_id(log.trace_id),
        span_id=_id(log.span_id),
        time_unix_nano=_count(log.time_unix_nano, 64),
        observed_time_unix_nano=_count(log.observed_time_unix_nano, 64),
        event_name=log.event_name or "",
        body=_value(log.body, 0),
        attributes=_members(log.attributes, 0),
    )


def _status(status: _Status | None) -> Status.StatusCode.ValueType:
    """The status code, from a number as in OTLP, or from a name as in protobuf's own JSON."""
    code = status.code if status else None
    if isinstance(code, str) and not code.isdecimal():
        return Status.STATUS_CODE_ERROR if code == "STATUS_CODE_ERROR" else Status.STATUS_CODE_UNSET
    return Status.STATUS_CODE_ERROR if _count(code, 32) == Status.STATUS_CODE_ERROR else Status.STATUS_CODE_UNSET


def _id(text: str | None) -> bytes:
    return bytes.fromhex(text) if text else b""


def _count(number: _Number | None, bits: int) -> int:
    found = int(number or 0)
    if not 0 <= found < 1 << bits:
        raise ValueError(f"a number does not fit into {bits} bits")
    return found


def _members(members: Iterable[_Member] | None, level: int) -> list[KeyValue]:
    return [KeyValue(key=member.key, value=_value(member.value, level)) for member in members or ()]


def _value(value: _Value | None, level: int) -> AnyValue:
    if value is None:
        return AnyValue()
    if value.string_value is not None:
        return AnyValue(string_value=value.string_value)
    if value.int_value is not None:
        return AnyValue(int_value=int(value.int_value))
    if value.bool_value is not None:
        return AnyValue(bool_value=value.bool_value)
    if value.double_value is not None:
        return AnyValue(double_value=float(value.double_value))
    if value.bytes_value is not None:
        return AnyValue(bytes_value=base64.b64decode(value.bytes_value))
    return _nested(value, level + 1)


def _nested(value: _Value, level: int) -> AnyValue:
    if level > MOST_LEVELS:
        raise ValueError(f"a value is nested deeper than {MOST_LEVELS} levels")
    if value.array_value is not None:
        return AnyValue(array_value=ArrayValue(values=[_value(one, level) for one in value.array_value.values or ()]))
    if value.kvlist_value is not None:
        return AnyValue(kvlist_value=KeyValueList(values=_members(value.kvlist_value.values, level)))
    return AnyValue()
