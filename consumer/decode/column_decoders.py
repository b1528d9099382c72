"""How the fast lane reads one column of many events: from what msgspec found to COPY fields.

Each reader takes only the common shape; whatever else it meets it leaves to the exact lane. A column is worked on as a
whole, because a call for each value would cost more than the work itself. JSON stays the bytes it came in (msgspec's
Raw); what repeats (numbers, models, enums) is encoded once, by the exact lane's own code, and remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from operator import contains
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Raw
from pydantic_core import PydanticCustomError
from typing_extensions import override

from consumer.decode.copy_format import (
    NULL,
    UUID_LENGTH,
    encode_boolean,
    encode_integer,
    encode_many_microseconds,
    encode_numeric,
    encode_text,
)
from consumer.decode.vectorized import (
    LENGTHS,
    NULL_JSON,
    Memory,
    NotRecognised,
    ids_of,
    json_parts,
    moments_of,
    plain_times,
    where_present,
)
from consumer.events.dialogue import CONFIDENCE, Citations, Money
from consumer.events.fields import (
    Choice,
    Field,
    Flag,
    JsonObject,
    JsonObjectOrArray,
    KeyedId,
    Number,
    Text,
    Timestamp,
    Uuid,
)
from consumer.events.payload import parse_scalar
from consumer.events.plugin import Config


class Column(NamedTuple):
    """One column of many events.

    :param parts: what the COPY fields are made of: part after part, each with an item for every event
    :param facts: what is known of each value beside its bytes, for the metrics and the row; None where there is none
    """

    parts: Sequence[Sequence[bytes]]
    facts: Sequence[Any]


class ColumnDecoder:
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


class UuidDecoder(ColumnDecoder):
    """UUIDs, as 32 hexadecimal digits and four hyphens."""

    json_type = str

    def read(self, values: Sequence[str | None]) -> Column:
        """The column, its lengths apart from its ids: those of the events themselves are needed without."""
        ids = where_present(self._ids_of, values, b"")
        lengths = [NULL if value is None else UUID_LENGTH for value in values]
        return Column((lengths, ids), values)

    def _ids_of(self, texts: Sequence[str]) -> list[bytes]:
        return ids_of(texts)


class KeyedIdDecoder(UuidDecoder):
    """Ids of any form. UUIDs take the quick way where all of them are; a string id is hashed once and remembered."""

    def __init__(self, field: KeyedId) -> None:
        self._known = Memory(lambda key: _exactly(field, key).bytes)

    @override
    def _ids_of(self, texts: Sequence[str]) -> list[bytes]:
        try:
            return ids_of(texts)
        except NotRecognised:
            return self._known.of(texts)


class IntegerDecoder(ColumnDecoder):
    """Integers in their range."""

    def __init__(self, field: Number) -> None:
        self.json_type = Annotated[int, Meta(ge=int(field.low), le=int(field.high))]
        self._known = Memory(lambda value: NULL if value is None else encode_integer(value))

    def read(self, values: Sequence[int | None]) -> Column:
        """The column."""
        return Column((self._known.of(values),), values)


class FlagDecoder(ColumnDecoder):
    """Booleans."""

    json_type = bool

    def read(self, values: Sequence[bool | None]) -> Column:
        """The column."""
        return Column(([NULL if value is None else encode_boolean(value) for value in values],), values)


class TextDecoder(ColumnDecoder):
    """Long texts."""

    json_type = str

    def read(self, values: Sequence[str | None]) -> Column:
        """The column, its lengths apart from its texts: these are long, and would be copied once more."""
        texts = [b"" if value is None else value.encode() for value in values]
        if any(map(contains, texts, repeat(0))):
            raise NotRecognised
        lengths = LENGTHS.of(map(len, texts))
        if None in values:
            lengths = [NULL if value is None else length for value, length in zip(values, lengths, strict=True)]
        return Column((lengths, texts), values)


class CachingDecoder(ColumnDecoder):
    """Values that repeat: each is held against its declaration and encoded once."""

    def __init__(self, field: Field, encode: Callable[[Any], bytes], json_type: Any) -> None:
        self.json_type = json_type
        self.absent = Raw(NULL_JSON) if json_type is Raw else None
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
        if key is None or key == NULL_JSON:
            return NULL, None
        value = _exactly(self._field, key)
        return self._encode(value), value


class TimestampDecoder(ColumnDecoder):
    """Date-times. Their facts are microseconds since 2000-01-01 UTC."""

    json_type = str

    def read(self, values: Sequence[str | None]) -> Column:
        """The column."""
        moments = where_present(moments_of, values, None)
        return Column((where_present(encode_many_microseconds, moments, NULL),), moments)


class JsonDecoder(ColumnDecoder):
    """JSON that begins with one of some brackets, kept as it came."""

    json_type = Raw
    absent = Raw(NULL_JSON)

    def __init__(self, brackets: bytes) -> None:
        self._brackets = brackets

    def read(self, values: Sequence[Raw]) -> Column:
        """The column."""
        raws = list(map(bytes, values))
        if any(raw[0] not in self._brackets and raw != NULL_JSON for raw in raws):
            raise NotRecognised
        return Column(json_parts(raws), raws)


class UncommonDecoder(ColumnDecoder):
    """JSON of rare events, held against a declaration: the exact lane's alone."""

    json_type = Raw
    absent = Raw(NULL_JSON)

    def read(self, values: Sequence[Raw]) -> Column:
        """The column, where nothing is in it."""
        if any(bytes(value) != NULL_JSON for value in values):
            raise NotRecognised
        return Column(([NULL] * len(values),), [None] * len(values))


class MoneyDecoder(CachingDecoder):
    """Amounts with their currency. They are kept beside the row, so that no COPY field is made of them."""

    def __init__(self, field: Field) -> None:
        super().__init__(field, lambda _: NULL, Raw)

    @override
    def know(self, values: Sequence[Any]) -> Sequence[tuple[bytes, Any]]:
        """Each value, if nothing is nested in it: how deep that may be, the exact lane knows."""
        raws = list(map(bytes, values))
        if raws.count(NULL_JSON) < len(raws) and any(b"[" in raw or raw.count(b"{") > 1 for raw in raws):
            raise NotRecognised
        return self._known.of(raws)


class PlainCitation(msgspec.Struct, gc=False):
    """A citation of the common shape."""

    source: str
    title: str | None = None
    confidence: Raw = Raw(NULL_JSON)
    timestamp: str | None = None


class CitationsDecoder(ColumnDecoder):
    """Arrays of citations, each checked, kept as they came. Their facts are how many there are."""

    json_type = Raw
    absent = Raw(NULL_JSON)
    _decode = msgspec.json.Decoder(list[PlainCitation] | None).decode

    def __init__(self) -> None:
        # Only held against its range: it stays as it came, and written out 1e-999999999 would take a gigabyte.
        self._confidences = CachingDecoder(CONFIDENCE, lambda _: NULL, Raw)

    def read(self, values: Sequence[Raw]) -> Column:
        """The column."""
        raws = list(map(bytes, values))
        parts = json_parts(raws)
        found = list(map(self._decode, raws))
        citations = [citation for of_one in found if of_one for citation in of_one]
        self._confidences.know([citation.confidence for citation in citations])
        plain_times([citation.timestamp for citation in citations if citation.timestamp is not None])
        return Column(parts, [None if of_one is None else len(of_one) for of_one in found])


def _exactly(field: Field, key: Any) -> Any:
    """What the declaration makes of a value, with the exact lane's own number parser."""
    try:
        return field.parse(parse_scalar(key) if isinstance(key, bytes) else key)
    except (PydanticCustomError, ValueError):
        raise NotRecognised from None


_READERS: dict[type[Field], Callable[[Any], ColumnDecoder]] = {
    Uuid: lambda _: UuidDecoder(),
    KeyedId: lambda field: KeyedIdDecoder(field) if field.namespace else UuidDecoder(),
    Flag: lambda _: FlagDecoder(),
    Timestamp: lambda _: TimestampDecoder(),
    JsonObject: lambda _: JsonDecoder(b"{"),
    JsonObjectOrArray: lambda _: JsonDecoder(b"{["),
    Config: lambda _: UncommonDecoder(),
    Citations: lambda _: CitationsDecoder(),
    Money: lambda field: MoneyDecoder(field),
    Choice: lambda field: CachingDecoder(field, encode_text, str),
    Text: lambda field: TextDecoder() if field == Text() else CachingDecoder(field, encode_text, str),
    Number: lambda field: CachingDecoder(field, encode_numeric, Raw) if field.scale else IntegerDecoder(field),
}


def reader_of(field: Field) -> ColumnDecoder:
    """The reader of a declared field."""
    return _READERS[type(field)](field)
