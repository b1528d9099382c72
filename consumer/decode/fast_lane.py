"""The fast lane: decodes many records at once, one column after the other.

It is derived from the same declarations as the pydantic models. It recognises only the common shape of an event and
never rejects one: every other record goes to the exact lane, :meth:`consumer.events.kind.Kind.decode`, whose verdict is
final. A differential test requires that both lanes return the same bytes for every record that this lane recognises.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import compress, islice, repeat
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from consumer.decode.column_decoders import Column, ColumnDecoder, decoder_of
from consumer.decode.copy_format import (
    NULL,
    UUID_LENGTH,
    encode_many_microseconds,
    encode_numeric,
    moment_of,
    tuple_head,
)
from consumer.decode.memory import Memory
from consumer.decode.rows import Row
from consumer.decode.vectorized import NotRecognised, check_depth
from consumer.events.costs import CostError, CostNote, Pricing, Settled, Usage
from consumer.events.envelope import Envelope, open_envelope
from consumer.events.identity import bytes_from_record
from consumer.events.kind import Kind, identity_of
from consumer.events.record import Record
from consumer.events.rejection import Rejected

_FROM_1970_TO_2000_MS = 946_684_800_000
_YEAR_10000_MS = 253_402_300_800_000
_NOT_RECOGNISED = (NotRecognised, Rejected, msgspec.MsgspecError, UnicodeError, RecursionError, struct.error)


class _Sum(NamedTuple):
    """A field that may be the sum of two others: its index among the fields, and the indexes of its parts."""

    total: int
    first: int
    second: int


class _Found(NamedTuple):
    """Records after parsing.

    :param origins: the CloudEvents source and id of each record; None if it has none
    :param members: the fields of each record; None if the exact lane has to decide
    :param unknown_fields: the number of members of each record that are no fields
    """

    records: Sequence[Record]
    origins: Sequence[tuple[str, str] | None]
    members: Sequence[Any]
    unknown_fields: Sequence[int]

    def without(self, places: AbstractSet[int]) -> _Found:
        """The records without those at these indexes."""
        wanted = [place not in places for place in range(len(self.records))]
        return _Found(*(list(compress(column, wanted)) for column in self))


_NO_COLUMN = Column((), ())
_UNREADABLE = Envelope(b"", None)  # an empty value, which is not recognised
_HEADERS, _VALUE = attrgetter("headers"), attrgetter("value")


class FastLane:
    """The fast lane of one kind of event."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._decoders = [decoder_of(field) for field in kind.fields.values()]
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
            [self._member(name, decoder) for name, decoder in zip(self._kind.fields, self._decoders, strict=True)],
            kw_only=True,  # allows required fields after optional ones, so that fields keep the order of columns
            forbid_unknown_fields=forbid_unknown_fields,
            gc=False,
        )
        return msgspec.json.Decoder(members)

    def _member(self, name: str, decoder: ColumnDecoder) -> Any:
        if name in self._kind.required:
            return name, decoder.json_type
        # A Raw also accepts null, and its decoder recognises it.
        return name, decoder.json_type if decoder.json_type is Raw else decoder.json_type | None, decoder.absent

    def decode(self, records: Sequence[Record]) -> Sequence[Row | None]:
        """The row of each record; None if it does not have the common shape and the exact lane has to decide."""
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
        """For each value: its fields, and the number of its unknown members. If no value has unknown members, no Python
        function is called for a single value.
        """
        members: list[Any] = []
        unknown_fields = [0] * len(values)
        while len(members) < len(values):
            try:
                for found in map(self._strict, islice(values, len(members), None)):
                    members.append(found)  # noqa: PERF402 - members found before an error must be kept
            except _NOT_RECOGNISED:
                self._read_unknown(values, members, unknown_fields)
        return members, unknown_fields

    def _read_unknown(self, values: Sequence[bytes], members: list[Any], unknown_fields: list[int]) -> None:
        """Read the next value leniently, and the following ones as long as they have unknown fields: a producer that
        sends such a field usually sends it in every event.
        """
        for place in range(len(members), len(values)):
            found, unknown_fields[place] = self._read_among_others(values[place])
            members.append(found)
            if not unknown_fields[place]:
                return

    def _read_among_others(self, value: bytes) -> tuple[Any, int]:
        """The fields and the number of unknown members of one value. Unknown members must still be valid JSON, and not
        nested too deeply, because the exact lane parses them.
        """
        try:
            members = self._lenient(value)
            check_depth(value)
            value.decode()
            return members, len(self._members(value).keys() - self._kind.fields.keys())
        except _NOT_RECOGNISED:
            return None, 0

    def _rows(self, found: _Found) -> Sequence[Row | None]:
        """Decode all records at once. If some do not have the common shape, decode the others without them."""
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
        columns = self._read_columns(values)
        if self._key_may_lack and None in columns[self._key].facts:
            columns[self._key] = _with_derived_ids(columns[self._key], origins, records)
        created_at = self._read_clock(columns, records)
        notes = self._settle_costs(columns, created_at)
        parts = [part for place in self._stored for part in columns[place].parts]
        encoded = map(b"".join, zip(repeat(self._head), *parts))
        facts = zip(*(columns[place].facts for place in self._facts), strict=True) if self._facts else repeat(())
        subjects = repeat(b"") if self._subject is None else columns[self._subject].parts[-1]
        keys = columns[self._key].parts[-1]
        return list(map(Row, records, keys, encoded, facts, created_at, unknown_fields, subjects, notes))

    def _read_columns(self, values: list[Sequence[Any]]) -> list[Column]:
        """Decode every column. Sums follow their parts: an event without the total gets the sum of its parts."""
        sums = {place.total for place in self._sums}
        columns = [
            _NO_COLUMN if place in sums else _read_column(decoder, column)
            for place, (decoder, column) in enumerate(zip(self._decoders, values, strict=True))
        ]
        for total, first, second in self._sums:
            stated = map(_sum_unless_stated, values[total], columns[first].facts, columns[second].facts)
            columns[total] = _read_column(self._decoders[total], list(stated))
        return columns

    def _settle_costs(self, columns: list[Column], moments: Sequence[int | None]) -> Iterable[CostNote | None]:
        """Put the cost of each answer into its column. Return the note on the origin of each cost."""
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
        """The time of each event. If the event states none, the record's timestamp is its time, and is stored."""
        if self._clock is None:
            return [None] * len(records)
        stated = columns[self._clock].facts
        if None not in stated:
            return stated
        uncommon = {place for place, moment in enumerate(stated) if moment is None and not _has_moment(records[place])}
        if uncommon:
            raise _Uncommon(uncommon)
        moments = [
            _moment_of(record) if moment is None else moment for moment, record in zip(stated, records, strict=True)
        ]
        columns[self._clock] = Column((encode_many_microseconds(moments),), moments)
        return moments


class _Uncommon(Exception):
    """The records at these indexes do not have the common shape."""

    def __init__(self, places: AbstractSet[int]) -> None:
        super().__init__(places)
        self.places = places


_USAGE = ("model_used", "token_cost_jpy", "cost", "prompt_tokens", "completion_tokens", "cached_tokens")


def _settle_all(pricing: Pricing, usage: Sequence[Sequence[Any]], moments: Sequence[int | None]) -> Sequence[Settled]:
    """The cost of each answer.

    :raises _Uncommon: one cost is out of range; the exact lane reports it
    """
    settled: list[Settled] = []
    for model, moment, *rest in zip(usage[0], moments, *usage[1:], strict=True):
        try:
            settled.append(pricing.settle(Usage(model, moment_of(moment or 0), *rest)))
        except CostError:
            raise _Uncommon({len(settled)}) from None
    return settled


def _read_column(decoder: ColumnDecoder, values: Sequence[Any]) -> Column:
    """Decode a column.

    :raises _Uncommon: it holds the indexes of the records whose values are not recognised
    """
    try:
        return decoder.read(values)
    except _NOT_RECOGNISED:
        raise _Uncommon({place for place, value in enumerate(values) if not _recognises(decoder, value)}) from None


def _recognises(decoder: ColumnDecoder, value: Any) -> bool:
    try:
        decoder.read([value])
    except _NOT_RECOGNISED:
        return False
    return True


def _with_derived_ids(column: Column, origins: Sequence[tuple[str, str] | None], records: Sequence[Record]) -> Column:
    """The ids, with the derived id of each event that states none."""
    stated = column.parts[-1]
    ids = [id or _derived_id(origin, record) for id, origin, record in zip(stated, origins, records, strict=True)]
    return Column(([UUID_LENGTH] * len(ids), ids), column.facts)


def _derived_id(origin: tuple[str, str] | None, record: Record) -> bytes:
    return identity_of(origin, record).bytes if origin else bytes_from_record(record)


def _sum_unless_stated(total: Any, first: int | None, second: int | None) -> Any:
    """The total that the event states, or else the sum of its parts.

    A sum out of range does not fit into 32 bits. The decoder cannot encode it, so the exact lane decides.
    """
    return first + second if total is None and first is not None and second is not None else total


def _has_moment(record: Record) -> bool:
    """Whether the record's timestamp can replace a missing time of the event."""
    return 0 <= record.timestamp < _YEAR_10000_MS


def _moment_of(record: Record) -> int:
    return (record.timestamp - _FROM_1970_TO_2000_MS) * 1000
