"""Encodes the columns of the fast lane: values that msgspec has decoded become COPY fields.

A decoder works on the values of many events at once, because a Python call for each value would cost more than the work
itself. It recognises only the common shape; the exact lane decides on every other value. JSON stays the bytes that
arrived (msgspec's Raw). Texts that repeat, such as model names, are encoded once and cached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
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
    encode_many_integers,
    encode_many_microseconds,
    encode_text,
    length_prefixes,
    numerics,
)
from consumer.decode.memory import Memory
from consumer.decode.numbers import Rounded, floats_in, integers_in, where_given
from consumer.decode.vectorized import (
    NULL_JSON,
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

    :param parts: sequences with one item for each event; the items of all parts, joined, are the event's COPY field
    :param facts: the value of each event in the form for metrics and the row; None if the event has none
    """

    parts: Sequence[Sequence[bytes]]
    facts: Sequence[Any]


class ColumnDecoder:
    """Decodes one column.

    :cvar json_type: the type as which msgspec decodes the values
    :cvar absent: the value that stands for a missing member; null has the same meaning
    """

    json_type: Any
    absent: Any = None

    def read(self, values: Sequence[Any]) -> Column:
        """Decode the values of many events.

        :raises NotRecognised: the exact lane has to decide on one of the values
        """
        raise NotImplementedError


class UuidDecoder(ColumnDecoder):
    """UUIDs, as 32 hexadecimal digits and four hyphens."""

    json_type = str

    def read(self, values: Sequence[str | None]) -> Column:
        """The lengths and the ids are separate parts, because rows need the ids without lengths."""
        ids = where_present(self._ids_of, values, b"")
        lengths = [NULL if value is None else UUID_LENGTH for value in values]
        return Column((lengths, ids), values)

    def _ids_of(self, texts: Sequence[str]) -> list[bytes]:
        return ids_of(texts)


class KeyedIdDecoder(UuidDecoder):
    """Ids of any form. If all are UUIDs, the fast conversion applies. The hash of a string id is cached."""

    def __init__(self, field: KeyedId) -> None:
        self._known = Memory(lambda key: _exactly(field, key).bytes)

    @override
    def _ids_of(self, texts: Sequence[str]) -> list[bytes]:
        try:
            return ids_of(texts)
        except NotRecognised:
            return self._known.of(texts)


class IntegerDecoder(ColumnDecoder):
    """Whole numbers: as JSON numbers with or without decimals, and in strings. Their facts are integers."""

    def __init__(self, field: Number) -> None:
        self._low, self._high = int(field.low), int(field.high)
        self.json_type = Annotated[int, Meta(ge=self._low, le=self._high)] | float | str

    def read(self, values: Sequence[int | float | str | None]) -> Column:
        """See :meth:`ColumnDecoder.read`."""
        numbers: Sequence[Any] = values if _INTEGER_TYPES.issuperset(map(type, values)) else self._rounded(values)
        return Column((where_present(encode_many_integers, numbers, NULL),), numbers)

    def _rounded(self, values: Sequence[int | float | str | None]) -> Sequence[int | None]:
        """Replace strings and numbers with decimals by integers.

        :raises NotRecognised: one is out of range, in another form, or too near to the middle between two integers
        """
        texts = [value.encode() for value in values if isinstance(value, str)]
        rounded = Rounded([value for value in values if isinstance(value, float)], 0)
        if rounded.undecided:
            raise NotRecognised  # only the text could decide, and it is not available here
        found = {str: iter(integers_in(b",".join(texts), len(texts))), float: iter(rounded.units)}
        numbers: list[Any] = [next(found[type(value)]) if type(value) in found else value for value in values]
        if any(number is not None and not self._low <= number <= self._high for number in numbers):
            raise NotRecognised
        return numbers


class DecimalDecoder(ColumnDecoder):
    """Numbers with decimals, as JSON numbers and in strings. Their facts are decimals."""

    json_type = Raw
    absent = Raw(NULL_JSON)

    def __init__(self, field: Number) -> None:
        self._scale = field.scale
        self._low, self._high = (int(limit.scaleb(field.scale)) for limit in (field.low, field.high))
        self._encoded = numerics(field.scale)
        self._decimals = Memory(self._decimal)
        self._by_text = Memory(lambda text: int(_exactly(field, text).scaleb(field.scale)))

    def read(self, values: Sequence[Raw]) -> Column:
        """See :meth:`ColumnDecoder.read`."""
        units = where_given(self._units, values)
        return Column((self._encoded.of(units),), self._decimals.of(units))

    def _units(self, texts: Sequence[bytes | Raw], joined: bytes) -> Sequence[int]:
        """Each number as a count of the column's last decimal place.

        :raises NotRecognised: one is out of range, or in another form
        """
        rounded = Rounded(floats_in(joined, len(texts)), self._scale)
        units = rounded.units
        for place in rounded.undecided:
            units[place] = self._by_text[bytes(texts[place])]
        if units and not (self._low <= min(units) and max(units) <= self._high):
            raise NotRecognised
        return units

    def _decimal(self, units: int | None) -> Decimal | None:
        return None if units is None else Decimal(units).scaleb(-self._scale)


class FlagDecoder(ColumnDecoder):
    """Booleans."""

    json_type = bool

    def read(self, values: Sequence[bool | None]) -> Column:
        """See :meth:`ColumnDecoder.read`."""
        return Column(([NULL if value is None else encode_boolean(value) for value in values],), values)


class TextDecoder(ColumnDecoder):
    """Long texts."""

    json_type = str

    def read(self, values: Sequence[str | None]) -> Column:
        """The lengths and the texts are separate parts, so that long texts are not copied once more."""
        texts = [b"" if value is None else value.encode() for value in values]
        if any(map(contains, texts, repeat(0))):
            raise NotRecognised
        lengths = length_prefixes(texts)
        if None in values:
            lengths = [NULL if value is None else length for value, length in zip(values, lengths, strict=True)]
        return Column((lengths, texts), values)


class CachingDecoder(ColumnDecoder):
    """Short texts that repeat: each is checked against its declaration and encoded once."""

    json_type = str

    def __init__(self, field: Field) -> None:
        self._field = field
        self._known = Memory(self._learn)

    def read(self, values: Sequence[str | None]) -> Column:
        """See :meth:`ColumnDecoder.read`."""
        known = self._known.of(values)
        return Column(([encoded for encoded, _ in known],), [value for _, value in known])

    def _learn(self, text: str | None) -> tuple[bytes, str | None]:
        if text is None:
            return NULL, None
        value = _exactly(self._field, text)
        return encode_text(value), value


class TimestampDecoder(ColumnDecoder):
    """Date-times. Their facts are microseconds since 2000-01-01 UTC."""

    json_type = str

    def read(self, values: Sequence[str | None]) -> Column:
        """See :meth:`ColumnDecoder.read`."""
        moments = where_present(moments_of, values, None)
        return Column((where_present(encode_many_microseconds, moments, NULL),), moments)


class JsonDecoder(ColumnDecoder):
    """JSON that begins with one of the given brackets, stored unchanged."""

    json_type = Raw
    absent = Raw(NULL_JSON)

    def __init__(self, brackets: bytes) -> None:
        self._brackets = brackets

    def read(self, values: Sequence[Raw]) -> Column:
        """See :meth:`ColumnDecoder.read`."""
        raws = list(map(bytes, values))
        if any(raw[0] not in self._brackets and raw != NULL_JSON for raw in raws):
            raise NotRecognised
        return Column(json_parts(raws), raws)


class UncommonDecoder(ColumnDecoder):
    """JSON in rare events. Only the exact lane checks it."""

    json_type = Raw
    absent = Raw(NULL_JSON)

    def read(self, values: Sequence[Raw]) -> Column:
        """Recognises only columns without any value."""
        if any(bytes(value) != NULL_JSON for value in values):
            raise NotRecognised
        return Column(([NULL] * len(values),), [None] * len(values))


class MoneyDecoder(ColumnDecoder):
    """Amounts with their currency. No column stores them, so they have no COPY field. Their facts are the amounts."""

    json_type = Raw
    absent = Raw(NULL_JSON)

    def __init__(self, field: Field) -> None:
        self._known = Memory(lambda raw: None if raw == NULL_JSON else _exactly(field, raw))

    def read(self, values: Sequence[Raw]) -> Column:
        """See :meth:`ColumnDecoder.read`. Leaves nested values to the exact lane, which limits their depth."""
        raws = list(map(bytes, values))
        if raws.count(NULL_JSON) < len(raws) and any(b"[" in raw or raw.count(b"{") > 1 for raw in raws):
            raise NotRecognised
        return Column((), self._known.of(raws))


class PlainCitation(msgspec.Struct, gc=False):
    """A citation of the common shape."""

    source: str
    title: str | None = None
    confidence: float | str | None = None
    timestamp: str | None = None


class CitationsDecoder(ColumnDecoder):
    """Arrays of citations, each checked and stored unchanged. Their facts are the numbers of citations."""

    json_type = Raw
    absent = Raw(NULL_JSON)
    _decode = msgspec.json.Decoder(list[PlainCitation] | None).decode

    def read(self, values: Sequence[Raw]) -> Column:
        """See :meth:`ColumnDecoder.read`."""
        raws = list(map(bytes, values))
        parts = json_parts(raws)
        found = list(map(self._decode, raws))
        citations = [citation for of_one in found if of_one for citation in of_one]
        _check_confidences([citation.confidence for citation in citations if citation.confidence is not None])
        plain_times([citation.timestamp for citation in citations if citation.timestamp is not None])
        return Column(parts, [None if of_one is None else len(of_one) for of_one in found])


# A citation is stored unchanged, so only the range of a confidence is checked. A number between these two is in range
# after rounding, whatever its digits are.
_LOWEST, _HIGHEST = (
    float(limit) + sign * 0.49 * 10.0**-CONFIDENCE.scale for limit, sign in ((CONFIDENCE.low, -1), (CONFIDENCE.high, 1))
)


def _check_confidences(values: Sequence[float | str]) -> None:
    """Check the range of each confidence.

    :raises NotRecognised: one is not clearly within the range, or in another form
    """
    numbers: list[Any] = [value for value in values if type(value) is float]
    texts = [value.encode() for value in values if type(value) is str]
    if texts:
        numbers += floats_in(b",".join(texts), len(texts))
    if numbers and not (min(numbers) >= _LOWEST and max(numbers) <= _HIGHEST):
        raise NotRecognised


def _exactly(field: Field, key: Any) -> Any:
    """Parse the value with its declaration and the number parser of the exact lane.

    :raises NotRecognised: the declaration rejects the value
    """
    try:
        return field.parse(parse_scalar(key) if isinstance(key, bytes) else key)
    except (PydanticCustomError, ValueError):
        raise NotRecognised from None


_INTEGER_TYPES = frozenset({int, type(None)})
_DECODERS: dict[type[Field], Callable[[Any], ColumnDecoder]] = {
    Uuid: lambda _: UuidDecoder(),
    KeyedId: lambda field: KeyedIdDecoder(field) if field.namespace else UuidDecoder(),
    Flag: lambda _: FlagDecoder(),
    Timestamp: lambda _: TimestampDecoder(),
    JsonObject: lambda _: JsonDecoder(b"{"),
    JsonObjectOrArray: lambda _: JsonDecoder(b"{["),
    Config: lambda _: UncommonDecoder(),
    Citations: lambda _: CitationsDecoder(),
    Money: lambda field: MoneyDecoder(field),
    Choice: CachingDecoder,
    Text: lambda field: TextDecoder() if field == Text() else CachingDecoder(field),
    Number: lambda field: DecimalDecoder(field) if field.scale else IntegerDecoder(field),
}


def decoder_of(field: Field) -> ColumnDecoder:
    """The decoder of a declared field."""
    return _DECODERS[type(field)](field)
