"""How the fast lane reads one column of many events: from what msgspec found to COPY fields.

Each reader takes only the common shape; whatever else it meets it leaves to the exact lane. A column is worked on as a
whole, because a call for each value would cost more than the work itself. JSON stays the bytes it came in (msgspec's
Raw); what repeats (numbers, models, enums) is encoded once, by the exact lane's own code, and remembered.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product, repeat
from operator import contains, floordiv, sub
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Raw
from pydantic_core import PydanticCustomError

from consumer.events.dialogue import CONFIDENCE, Citations
from consumer.events.fields import Choice, Field, Flag, JsonObject, JsonObjectOrArray, Number, Text, Timestamp, Uuid
from consumer.events.payload import parse_scalar
from consumer.events.plugin import Config
from consumer.ingest.copy_format import (
    NULL,
    UUID_LENGTH,
    encode_boolean,
    encode_integer,
    encode_many_microseconds,
    encode_numeric,
    encode_text,
    jsonb_head,
    length_prefix,
)

# Less than the levels that the exact lane takes, so that whatever might be too deep is left to it.
MOST_BRACKETS = 400
REMEMBERED = 50_000
_LONGEST_REMEMBERED = 128  # what is longer is valid but will not come again
_NULL_JSON = b"null"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - the same moment, for times without an offset
_MICROSECOND = timedelta(microseconds=1)


class NotRecognised(Exception):
    """Not the common shape: the exact lane decides."""


class Column(NamedTuple):
    """One column of many events.

    :param parts: what the COPY fields are made of: part after part, each with an item for every event
    :param facts: what the metrics are told of each value; None where there is none
    """

    parts: Sequence[Sequence[bytes]]
    facts: Sequence[Any]


class Reader:
    """How a column is read: the type msgspec decodes its values as, and what becomes of many of them.

    :cvar absent: stands for a value that is missing; one that is null is the same
    """

    json_type: Any
    absent: Any = None

    def read(self, values: Sequence[Any]) -> Column:
        """The column.

        :raises NotRecognised: the exact lane has to look at one of the values
        """
        raise NotImplementedError


class Memory(dict[Any, Any]):
    """What has been made of values so far: bounded, whatever producers send."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def __missing__(self, value: Any) -> Any:
        made = self._make(value)
        if not isinstance(value, bytes | str) or len(value) <= _LONGEST_REMEMBERED:
            if len(self) >= REMEMBERED:
                self.clear()
            self[value] = made
        return made

    def of(self, values: Iterable[Any]) -> list[Any]:
        """What becomes of each value; without a call of ours for those it knows."""
        return list(map(self.__getitem__, values))


_LENGTHS = Memory(length_prefix)
_JSONB_HEADS = Memory(jsonb_head)


class UuidReader(Reader):
    """UUIDs, as 32 hexadecimal digits and four hyphens."""

    json_type = str

    def read(self, values: Sequence[str | None]) -> Column:
        """The column, its lengths apart from its ids: those of the events themselves are needed without."""
        present = [value for value in values if value is not None]
        ids = _ids_of(present)
        if len(present) == len(values):
            return Column(([UUID_LENGTH] * len(values), ids), values)
        of_present = iter(ids)
        lengths = [NULL if value is None else UUID_LENGTH for value in values]
        return Column((lengths, [b"" if value is None else next(of_present) for value in values]), values)


class IntegerReader(Reader):
    """Integers in their range."""

    def __init__(self, field: Number) -> None:
        self.json_type = Annotated[int, Meta(ge=int(field.low), le=int(field.high))]
        self._known = Memory(lambda value: NULL if value is None else encode_integer(value))

    def read(self, values: Sequence[int | None]) -> Column:
        """The column."""
        return Column((self._known.of(values),), values)


class FlagReader(Reader):
    """Booleans."""

    json_type = bool

    def read(self, values: Sequence[bool | None]) -> Column:
        """The column."""
        return Column(([NULL if value is None else encode_boolean(value) for value in values],), values)


class TextReader(Reader):
    """Long texts."""

    json_type = str

    def read(self, values: Sequence[str | None]) -> Column:
        """The column, its lengths apart from its texts: these are long, and would be copied once more."""
        texts = [b"" if value is None else value.encode() for value in values]
        if any(map(contains, texts, repeat(0))):
            raise NotRecognised
        lengths = _LENGTHS.of(map(len, texts))
        if None in values:
            lengths = [NULL if value is None else length for value, length in zip(values, lengths, strict=True)]
        return Column((lengths, texts), values)


class RememberingReader(Reader):
    """Values that repeat: each is held against its declaration and encoded once."""

    def __init__(self, field: Field, encode: Callable[[Any], bytes], json_type: Any) -> None:
        self.json_type = json_type
        self.absent = Raw(_NULL_JSON) if json_type is Raw else None
        self._field, self._encode = field, encode
        self._known = Memory(self._learn)

    def read(self, values: Sequence[Any]) -> Column:
        """The column."""
        known = self.know(values)
        return Column(([encoded for encoded, _ in known],), [value for _, value in known])

    def know(self, values: Sequence[Any]) -> Sequence[tuple[bytes, Any]]:
        """Each value encoded, and as it is.

        :raises NotRecognised: the exact lane has to look at one of them
        """
        return self._known.of(map(bytes, values) if self.json_type is Raw else values)

    def _learn(self, key: Any) -> tuple[bytes, Any]:
        if key is None or key == _NULL_JSON:
            return NULL, None
        value = _exactly(self._field, key)
        return self._encode(value), value


class TimestampReader(Reader):
    """Date-times. Their facts are microseconds since 2000-01-01 UTC."""

    json_type = str

    def read(self, values: Sequence[str | None]) -> Column:
        """The column."""
        moments = read_moments(values)
        encoded = iter(encode_many_microseconds([moment for moment in moments if moment is not None]))
        if None not in moments:
            return Column((list(encoded),), moments)
        return Column(([NULL if moment is None else next(encoded) for moment in moments],), moments)


class JsonReader(Reader):
    """JSON that begins with one of some brackets, kept as it came."""

    json_type = Raw
    absent = Raw(_NULL_JSON)

    def __init__(self, brackets: bytes) -> None:
        self._brackets = brackets

    def read(self, values: Sequence[Raw]) -> Column:
        """The column."""
        raws = list(map(bytes, values))
        if any(raw[0] not in self._brackets and raw != _NULL_JSON for raw in raws):
            raise NotRecognised
        return Column(_json_parts(raws), raws)


class OddReader(Reader):
    """JSON of rare events, held against a declaration: the exact lane's alone."""

    json_type = Raw
    absent = Raw(_NULL_JSON)

    def read(self, values: Sequence[Raw]) -> Column:
        """The column, where nothing is in it."""
        if any(bytes(value) != _NULL_JSON for value in values):
            raise NotRecognised
        return Column(([NULL] * len(values),), [None] * len(values))


class PlainCitation(msgspec.Struct, gc=False):
    """A citation of the common shape."""

    source: str
    title: str | None = None
    confidence: Raw = Raw(_NULL_JSON)
    timestamp: str | None = None


class CitationsReader(Reader):
    """Arrays of citations, each checked, kept as they came. Their facts are how many there are."""

    json_type = Raw
    absent = Raw(_NULL_JSON)
    _decode = msgspec.json.Decoder(list[PlainCitation] | None).decode

    def __init__(self) -> None:
        # Only held against its range: it stays as it came, and written out 1e-999999999 would take a gigabyte.
        self._confidences = RememberingReader(CONFIDENCE, lambda _: NULL, Raw)

    def read(self, values: Sequence[Raw]) -> Column:
        """The column."""
        raws = list(map(bytes, values))
        parts = _json_parts(raws)
        found = list(map(self._decode, raws))
        citations = [citation for of_one in found if of_one for citation in of_one]
        self._confidences.know([citation.confidence for citation in citations])
        _plain_times([citation.timestamp for citation in citations if citation.timestamp is not None])
        return Column(parts, [None if of_one is None else len(of_one) for of_one in found])


def _ids_of(texts: Sequence[str]) -> list[bytes]:
    """The 16 bytes of each id.

    :raises NotRecognised: one is not of this form
    """
    joined = ",".join(texts).encode()
    # As many of this form as there are texts: no text can hold a comma, or there would be more.
    if joined.translate(_HEXADECIMAL_TO_ZERO) != b",".join([_PLAIN_ID] * len(texts)):
        raise NotRecognised
    raw = unhexlify(joined.translate(None, b",-"))
    return [raw[start : start + 16] for start in range(0, len(raw), 16)]


_PLAIN_ID = b"00000000-0000-0000-0000-000000000000"
_HEXADECIMAL_TO_ZERO = bytes.maketrans(b"123456789abcdefABCDEF", b"0" * 21)


def read_moments(texts: Sequence[str | None]) -> Sequence[int | None]:
    """Date-times in one of the forms that need no rounding, as microseconds since 2000-01-01 UTC; None stays None.

    :raises NotRecognised: another form, or in one of the years that an offset may lead out of
    """
    present = [text for text in texts if text is not None]
    moments = _microseconds(_plain_times(present))
    if len(present) == len(texts):
        return moments
    of_present = iter(moments)
    return [None if text is None else next(of_present) for text in texts]


def _microseconds(times: Sequence[datetime]) -> list[int]:
    epochs = [_EPOCH if time.tzinfo else _NAIVE_EPOCH for time in times]
    return list(map(floordiv, map(sub, times, epochs), repeat(_MICROSECOND)))


def _plain_times(texts: Sequence[str]) -> Sequence[datetime]:
    if not texts:
        return ()
    joined = '","'.join(texts)
    if not _are_plain(joined, len(texts[0])) or "0001-" in joined or "9999-" in joined:
        raise NotRecognised
    times = _decode_times(f'["{joined}"]')
    if len(times) != len(texts):  # one of them held what joins them
        raise NotRecognised
    return times


def _are_plain(joined: str, first_length: int) -> bool:
    """Whether each time, of which the first is so long, has a plain form; mostly all have the same."""
    shapes = joined.encode().translate(_DIGITS_TO_ZERO)
    first = shapes[:first_length]
    many, rest = divmod(len(shapes) + 3, first_length + 3)
    same = not rest and shapes == b'","'.join([first] * many)
    return first in _PLAIN_TIMES if same else _PLAIN_TIMES.issuperset(shapes.split(b'","'))


_decode_times = msgspec.json.Decoder(list[datetime]).decode
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")


# Up to microseconds, with a T or a space, in UTC or with an offset: what every reader of times reads alike.
_PLAIN_TIMES = frozenset(
    f"0000-00-00{separator}00:00:00{fraction}{offset}".encode()
    for separator, fraction, offset in product(
        "T ", ("", *("." + "0" * digits for digits in range(1, 7))), ("", "Z", "+00:00", "-00:00")
    )
)


def _json_parts(raws: Sequence[bytes]) -> Sequence[Sequence[bytes]]:
    """JSON as it came, once it is known that PostgreSQL can hold it and that the exact lane would not object: what
    stands before it apart from it, as it may be long.
    """
    _check_json(raws)
    heads = _JSONB_HEADS.of(map(len, raws))
    if _NULL_JSON not in raws:
        return heads, raws
    heads = [NULL if raw == _NULL_JSON else head for raw, head in zip(raws, heads, strict=True)]
    return heads, [b"" if raw == _NULL_JSON else raw for raw in raws]


def _check_json(raws: Sequence[bytes]) -> None:
    """Leave to the exact lane what is nested deeply, and what may be an escaped NUL: it knows an escaped backslash
    from an escape. Broken UTF-8 is an error here, as msgspec does not look for it in what it only slices out. Halves of
    surrogate pairs need no look: msgspec has refused them already.
    """
    joined = b",".join(raws)
    if b"\\" in joined and b"\\u0000" in joined:  # the search for one byte is much the quicker
        raise NotRecognised
    if not joined.isascii():
        joined.decode()  # the comma is a byte of its own: what is broken in one cannot be whole in here
    if any(map(_may_be_deep, raws)):
        raise NotRecognised


def check_depth(raw: bytes) -> None:
    """Leave to the exact lane what might be nested too deeply.

    :param raw: valid JSON
    :raises NotRecognised: it has so many brackets
    """
    if _may_be_deep(raw):
        raise NotRecognised


def _may_be_deep(raw: bytes) -> bool:
    # Each bracket that opens has one that closes.
    return len(raw) > 2 * MOST_BRACKETS and raw.count(b"[") + raw.count(b"{") > MOST_BRACKETS


def _exactly(field: Field, key: Any) -> Any:
    """What the declaration makes of a value, with the exact lane's own number parser."""
    try:
        return field.parse(parse_scalar(key) if isinstance(key, bytes) else key)
    except (PydanticCustomError, ValueError):
        raise NotRecognised from None


_READERS: dict[type[Field], Callable[[Any], Reader]] = {
    Uuid: lambda _: UuidReader(),
    Flag: lambda _: FlagReader(),
    Timestamp: lambda _: TimestampReader(),
    JsonObject: lambda _: JsonReader(b"{"),
    JsonObjectOrArray: lambda _: JsonReader(b"{["),
    Config: lambda _: OddReader(),
    Citations: lambda _: CitationsReader(),
    Choice: lambda field: RememberingReader(field, encode_text, str),
    Text: lambda field: TextReader() if field == Text() else RememberingReader(field, encode_text, str),
    Number: lambda field: RememberingReader(field, encode_numeric, Raw) if field.scale else IntegerReader(field),
}


def reader_of(field: Field) -> Reader:
    """The reader of a declared field."""
    return _READERS[type(field)](field)
