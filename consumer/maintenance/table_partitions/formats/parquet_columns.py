"""The types of the columns in Parquet, and their values in both directions.

uuid                          UUID (16 bytes)
timestamp, with or without    Timestamp, microseconds, UTC
time zone
numeric(p,s)                  Decimal(p,s), up to 76 digits
smallint, integer, bigint     Int of 16, 32, 64 bits
boolean                       Boolean
json, jsonb                   JSON: the text of PostgreSQL, so no digit of a number is lost
every other type              String: the text of PostgreSQL

`typed` and `as_text` are the inverse of each other: each value returns as the text that PostgreSQL has written. If
Parquet has no such value (infinity, NaN, years beyond 1 to 9999), the archive is refused. The metadata of a field has
the type's name in PostgreSQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

from consumer.maintenance.table_partitions.errors import ArchiveError
from consumer.maintenance.table_partitions.shape import Column

_PRECISION = re.compile(r"timestamp\(\d\)")
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_DIGITS_OF_128_BITS, _MOST_DIGITS = 38, 76
_PLAIN_SCALE = 6
"""Up to this scale pyarrow writes a small decimal without an exponent."""
_TYPE = b"postgresql"


@dataclass(frozen=True, slots=True)
class Codec:
    """A type, and the functions that make its values from text and text from its values."""

    type: pa.DataType
    encode: Callable[[pa.Array], pa.Array]
    decode: Callable[[pa.Array], pa.Array]


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """Return the schema of a file with these columns."""
    return pa.schema(
        [pa.field(one.name, _codec(one.type).type, metadata={_TYPE: one.type.encode()}) for one in columns]
    )


def parsed(block: bytes, schema: pa.Schema) -> pa.Table:
    """Parse rows of CSV into a table of texts. Every value is quoted, and NULL is not.

    :raises ArchiveError: the CSV is malformed, or is not UTF-8
    """
    try:
        return read_csv(
            pa.BufferReader(block),
            ReadOptions(column_names=schema.names, block_size=len(block) + 1, use_threads=False),
            ParseOptions(newlines_in_values=True),
            ConvertOptions(
                column_types=dict.fromkeys(schema.names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:  # its message would quote values
        raise ArchiveError(f"the rows are no CSV in UTF-8 that pyarrow can read. {_INSTEAD}") from None


def typed(texts: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give the columns their types.

    :raises ArchiveError: Parquet has no such value
    """
    arrays = [_encoded(field, texts[field.name].combine_chunks()) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def as_text(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the columns as the texts that PostgreSQL has written."""
    columns = {
        name: _codec(_type_name(schema.field(name))).decode(table[name].combine_chunks()) for name in table.column_names
    }
    return pa.table(columns)


def _encoded(field: pa.Field, texts: pa.Array) -> pa.Array:
    codec = _codec(_type_name(field))
    try:
        values = codec.encode(texts)
        is_exact = codec.decode(values).equals(texts)
    except (pa.ArrowException, ValueError):  # the message would quote values
        is_exact = False
    if not is_exact:
        raise ArchiveError(
            f"column {field.name} ({_type_name(field)}) has a value that Parquet cannot hold exactly, such as infinity"
            f" or NaN. {_INSTEAD}"
        )
    return values


_INSTEAD = "The table stays; run the command again with --format csv, which holds every value"


def _type_name(field: pa.Field) -> str:
    return str((field.metadata or {}).get(_TYPE, b"text").decode())


def _codec(type_name: str) -> Codec:
    if numeric := _NUMERIC.fullmatch(type_name):
        precision, scale = map(int, numeric.groups())
        if scale <= precision <= _MOST_DIGITS:
            return _decimal(precision, scale)
    return _CODECS.get(_PRECISION.sub("timestamp", type_name), _TEXT)


def _same(values: pa.Array) -> pa.Array:
    return values


def _cast(to: pa.DataType) -> Codec:
    return Codec(to, lambda texts: texts.cast(to), lambda values: values.cast(pa.string()))


def _decimal(precision: int, scale: int) -> Codec:
    plain = _cast((pa.decimal128 if precision <= _DIGITS_OF_128_BITS else pa.decimal256)(precision, scale))
    if scale <= _PLAIN_SCALE:
        return plain
    return Codec(plain.type, plain.encode, _without_exponent)


def _without_exponent(values: pa.Array) -> pa.Array:
    texts = [None if value is None else format(value, "f") for value in values.to_pylist()]
    return pa.array(texts, pa.string())


def _timestamp(zone: str) -> Codec:
    """Return the codec of a timestamp whose text ends with `zone`. The session's time zone is UTC."""
    utc, naive = pa.timestamp("us", "UTC"), pa.timestamp("us")

    def encode(texts: pa.Array) -> pa.Array:
        return pc.replace_substring_regex(texts, f"{re.escape(zone)}$", "").cast(naive).view(utc)

    def decode(values: pa.Array) -> pa.Array:
        moments = pc.replace_substring_regex(values.view(naive).cast(pa.string()), r"\.?0*$", "")
        return pc.binary_join_element_wise(moments, pa.scalar(zone), "") if zone else moments

    return Codec(utc, encode, decode)


def _uuid_values(texts: pa.Array) -> pa.Array:
    nobody = "0" * 32
    digits = pc.replace_substring(texts, "-", "").fill_null(nobody)
    data = pa.py_buffer(bytes.fromhex("".join(digits.to_pylist())))
    ids = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(texts), [None, data])
    return pa.ExtensionArray.from_storage(pa.uuid(), pc.if_else(texts.is_valid(), ids, pa.scalar(None, pa.binary(16))))


def _uuid_texts(values: pa.Array) -> pa.Array:
    ids = values.storage.fill_null(bytes(16))
    digits = pa.py_buffer(b"".join(ids.to_pylist()).hex().encode())
    plain = pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(ids), [None, digits]).cast(pa.string())
    texts = pc.replace_substring_regex(plain, "^(.{8})(.{4})(.{4})(.{4})", r"\1-\2-\3-\4-")
    return pc.if_else(values.is_valid(), texts, pa.scalar(None, pa.string()))


def _boolean_texts(values: pa.Array) -> pa.Array:
    return pc.if_else(values, "t", "f")


def _boolean_values(texts: pa.Array) -> pa.Array:
    return pc.equal(texts, "t")


_TEXT = Codec(pa.string(), _same, _same)
_JSON = Codec(
    pa.json_(), lambda texts: pa.ExtensionArray.from_storage(pa.json_(), texts), lambda values: values.storage
)
_CODECS = {
    "uuid": Codec(pa.uuid(), _uuid_values, _uuid_texts),
    "timestamp without time zone": _timestamp(""),
    "timestamp with time zone": _timestamp("+00"),
    "smallint": _cast(pa.int16()),
    "integer": _cast(pa.int32()),
    "bigint": _cast(pa.int64()),
    "boolean": Codec(pa.bool_(), _boolean_values, _boolean_texts),
    "json": _JSON,
    "jsonb": _JSON,
}
