"""`ragledger dead-letters`: lists, shows, replays and discards dead letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import astuple, dataclass
from datetime import datetime
from functools import partial
from itertools import accumulate
from operator import add
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from consumer.admin.trace_replay import decode_again, is_trace
from consumer.decode.lanes import decode
from consumer.decode.rows import Row
from consumer.decode.spans import SpanRecord
from consumer.errors import OperationError
from consumer.events.kind import Kind
from consumer.events.otlp.kinds import SPAN, SignalKind
from consumer.events.record import Record, StoredRecord, UnreadableRecord
from consumer.events.rejection import Reason, Rejected
from consumer.ingest.batch import DeadLetter
from consumer.ingest.days import BusinessDays
from consumer.ingest.erased import GONE, ErasedUsers, Key, Place, UserIds, place_of
from consumer.postgres.amendments import apply_to_new
from consumer.postgres.aside import aside
from consumer.postgres.client import Database, Transaction
from consumer.postgres.costs import keep_costs
from consumer.postgres.dead_letters import headers_of
from consumer.postgres.erasures import ErasuresChanged, RecordErasures
from consumer.postgres.queries import load
from consumer.postgres.spans import results_of, touch_traces
from consumer.postgres.splitting import insert_splitting
from consumer.postgres.staging import Outcome, join, rows_first
from consumer.postgres.touched_days import touch_days

REPLAY_CHUNK = 500
DISCARD_CHUNK = 5_000
CHUNK_BYTES = 33_554_432


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects dead letters by id, topic, reason, and the time at which they were dead-lettered (half-open)."""

    ids: Sequence[int] | None = None
    topic: str | None = None
    reason: Reason | None = None
    since: datetime | None = None
    until: datetime | None = None

    def arguments(self) -> tuple[Any, ...]:
        """Return the arguments for statements whose first parameter is the ids."""
        return (None if self.ids is None else list(self.ids), *self.conditions())

    def conditions(self) -> tuple[Any, ...]:
        """Return the arguments without the ids."""
        return (self.topic, self.reason.value if self.reason else None, self.since, self.until)


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a replay: rows inserted, duplicates, amendments, records that failed again or were erased."""

    inserted: int = 0
    duplicates: int = 0
    amended: int = 0
    failed: int = 0
    erased: int = 0

    def __add__(self, other: Replayed) -> Replayed:
        return Replayed(*map(add, astuple(self), astuple(other)))


class _Decoded(NamedTuple):
    """The decoded records of a chunk: rows by kind, and the records that were rejected again."""

    rows: Mapping[Kind, Sequence[Row]]
    failed: Sequence[DeadLetter]
    spans: Sequence[SpanRecord] = ()


class DeadLetters:
    """Reads and settles the dead letters of one database."""

    def __init__(
        self,
        database: Database,
        kinds: Mapping[str, Kind],
        timezone: str,
        max_record_bytes: int,
        erasure_keys: Sequence[Key] = (),
        namespace: UUID | None = None,
    ) -> None:
        self._database, self._kinds, self._days = database, kinds, BusinessDays(timezone)
        self._max_record_bytes = max_record_bytes
        self._erasures = RecordErasures(erasure_keys, namespace)

    async def find(self, chosen: Filter, *, settled: bool, at_most: int) -> Sequence[Mapping[str, Any]]:
        """Return dead letters, newest first; with `settled`, replayed and discarded ones too."""
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(load("dead_letters_list"), *chosen.conditions(), settled, at_most)
        return [dict(row) | {"detail": msgspec.json.decode(row["detail"])} for row in rows]

    async def show(self, letter: int) -> Mapping[str, Any]:
        """Return one dead letter with its key, value and headers.

        :raises OperationError: no dead letter has this id
        """
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(load("dead_letters_show"), letter)
        if not rows:
            raise OperationError(
                f"no dead letter has the id {letter}: `ragledger dead-letters list` shows the existing ones"
            )
        row = dict(rows[0])
        return row | {
            "detail": msgspec.json.decode(row["detail"]),
            "headers": headers_of(row["headers"]),
        }

    async def discard(self, chosen: Filter, on_progress: Callable[[int], None] = lambda _: None) -> int:
        """Settle the selected dead letters without a replay. Return their number.

        Each chunk is one short transaction. Finished chunks stay discarded if a later one fails.

        :param on_progress: called after each chunk with the number so far
        """
        total, after, until = 0, 0, await self._newest()
        while after < until:
            async with self._database.transaction() as transaction:
                taken = (after, until, DISCARD_CHUNK)
                (row,) = await transaction.fetch(load("dead_letters_discard"), *chosen.arguments(), *taken)
            total, after = total + row["discarded"], row["last_id"] or until
            on_progress(total)
        return total

    async def _newest(self) -> int:
        async with self._database.transaction() as transaction:
            (row,) = await transaction.fetch("SELECT coalesce(max(id), 0) AS newest FROM dead_letters")
        return int(row["newest"])

    async def replay(self, chosen: Filter, on_progress: Callable[[Replayed], None] = lambda _: None) -> Replayed:
        """Decode the original bytes again. Each chunk writes rows and marks in one transaction, so a kill is safe.

        :param on_progress: called after each chunk with the totals
        """
        total, after = Replayed(), 0
        while chunk := await self._read_next(chosen, after):
            total += await self._replay_chunk(chunk)
            after = chunk[-1]["id"]
            on_progress(total)
        return total

    async def _read_next(self, chosen: Filter, after: int) -> Sequence[Any]:
        async with self._database.transaction() as transaction:
            taken = await transaction.fetch(load("dead_letters_take"), *chosen.arguments(), after, REPLAY_CHUNK)
            return await transaction.fetch(load("dead_letters_read"), _fitting(taken))

    async def _replay_chunk(self, chunk: Sequence[Any]) -> Replayed:
        """Decode before the transaction begins, because PostgreSQL ends an idle transaction, and other sessions wait
        for its locks.
        """
        records = [_record(row) for row in chunk]
        identity = {place_of(record): row["id"] for record, row in zip(records, chunk, strict=True)}
        decoded, user_ids = await aside(partial(self._decode, records)), UserIds()
        while True:
            erased = self._erasures.known
            gone = await aside(partial(_naming, records, user_ids, erased))
            try:
                async with self._database.transaction() as transaction:
                    await self._erasures.hold(transaction, erased)
                    return await self._write_chunk(transaction, decoded, identity, gone)
            except ErasuresChanged:
                await self._erasures.learn(self._database)

    async def _write_chunk(
        self, transaction: Transaction, decoded: _Decoded, identity: Mapping[Place, int], gone: AbstractSet[Place]
    ) -> Replayed:
        """Write those records of the chunk whose dead letters are still open."""
        ids = list(identity.values())
        taken = await transaction.fetch(load("dead_letters_take"), *Filter(ids).arguments(), 0, len(ids))
        still_open = {row["id"] for row in taken}
        open_letters = {place: letter for place, letter in identity.items() if letter in still_open}
        readable = open_letters.keys() - gone
        total = Outcome(dead_letters=[letter for letter in decoded.failed if place_of(letter.record) in readable])
        for kind in rows_first(decoded.rows):
            rows = [row for row in decoded.rows[kind] if place_of(row.record) in readable]
            outcome = await insert_splitting(transaction, kind, rows, lambda _: None)
            await apply_to_new(transaction, kind, outcome.inserted, lambda *_: None)
            await keep_costs(transaction, outcome.inserted)
            total = join([total, outcome])
        total = join([total, await self._stage(transaction, decoded.spans, readable)])
        await self._touch_days(transaction, total)
        emptied = [letter for place, letter in open_letters.items() if place in gone]
        await transaction.execute(load("dead_letters_empty"), emptied, GONE)
        await self._mark(transaction, {place: open_letters[place] for place in readable}, total.dead_letters)
        written = len(total.inserted), len(total.duplicates), len(total.amended)
        return Replayed(*written, len(total.dead_letters), len(emptied))

    async def _stage(
        self, transaction: Transaction, records: Sequence[SpanRecord], readable: AbstractSet[Place]
    ) -> Outcome:
        """Stage spans again. Their trace is folded again even if its spans were staged before."""
        records = [record for record in records if place_of(record.record) in readable]
        if not records:
            return Outcome()
        rows = [row for record in records for row in record.rows]
        outcome = await insert_splitting(transaction, SPAN, rows, lambda _: None)
        traces = [row for record in records if is_trace(record.record) for row in record.rows]
        await touch_traces(transaction, [*outcome.inserted, *traces])
        spans = results_of(records, outcome)
        return Outcome([*spans.inserted, *spans.ignored], spans.duplicates, dead_letters=spans.dead_letters)

    def _decode(self, records: Sequence[Record]) -> _Decoded:
        rows: dict[Kind, list[Row]] = {}
        failed: list[DeadLetter] = []
        spans: list[SpanRecord] = []
        for record in records:
            try:
                kind = self._kind(record)
                if isinstance(kind, SignalKind):
                    spans.append(decode_again(kind, record, self._max_record_bytes))
                else:
                    rows.setdefault(kind, []).append(decode(kind, record, self._max_record_bytes))
            except Rejected as rejected:
                failed.append(DeadLetter(record, rejected))
        return _Decoded(rows, failed, spans)

    def _kind(self, record: Record) -> Kind:
        if record.topic not in self._kinds:
            raise Rejected.whole(Reason.WRONG_KIND, f"the settings name no kind of event for topic {record.topic}")
        return self._kinds[record.topic]

    async def _touch_days(self, transaction: Transaction, outcome: Outcome) -> None:
        moments = [*(row.created_at for row in outcome.inserted), *outcome.moments]
        in_force = await transaction.fetch(load("basis_in_force"))  # it may differ from the settings here
        for days in (self._days, *(BusinessDays(basis["time_zone"]) for basis in in_force)):
            await touch_days(transaction, days, moments)

    async def _mark(self, transaction: Transaction, identity: Mapping[Any, int], failed: Sequence[DeadLetter]) -> None:
        again = {identity[place_of(letter.record)]: letter.rejected for letter in failed}
        done = [letter for letter in identity.values() if letter not in again]
        await transaction.execute(load("dead_letters_replayed"), done)
        await transaction.execute(
            load("dead_letters_failed_again"),
            list(again),
            [rejected.reason.value for rejected in again.values()],
            [msgspec.json.encode(rejected.detail()).decode() for rejected in again.values()],
            [rejected.sqlstate for rejected in again.values()],
        )


def _fitting(taken: Sequence[Any]) -> Sequence[int]:
    """Return the ids of the first dead letters that fit into memory together, at least one."""
    sizes = accumulate(row["bytes"] for row in taken)
    return [
        row["id"]
        for place, (row, size) in enumerate(zip(taken, sizes, strict=True))
        if not place or size <= CHUNK_BYTES
    ]


def _naming(records: Sequence[Record], user_ids: UserIds, erased: ErasedUsers) -> AbstractSet[Place]:
    """Return the places of the records that name an erased user."""
    return {place_of(record) for record in records if user_ids.names(record, erased)}


def _record(row: Any) -> StoredRecord | UnreadableRecord:
    """Return the stored record. An unreadable record stays unreadable: its value may be the whole raw record."""
    record = StoredRecord(
        row["topic"],
        row["partition"],
        row["record_offset"],
        row["record_timestamp"],
        row["key"],
        row["value"],
        tuple(headers_of(row["headers"])),
    )
    if row["reason"] != Reason.UNREADABLE_RECORD:
        return record
    return UnreadableRecord(*record, problem=msgspec.json.decode(row["detail"])["message"])
