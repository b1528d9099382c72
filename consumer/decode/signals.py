"""Decodes records of traces and logs to rows of staged_spans."""

from __future__ import annotations

from consumer.decode.spans import SpanRecord, span_row
from consumer.events.otlp.kinds import SignalKind
from consumer.events.otlp.staged import read_spans
from consumer.events.record import Record
from consumer.events.rejection import Rejected


def decode_spans(kind: SignalKind, record: Record) -> SpanRecord | Rejected:
    """Decode a record to its staged spans, or return the reason why it cannot be read."""
    try:
        found = read_spans(record.value, kind)
    except Rejected as rejected:
        return rejected
    rows = [span_row(record, one) for one in found.kept]
    return SpanRecord(record, b"", b"", (), None, 0, rows=rows, skipped=found.skipped, speaks=found.speaks)
