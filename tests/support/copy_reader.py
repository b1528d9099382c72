"""Reads binary COPY as PostgreSQL does, written from its manual and sources and not from our encoder."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Context, Decimal, localcontext
from typing import Any
from uuid import UUID

from consumer.events.kind import Kind


def read_tuple(raw: bytes, kind: Kind) -> Mapping[str, Any]:
    """Return the columns of one tuple by name; NULL is None, jsonb and bytea their bytes."""
    (count,) = struct.unpack_from("!h", raw)
    position, values = 2, {}
    assert count == len(kind.columns)
    for name, field in kind.columns.items():
        (length,) = struct.unpack_from("!i", raw, position)
        position += 4
        values[name] = None if length == -1 else _read(field.pg_type, raw[position : position + length], length)
        position += max(length, 0)
    assert position == len(raw), "bytes after the last column"
    return values


def _read(pg_type: str, raw: bytes, length: int) -> Any:
    assert len(raw) == length, "the tuple ends inside a column"
    if pg_type in ("integer", "timestamp", "boolean", "uuid"):
        return _read_fixed(pg_type, raw)
    if pg_type == "numeric":
        return read_numeric(raw)
    if pg_type == "jsonb":
        assert raw[:1] == b"\1", "jsonb_recv reads only version 1"
        return raw[1:]
    return raw if pg_type == "bytea" else raw.decode()


def _read_fixed(pg_type: str, raw: bytes) -> Any:
    if pg_type == "uuid":
        assert len(raw) == 16
        return UUID(bytes=raw)
    if pg_type == "timestamp":
        return datetime(2000, 1, 1) + timedelta(microseconds=struct.unpack("!q", raw)[0])
    if pg_type == "boolean":
        assert raw in (b"\0", b"\1")
        return raw == b"\1"
    return struct.unpack("!i", raw)[0]


def read_numeric(raw: bytes) -> Decimal:
    """Decode as numeric_recv does: base-10000 digits, weight of the first, sign, number of decimals."""
    count, weight, sign, scale = struct.unpack_from("!HhHH", raw)
    digits = struct.unpack_from(f"!{count}h", raw, 8)
    assert len(raw) == 8 + 2 * count
    assert sign in (0x0000, 0x4000)
    assert all(0 <= digit <= 9999 for digit in digits), "invalid digit in external numeric value"
    with localcontext(Context(prec=5000)):
        value = sum((Decimal(digit).scaleb(4 * (weight - place)) for place, digit in enumerate(digits)), Decimal(0))
        shown = value.quantize(Decimal(1).scaleb(-scale))
        assert shown == value, "more decimals than the scale says: they would be cut off on arrival"
        return -shown if sign else shown
