"""From records of traces and logs to rows of staged_spans: many a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consumer.decode.copy_format import NULL, UUID_LENGTH, encode_boolean, encode_bytes, tuple_head
from consumer.decode.rows import Row
from consumer.events.otlp.staged import SPAN, Kept, SignalKind, SpanReason, emptied, read_spans
from consumer.events.record import Record
from consumer.events.rejection import Rejected


class SpanFacts(NamedTuple):
    """What is known of a staged span beside its columns."""

    trace_id: bytes
    is_root: bool
    reason: SpanReason


class SpanRecord(Row, gc=False, kw_only=True):
    """One record of spans or log events, as a row: it stands for its record wherever records are counted.

    :param rows: what is staged of it
    :param skipped: what is not
    :param speaks: whether anything in it says something about a dialogue; the record is ignored if nothing does
    """

    rows: Sequence[Row]
    skipped: Sequence[SpanReason]
    speaks: bool


def decode_spans(kind: SignalKind, record: Record) -> SpanRecord | Rejected:
    """What is staged of a record, or why it cannot be read."""
    try:
        found = read_spans(record.value, kind)
    except Rejected as rejected:
        return rejected
    rows = [span_row(record, one) for one in found.kept]
    return SpanRecord(record, b"", b"", (), None, 0, rows=rows, skipped=found.skipped, speaks=found.speaks)


def span_row(record: Record, kept: Kept) -> Row:
    """The row of one span."""
    encoded = b"".join(
        (
            _HEAD,
            UUID_LENGTH + kept.id,
            UUID_LENGTH + kept.trace_id,
            UUID_LENGTH + kept.user if kept.user else NULL,
            encode_boolean(kept.is_log),
            encode_boolean(kept.is_outline),
            encode_bytes(kept.resource),
            encode_bytes(kept.content),
        )
    )
    facts = SpanFacts(kept.trace_id, kept.is_root, kept.reason)
    return Row(record, kept.id, encoded, facts, None, 0, kept.user)


def without_content(row: Row) -> Row:
    """The row of a span of a trace whose user was erased: that it was there, and nothing of it."""
    trace_id, is_root, reason = row.facts
    kept = Kept(
        row.id, trace_id, b"", is_log=False, is_outline=True, is_root=is_root, resource=b"", content=b"", reason=reason
    )
    return span_row(row.record, emptied(kept))


_HEAD = tuple_head(SPAN)
