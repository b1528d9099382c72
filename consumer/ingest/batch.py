"""A batch: what will be one transaction."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from consumer.decode.rows import Row
from consumer.decode.spans import SpanRecord
from consumer.events.kind import Kind
from consumer.events.otlp.staged import SPAN, SignalKind
from consumer.events.record import Partition, Record
from consumer.events.rejection import Rejected
from consumer.ingest.offsets import Claim, Span


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a batch is full: rows, bytes of the records it holds, or seconds since its first record.

    It never holds more rows, nor a record more than reaches the bytes.
    """

    max_rows: int
    max_bytes: int
    max_delay: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that cannot be stored as it was meant, and why."""

    record: Record
    rejected: Rejected


@dataclass(slots=True)
class Batch:
    """Rows, dead letters and the spans of the partitions they were read from. Filled, sealed, written, forgotten.

    :ivar span_records: records whose rows are among those of `SPAN`, many of one record
    """

    rows: dict[Kind, list[Row]] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    span_records: list[SpanRecord] = field(default_factory=list)
    spans: dict[Partition, Span] = field(default_factory=dict)
    records: int = 0
    size: int = 0
    opened_at: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write: no record, and no span has moved."""
        return not self.records and not any(span.moved for span in self.spans.values())

    def is_ready(self, limits: BatchLimits, now: float) -> bool:
        """Whether the batch is full, or has waited long enough. `now` is on the clock of :meth:`add`."""
        if self.records >= limits.max_rows or self.size >= limits.max_bytes:
            return True
        return self.seconds_left(limits, now) == 0.0

    def room(self, limits: BatchLimits, records: Sequence[Record]) -> int:
        """How many of the records it takes until it is full; one at least, as a full batch is sealed at once."""
        sizes = _sizes(records[: max(limits.max_rows - self.records, 1)])
        left = limits.max_bytes - self.size
        return len(sizes) if sum(sizes) <= left else bisect_left(list(accumulate(sizes)), left) + 1

    def seconds_left(self, limits: BatchLimits, now: float) -> float | None:
        """Seconds until the batch has waited long enough; None when it holds nothing."""
        return None if self.opened_at is None else max(0.0, self.opened_at + limits.max_delay - now)

    def open_at(self, now: float) -> None:
        """Start the delay, unless it runs already."""
        if self.opened_at is None:
            self.opened_at = now

    def add(self, kind: Kind, records: Sequence[Record], verdicts: Sequence[Row | Rejected]) -> None:
        """Take records of one kind in, and what becomes of each."""
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


class Batcher:
    """The open batch, and for each claimed partition where reading stands."""

    def __init__(self, limits: BatchLimits) -> None:
        self.limits = limits
        self._batch = Batch()

    def claim(self, claim: Claim) -> None:
        """Begin with a partition: from now on its records are taken, from the claim's position on."""
        self._batch.spans[claim.partition] = Span.begin(claim)

    def discard(self) -> Sequence[Partition]:
        """Throw the open batch and every claim away; the partitions that were claimed."""
        claimed = tuple(self._batch.spans)
        self._batch = Batch()
        return claimed

    def span(self, partition: Partition) -> Span | None:
        """Where reading stands in a partition; None when it is not claimed."""
        return self._batch.spans.get(partition)

    @property
    def spans(self) -> Mapping[Partition, Span]:
        """The span of every claimed partition."""
        return self._batch.spans

    @property
    def batch(self) -> Batch:
        """The open batch."""
        return self._batch

    def room(self, records: Sequence[Record]) -> int:
        """How many of the records the open batch takes until it is full."""
        return self._batch.room(self.limits, records)

    def is_ready(self, now: float) -> bool:
        """Whether the open batch should be written."""
        return self._batch.is_ready(self.limits, now)

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the open batch has waited long enough; None when it holds nothing."""
        return self._batch.seconds_left(self.limits, now)

    def seal(self) -> Batch:
        """Close the open batch and begin the next one where it ends."""
        sealed = self._batch
        self._batch = Batch(spans={partition: span.follow() for partition, span in sealed.spans.items()})
        return sealed


def _sizes(records: Sequence[Record]) -> Sequence[int]:
    """Bytes of each record: value, key and headers."""
    return [
        len(record.value or b"") + len(record.key or b"") + (_header_bytes(record) if record.headers else 0)
        for record in records
    ]


def _header_bytes(record: Record) -> int:
    return sum(len(name) + len(value or b"") for name, value in record.headers)
