"""Identifies the format of a value that is not JSON: compressed, framed, binary, or text in another encoding.

Only formats that their first bytes identify are recognised. No message quotes the value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_MAGIC = b"\0"
_OPENING = rb'[{\["]'  # the first characters that a JSON text of an event can have
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_SEARCHED_BYTES = 256


def format_of(value: bytes) -> str | None:
    """Return the format of the value and advice for the producer; None if the format is uncertain.

    :param value: bytes that are not a JSON text in UTF-8
    """
    if not value.strip():
        return "empty: the value holds only white space" if value else "empty: the value has no bytes"
    for signature, problem in _SIGNATURES:
        if signature.match(value):
            return problem
    return _registry_frame(value) or _binary_data(value) or _terminated_text(value)


def _registry_frame(value: bytes) -> str | None:
    """Recognise a zero byte and a schema id before the value. Apicurio's ids have eight bytes, Confluent's four."""
    end = 9 if value[1:5] == bytes(4) and value[5:6] not in (b"{", b"[") else 5
    schema_id = int.from_bytes(value[1:end], "big")
    if not value.startswith(_MAGIC) or len(value) <= end or not (schema_id or end == 5):
        return None
    is_json = value[end:].lstrip().startswith(b"{")
    content = "JSON (JSON Schema serializer)" if is_json else "binary data (Avro or Protobuf serializer)"
    return (
        f"framed by a schema registry serializer: magic byte 00 and schema id {schema_id} stand before {content};"
        " publish plain JSON, with a serializer that uses no schema registry"
    )


def _binary_data(value: bytes) -> str | None:
    """Recognise binary data: JSON begins with one of a few characters and contains no control characters."""
    if value.lstrip()[:1] in b'{["' or not _NOT_TEXT.search(value[:_SEARCHED_BYTES]):
        return None
    return "binary data, not JSON (serialized with Avro or Protobuf, perhaps); publish JSON in UTF-8"


def _terminated_text(value: bytes) -> str | None:
    """Recognise a C string that was sent with its terminating zero byte."""
    if not value.endswith(b"\0"):
        return None
    return "text that ends with a zero byte, as a string in C does; publish the JSON without it"


def _encoding(name: str) -> str:
    return f"{name}, not UTF-8; publish JSON in UTF-8"


def _compressed(name: str) -> str:
    return (
        f"compressed with {name} inside the record; publish the JSON itself and let the producer compress"
        " (compression.type), which ragledger reads"
    )


def _signatures() -> Sequence[tuple[re.Pattern[bytes], str]]:
    utf_32 = rb"\xff\xfe\0\0|\0\0\xfe\xff|" + _OPENING + rb"\0\0\0|\0\0\0" + _OPENING + rb"\0\0\0"
    utf_16 = rb"\xff\xfe|\xfe\xff|" + _OPENING + rb"\0[^\0]\0|\0" + _OPENING + rb"\0[^\0]"
    named = {
        utf_32: _encoding("UTF-32"),
        utf_16: _encoding("UTF-16"),
        rb"\x1f\x8b": _compressed("gzip"),
        rb"\x28\xb5\x2f\xfd": _compressed("zstd"),
        rb"\x04\x22\x4d\x18": _compressed("lz4"),
        rb"\xff\x06\0\0sNaPpY|\x82SNAPPY\0": _compressed("snappy"),
        rb"BZh[1-9]1AY&SY": _compressed("bzip2"),
        rb"PK\x03\x04": "a zip archive; publish the JSON itself",
        rb"\x03[\x00\x05].{16}": (
            "framed by the AWS Glue Schema Registry serializer: header version 03 and the id of a schema version stand"
            " before the data; publish plain JSON, with a serializer that uses no schema registry"
        ),
        rb"Obj\x01": "an Avro container file; publish JSON, one event a record",
        rb"PAR1": "a Parquet file; publish JSON, one event a record",
        rb"\xac\xed\0\x05": "a serialized Java object; publish JSON, with a serializer for strings or JSON",
    }
    return [(re.compile(pattern, re.DOTALL), problem) for pattern, problem in named.items()]


_SIGNATURES = _signatures()
