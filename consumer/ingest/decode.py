"""From a record to a row: the fast lane first, the exact lane for whatever that does not recognise."""

from __future__ import annotations

from functools import cache

from consumer.events.kind import Kind
from consumer.events.record import Record
from consumer.events.rejection import Reason, Rejected
from consumer.ingest.fast_lane import FastLane
from consumer.ingest.readers import NotRecognised
from consumer.ingest.rows import Row, decode_exactly


def decode(kind: Kind, record: Record, max_bytes: int | None = None) -> Row:
    """The row of one record.

    :param max_bytes: a larger value is refused; None takes any
    :raises Rejected: the record cannot be stored as it was meant
    """
    if max_bytes is not None and record.value is not None and len(record.value) > max_bytes:
        problem = f"the value has {len(record.value):,} bytes; at most {max_bytes:,} are taken"
        raise Rejected.whole(Reason.RECORD_TOO_LARGE, problem)
    try:
        return _fast_lane(kind).decode(record)
    except NotRecognised:
        return decode_exactly(kind, record)


_fast_lane = cache(FastLane)
