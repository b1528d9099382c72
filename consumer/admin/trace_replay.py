"""Replays dead letters of spans: records that could not be read, and whole traces."""

from __future__ import annotations

from uuid import UUID

from consumer.decode.lanes import decode
from consumer.decode.spans import SpanRecord
from consumer.decode.traces import TRACE_PARTITION, judge
from consumer.events.otlp.kinds import Signal, SignalKind, signal_kind
from consumer.events.otlp.staged import read_spans
from consumer.events.otlp.trace import Stored
from consumer.events.record import Record
from consumer.events.rejection import Rejected


def is_trace(record: Record) -> bool:
    """Whether the record of a dead letter stands for a trace."""
    return record.partition == TRACE_PARTITION


def decode_again(kind: SignalKind, record: Record, max_bytes: int) -> SpanRecord:
    """The spans of a record, or of a trace that is a dialogue now. They are staged again, and the service folds them.

    :raises Rejected: the record cannot be read, or the trace still lacks a field
    """
    of_traces = signal_kind(Signal.SPANS, kind.folding) if is_trace(record) else kind
    decoded = decode(of_traces, record, None if is_trace(record) else max_bytes)
    assert isinstance(decoded, SpanRecord)
    if is_trace(record):
        kept = read_spans(record.value, of_traces).kept
        traces = {
            UUID(bytes=trace): [Stored(one.is_log, one.resource, one.content) for one in kept if one.trace_id == trace]
            for trace in {one.trace_id for one in kept}
        }
        for judged in judge(kind.folding, record.topic, traces).values():
            if isinstance(judged, Rejected):
                raise judged
    return decoded
