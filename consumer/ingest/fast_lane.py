"""The fast lane: from the bytes of many records to COPY tuples, a column at a time.

Derived from the same declarations as the pydantic models, field by field. It only ever recognises: whatever is not the
common shape (numbers in strings, an odd date, a fault of any sort) is left to the exact lane,
:meth:`consumer.events.kind.Kind.decode`, whose verdict is final. A differential test holds both equal, byte for byte.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import repeat
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Raw

from consumer.events.envelope import open_envelope
from consumer.events.kind import Kind, identity_of
from consumer.events.record import Record
from consumer.events.rejection import Rejected
from consumer.ingest.copy_format import encode_microseconds, tuple_head
from consumer.ingest.readers import Column, NotRecognised, Reader, check_depth, reader_of
from consumer.ingest.rows import Row

_FROM_1970_TO_2000_MS = 946_684_800_000
_YEAR_10000_MS = 253_402_300_800_000
_NOT_RECOGNISED = (NotRecognised, Rejected, msgspec.MsgspecError, UnicodeError, RecursionError, struct.error)


class _Sum(NamedTuple):
    """The places of a field and of the two that it is the sum of."""

    total: int
    first: int
    second: int


# A record, the CloudEvents source and id it came with, its members that are fields, how many others it has.
_Found = tuple[Record, tuple[str, str] | None, Any, int]


class FastLane:
    """The fast lane of one kind of event."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._readers = [reader_of(field) for field in kind.fields.values()]
        place = list(kind.fields).index
        self._clock = None if kind.clock_field is None else place(kind.clock_field)
        self._key, self._key_may_lack = place(kind.key), kind.key not in kind.required
        self._subject = None if kind.subject_field is None else place(kind.subject_field)
        self._facts = [place(name) for name in kind.facts]
        self._sums = [_Sum(place(name), *map(place, parts)) for name, parts in kind.sums.items()]
        self._head = tuple_head(kind)
        self._strict = self._decoder(forbid_unknown_fields=True).decode
        self._lenient = self._decoder(forbid_unknown_fields=False).decode
        self._members = msgspec.json.Decoder(dict[str, Raw]).decode

    def _decoder(self, *, forbid_unknown_fields: bool) -> msgspec.json.Decoder[Any]:
        members = msgspec.defstruct(
            f"Fast{self._kind.name.title()}",
            [self._member(name, reader) for name, reader in zip(self._kind.fields, self._readers, strict=True)],
            kw_only=True,  # keeps required and optional fields in column order
            forbid_unknown_fields=forbid_unknown_fields,
            gc=False,
        )
        return msgspec.json.Decoder(members)

    def _member(self, name: str, reader: Reader) -> Any:
        if name in self._kind.required:
            return name, reader.json_type
        # A Raw takes a null by itself; its reader knows one.
        return name, reader.json_type if reader.json_type is Raw else reader.json_type | None, reader.absent

    def decode(self, records: Sequence[Record]) -> list[Row | None]:
        """The rows of the records that have the common shape; None where the exact lane has to look."""
        found = [self._find(record) for record in records]
        rows = iter(self._rows([one for one in found if one is not None]))
        return [None if one is None else next(rows) for one in found]

    def _find(self, record: Record) -> _Found | None:
        try:
            if record.headers or record.value is None:
                value, origin = open_envelope(record, self._kind.name)
            else:
                value, origin = record.value, None  # most records: not even a call
            try:
                return record, origin, self._strict(value), 0
            except msgspec.ValidationError:
                return record, origin, *self._find_among_others(value)
        except _NOT_RECOGNISED:
            return None

    def _find_among_others(self, value: bytes) -> tuple[Any, int]:
        """The members that are fields, and how many are not: what these hold the exact lane would have read too."""
        members = self._lenient(value)
        check_depth(value)
        value.decode()
        return members, len(self._members(value).keys() - self._kind.fields.keys())

    def _rows(self, found: Sequence[_Found]) -> Sequence[Row | None]:
        """All at once, but for those that turn out not to have the common shape after all."""
        try:
            return self._all_rows(found) if found else ()
        except _Odd as odd:
            others = [one for place, one in enumerate(found) if place not in odd.places]
            rows = iter(self._rows(others))
            return [None if place in odd.places else next(rows) for place in range(len(found))]

    def _all_rows(self, found: Sequence[_Found]) -> Sequence[Row]:
        records, origins, members, unknown_fields = zip(*found, strict=True)
        values: list[Sequence[Any]] = list(zip(*map(msgspec.structs.astuple, members), strict=True))
        if self._key_may_lack:
            values[self._key] = list(map(_id_of, values[self._key], origins, records))
        self._sum_up(values)
        columns = [_read(reader, column) for reader, column in zip(self._readers, values, strict=True)]
        created_at = self._read_clock(columns, records)
        parts = [part for column in columns for part in column.parts]
        encoded = map(b"".join, zip(repeat(self._head), *parts))
        facts = zip(*(columns[place].facts for place in self._facts), strict=True) if self._facts else repeat(())
        subjects = repeat(b"") if self._subject is None else columns[self._subject].parts[-1]
        keys = columns[self._key].parts[-1]
        return list(map(Row, records, keys, encoded, facts, created_at, unknown_fields, subjects))

    def _sum_up(self, values: list[Sequence[Any]]) -> None:
        for total, first, second in self._sums:
            values[total] = list(map(_sum_unless_said, values[total], values[first], values[second]))

    def _read_clock(self, columns: list[Column], records: Sequence[Record]) -> Sequence[int | None]:
        """When each event counts: what it says, or else its record's timestamp, which then is in its column too."""
        if self._clock is None:
            return [None] * len(records)
        said = columns[self._clock].facts
        if None not in said:
            return said
        odd = {place for place, moment in enumerate(said) if moment is None and not _has_moment(records[place])}
        if odd:
            raise _Odd(odd)
        moments = [
            _moment_of(record) if moment is None else moment for moment, record in zip(said, records, strict=True)
        ]
        columns[self._clock] = Column((list(map(encode_microseconds, moments)),), moments)
        return moments


class _Odd(Exception):
    """The events at these places do not have the common shape."""

    def __init__(self, places: AbstractSet[int]) -> None:
        super().__init__(places)
        self.places = places


def _read(reader: Reader, values: Sequence[Any]) -> Column:
    """The column.

    :raises _Odd: some of the values the exact lane has to look at
    """
    try:
        return reader.read(values)
    except _NOT_RECOGNISED:
        raise _Odd({place for place, value in enumerate(values) if not _recognises(reader, value)}) from None


def _recognises(reader: Reader, value: Any) -> bool:
    try:
        reader.read([value])
    except _NOT_RECOGNISED:
        return False
    return True


def _id_of(said: UUID | None, origin: tuple[str, str] | None, record: Record) -> UUID:
    return identity_of(origin, record) if said is None else said


def _sum_unless_said(total: int | None, first: int | None, second: int | None) -> int | None:
    """Beyond the column's range it is no integer of 32 bits, which its reader cannot encode."""
    return first + second if total is None and first is not None and second is not None else total


def _has_moment(record: Record) -> bool:
    """Whether the record's timestamp is one that can stand in for the event's."""
    return 0 <= record.timestamp < _YEAR_10000_MS


def _moment_of(record: Record) -> int:
    return (record.timestamp - _FROM_1970_TO_2000_MS) * 1000
