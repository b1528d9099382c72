"""Exports provenance as W3C PROV-JSON (member submission of 24 April 2013). It streams, so the table may have any size.

Each row is an acquisition: an activity that used a source and generated a copy of it.

    content ◄─ specializationOf ─ copy ─ wasDerivedFrom ─► source
                                  │  └─ wasGeneratedBy ─► acquisition ─ used ─► source
                                  └─ wasAttributedTo ─► agent ◄─ wasAssociatedWith ─ acquisition

The sections are written one after the other. Each reads the same snapshot once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from consumer.postgres.client import Database, Transaction
from consumer.postgres.queries import load
from consumer.postgres.visibility import demand_whole_tables

PREFIXES = {
    "prov": "http://www.w3.org/ns/prov#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "spdx": "http://spdx.org/rdf/terms#",
    "ragledger": "urn:ragledger:ns:",
    "copy": "urn:ragledger:copy:",
    "content": "urn:ragledger:content:",
    "source": "urn:ragledger:source:",
    "acquisition": "urn:ragledger:acquisition:",
    "agent": "urn:ragledger:agent:",
}

# An entry of a section: its name, and its attributes.
Entry = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Choice:
    """Selects provenance by the time of acquisition (half-open, UTC without a zone) and by content."""

    since: datetime | None = None
    until: datetime | None = None
    content_id: UUID | None = None

    def arguments(self) -> tuple[Any, ...]:
        """Return the arguments of every statement."""
        return self.since, self.until, self.content_id


async def export(database: Database, choice: Choice, write: Callable[[str], object]) -> int:
    """Write the document in pieces. Return the number of rows.

    :raises OperationError: row-level security hides rows
    :raises Unavailable: the database is unavailable; the written document is not complete
    """
    async with database.transaction("repeatable_read") as transaction:
        await transaction.execute("SET TRANSACTION READ ONLY")
        await transaction.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # the output may be slow
        await demand_whole_tables(transaction, "provenance")
        return await _Document(transaction, choice, write).write()


class _Document:
    """Writes one document."""

    def __init__(self, transaction: Transaction, choice: Choice, write: Callable[[str], object]) -> None:
        self._transaction, self._arguments, self._write = transaction, choice.arguments(), write

    async def write(self) -> int:
        """Write all sections. Return the number of rows."""
        self._write(f'{{"prefix": {json.dumps(PREFIXES)}')
        await self._section("entity", self._entities())
        rows = await self._section("activity", self._of_rows(_acquisition))
        await self._section("agent", self._each("acquired_by", _agent))
        for name, relation in _RELATIONS.items():
            await self._section(name, self._of_rows(relation))
        self._write("}\n")
        return rows

    async def _section(self, name: str, entries: AsyncIterator[Entry]) -> int:
        """Write a section; leave it out if it has no entries. Return the number of entries."""
        count = 0
        async for key, attributes in entries:
            self._write(f", {json.dumps(name)}: {{" if count == 0 else ", ")
            self._write(f"{json.dumps(key)}: {json.dumps(attributes)}")
            count += 1
        if count:
            self._write("}")
        return count

    async def _entities(self) -> AsyncIterator[Entry]:
        async for entry in self._of_rows(_copy):
            yield entry
        async for entry in self._each("content_id", _content):
            yield entry
        async for entry in self._each("source_uri", _source):
            yield entry

    async def _of_rows(self, entry_of: Callable[[Any], Entry | None]) -> AsyncIterator[Entry]:
        async for row in self._transaction.stream(load("provenance_rows"), *self._arguments):
            entry = entry_of(row)
            if entry is not None:
                yield entry

    async def _each(self, name: str, entry_of: Callable[[Any], Entry]) -> AsyncIterator[Entry]:
        async for row in self._transaction.stream(load(f"provenance_each_{name}"), *self._arguments):
            yield entry_of(row[name])


def _copy(row: Any) -> Entry:
    attributes = {
        "prov:type": _name(row["content_type"]),
        "spdx:licenseDeclared": row["license_spdx"],
        "ragledger:license_type": row["license_type"],
        "ragledger:retention_years": row["retention_years"],
        "ragledger:retention_ends_at": _time(row["retention_ends_at"]),
        "ragledger:on_legal_hold": row["on_legal_hold"],
        "ragledger:permission_flag": row["permission_flag"],
        "ragledger:external_share_consent": row["external_share_consent"],
        "ragledger:last_verified_at": _time(row["last_verified_at"]),
        "ragledger:c2pa_manifest_url": _uri(row["c2pa_manifest_url"]),
        "ragledger:c2pa_manifest_store_uri": _uri(row["c2pa_manifest_store_uri"]),
        "ragledger:c2pa_hash": row["c2pa_hash"],
        "ragledger:c2pa_alg": row["c2pa_alg"],
    }
    return _id("copy", row), {name: value for name, value in attributes.items() if value is not None}


def _content(content_id: UUID) -> Entry:
    return f"content:{content_id}", {"prov:type": _name("content")}


def _source(source_uri: str) -> Entry:
    return _source_id(source_uri), {"prov:type": _name("source"), "prov:location": _uri(source_uri)}


def _acquisition(row: Any) -> Entry:
    return _id("acquisition", row), {
        "prov:type": _name(row["acquisition_method"]),
        "prov:endTime": _moment(row["acquired_at"]),
    }


def _agent(acquired_by: UUID) -> Entry:
    return f"agent:{acquired_by}", {}


def _was_generated_by(row: Any) -> Entry:
    return _relation("generation", row), {
        "prov:entity": _id("copy", row),
        "prov:activity": _id("acquisition", row),
        "prov:time": _moment(row["acquired_at"]),
    }


def _used(row: Any) -> Entry:
    used = {"prov:activity": _id("acquisition", row), "prov:entity": _source_id(row["source_uri"])}
    return _relation("usage", row), used


def _was_derived_from(row: Any) -> Entry:
    return _relation("derivation", row), {
        "prov:generatedEntity": _id("copy", row),
        "prov:usedEntity": _source_id(row["source_uri"]),
        "prov:activity": _id("acquisition", row),
    }


def _specialization_of(row: Any) -> Entry:
    return _relation("specialization", row), {
        "prov:specificEntity": _id("copy", row),
        "prov:generalEntity": f"content:{row['content_id']}",
    }


def _was_attributed_to(row: Any) -> Entry | None:
    if row["acquired_by"] is None:
        return None
    return _relation("attribution", row), {"prov:entity": _id("copy", row), "prov:agent": f"agent:{row['acquired_by']}"}


def _was_associated_with(row: Any) -> Entry | None:
    if row["acquired_by"] is None:
        return None
    associated = {"prov:activity": _id("acquisition", row), "prov:agent": f"agent:{row['acquired_by']}"}
    return _relation("association", row), associated


_RELATIONS: Mapping[str, Callable[[Any], Entry | None]] = {
    "wasGeneratedBy": _was_generated_by,
    "used": _used,
    "wasDerivedFrom": _was_derived_from,
    "specializationOf": _specialization_of,
    "wasAttributedTo": _was_attributed_to,
    "wasAssociatedWith": _was_associated_with,
}


def _id(prefix: str, row: Any) -> str:
    return f"{prefix}:{row['id']}"


def _source_id(source_uri: str) -> str:
    """Return a name for a source. PROV names cannot hold a URI, so it is a hash."""
    return f"source:{hashlib.sha256(source_uri.encode()).hexdigest()[:32]}"


def _relation(name: str, row: Any) -> str:
    return f"_:{name}-{row['id']}"


def _name(word: str) -> Mapping[str, str]:
    return {"$": f"ragledger:{word}", "type": "prov:QUALIFIED_NAME"}


def _time(moment: datetime | None) -> Mapping[str, str] | None:
    return None if moment is None else {"$": _moment(moment), "type": "xsd:dateTime"}


def _moment(moment: datetime) -> str:
    return f"{moment.isoformat()}Z"


def _uri(text: str | None) -> Mapping[str, str] | None:
    return None if text is None else {"$": text, "type": "xsd:anyURI"}
