"""Stores for the contract suite: the real one and the fake, and batches to write to them."""

import json
import random
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from consumer.decode.lanes import decode_all
from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.dialogue import DIALOGUE
from consumer.events.plugin import PLUGIN
from consumer.events.provenance import PROVENANCE
from consumer.events.record import Partition, Record, StoredRecord
from consumer.ingest.batch import Batch
from consumer.ingest.days import BusinessDays
from consumer.ingest.offsets import Claim
from consumer.ingest.ports import Bounds, Store, Turn, Written
from consumer.postgres.client import Database
from consumer.postgres.dead_letter_limit import DeadLetterLimit
from consumer.postgres.ledger import PostgresLedger
from consumer.postgres.store import PostgresStore
from consumer.settings.model import DeadLetters
from tests.support.builders import ROOMY
from tests.support.citus import DISTRIBUTED, distributed_schema, is_there
from tests.support.fakes import Changes, FakeStore, FakeTelemetry, Tables
from tests.support.ingestion import as_json, small_dialogue
from tests.support.otlp import SPANS
from tests.support.producers import provenance, random_uuid
from tests.support.stack import fresh_database

A, B, P = Partition("dialogues", 0), Partition("dialogues", 1), Partition("pieces", 0)
F, V, G = Partition("verdicts", 0), Partition("checks", 0), Partition("plugins", 0)
S = Partition("spans", 0)
KINDS = {"dialogues": DIALOGUE, "pieces": PROVENANCE, "verdicts": FEEDBACK, "checks": VERIFICATION, "plugins": PLUGIN}
KINDS["spans"] = SPANS
REAL = [
    "template18",
    "template15",
    "partitioned18",
    pytest.param("partitioned15", marks=pytest.mark.slow),
    *(DISTRIBUTED if is_there() else ()),
]
REFUSED = b"1e400000"  # a number in citations that jsonb cannot hold


class Line(NamedTuple):
    """A row of the ledger."""

    start: int
    next: int
    inserted: int = 0
    duplicates: int = 0
    dead: int = 0
    gaps: int = 0
    amended: int = 0
    ignored: int = 0


class Letter(NamedTuple):
    """A stored dead letter."""

    partition: Partition
    offset: int
    value: bytes | None
    reason: str
    sqlstate: str | None


class Backend(Protocol):
    """A database, real or fake: makes stores, and shows the committed content."""

    def store(self, owner: str) -> Store: ...

    async def ledger(self) -> dict[Partition, Line]: ...

    async def rows(self) -> dict[UUID, str]: ...

    async def dead_letters(self) -> list[Letter]: ...

    async def confirm(self, partition: Partition) -> None:
        """Decide, as a person does, that reading continues at the ledger's offset."""
        ...


class FakeBackend:
    """The tables in memory."""

    def __init__(self) -> None:
        self._changes = Changes()
        self._tables = Tables(self._changes)

    def store(self, owner: str) -> Store:
        made = FakeStore(self._tables, self._changes, owner)
        made.refuses = lambda row: "22003" if REFUSED in (row.record.value or b"") else None
        return made

    async def ledger(self) -> dict[Partition, Line]:
        return {
            partition: Line(
                row.start,
                row.next,
                row.inserted,
                row.duplicates,
                row.dead_lettered,
                row.gaps,
                row.amended,
                row.ignored,
            )
            for partition, row in self._tables.ledger.items()
        }

    async def rows(self) -> dict[UUID, str]:
        return {UUID(bytes=key[1]): text_of(row.record) for key, row in self._tables.rows.items()}

    async def dead_letters(self) -> list[Letter]:
        return [
            Letter(
                partition_of(letter.record),
                letter.record.offset,
                letter.record.value,
                letter.rejected.reason.value,
                letter.rejected.sqlstate,
            )
            for letter in self._tables.dead_letters.values()
        ]

    async def confirm(self, partition: Partition) -> None:
        self._tables.confirm(partition)


class PostgresBackend:
    """The tables in PostgreSQL, read with another driver."""

    def __init__(self, dsn: str, database: Database) -> None:
        self.dsn, self._database = dsn, database
        self.limits = DeadLetters()

    def store(self, owner: str) -> Store:
        telemetry = self.telemetry = FakeTelemetry(Changes())
        days, limit = BusinessDays("UTC"), DeadLetterLimit(self.limits)
        ledger = PostgresLedger(self._database, group="g", owner=owner, begin_at_end=False)
        return PostgresStore(self._database, telemetry, days, ledger, limit)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        with psycopg.connect(self.dsn, row_factory=dict_row, autocommit=True) as connection:
            return connection.execute(sql.encode()).fetchall()

    async def ledger(self) -> dict[Partition, Line]:
        return {
            Partition(row.pop("topic"), row.pop("partition")): Line(*row.values())
            for row in self.query(
                "SELECT topic, partition, start_offset, next_offset, inserted, duplicates, dead_lettered, gaps,"
                " amended, ignored FROM ingest_ledger"
            )
        }

    async def rows(self) -> dict[UUID, str]:
        both = "SELECT id, query AS text FROM ai_dialogue_log UNION ALL SELECT id, source_uri FROM provenance"
        return {row["id"]: row["text"] for row in self.query(both)}

    async def dead_letters(self) -> list[Letter]:
        return [
            Letter(
                Partition(row["topic"], row["partition"]),
                row["record_offset"],
                row["value"],
                row["reason"],
                row["sqlstate"],
            )
            for row in self.query("SELECT * FROM dead_letters ORDER BY id")
        ]

    async def confirm(self, partition: Partition) -> None:
        self.query(
            "UPDATE ingest_ledger SET epoch = epoch + 1, owner = NULL, stopped_at = NULL, stopped_because = NULL,"
            " resume_from = NULL, unreadable_from = NULL, unreadable_until = NULL, diverges_at = NULL"
            f" WHERE (topic, partition) = ('{partition.topic}', {partition.partition}) RETURNING 1"
        )


class ImmediateTurn:
    """A turn that comes at once."""

    async def wait_turn(self) -> None:
        return


def partition_of(record: Record) -> Partition:
    """Return the partition of a record."""
    return Partition(record.topic, record.partition)


def text_of(record: Record) -> str:
    """Return the text by which the tests distinguish rows."""
    members = json.loads(record.value or b"{}")
    return str(members.get("query") or members.get("source_uri"))


def records(partition: Partition, first: int, *texts: str, seed: int = 1) -> list[StoredRecord]:
    """Return records from an offset on; "bad" is not JSON, the database rejects "refused"."""
    chance = random.Random(f"{partition}{first}{seed}")
    return [
        StoredRecord(*partition, first + n, 1_700_000_000_000 + n, b"k", value(partition, text, chance))
        for n, text in enumerate(texts)
    ]


def said(partition: Partition, offset: int, **members: Any) -> StoredRecord:
    """Return a record with these members."""
    return StoredRecord(*partition, offset, 1_700_000_000_000 + offset, None, as_json(members))


def value(partition: Partition, text: str, chance: random.Random) -> bytes:
    """Return the value of a record."""
    if text == "bad":
        return b"not JSON"
    if partition == P:
        return as_json(provenance(chance, source_uri=text))
    event = small_dialogue(chance, id=str(random_uuid(chance)), query=text)
    if text == "refused":
        event["citations"] = [{"source": "s", "weight": 0.75}]
    return as_json(event).replace(b"0.75", REFUSED)


def batch_of(claims: Iterable[Claim], *parts: Sequence[Record], skip_to: dict[Partition, int] | None = None) -> Batch:
    """Return a batch as the pipeline would seal it."""
    batch = Batch(ROOMY)
    for claim in claims:
        batch.claim(claim)
    for record in (record for part in parts for record in part):
        kind, span = KINDS[record.topic], batch.spans[partition_of(record)]
        batch.add(kind, span.take([record]), decode_all(kind, [record]))
    for partition, position in (skip_to or {}).items():
        batch.spans[partition].skip_to(position)
    return batch


def place_of(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the place that the fixture's parameter names: a server and a template, or the cluster and a form."""
    if request.param in DISTRIBUTED:
        return "cluster", request.param
    found: tuple[str, str] = request.getfixturevalue(request.param)
    return found


def fresh_copy(place: tuple[str, str]) -> AbstractContextManager[str]:
    """Return the DSN of an empty database for one test: a copy of a template, or a schema on a cluster."""
    return distributed_schema(place[1]) if place[0] == "cluster" else fresh_database(*place)


async def claim(store: Store, *partitions: Partition, first: int = 0) -> list[Claim]:
    """Claim partitions that begin at `first`."""
    return list(await store.claim({partition: Bounds(first, 1000) for partition in partitions}))


async def write(store: Store, batch: Batch, turn: Turn | None = None) -> Written:
    """Write a batch whose turn has come."""
    return await store.write(batch, turn or ImmediateTurn())


async def texts(backend: Backend) -> list[str]:
    """Return the stored texts."""
    return sorted((await backend.rows()).values())
