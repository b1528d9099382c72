"""Encodes events as tuples in PostgreSQL's binary COPY format (see "Binary Format" on the manual's page on COPY).

Every field is a 32-bit length and that many bytes, -1 for NULL; numbers are in network byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import MAX_PREC, Context, Decimal
from functools import cache
from itertools import repeat
from operator import add
from typing import Any
from uuid import UUID

from consumer.decode.memory import Memory
from consumer.events.fields import Field, Number
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
_JSONB_HEAD, _JSONB_VERSION = struct.Struct("!ib"), 1
_NUMERIC_POSITIVE, _NUMERIC_NEGATIVE = 0x0000, 0x4000
_GROUP_DIGITS, _GROUP = 4, 10_000
_EXACT = Context(prec=MAX_PREC)


def microseconds(moment: datetime) -> int:
    """A naive UTC datetime as PostgreSQL counts it: microseconds since 2000-01-01."""
    return (moment - _POSTGRES_EPOCH) // _MICROSECOND


def moment_of(micros: int) -> datetime:
    """The inverse of :func:`microseconds`."""
    return _POSTGRES_EPOCH + micros * _MICROSECOND


def length_prefix(length: int) -> bytes:
    """The length prefix of a field with `length` bytes."""
    return _LENGTH.pack(length)


def id_tuple(raw: bytes) -> bytes:
    """The tuple of a table whose only column is an id, with these 16 bytes."""
    return _ONE_FIELD + UUID_LENGTH + raw


def encode_text(text: str) -> bytes:
    """Encode a text, a varchar, or an enum's label."""
    raw = text.encode()
    return length_prefix(len(raw)) + raw


def encode_bytes(raw: bytes) -> bytes:
    """Encode a bytea."""
    return length_prefix(len(raw)) + raw


def length_prefixes(fields: Sequence[bytes]) -> list[bytes]:
    """The length prefix of each field."""
    return list(map(_LENGTH.pack, map(len, fields)))


def jsonb_heads(raws: Sequence[bytes]) -> list[bytes]:
    """The bytes before each JSON value: the length, and the version byte of jsonb's wire format."""
    return list(map(_JSONB_HEAD.pack, map(add, map(len, raws), repeat(1)), repeat(_JSONB_VERSION)))


def encode_jsonb(raw: bytes) -> bytes:
    """Encode a jsonb. The JSON stays unchanged."""
    return _JSONB_HEAD.pack(len(raw) + 1, _JSONB_VERSION) + raw


def encode_numeric(number: Decimal) -> bytes:
    """Encode a numeric that displays as many decimals as the number has."""
    exponent = int(number.as_tuple().exponent)
    return encode_units(int(number.scaleb(-exponent, _EXACT)) * 10 ** max(exponent, 0), max(-exponent, 0))


@cache
def numerics(scale: int) -> Memory:
    """The cache of encoded numerics of a scale, by their units; None is NULL."""
    return Memory(lambda units: NULL if units is None else encode_units(units, scale))


def encode_units(units: int, scale: int) -> bytes:
    """Encode a numeric of `scale` decimals, given as a count of its last decimal place.

    The format has groups of four decimal digits around the point, the weight of the first group, the sign, and the
    scale. This function follows numeric_send in PostgreSQL's src/backend/utils/adt/numeric.c.
    """
    fraction_groups = -(-scale // _GROUP_DIGITS)
    rest = abs(units) * 10 ** (fraction_groups * _GROUP_DIGITS - scale)
    groups: list[int] = []
    while rest:
        groups.append(rest % _GROUP)
        rest //= _GROUP
    weight = len(groups) - fraction_groups - 1 if groups else 0
    while groups and not groups[0]:
        del groups[0]
    count = len(groups)
    sign = _NUMERIC_NEGATIVE if units < 0 else _NUMERIC_POSITIVE
    return _numeric(count).pack(8 + 2 * count, count, weight, sign, scale, *groups[::-1])


@cache
def _numeric(groups: int) -> struct.Struct:
    return struct.Struct(f"!ihhHh{groups}h")


def encode_uuid(value: UUID) -> bytes:
    """Encode a uuid."""
    return UUID_LENGTH + value.bytes


def key_bytes(value: UUID | str) -> bytes:
    """The bytes of a row's key: of a UUID its 16 bytes, of a text its whole COPY field."""
    return value.bytes if isinstance(value, UUID) else encode_text(value)


def encode_integer(number: int) -> bytes:
    """Encode an integer of 32 bits."""
    return _INT4.pack(4, number)


def encode_many_integers(numbers: Sequence[int]) -> list[bytes]:
    """Encode many integers of 32 bits, without a Python call for each.

    :raises struct.error: an integer has more bits
    """
    return list(map(_INT4.pack, repeat(4), numbers))


def encode_microseconds(micros: int) -> bytes:
    """Encode a timestamp, given as microseconds since 2000-01-01."""
    return _INT8.pack(8, micros)


def encode_many_microseconds(many: Sequence[int]) -> list[bytes]:
    """Encode many timestamps, without a Python call for each."""
    return list(map(_INT8.pack, repeat(8), many))


def encode_boolean(flag: bool) -> bytes:
    """Encode a boolean."""
    return _TRUE if flag else _FALSE


def _encode_timestamp(moment: datetime) -> bytes:
    return encode_microseconds(microseconds(moment))


# Every other type is an enum. Its binary form is its label.
_ENCODERS: Mapping[str, Callable[[Any], bytes]] = {
    "uuid": encode_uuid,
    "text": encode_text,
    "integer": encode_integer,
    "timestamp": _encode_timestamp,
    "boolean": encode_boolean,
    "jsonb": encode_jsonb,
    "bytea": encode_bytes,
}


def _encoder(field: Field) -> Callable[[Any], bytes]:
    if isinstance(field, Number) and field.scale:
        scale, encoded = field.scale, numerics(field.scale)
        return lambda number: encoded[int(number.scaleb(scale))]  # it is already rounded to this scale
    return _ENCODERS.get(field.pg_type, encode_text)


def tuple_head(kind: Kind) -> bytes:
    """The first bytes of a tuple: the number of its fields."""
    return struct.pack("!h", len(kind.columns))


def tuple_encoder(kind: Kind) -> Callable[[Values], bytes]:
    """Return a function that encodes the values of one event as a COPY tuple, with columns in declared order."""
    head = tuple_head(kind)
    columns = [(name, _encoder(field)) for name, field in kind.columns.items()]

    def encode(values: Values) -> bytes:
        parts = [encoder(values[name]) if name in values else NULL for name, encoder in columns]
        return head + b"".join(parts)

    return encode
