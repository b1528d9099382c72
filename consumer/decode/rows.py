"""A row: one event, ready for COPY, still tied to the record it came from."""

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
    """One event on its way into its table. A struct, as one is made for every record; no cycle can go through it.

    :param record: where it came from; kept because the database may still refuse the row
    :param id: what the event is about, the kind's `key`, as bytes: of a UUID its 16
    :param encoded: the tuple in binary COPY format
    :param facts: what the metrics need to know of it
    :param created_at: microseconds since 2000-01-01 UTC where the row counts towards a day, else None
    :param unknown_fields: members of the event that are no field
    :param subject: the 16 bytes of the id of the person it is about; empty where it is about nobody
    :param note: how its cost came about, where there is anything to say
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
    """The row of one record, by the exact lane.

    :param anonymous: leave out whom it is about
    :raises Rejected: the record cannot be stored as it was meant
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
    """Forget the numerics that have been encoded."""
    _encoder.cache_clear()
    numerics.cache_clear()
