"""PostgreSQL's binary COPY format (the manual's page on COPY, "Binary Format"): one tuple from one event.

Every field is a 32-bit length and that many bytes, -1 for NULL; numbers are in network byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import repeat
from typing import Any
from uuid import UUID

from consumer.events.kind import Kind, Values

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + struct.pack("!II", 0, 0)
TRAILER = struct.pack("!h", -1)
NULL = struct.pack("!i", -1)

_POSTGRES_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - naive UTC, as the columns are
_MICROSECOND = timedelta(microseconds=1)
_INT4 = struct.Struct("!ii")
_INT8 = struct.Struct("!iq")
_LENGTH = struct.Struct("!i")
_TRUE, _FALSE = b"\0\0\0\1\1", b"\0\0\0\1\0"
UUID_LENGTH = _LENGTH.pack(16)
_ONE_FIELD = struct.pack("!h", 1)
_JSONB_VERSION = b"\1"
_NUMERIC_POSITIVE, _NUMERIC_NEGATIVE = 0x0000, 0x4000


def microseconds(moment: datetime) -> int:
    """A naive UTC datetime as PostgreSQL counts it: microseconds since 2000-01-01."""
    return (moment - _POSTGRES_EPOCH) // _MICROSECOND


def moment_of(micros: int) -> datetime:
    """The inverse of :func:`microseconds`."""
    return _POSTGRES_EPOCH + micros * _MICROSECOND


def length_prefix(length: int) -> bytes:
    """What stands before a field of so many bytes."""
    return _LENGTH.pack(length)


def id_tuple(raw: bytes) -> bytes:
    """The tuple of a table that has nothing but an id, of these 16 bytes."""
    return _ONE_FIELD + UUID_LENGTH + raw


def encode_text(text: str) -> bytes:
    """Text, varchar, and an enum's label."""
    raw = text.encode()
    return length_prefix(len(raw)) + raw


def encode_bytes(raw: bytes) -> bytes:
    """A bytea."""
    return length_prefix(len(raw)) + raw


def jsonb_head(length: int) -> bytes:
    """What stands before so many bytes of JSON: the length, and the version byte of jsonb's wire format."""
    return length_prefix(length + 1) + _JSONB_VERSION


def encode_jsonb(raw: bytes) -> bytes:
    """JSON as the bytes it came in."""
    return jsonb_head(len(raw)) + raw


def encode_numeric(number: Decimal) -> bytes:
    """A numeric: groups of four decimal digits around the point, their weight, the sign, the display scale.

    After numeric_send in PostgreSQL's src/backend/utils/adt/numeric.c.
    """
    sign, digits, exponent = number.as_tuple()
    scale = max(-int(exponent), 0)
    text = "".join(map(str, digits)) + "0" * max(int(exponent), 0)
    whole, fraction = (text[:-scale], text[-scale:]) if scale else (text, "")
    groups, weight = _groups(whole, fraction.rjust(scale, "0"))
    flag = _NUMERIC_NEGATIVE if sign and groups else _NUMERIC_POSITIVE
    body = struct.pack(f"!hhHh{len(groups)}h", len(groups), weight, flag, scale, *groups)
    return _LENGTH.pack(len(body)) + body


def _groups(whole: str, fraction: str) -> tuple[list[int], int]:
    """The base-10000 digits without leading and trailing zeros, and the weight of the first."""
    padded = whole.rjust(-(-len(whole) // 4) * 4, "0") + fraction.ljust(-(-len(fraction) // 4) * 4, "0")
    groups = [int(padded[start : start + 4]) for start in range(0, len(padded), 4)]
    weight = -(-len(whole) // 4) - 1
    while groups and groups[-1] == 0:
        groups.pop()
    while groups and groups[0] == 0:
        groups.pop(0)
        weight -= 1
    return groups, weight if groups else 0


def encode_uuid(value: UUID) -> bytes:
    """A uuid."""
    return UUID_LENGTH + value.bytes


def key_bytes(value: UUID | str) -> bytes:
    """A key as rows carry it: the bytes that stand for it in its COPY field, of a text with their length."""
    return value.bytes if isinstance(value, UUID) else encode_text(value)


def encode_integer(number: int) -> bytes:
    """An integer of 32 bits."""
    return _INT4.pack(4, number)


def encode_microseconds(micros: int) -> bytes:
    """A timestamp, as microseconds since 2000-01-01."""
    return _INT8.pack(8, micros)


def encode_many_microseconds(many: Sequence[int]) -> list[bytes]:
    """Many timestamps, without a call of ours for each."""
    return list(map(_INT8.pack, repeat(8), many))


def encode_boolean(flag: bool) -> bytes:
    """A boolean."""
    return _TRUE if flag else _FALSE


def _encode_timestamp(moment: datetime) -> bytes:
    return encode_microseconds(microseconds(moment))


# Everything else is an enum, whose binary form is its label.
_ENCODERS: Mapping[str, Callable[[Any], bytes]] = {
    "uuid": encode_uuid,
    "text": encode_text,
    "integer": encode_integer,
    "numeric": encode_numeric,
    "timestamp": _encode_timestamp,
    "boolean": encode_boolean,
    "jsonb": encode_jsonb,
    "bytea": encode_bytes,
}


def tuple_head(kind: Kind) -> bytes:
    """What a tuple begins with: the number of its fields."""
    return struct.pack("!h", len(kind.fields))


def tuple_encoder(kind: Kind) -> Callable[[Values], bytes]:
    """The function that turns the values of one event of `kind` into one COPY tuple, columns in declared order."""
    head = tuple_head(kind)
    columns = [(name, _ENCODERS.get(field.pg_type, encode_text)) for name, field in kind.fields.items()]

    def encode(values: Values) -> bytes:
        parts = [encoder(values[name]) if name in values else NULL for name, encoder in columns]
        return head + b"".join(parts)

    return encode
