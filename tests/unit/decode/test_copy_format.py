"""Tests binary COPY: a decoder of the tests reads our bytes by PostgreSQL's own rules."""

from __future__ import annotations

import struct
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.decode.copy_format import (
    NULL,
    SIGNATURE,
    TRAILER,
    encode_jsonb,
    encode_numeric,
    encode_text,
    microseconds,
    moment_of,
    tuple_encoder,
)
from consumer.events.dialogue import DIALOGUE
from consumer.events.provenance import PROVENANCE
from tests.support.copy_reader import read_numeric, read_tuple
from tests.support.strategies import texts

ANY_TIME = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31, 23, 59, 59, 999_999))
COUNTS = st.integers(-(2**31), 2**31 - 1)


def cents(most: str) -> st.SearchStrategy[Decimal]:
    """Return decimals as the numeric columns of the events hold them."""
    return st.decimals(0, Decimal(most), places=2, allow_nan=False)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "uuid": st.uuids(),
    "text": texts(),
    "integer": COUNTS,
    "numeric": cents("999999.99"),
    "timestamp": ANY_TIME,
    "boolean": st.booleans(),
    "jsonb": st.binary(max_size=50),
}


def test_the_file_begins_and_ends_as_the_manual_says() -> None:
    """It begins with the signature, no flags and no header extension. It ends with a field count of -1. NULL has the
    length -1.
    """
    assert SIGNATURE == b"PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    assert (TRAILER, NULL) == (b"\xff\xff", b"\xff\xff\xff\xff")


@pytest.mark.parametrize("kind", [DIALOGUE, PROVENANCE], ids=lambda kind: kind.name)
@given(data=st.data())
def test_a_tuple_is_read_back_unchanged(kind: Any, data: st.DataObject) -> None:
    """Any column may have any value, or be missing."""
    columns = {name: VALUES.get(field.pg_type, texts()) for name, field in kind.columns.items()}
    values = data.draw(st.fixed_dictionaries({}, optional=columns))
    encoded = tuple_encoder(kind)(values)
    assert read_tuple(encoded, kind) == {name: values.get(name) for name in kind.columns}


# ── numeric ──


@pytest.mark.parametrize(
    ("number", "groups", "weight", "sign", "scale"),
    [
        ("0", (), 0, 0, 0),
        ("0.00", (), 0, 0, 2),
        ("-0.00", (), 0, 0, 2),
        ("1", (1,), 0, 0, 0),
        ("10000", (1,), 1, 0, 0),
        ("9999", (9999,), 0, 0, 0),
        ("12345678.9", (1234, 5678, 9000), 1, 0, 1),
        ("0.05", (500,), -1, 0, 2),
        ("0.00001", (1000,), -2, 0, 5),
        ("-1.50", (1, 5000), 0, 0x4000, 2),
        ("100000000", (1,), 2, 0, 0),
        ("1E+5", (10,), 1, 0, 0),
        ("999999.99", (99, 9999, 9900), 1, 0, 2),
        ("10000.0001", (1, 0, 1), 1, 0, 4),
    ],
)
def test_numerics_as_numeric_send_writes_them(
    number: str, groups: tuple[int, ...], weight: int, sign: int, scale: int
) -> None:
    """A number has base-10000 digits without zeros at either end, a weight, a sign and a scale, as PostgreSQL itself
    sends it.
    """
    body = struct.pack(f"!hhHh{len(groups)}h", len(groups), weight, sign, scale, *groups)
    assert encode_numeric(Decimal(number)) == struct.pack("!i", len(body)) + body


@given(st.decimals(-(10**30), 10**30, allow_nan=False), st.integers(0, 20))
def test_any_numeric_is_read_back_unchanged(number: Decimal, places: int) -> None:
    """Sign, digits and value are equal, for any size and any number of decimals."""
    shown = Decimal(f"{number:.{places}f}")
    encoded = encode_numeric(shown)
    (length,) = struct.unpack_from("!i", encoded)
    assert length == len(encoded) - 4
    assert read_numeric(encoded[4:]) == shown


@pytest.mark.parametrize("number", ["1E+30", "12.30E+2", "1E-30", "123456789012345678901234567890.123456789"])
def test_numerics_with_exponents(number: str) -> None:
    """The exponent is only a spelling."""
    assert read_numeric(encode_numeric(Decimal(number))[4:]) == Decimal(number)


def test_equal_numbers_keep_their_own_scale() -> None:
    """1.5 and 1.50 are equal and have the same hash, but PostgreSQL shows them differently."""
    shown = [str(read_numeric(encode_numeric(Decimal(text))[4:])) for text in ("1.5", "1.50", "1.500", "0", "0.0")]
    assert shown == ["1.5", "1.50", "1.500", "0", "0.0"]


# ── other types ──


@pytest.mark.parametrize(
    ("moment", "micros"),
    [
        (datetime(2000, 1, 1), 0),
        (datetime(1999, 12, 31, 23, 59, 59, 999_999), -1),
        (datetime(2000, 1, 1, 0, 0, 0, 1), 1),
        (datetime(1970, 1, 1), -946_684_800_000_000),
        (datetime(1, 1, 1), -63_082_281_600_000_000),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999), 252_455_615_999_999_999),
    ],
)
def test_timestamps_count_from_2000(moment: datetime, micros: int) -> None:
    """They count microseconds, which are negative before 2000-01-01."""
    assert (microseconds(moment), moment_of(micros)) == (micros, moment)


@given(ANY_TIME)
def test_timestamps_come_back_to_the_microsecond(moment: datetime) -> None:
    assert moment_of(microseconds(moment)) == moment


@given(texts())
def test_text_is_its_utf_8_with_the_length_in_bytes(text: str) -> None:
    """The length does not count characters."""
    encoded = encode_text(text)
    assert encoded == struct.pack("!i", len(text.encode())) + text.encode()


def test_jsonb_has_its_version_in_front() -> None:
    """jsonb_recv accepts only version 1. The length includes the byte of the version."""
    assert encode_jsonb(b'{"a": 1}') == b"\x00\x00\x00\x09\x01" + b'{"a": 1}'


def test_every_column_has_an_encoder_of_its_type() -> None:
    """This test knows every type of the events. An enum is written as its label."""
    enums = {"content_type", "acquisition_method", "license_type"}
    types = {field.pg_type for kind in (DIALOGUE, PROVENANCE) for field in kind.columns.values()}
    assert types == VALUES.keys() | enums


def test_a_tuple_byte_by_byte() -> None:
    """The tuple has the field count, then a length and its bytes for each column."""
    user = UUID(int=1)
    encoded = tuple_encoder(PROVENANCE)({"id": user, "retention_years": 7, "permission_flag": True})
    uuid, null = b"\0\0\0\x10" + user.bytes, b"\xff\xff\xff\xff"
    assert encoded == b"\0\x0d" + uuid + null * 6 + b"\0\0\0\4\0\0\0\7" + null * 2 + b"\0\0\0\1\1" + null * 2
