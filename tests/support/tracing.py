"""A database with traces: a replica that stages spans, and one that folds them."""

from typing import Any

import psycopg
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from psycopg.rows import dict_row

from consumer.admin.dead_letters import DeadLetters as DeadLetterBox
from consumer.decode.lanes import decode_all
from consumer.events.record import Partition, StoredRecord
from consumer.ingest.batch import Batch
from consumer.ingest.days import BusinessDays
from consumer.ingest.erased import Key
from consumer.ingest.ports import Bounds
from consumer.ingest.traces import FoldedTraces
from consumer.postgres.amendments import PostgresAmendments
from consumer.postgres.client import Database
from consumer.postgres.dead_letter_limit import DeadLetterLimit
from consumer.postgres.ledger import PostgresLedger
from consumer.postgres.store import PostgresStore
from consumer.postgres.traces import PostgresTraces
from consumer.settings.model import DeadLetters
from tests.support.builders import ROOMY
from tests.support.fakes import Changes, FakeTelemetry
from tests.support.otlp import FOLDING, SPANS, record
from tests.support.stores import ImmediateTurn

TOPIC = Partition("spans", 0)


class World:
    """A database, a replica that stages spans, and one that folds them."""

    def __init__(self, dsn: str, database: Database) -> None:
        self.dsn, self._database = dsn, database
        self._telemetry, days = FakeTelemetry(Changes()), BusinessDays("UTC")
        keys = [Key(b"k" * 32)]
        limit = DeadLetterLimit(DeadLetters())
        ledger = PostgresLedger(database, group="g", owner="o", begin_at_end=False)
        self._store = PostgresStore(database, self._telemetry, days, ledger, limit, keys)
        self.amendments = PostgresAmendments(database, days, 900.0, self._telemetry.set_aside)
        self.keep_hours, self._keys, self._days = 24.0, keys, days
        self.offset = 0

    def traces(self, quiet: float = 0.0) -> PostgresTraces:
        """Return a replica that folds."""
        return PostgresTraces(
            self._database,
            self._days,
            FOLDING,
            TOPIC.topic,
            self._telemetry.set_aside,
            quiet=quiet,
            keep_hours=self.keep_hours,
            erasure_keys=self._keys,
        )

    def dead_letters(self) -> DeadLetterBox:
        """Return the dead letters, for replays."""
        return DeadLetterBox(self._database, {TOPIC.topic: SPANS}, "UTC", 1 << 20, self._keys)

    async def stage(self, *spans: Span, value: bytes | None = None) -> None:
        """Write one record with these spans, or with this value."""
        claims = await self._store.claim({TOPIC: Bounds(0, self.offset + 1)})
        batch = Batch(ROOMY)
        batch.claim(claims[0])
        one = StoredRecord(*TOPIC, self.offset, 1_700_000_000_000, None, value or record(*spans))
        batch.add(SPANS, batch.spans[TOPIC].take([one]), decode_all(SPANS, [one]))
        await self._store.write(batch, ImmediateTurn())
        self.offset += 1

    async def fold(self, quiet: float = 0.0) -> FoldedTraces:
        """Fold every due trace."""
        traces = self.traces(quiet)
        folded = await traces.fold_some()
        assert folded is not None
        assert folded.is_last
        return folded

    def query(self, sql: str, *arguments: Any) -> list[dict[str, Any]]:
        """Return the rows of a query, if it has any."""
        with psycopg.connect(self.dsn, row_factory=dict_row, autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), arguments or None)
            return cursor.fetchall() if cursor.description else []

    def dialogues(self) -> list[dict[str, Any]]:
        """Return every dialogue."""
        return self.query("SELECT * FROM ai_dialogue_log ORDER BY id")

    def letters(self) -> list[dict[str, Any]]:
        """Return every dead letter."""
        return self.query(
            "SELECT *, replayed_at IS NULL AND discarded_at IS NULL AS open FROM dead_letters ORDER BY id"
        )
