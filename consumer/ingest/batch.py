"""A batch: the records of one transaction."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from consumer.decode.rows import Row
from consumer.decode.spans import SpanRecord
from consumer.events.kind import Kind
from consumer.events.otlp.kinds import SPAN, SignalKind
from consumer.events.record import Partition, Record
from consumer.events.rejection import Rejected
from consumer.ingest.offsets import Claim, Span


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a batch is full: number of rows, bytes of its records, or seconds since its first record.

    A batch never exceeds the rows. Its last record may exceed the bytes.
    """

    max_rows: int
    max_bytes: int
    max_delay: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that cannot be stored as its producer meant it, and the reason."""

    record: Record
    rejected: Rejected


@dataclass(slots=True)
class Batch:
    """Rows, dead letters, and one span of offsets per claimed partition. It is filled, then written, then dropped.

    :ivar span_records: OTLP records; the rows of kind `SPAN` come from them, several from each record
    """

    limits: BatchLimits
    rows: dict[Kind, list[Row]] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    span_records: list[SpanRecord] = field(default_factory=list)
    spans: dict[Partition, Span] = field(default_factory=dict)
    records: int = 0
    size: int = 0
    opened_at: float | None = None

    def next(self) -> Batch:
        """An empty batch that begins where this one ends."""
        return Batch(self.limits, spans={partition: span.next_span() for partition, span in self.spans.items()})

    def claim(self, claim: Claim) -> None:
        """Accept the partition's records from the claim's position on."""
        self.spans[claim.partition] = Span.begin(claim)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write: the batch has no record, and no span has moved."""
        return not self.records and not any(span.moved for span in self.spans.values())

    def is_ready(self, now: float) -> bool:
        """Whether the batch is full or has waited long enough. `now` is on the clock of :meth:`open_at`."""
        if self.records >= self.limits.max_rows or self.size >= self.limits.max_bytes:
            return True
        return self.seconds_left(now) == 0.0

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the batch has waited long enough; None if it is empty."""
        return None if self.opened_at is None else max(0.0, self.opened_at + self.limits.max_delay - now)

    def room(self, records: Sequence[Record]) -> int:
        """How many of the records fit; at least one, because a full batch is replaced at once."""
        sizes = _sizes(records[: max(self.limits.max_rows - self.records, 1)])
        left = self.limits.max_bytes - self.size
        return len(sizes) if sum(sizes) <= left else bisect_left(list(accumulate(sizes)), left) + 1

    def open_at(self, now: float) -> None:
        """Start the delay, unless it has started already."""
        if self.opened_at is None:
            self.opened_at = now

    def add(self, kind: Kind, records: Sequence[Record], verdicts: Sequence[Row | Rejected]) -> None:
        """Add records of one kind: each is a row or a dead letter, as its verdict says."""
        rows = [verdict for verdict in verdicts if not isinstance(verdict, Rejected)]
        if rows and isinstance(kind, SignalKind):
            self._add_spans(rows)
        elif rows:
            self.rows.setdefault(kind, []).extend(rows)
        if len(rows) < len(records):
            self.dead_letters += [
                DeadLetter(record, verdict)
                for record, verdict in zip(records, verdicts, strict=True)
                if isinstance(verdict, Rejected)
            ]
        self.records += len(records)
        self.size += sum(_sizes(records))

    def _add_spans(self, rows: Sequence[Row]) -> None:
        records = [row for row in rows if isinstance(row, SpanRecord)]
        self.span_records += records
        self.rows.setdefault(SPAN, []).extend(row for record in records for row in record.rows)


def _sizes(records: Sequence[Record]) -> Sequence[int]:
    """Bytes of each record: value, key and headers."""
    return [
        len(record.value or b"") + len(record.key or b"") + (_header_bytes(record) if record.headers else 0)
        for record in records
    ]


def _header_bytes(record: Record) -> int:
    return sum(len(name) + len(value or b"") for name, value in record.headers)
