"""Decodes row by row, for comparison with the fast lane: msgspec decodes a record, then each value is encoded alone.

It recognises the same dialogues as the fast lane, except those with an envelope or unknown fields, and returns the same
rows.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw

from consumer.decode.copy_format import (
    NULL,
    UUID_LENGTH,
    encode_integer,
    encode_jsonb,
    encode_microseconds,
    encode_text,
    encode_units,
    microseconds,
    tuple_head,
)
from consumer.decode.rows import Row
from consumer.events.dialogue import CONFIDENCE, DIALOGUE, Citations
from consumer.events.fields import Field, KeyedId, Number, Text, Timestamp, Uuid
from consumer.events.identity import from_record
from consumer.events.payload import parse_scalar
from consumer.events.record import Record


class _Citation(msgspec.Struct, gc=False):
    source: str
    title: str | None = None
    confidence: Raw = Raw(b"null")
    timestamp: datetime | None = None


_citations = msgspec.json.Decoder(list[_Citation]).decode
_TYPES: dict[type[Field], Any] = {
    Uuid: str,
    KeyedId: str,
    Text: str,
    Timestamp: datetime,
    Number: Raw,
    Citations: Raw,
}


def _uuid(text: str) -> tuple[bytes, Any]:
    return UUID_LENGTH + bytes.fromhex(text.replace("-", "")), text


def _text(text: str) -> tuple[bytes, Any]:
    if "\0" in text:
        raise ValueError
    return encode_text(text), text


def _timestamp(moment: datetime) -> tuple[bytes, Any]:
    naive = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    micros = microseconds(naive)
    return encode_microseconds(micros), micros


def _number(field: Number) -> Callable[[Raw], tuple[bytes, Any]]:
    def encode(raw: Raw) -> tuple[bytes, Any]:
        value = field.parse(parse_scalar(bytes(raw)))
        if isinstance(value, int):
            return encode_integer(value), value
        return encode_units(int(value.scaleb(field.scale)), field.scale), value

    return encode


def _json(raw: Raw) -> tuple[bytes, Any]:
    text = bytes(raw)
    if b"\\u0000" in text:
        raise ValueError
    found = _citations(text)
    for citation in found:
        if (confidence := bytes(citation.confidence)) != b"null":
            CONFIDENCE.parse(parse_scalar(confidence))
    return encode_jsonb(text), len(found)


_ENCODERS: dict[type[Field], Callable[[Any], Any]] = {
    Uuid: lambda _: _uuid,
    KeyedId: lambda _: _uuid,
    Text: lambda _: _text,
    Timestamp: lambda _: _timestamp,
    Number: _number,
    Citations: lambda _: _json,
}
_NULL = Raw(b"null")
_NAMES = list(DIALOGUE.columns)


def _member(name: str, json_type: Any) -> Any:
    return (name, Raw, _NULL) if json_type is Raw else (name, json_type | None, None)


_FIELDS = [_ENCODERS[type(field)](field) for field in DIALOGUE.columns.values()]
_decode = msgspec.json.Decoder(
    msgspec.defstruct(
        "Dialogue",
        [_member(name, _TYPES[type(field)]) for name, field in DIALOGUE.columns.items()],
        forbid_unknown_fields=True,
        gc=False,
    )
).decode
_HEAD, _FACTS = tuple_head(DIALOGUE), [_NAMES.index(name) for name in DIALOGUE.facts]
_ID, _USER, _CREATED_AT, _PROMPT, _COMPLETION, _TOTAL = map(
    _NAMES.index, ("id", "user_id", "created_at", "prompt_tokens", "completion_tokens", "total_tokens")
)


def decode(record: Record) -> Row:
    """Decode the row of one record.

    :raises Exception: the record does not have the common shape
    """
    values = list(msgspec.structs.astuple(_decode(record.value or b"")))
    if values[_ID] is None:
        values[_ID] = str(from_record(record))
    if values[_CREATED_AT] is None:
        values[_CREATED_AT] = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    found = [
        (NULL, None) if value is None or value == _NULL else encode(value)
        for value, encode in zip(values, _FIELDS, strict=True)
    ]
    prompt, completion = found[_PROMPT][1], found[_COMPLETION][1]
    if found[_TOTAL][1] is None and prompt is not None and completion is not None:
        found[_TOTAL] = encode_integer(prompt + completion), prompt + completion
    encoded = _HEAD + b"".join([part for part, _ in found])
    facts = tuple(found[place][1] for place in _FACTS)
    return Row(record, found[_ID][0][4:], encoded, facts, found[_CREATED_AT][1], 0, found[_USER][0][4:])
