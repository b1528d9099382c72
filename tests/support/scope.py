"""Telemetry, and the values that Prometheus would scrape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consumer.decode.lanes import decode
from consumer.decode.rows import Row
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.ingest.batch import Batch
from consumer.ingest.ports import Written
from consumer.telemetry.days import PrometheusDayTelemetry
from consumer.telemetry.ingest import PrometheusTelemetry
from consumer.telemetry.metrics import Metrics
from tests.support.builders import DIALOGUE_TOPIC, PROVENANCE_TOPIC, ROOMY, record
from tests.support.fakes import ManualClock

TOPICS = (DIALOGUE_TOPIC, PROVENANCE_TOPIC)


class Scope:
    """Telemetry, and the values that Prometheus would scrape."""

    def __init__(self) -> None:
        self.clock = ManualClock(1000.0)
        self.metrics = Metrics()
        self.telemetry = PrometheusTelemetry(self.metrics, self.clock, TOPICS)
        self.days = PrometheusDayTelemetry(self.metrics, self.clock)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of one series."""
        return self.metrics.registry.get_sample_value(name, labels)

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """Return every series with this name, by its label values."""
        samples = [sample for family in self.metrics.registry.collect() for sample in family.samples]
        return {tuple(sample.labels.values()): sample.value for sample in samples if sample.name == name}

    def write(self, *events: dict[str, Any], kind: Kind = DIALOGUE, timestamp: int = 0, **outcome: Any) -> None:
        """Report a batch in which these events were inserted."""
        rows = rows_of(kind, *events, timestamp=timestamp)
        batch = Batch(ROOMY, records=len(rows))
        self.telemetry.written(Written(batch, {kind: rows}, **{"duplicates": (), "dead_letters": (), **outcome}), 0.2)


def rows_of(kind: Kind, *events: dict[str, Any], timestamp: int = 0) -> Sequence[Row]:
    """Return the rows of events."""
    topic = DIALOGUE_TOPIC if kind is DIALOGUE else PROVENANCE_TOPIC
    return [decode(kind, record(event, topic=topic, timestamp=timestamp)) for event in events]
