"""The fast lane: from a record's bytes to a COPY tuple without making Python values of most of it.

Derived from the same declarations as the pydantic models, field by field. It only ever recognises: whatever is not the
common shape (numbers in strings, an odd date, a fault of any sort) is left to the exact lane,
:meth:`consumer.events.kind.Kind.decode`, whose verdict is final. A differential test holds both equal, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from consumer.events.envelope import open_envelope
from consumer.events.fields import INT_MAX
from consumer.events.kind import Kind, identity_of
from consumer.events.record import Record
from consumer.events.rejection import Rejected
from consumer.ingest.copy_format import NULL, encode_microseconds, tuple_head
from consumer.ingest.readers import NotRecognised, Reader, plain_time, reader_of
from consumer.ingest.rows import Row

# The standard library's parser gives up at the interpreter's recursion limit; leave deep JSON to it long before that.
MOST_BRACKETS = 400
_FROM_1970_TO_2000_MS = 946_684_800_000
_YEAR_10000_MS = 253_402_300_800_000
_ID = 0


class _Sum(NamedTuple):
    """The places of a field and of the two that it is the sum of."""

    total: int
    first: int
    second: int


class FastLane:
    """The fast lane of one kind of event."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        readers = {name: reader_of(field) for name, field in kind.fields.items()}
        place = list(readers).index
        self._clock = None if kind.clock_field is None else place(kind.clock_field)
        self._encode = [self._encoder(name, reader) for name, reader in readers.items()]
        self._facts = [(place(name), _fact_of(readers[name])) for name in kind.facts]
        self._sums = [_Sum(place(name), *map(place, parts)) for name, parts in kind.sums.items()]
        self._head = tuple_head(kind)
        self._strict = self._decoder(readers, forbid_unknown_fields=True)
        self._lenient = self._decoder(readers, forbid_unknown_fields=False)
        self._members = msgspec.json.Decoder(dict[str, Raw])

    def _encoder(self, name: str, reader: Reader) -> Callable[[Any], bytes]:
        """The clock field is read once, for the column and for the day it belongs to."""
        return encode_microseconds if name == self._kind.clock_field else reader.encode

    def decode(self, record: Record) -> Row:
        """The row of a record of the common shape.

        :raises NotRecognised: the exact lane has to look at it
        """
        try:
            payload, origin = open_envelope(record, self._kind.name)
            found, unknown_fields = self._find(payload)
            return self._row(record, origin, found, unknown_fields)
        except (Rejected, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise NotRecognised from None

    def _decoder(self, readers: dict[str, Reader], *, forbid_unknown_fields: bool) -> msgspec.json.Decoder[Any]:
        struct = msgspec.defstruct(
            f"Fast{self._kind.name.title()}",
            [self._member(name, reader) for name, reader in readers.items()],
            kw_only=True,  # keeps required and optional fields in column order
            forbid_unknown_fields=forbid_unknown_fields,
            gc=False,
        )
        return msgspec.json.Decoder(struct)

    def _member(self, name: str, reader: Reader) -> Any:
        if name in self._kind.required:
            return name, reader.json_type
        optional = reader.json_type | UnsetType
        # A Raw takes a null by itself; its reader knows one.
        return name, optional if reader.json_type is Raw else optional | None, UNSET

    def _find(self, value: bytes) -> tuple[list[Any], int]:
        """The members that are fields, in column order, and how many are not."""
        if value.count(b"[") + value.count(b"{") > MOST_BRACKETS:
            raise NotRecognised
        if not value.isascii():
            value.decode()  # msgspec does not look for broken UTF-8 in what it only slices out
        try:
            return list(msgspec.structs.astuple(self._strict.decode(value))), 0
        except msgspec.ValidationError:
            found = msgspec.structs.astuple(self._lenient.decode(value))
            return list(found), len(self._members.decode(value).keys() - self._kind.fields.keys())

    def _row(self, record: Record, origin: tuple[str, str] | None, values: list[Any], unknown_fields: int) -> Row:
        created_at = self._read_clock(record, values)
        self._sum_up(values)
        if values[_ID] is UNSET or values[_ID] is None:
            values[_ID] = identity_of(origin, record)
        encoded = [
            NULL if value is UNSET or value is None else encode(value)
            for encode, value in zip(self._encode, values, strict=True)
        ]
        facts = [
            None if (value := values[place]) is UNSET or value is None else value if fact is None else fact(value)
            for place, fact in self._facts
        ]
        return Row(record, values[_ID].bytes, self._head + b"".join(encoded), tuple(facts), created_at, unknown_fields)

    def _read_clock(self, record: Record, values: list[Any]) -> int | None:
        """Put microseconds in the clock field's place, from the event or else from the record."""
        if self._clock is None:
            return None
        said = values[self._clock]
        values[self._clock] = _record_moment(record) if said is UNSET or said is None else plain_time(said)
        moment: int = values[self._clock]
        return moment

    def _sum_up(self, values: list[Any]) -> None:
        for total, first, second in self._sums:
            if (
                not isinstance(values[total], int)
                and isinstance(values[first], int)
                and isinstance(values[second], int)
            ):
                values[total] = values[first] + values[second]
                if values[total] > INT_MAX:
                    raise NotRecognised


def _fact_of(reader: Reader) -> Callable[[Any], Any] | None:
    """How a reader's fact is found; None where it is the value itself, to save the call."""
    return None if type(reader).fact is Reader.fact else reader.fact


def _record_moment(record: Record) -> int:
    if not 0 <= record.timestamp < _YEAR_10000_MS:
        raise NotRecognised
    return (record.timestamp - _FROM_1970_TO_2000_MS) * 1000
