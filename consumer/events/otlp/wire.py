"""Decodes the value of a record to OTLP messages. The first byte distinguishes protobuf from JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from consumer.events.formats import BYTE_ORDER_MARK, format_of
from consumer.events.otlp import wire_json
from consumer.events.otlp.kinds import Signal
from consumer.events.payload import parse
from consumer.events.rejection import Reason, Rejected

TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
_PROTOBUF = b"\x0a"


Item = tuple[Resource, Any]
"""A resource, and one of its Spans or LogRecords."""


def read(value: bytes | None, signal: Signal) -> Sequence[Item]:
    """Return every span, or every log record, in the value of a record.

    :raises Rejected: the value is not OTLP, or it holds another signal
    """
    if value is None:
        raise Rejected.whole(Reason.TOMBSTONE, "a tombstone: the record has no value")
    if value.startswith(_PROTOBUF):
        return _from_protobuf(value, signal)
    text = value.removeprefix(BYTE_ORDER_MARK).lstrip(b" \t\r\n")
    if text.startswith(b"{"):
        return _from_json(text, signal)
    raise _not_otlp(_what_it_is(value))


def is_valid(item: Span | LogRecord) -> bool:
    """Whether the ids are valid. A log record may have no trace id."""
    has_ids = len(item.trace_id) == TRACE_ID_BYTES and len(item.span_id) == SPAN_ID_BYTES and any(item.trace_id)
    return has_ids or (isinstance(item, LogRecord) and not item.trace_id)


def _spans(data: TracesData) -> Iterator[Item]:
    for one in data.resource_spans:
        for scope in one.scope_spans:
            for span in scope.spans:
                yield one.resource, span


def _log_records(data: LogsData) -> Iterator[Item]:
    for one in data.resource_logs:
        for scope in one.scope_logs:
            for record in scope.log_records:
                yield one.resource, record


def _spans_of(value: bytes) -> list[Item]:
    return list(_spans(TracesData.FromString(value)))


def _logs_of(value: bytes) -> list[Item]:
    return list(_log_records(LogsData.FromString(value)))


_READERS: Mapping[Signal, Callable[[bytes], list[Item]]] = {Signal.SPANS: _spans_of, Signal.LOGS: _logs_of}
_OTHER = {Signal.SPANS: Signal.LOGS, Signal.LOGS: Signal.SPANS}
_MEMBERS = {Signal.SPANS: "resourceSpans", Signal.LOGS: "resourceLogs"}


def _from_protobuf(value: bytes, signal: Signal) -> Sequence[Item]:
    items = _parsed(value, signal)
    if items is not None and (not items or any(is_valid(item) for _, item in items)):
        return items
    others = _parsed(value, _OTHER[signal])
    if others and any(is_valid(item) and item.trace_id for _, item in others):
        raise _wrong_signal(_OTHER[signal], signal)
    if items is None:
        problem = "it begins like protobuf but cannot be decoded: cut off, nested too deeply, or in another format"
        raise _not_otlp(f"{problem}; {_ENCODINGS}")
    raise _not_otlp(f"protobuf that holds no {_ITEM[signal]} with a trace id and a span id; {_ENCODINGS}")


def _parsed(value: bytes, signal: Signal) -> list[Item] | None:
    try:
        return _READERS[signal](value)
    except DecodeError:
        return None


def _from_json(text: bytes, signal: Signal) -> Sequence[Item]:
    try:
        return list(_spans(wire_json.traces(text)) if signal is Signal.SPANS else _log_records(wire_json.logs(text)))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _json_problem(text, signal, error) from None


def _json_problem(text: bytes, signal: Signal, error: Exception) -> Rejected:
    """The rejection of JSON that cannot be read. It names another format, another signal, or the invalid member."""
    try:
        document = parse(text)
    except Rejected as rejected:
        return rejected
    name, other = _MEMBERS[signal], _OTHER[signal]
    if name in document:
        said = str(error) if isinstance(error, msgspec.ValidationError) else _in_words(error)
        return _not_otlp(f"JSON whose {name} do not have the form of OTLP: {said}")
    if _MEMBERS[other] in document:
        return _wrong_signal(other, signal)
    if "resourceMetrics" in document:
        return _wrong_signal("metrics", signal)
    if {"traceID", "spanID"} & document.keys():
        return _not_otlp(f"Jaeger's JSON (encoding: jaeger_json); {_ENCODINGS}")
    return _not_otlp(f"JSON without {name}; {_ENCODINGS}")


def _in_words(error: Exception) -> str:
    """Describe an error without its own text if that text might quote the record."""
    text = str(error)
    if text.startswith(("a number", "a value")):
        return text
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return "an id is not hexadecimal, or a number is invalid"


def _wrong_signal(found: str, wanted: str) -> Rejected:
    problem = (
        f"OTLP {found}, but this topic carries {wanted}: give each signal a topic of its own in the Kafka exporter"
    )
    return Rejected.whole(Reason.WRONG_KIND, problem)


def _what_it_is(value: bytes) -> str:
    if value.lstrip()[:1] == b"[":
        return f"a JSON array, as Zipkin writes it (encoding: zipkin_json); {_ENCODINGS}"
    known = format_of(value)
    if known is None or known.startswith("binary data"):
        return f"OTLP neither in protobuf nor in JSON: the first byte is {value[0]:02x}; {_ENCODINGS}"
    return known.partition(";")[0] + f"; {_ENCODINGS}"


def _not_otlp(problem: str) -> Rejected:
    return Rejected.whole(Reason.NOT_OTLP, problem)


_ITEM = {Signal.SPANS: "span", Signal.LOGS: "log record"}
_ENCODINGS = "set encoding: otlp_proto or otlp_json in the Collector's Kafka exporter"
