"""How the fast lane reads one column: from what msgspec found to a COPY field.

Each reader takes only the common shape; whatever else it meets it leaves to the exact lane. Long texts and JSON stay
the bytes they came in (msgspec's Raw); what repeats (numbers with decimals, models, enums) is encoded once, by the
exact lane's own code, and remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, Raw
from pydantic_core import PydanticCustomError

from consumer.events.dialogue import Citations
from consumer.events.fields import Choice, Field, Flag, JsonObject, Number, Text, Timestamp, Uuid
from consumer.events.payload import parse_scalar
from consumer.ingest.copy_format import (
    NULL,
    encode_boolean,
    encode_integer,
    encode_jsonb,
    encode_microseconds,
    encode_numeric,
    encode_text,
    encode_utf8,
    encode_uuid,
    microseconds,
)

REMEMBERED = 50_000
_LONGEST_REMEMBERED = 128  # what is longer is valid but will not come again
_NULL_JSON = b"null"
_BORDER_YEARS = ("0001", "9999")  # where an offset may lead beyond what a datetime can hold
_decode_text = msgspec.json.Decoder(str).decode
_PLAIN_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ](?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d)?", re.ASCII
).fullmatch
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - the same moment, for times without an offset
_MICROSECOND = timedelta(microseconds=1)
_FIRST_MOMENT, _LAST_MOMENT = microseconds(datetime.min), microseconds(datetime.max)  # noqa: DTZ901


class NotRecognised(Exception):
    """Not the common shape: the exact lane decides."""


class Reader:
    """How one column is read: the type msgspec decodes it as, its COPY field, and its fact for the metrics."""

    json_type: Any

    def encode(self, value: Any) -> bytes:
        """The COPY field.

        :raises NotRecognised: the exact lane has to look at it
        """
        raise NotImplementedError

    def fact(self, value: Any) -> Any:
        """What the metrics are told of a value that :meth:`encode` has just taken."""
        return value


class UuidReader(Reader):
    """A UUID."""

    json_type = UUID

    def encode(self, value: UUID) -> bytes:
        """The COPY field."""
        return encode_uuid(value)


class IntegerReader(Reader):
    """An integer in its range."""

    def __init__(self, field: Number) -> None:
        self.json_type = Annotated[int, Meta(ge=int(field.low), le=int(field.high))]

    def encode(self, value: int) -> bytes:
        """The COPY field."""
        return encode_integer(value)


class FlagReader(Reader):
    """A boolean."""

    json_type = bool

    def encode(self, value: bool) -> bytes:
        """The COPY field."""
        return encode_boolean(value)


class TextReader(Reader):
    """A long text: without escapes its bytes are the column's bytes."""

    json_type = Raw

    def encode(self, value: Raw) -> bytes:
        """The COPY field."""
        raw = bytes(value)
        if raw[:1] != b'"':
            raise NotRecognised
        return encode_utf8(_unescape(raw[1:-1]) if b"\\" in raw else raw[1:-1])


class RememberingReader(Reader):
    """Values that repeat: each is held against its declaration and encoded once."""

    def __init__(self, field: Field, encode: Callable[[Any], bytes], json_type: Any) -> None:
        self.json_type = json_type
        self._field, self._encode = field, encode
        self._seen: dict[Any, tuple[bytes, Any]] = {}

    def encode(self, value: Any) -> bytes:
        """The COPY field."""
        return self._remembered(value)[0]

    def fact(self, value: Any) -> Any:
        """The value as the exact lane has it."""
        return self._remembered(value)[1]

    def _remembered(self, value: Any) -> tuple[bytes, Any]:
        key = bytes(value) if type(value) is Raw else value
        found = self._seen.get(key)
        return found if found is not None else self._learn(key)

    def _learn(self, key: Any) -> tuple[bytes, Any]:
        value = None if key == _NULL_JSON else _exactly(self._field, key)
        found = (NULL if value is None else self._encode(value), value)
        if len(key) <= _LONGEST_REMEMBERED:
            if len(self._seen) >= REMEMBERED:
                self._seen.clear()
            self._seen[key] = found
        return found


def plain_time(text: str) -> int:
    """A date-time in one of the forms that need no rounding, as microseconds since 2000-01-01 UTC.

    :raises NotRecognised: another form, or beyond the years 1 to 9999
    """
    if not _PLAIN_TIME(text):
        raise NotRecognised
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise NotRecognised from None
    micros = (moment - (_NAIVE_EPOCH if moment.tzinfo is None else _EPOCH)) // _MICROSECOND
    if not _FIRST_MOMENT <= micros <= _LAST_MOMENT:
        raise NotRecognised
    return micros


class TimestampReader(Reader):
    """A date-time."""

    json_type = str

    def encode(self, value: str) -> bytes:
        """The COPY field."""
        return encode_microseconds(plain_time(value))


class JsonReader(Reader):
    """A JSON object, kept as it came."""

    json_type = Raw

    def encode(self, value: Raw) -> bytes:
        """The COPY field."""
        raw = bytes(value)
        if raw == _NULL_JSON:
            return NULL
        if raw[:1] != b"{":
            raise NotRecognised
        _check_storable(raw)
        return encode_jsonb(raw)


# A decimal that a float rounds to strictly within the range lies within it; at the borders the exact lane looks.
_Confidence = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(gt=0, lt=1)]


class PlainCitation(msgspec.Struct, gc=False):
    """A citation of the common shape."""

    source: str
    title: str | None = None
    confidence: _Confidence | None = None
    timestamp: str | None = None


class CitationsReader(Reader):
    """An array of citations, each checked, kept as it came."""

    json_type = Raw
    _decode = msgspec.json.Decoder(list[PlainCitation]).decode

    def __init__(self) -> None:
        self._count: int | None = None

    def encode(self, value: Raw) -> bytes:
        """The COPY field."""
        raw = bytes(value)
        if raw == _NULL_JSON:
            self._count = None
            return NULL
        _check_storable(raw)
        citations = self._decode(raw)
        for citation in citations:
            if citation.timestamp is not None:
                _check_time(citation.timestamp)
        self._count = len(citations)
        return encode_jsonb(raw)

    def fact(self, value: Any) -> int | None:
        """How many there are in the array that :meth:`encode` has just taken."""
        return self._count


def _check_time(text: str) -> None:
    """Like :func:`plain_time`, for a time that is not stored as one."""
    if not _PLAIN_TIME(text) or text.startswith(_BORDER_YEARS):
        raise NotRecognised
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise NotRecognised from None


def _check_storable(raw: bytes) -> None:
    """Leave what may be an escaped NUL to the exact lane, which knows an escaped backslash from an escape.

    Halves of surrogate pairs need no look: msgspec has refused them already.
    """
    if b"\\" in raw and b"\\u0000" in raw:  # the search for one byte is much the quicker
        raise NotRecognised


def _unescape(inner: bytes) -> bytes:
    """The text between the quotes."""
    _check_storable(inner)
    return _decode_text(b'"%b"' % inner).encode()


def _exactly(field: Field, key: Any) -> Any:
    """What the declaration makes of a value, with the exact lane's own number parser."""
    try:
        return field.parse(parse_scalar(key) if isinstance(key, bytes) else key)
    except (PydanticCustomError, ValueError):
        raise NotRecognised from None


_PLAIN: dict[type[Field], Callable[[Any], Reader]] = {
    Uuid: lambda _: UuidReader(),
    Flag: lambda _: FlagReader(),
    Timestamp: lambda _: TimestampReader(),
    JsonObject: lambda _: JsonReader(),
    Citations: lambda _: CitationsReader(),
    Choice: lambda field: RememberingReader(field, encode_text, str),
    Text: lambda field: TextReader() if field == Text() else RememberingReader(field, encode_text, str),
    Number: lambda field: RememberingReader(field, encode_numeric, Raw) if field.scale else IntegerReader(field),
}


def reader_of(field: Field) -> Reader:
    """The reader of a declared field."""
    return _PLAIN[type(field)](field)
