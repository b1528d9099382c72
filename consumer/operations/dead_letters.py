"""`ragledger dead-letters`: look at them, replay them, settle them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from consumer.adapters.postgres import Database, Transaction
from consumer.adapters.splitting import insert_splitting
from consumer.adapters.sql import load
from consumer.events.kind import Kind
from consumer.events.record import StoredRecord
from consumer.events.rejection import Reason, Rejected
from consumer.ingest.batch import DeadLetter
from consumer.ingest.days import BusinessDays
from consumer.ingest.decode import decode
from consumer.ingest.rows import Row
from consumer.operations.errors import OperationError
from consumer.operations.queries import query

REPLAY_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters: by id, topic, reason, and when they were dead-lettered (half-open)."""

    ids: Sequence[int] | None = None
    topic: str | None = None
    reason: Reason | None = None
    since: datetime | None = None
    until: datetime | None = None

    def arguments(self) -> tuple[Any, ...]:
        """The arguments of every statement that takes ids first."""
        return (None if self.ids is None else list(self.ids), *self.conditions())

    def conditions(self) -> tuple[Any, ...]:
        """All but the ids."""
        return (self.topic, self.reason.value if self.reason else None, self.since, self.until)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: rows written, ids that were there already, and what failed again."""

    inserted: int = 0
    duplicates: int = 0
    failed: int = 0

    def __add__(self, other: Replayed) -> Replayed:
        return Replayed(self.inserted + other.inserted, self.duplicates + other.duplicates, self.failed + other.failed)


class DeadLetters:
    """The dead letters of one database."""

    def __init__(self, database: Database, kinds: Mapping[str, Kind], timezone: str, max_record_bytes: int) -> None:
        self._database, self._kinds, self._days = database, kinds, BusinessDays(timezone)
        self._max_record_bytes = max_record_bytes

    async def find(self, chosen: Filter, *, settled: bool, at_most: int) -> Sequence[Mapping[str, Any]]:
        """Dead letters, newest first; replayed and discarded ones only when `settled`."""
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(query("dead_letters_list"), *chosen.conditions(), settled, at_most)
        return [dict(row) | {"detail": msgspec.json.decode(row["detail"])} for row in rows]

    async def show(self, letter: int) -> Mapping[str, Any]:
        """One dead letter, key, value and headers included.

        :raises OperationError: there is none with that id
        """
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(query("dead_letters_show"), letter)
        if not rows:
            raise OperationError(
                f"no dead letter has the id {letter}: `ragledger dead-letters list` shows those there are"
            )
        row = dict(rows[0])
        return row | {
            "detail": msgspec.json.decode(row["detail"]),
            "headers": _headers(row["headers"]),
        }

    async def discard(self, chosen: Filter) -> int:
        """Settle them without a replay; how many."""
        async with self._database.transaction() as transaction:
            return len(await transaction.fetch(query("dead_letters_discard"), *chosen.arguments()))

    async def replay(self, chosen: Filter, told: Callable[[Replayed], None] = lambda _: None) -> Replayed:
        """Decode the original bytes again; rows and marks are one transaction a chunk, so killing it is safe.

        :param told: is given the total after each chunk
        """
        total, after = Replayed(), 0
        while True:
            async with self._database.transaction() as transaction:
                chunk = await transaction.fetch(query("dead_letters_take"), *chosen.arguments(), after, REPLAY_CHUNK)
                if not chunk:
                    return total
                total += await self._replay_chunk(transaction, chunk)
            after = chunk[-1]["id"]
            told(total)

    async def _replay_chunk(self, transaction: Transaction, chunk: Sequence[Any]) -> Replayed:
        records = [_record(row) for row in chunk]
        identity = {_place(record): row["id"] for record, row in zip(records, chunk, strict=True)}
        rows, failed = self._decode(records)
        inserted, duplicates = 0, 0
        for kind, of_kind in rows.items():
            outcome = await insert_splitting(transaction, kind, of_kind, lambda _: None)
            await self._touch_days(transaction, outcome.inserted)
            inserted, duplicates = inserted + len(outcome.inserted), duplicates + len(outcome.duplicates)
            failed.extend(outcome.dead_letters)
        await self._mark(transaction, identity, failed)
        return Replayed(inserted, duplicates, len(failed))

    def _decode(self, records: Sequence[StoredRecord]) -> tuple[dict[Kind, list[Row]], list[DeadLetter]]:
        rows: dict[Kind, list[Row]] = {}
        failed: list[DeadLetter] = []
        for record in records:
            try:
                kind = self._kind(record)
                rows.setdefault(kind, []).append(decode(kind, record, self._max_record_bytes))
            except Rejected as rejected:
                failed.append(DeadLetter(record, rejected))
        return rows, failed

    def _kind(self, record: StoredRecord) -> Kind:
        if record.topic not in self._kinds:
            raise Rejected.whole(Reason.WRONG_KIND, f"the settings name no kind of event for topic {record.topic}")
        return self._kinds[record.topic]

    async def _touch_days(self, transaction: Transaction, rows: Sequence[Row]) -> None:
        days = self._days.days_of(row.created_at for row in rows)
        if days:
            await transaction.execute(load("touch_days"), sorted(days))

    async def _mark(self, transaction: Transaction, identity: Mapping[Any, int], failed: Sequence[DeadLetter]) -> None:
        again = {identity[_place(letter.record)]: letter.rejected for letter in failed}
        done = [letter for letter in identity.values() if letter not in again]
        await transaction.execute(query("dead_letters_replayed"), done)
        await transaction.execute(
            query("dead_letters_failed_again"),
            list(again),
            [rejected.reason.value for rejected in again.values()],
            [msgspec.json.encode(rejected.detail()).decode() for rejected in again.values()],
            [rejected.sqlstate for rejected in again.values()],
        )


def _place(record: Any) -> tuple[str, int, int, int]:
    return record.topic, record.partition, record.offset, record.timestamp


def _record(row: Any) -> StoredRecord:
    return StoredRecord(
        row["topic"],
        row["partition"],
        row["record_offset"],
        row["record_timestamp"],
        row["key"],
        row["value"],
        tuple(_headers(row["headers"])),
    )


def _headers(stored: str | None) -> list[tuple[str, bytes | None]]:
    headers = msgspec.json.decode(stored) if stored else []
    return [(_header_name(header), _bytes(header["value"])) for header in headers]


def _header_name(header: Mapping[str, str]) -> str:
    return header["key"] if "key" in header else base64.b64decode(header["key_base64"]).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
