"""A row: one event, ready for COPY, still tied to the record it came from."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from consumer.events.kind import Kind, Values
from consumer.events.record import Record
from consumer.ingest.copy_format import key_bytes, microseconds, tuple_encoder


class Row(msgspec.Struct, gc=False):
    """One event on its way into its table. A struct, as one is made for every record; no cycle can go through it.

    :param record: where it came from; kept because the database may still refuse the row
    :param id: what the event is about, the kind's `key`, as bytes: of a UUID its 16
    :param encoded: the tuple in binary COPY format
    :param facts: what the metrics need to know of it
    :param created_at: microseconds since 2000-01-01 UTC where the row counts towards a day, else None
    :param unknown_fields: members of the event that are no field
    """

    record: Record
    id: bytes
    encoded: bytes
    facts: tuple[Any, ...]
    created_at: int | None
    unknown_fields: int


def decode_exactly(kind: Kind, record: Record) -> Row:
    """The row of one record, by the exact lane.

    :raises Rejected: the record cannot be stored as it was meant
    """
    values, facts, unknown_fields = kind.decode(record)
    created_at = microseconds(values[kind.clock_field]) if kind.clock_field else None
    return Row(record, key_bytes(values[kind.key]), _encoder(kind)(values), facts, created_at, unknown_fields)


@cache
def _encoder(kind: Kind) -> Callable[[Values], bytes]:
    return tuple_encoder(kind)
