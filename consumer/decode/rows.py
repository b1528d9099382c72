"""Rows: events that are encoded for COPY, with the records that they come from."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from consumer.decode.copy_format import key_bytes, microseconds, numerics, tuple_encoder
from consumer.events.costs import CostNote
from consumer.events.kind import Kind, Values
from consumer.events.record import Record


class Row(msgspec.Struct, gc=False):
    """One event, encoded for its table.

    It is a msgspec struct without garbage collection, because every record has one and it cannot be part of a cycle.

    :param record: the source of the event; it is kept because PostgreSQL may still reject the row
    :param id: the value of the kind's `key` as bytes; a UUID has 16
    :param encoded: the tuple in binary COPY format
    :param facts: the values that metrics need
    :param created_at: microseconds since 2000-01-01 UTC if the row counts towards a day, else None
    :param unknown_fields: the number of members of the event that are not fields
    :param subject: the 16 bytes of the id of the person that the event concerns; empty if there is none
    :param note: the origin of the cost, if it must be recorded
    """

    record: Record
    id: bytes
    encoded: bytes
    facts: tuple[Any, ...]
    created_at: int | None
    unknown_fields: int
    subject: bytes = b""
    note: CostNote | None = None


def decode_exactly(kind: Kind, record: Record, *, anonymous: bool = False) -> Row:
    """Decode one record with the exact lane.

    :param anonymous: leave out the person that the event concerns
    :raises Rejected: the record is not a valid event of this kind
    """
    values, facts, unknown_fields, note = kind.decode(record)
    if anonymous and kind.subject_field:
        values.pop(kind.subject_field, None)
    created_at = microseconds(values[kind.clock_field]) if kind.clock_field else None
    subject = values[kind.subject_field].bytes if kind.subject_field in values else b""
    key = key_bytes(values[kind.key])
    return Row(record, key, _encoder(kind)(values), facts, created_at, unknown_fields, subject, note)


@cache
def _encoder(kind: Kind) -> Callable[[Values], bytes]:
    return tuple_encoder(kind)


def forget() -> None:
    """Clear the caches of encoders and of encoded numerics."""
    _encoder.cache_clear()
    numerics.cache_clear()
