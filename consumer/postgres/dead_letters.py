"""Writes dead letters, and reads their records."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from consumer.events.record import Record, StoredRecord
from consumer.ingest.batch import DeadLetter
from consumer.ingest.erased import Place, place_of
from consumer.postgres.client import Transaction
from consumer.postgres.errors import skipped
from consumer.postgres.queries import load


async def insert_dead_letters(
    transaction: Transaction, letters: Sequence[DeadLetter], headers: Mapping[Place, str]
) -> None:
    """Insert dead letters. A dead letter that is already in the table does not change.

    :param headers: the headers of records, from :func:`headers_in_json`, called before the transaction
    :raises Unavailable: not now
    :raises Refused: a trigger or a constraint of the owner refuses a dead letter
    """
    if not letters:
        return
    rows = [_dead_letter_row(letter, headers) for letter in letters]
    columns = [list(column) for column in zip(*rows, strict=True)]
    inserted = await transaction.execute(load("insert_dead_letters"), *columns)
    if inserted != f"INSERT 0 {len(rows)}":  # a topic was read again, or a trigger left rows out
        (found,) = await transaction.fetch(load("dead_letters_missing"), *columns[:3])
        if found["missing"]:
            raise skipped("dead_letters")


def headers_in_json(records: Iterable[Record]) -> dict[Place, str]:
    """The headers of records in JSON, as the table stores them. Slow if they are many or large."""
    return {
        place_of(record): _json([_header(*header) for header in record.headers]) for record in records if record.headers
    }


def _dead_letter_row(letter: DeadLetter, headers: Mapping[Place, str]) -> tuple[Any, ...]:
    record, rejected = letter.record, letter.rejected
    return (
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        headers[place_of(record)] if record.headers else "[]",
        rejected.reason.value,
        _json(rejected.detail()),
        rejected.sqlstate,
    )


def _header(name: str, value: bytes | None) -> dict[str, str | None]:
    """A header in JSON. The value is in base64; so is a key that jsonb cannot store."""
    text = None if value is None else base64.b64encode(value).decode()
    raw = name.encode("utf-8", "surrogateescape")
    if "\0" in name or raw.decode("utf-8", "replace") != name:
        return {"key_base64": base64.b64encode(raw).decode(), "value": text}
    return {"key": name, "value": text}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def searched_record(row: Any) -> StoredRecord:
    """The record of a dead letter, to search it for users."""
    place = row["topic"], row["partition"], row["record_offset"], 0
    return StoredRecord(*place, row["key"], row["value"], tuple(headers_of(row["headers"])))


def headers_of(stored: str | None) -> list[tuple[str, bytes | None]]:
    """Return the headers of a record in their original form."""
    headers = msgspec.json.decode(stored) if stored else []
    return [(_header_name(header), _bytes(header["value"])) for header in headers]


def _header_name(header: Mapping[str, str]) -> str:
    if "key" in header:
        return header["key"]
    return base64.b64decode(header["key_base64"]).decode("utf-8", "surrogateescape")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
