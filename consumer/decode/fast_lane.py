"""The fast lane: from the bytes of many records to COPY tuples, a column at a time.

Derived from the same declarations as the pydantic models, field by field. It only ever recognises: whatever is not the
common shape (numbers in strings, an uncommon date, a fault of any sort) is left to the exact lane,
:meth:`consumer.events.kind.Kind.decode`, whose verdict is final. A differential test holds both equal, byte for byte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import compress, repeat
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from consumer.decode.column_decoders import Column, ColumnDecoder, reader_of
from consumer.decode.copy_format import NULL, encode_many_microseconds, encode_numeric, moment_of, tuple_head
from consumer.decode.rows import Row
from consumer.decode.vectorized import Memory, NotRecognised, check_depth
from consumer.events.costs import CostError, CostNote, Pricing, Settled, Usage
from consumer.events.envelope import Envelope, open_envelope
from consumer.events.kind import Kind, identity_of
from consumer.events.record import Record
from consumer.events.rejection import Rejected

_FROM_1970_TO_2000_MS = 946_684_800_000
_YEAR_10000_MS = 253_402_300_800_000
_NOT_RECOGNISED = (NotRecognised, Rejected, msgspec.MsgspecError, UnicodeError, RecursionError, struct.error)


class _Sum(NamedTuple):
    """The places of a field and of the two that it is the sum of."""

    total: int
    first: int
    second: int


class _Found(NamedTuple):
    """Records, and what was found in each: the CloudEvents source and id it came with, its members that are fields
    (None where the exact lane has to look), how many others it has.
    """

    records: Sequence[Record]
    origins: Sequence[tuple[str, str] | None]
    members: Sequence[Any]
    unknown_fields: Sequence[int]

    def without(self, places: AbstractSet[int]) -> _Found:
        """The others."""
        wanted = [place not in places for place in range(len(self.records))]
        return _Found(*(list(compress(column, wanted)) for column in self))


_UNREADABLE = Envelope(b"", None)  # no lane finds a member in there
_HEADERS, _VALUE = attrgetter("headers"), attrgetter("value")


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
        self._stored = [place(name) for name in kind.columns]
        self._usage = [place(name) for name in _USAGE] if kind.pricing else []
        self._encoded_cost = Memory(lambda jpy: NULL if jpy is None else encode_numeric(jpy))
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

    def _member(self, name: str, reader: ColumnDecoder) -> Any:
        if name in self._kind.required:
            return name, reader.json_type
        # A Raw takes a null by itself; its reader knows one.
        return name, reader.json_type if reader.json_type is Raw else reader.json_type | None, reader.absent

    def decode(self, records: Sequence[Record]) -> Sequence[Row | None]:
        """The rows of the records that have the common shape; None where the exact lane has to look."""
        return self._rows(self._find_all(records)) if records else ()

    def _find_all(self, records: Sequence[Record]) -> _Found:
        values: Sequence[Any] = list(map(_VALUE, records))
        origins: Sequence[Any] = [None] * len(records)
        if None in values or any(map(_HEADERS, records)):
            values, origins = zip(*map(self._open, records), strict=True)
        return _Found(records, origins, *self._read(values))

    def _open(self, record: Record) -> Envelope:
        try:
            return open_envelope(record, self._kind.name)
        except _NOT_RECOGNISED:
            return _UNREADABLE

    def _read(self, values: Sequence[bytes]) -> tuple[list[Any], list[int]]:
        """Of each value the members that are fields, and how many are not; where none are, without a call of ours."""
        members: list[Any] = []
        unknown_fields = [0] * len(values)
        strictly = map(self._strict, values)
        while len(members) < len(values):
            try:
                for found in strictly:
                    members.append(found)  # noqa: PERF402 - an error has to leave what was found before it
            except _NOT_RECOGNISED:
                place = len(members)
                found, unknown_fields[place] = self._read_among_others(values[place])
                members.append(found)
        return members, unknown_fields

    def _read_among_others(self, value: bytes) -> tuple[Any, int]:
        """What those that are no field hold the exact lane would have read too."""
        try:
            members = self._lenient(value)
            check_depth(value)
            value.decode()
            return members, len(self._members(value).keys() - self._kind.fields.keys())
        except _NOT_RECOGNISED:
            return None, 0

    def _rows(self, found: _Found) -> Sequence[Row | None]:
        """All at once, but for those that turn out not to have the common shape after all."""
        try:
            return self._all_rows(found)
        except _Uncommon as uncommon:
            others = found.without(uncommon.places)
            rows = iter(self._rows(others) if others.records else ())
            return [None if place in uncommon.places else next(rows) for place in range(len(found.records))]

    def _all_rows(self, found: _Found) -> Sequence[Row]:
        records, origins, members, unknown_fields = found
        if not all(members):
            raise _Uncommon({place for place, one in enumerate(members) if not one})
        values: list[Sequence[Any]] = list(zip(*map(msgspec.structs.astuple, members), strict=True))
        if self._key_may_lack:
            values[self._key] = list(map(_id_of, values[self._key], origins, records))
        self._sum_up(values)
        columns = [_read_column(reader, column) for reader, column in zip(self._readers, values, strict=True)]
        created_at = self._read_clock(columns, records)
        notes = self._settle_costs(columns, created_at)
        parts = [part for place in self._stored for part in columns[place].parts]
        encoded = map(b"".join, zip(repeat(self._head), *parts))
        facts = zip(*(columns[place].facts for place in self._facts), strict=True) if self._facts else repeat(())
        subjects = repeat(b"") if self._subject is None else columns[self._subject].parts[-1]
        keys = columns[self._key].parts[-1]
        return list(map(Row, records, keys, encoded, facts, created_at, unknown_fields, subjects, notes))

    def _sum_up(self, values: list[Sequence[Any]]) -> None:
        for total, first, second in self._sums:
            values[total] = list(map(_sum_unless_said, values[total], values[first], values[second]))

    def _settle_costs(self, columns: list[Column], moments: Sequence[int | None]) -> Iterable[CostNote | None]:
        """Put what each answer cost into its column; how each cost came about."""
        pricing = self._kind.pricing
        if pricing is None:
            return repeat(None)
        usage = [columns[place].facts for place in self._usage]
        stated, cost = usage[1:3]
        if not any(cost) and (None not in stated or not pricing.book.version):
            return repeat(None)
        settled = _settle_all(pricing, usage, moments)
        costs = [one.jpy for one in settled]
        columns[self._usage[1]] = Column((self._encoded_cost.of(costs),), costs)
        return [one.note for one in settled]

    def _read_clock(self, columns: list[Column], records: Sequence[Record]) -> Sequence[int | None]:
        """When each event counts: what it says, or else its record's timestamp, which then is in its column too."""
        if self._clock is None:
            return [None] * len(records)
        said = columns[self._clock].facts
        if None not in said:
            return said
        uncommon = {place for place, moment in enumerate(said) if moment is None and not _has_moment(records[place])}
        if uncommon:
            raise _Uncommon(uncommon)
        moments = [
            _moment_of(record) if moment is None else moment for moment, record in zip(said, records, strict=True)
        ]
        columns[self._clock] = Column((encode_many_microseconds(moments),), moments)
        return moments


class _Uncommon(Exception):
    """The events at these places do not have the common shape."""

    def __init__(self, places: AbstractSet[int]) -> None:
        super().__init__(places)
        self.places = places


_USAGE = ("model_used", "token_cost_jpy", "cost", "prompt_tokens", "completion_tokens", "cached_tokens")


def _settle_all(pricing: Pricing, usage: Sequence[Sequence[Any]], moments: Sequence[int | None]) -> Sequence[Settled]:
    """What each answer cost.

    :raises _Uncommon: one cost is out of range; the exact lane says so
    """
    settled: list[Settled] = []
    for model, moment, *rest in zip(usage[0], moments, *usage[1:], strict=True):
        try:
            settled.append(pricing.settle(Usage(model, moment_of(moment or 0), *rest)))
        except CostError:
            raise _Uncommon({len(settled)}) from None
    return settled


def _read_column(reader: ColumnDecoder, values: Sequence[Any]) -> Column:
    """The column.

    :raises _Uncommon: some of the values the exact lane has to look at
    """
    try:
        return reader.read(values)
    except _NOT_RECOGNISED:
        raise _Uncommon({place for place, value in enumerate(values) if not _recognises(reader, value)}) from None


def _recognises(reader: ColumnDecoder, value: Any) -> bool:
    try:
        reader.read([value])
    except _NOT_RECOGNISED:
        return False
    return True


def _id_of(said: str | None, origin: tuple[str, str] | None, record: Record) -> str:
    return str(identity_of(origin, record)) if said is None else said


def _sum_unless_said(total: int | None, first: int | None, second: int | None) -> int | None:
    """Beyond the column's range it is no integer of 32 bits, which its reader cannot encode."""
    return first + second if total is None and first is not None and second is not None else total


def _has_moment(record: Record) -> bool:
    """Whether the record's timestamp is one that can stand in for the event's."""
    return 0 <= record.timestamp < _YEAR_10000_MS


def _moment_of(record: Record) -> int:
    return (record.timestamp - _FROM_1970_TO_2000_MS) * 1000
