"""From a record to a row: the fast lane first, the exact lane for whatever that does not recognise."""

from __future__ import annotations

from functools import cache

from consumer.events.kind import Kind
from consumer.events.record import Record
from consumer.ingest.fast_lane import FastLane
from consumer.ingest.readers import NotRecognised
from consumer.ingest.rows import Row, decode_exactly


def decode(kind: Kind, record: Record) -> Row:
    """The row of one record.

    :raises Rejected: the record cannot be stored as it was meant
    """
    try:
        return _fast_lane(kind).decode(record)
    except NotRecognised:
        return decode_exactly(kind, record)


_fast_lane = cache(FastLane)
