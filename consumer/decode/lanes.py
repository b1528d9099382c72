"""From records to rows: the fast lane first, then the exact lane for every record that it does not recognise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from operator import attrgetter

from consumer.decode import rows
from consumer.decode.fast_lane import FastLane
from consumer.decode.rows import Row, decode_exactly
from consumer.events.kind import Kind
from consumer.events.otlp.kinds import SignalKind
from consumer.events.record import Record, UnreadableRecord
from consumer.events.rejection import Reason, Rejected

Verdict = Row | Rejected


def decode_all(kind: Kind, records: Sequence[Record], max_bytes: int | None = None) -> Sequence[Verdict]:
    """The verdict on each record: its row, or the rows of its spans, or why it cannot be stored.

    :param max_bytes: larger values are rejected; None accepts any size
    """
    if UnreadableRecord in map(type, records):
        return [_unreadable(record) or decode_all(kind, [record], max_bytes)[0] for record in records]
    if max_bytes is not None and max(map(len, filter(None, map(_VALUE, records))), default=0) > max_bytes:
        return [_refuse_or_decode(kind, record, max_bytes) for record in records]
    if isinstance(kind, SignalKind):
        from consumer.decode.signals import decode_spans  # with protobuf, which a service without OTLP does not need

        return [decode_spans(kind, record) for record in records]
    decoded = _fast_lane(kind).decode(records)
    return [_decode_exactly(kind, record) if row is None else row for record, row in zip(records, decoded, strict=True)]


def decode(kind: Kind, record: Record, max_bytes: int | None = None) -> Row:
    """The row of one record.

    :param max_bytes: larger values are rejected; None accepts any size
    :raises Rejected: the record cannot be stored
    """
    (verdict,) = decode_all(kind, [record], max_bytes)
    if isinstance(verdict, Rejected):
        raise verdict
    return verdict


def forget() -> None:
    """Empty the caches of values, so that the next values are decoded like values that come for the first time."""
    rows.forget()
    _fast_lane.cache_clear()


def _unreadable(record: Record) -> Rejected | None:
    if not isinstance(record, UnreadableRecord):
        return None
    return Rejected.whole(Reason.UNREADABLE_RECORD, record.problem)


def _refuse_or_decode(kind: Kind, record: Record, max_bytes: int) -> Verdict:
    if record.value is None or len(record.value) <= max_bytes:
        return decode_all(kind, [record])[0]
    problem = f"the value has {len(record.value):,} bytes; at most {max_bytes:,} are taken"
    return Rejected.whole(Reason.RECORD_TOO_LARGE, problem)


def _decode_exactly(kind: Kind, record: Record) -> Verdict:
    try:
        return decode_exactly(kind, record)
    except Rejected as rejected:
        return rejected


_fast_lane = cache(FastLane)
_VALUE = attrgetter("value")
