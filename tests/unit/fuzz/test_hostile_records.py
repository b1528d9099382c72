"""Tests many hostile records: no error is raised, each record is counted once, and no text of an event is repeated.

Every test run takes a sample; `make fuzz` runs a million.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from consumer.events.kind import Kind
from consumer.events.record import Partition, Record, StoredRecord
from consumer.ingest.batch import Batch, BatchLimits
from consumer.ingest.offsets import Claim
from tests.unit.fuzz.checks import check_slice
from tests.unit.fuzz.hostile import KINDS, Hostile

pytestmark = pytest.mark.thorough

PARTITION = Partition("t", 0)
MAX_BYTES = 100_000


class Intake:
    """Takes slices as the pipeline does, sometimes a part of one again, and seals batches."""

    def __init__(self, kind: Kind, chance: random.Random) -> None:
        self._kind = kind
        self._batch = Batch(BatchLimits(max_rows=chance.choice((1, 50, 500)), max_bytes=1 << 30, max_delay=60.0))
        self._batch.claim(Claim(PARTITION, 1, 0))
        self.verdicts: Counter[str] = Counter()

    def take(self, records: Sequence[StoredRecord]) -> Iterator[Batch]:
        """Take records after checking them. Yield each full batch."""
        taken = self._batch.spans[PARTITION].take(records)
        if taken:
            verdicts = check_slice(self._kind, list(map(_stored, taken)), MAX_BYTES)
            self.verdicts.update(getattr(getattr(one, "reason", None), "value", "row") for one in verdicts)
            self._batch.add(self._kind, taken, verdicts)
        if self._batch.is_ready(0.0):
            yield self.rest()

    def skip_to(self, position: int) -> None:
        """Move the position past offsets without records."""
        self._batch.spans[PARTITION].skip_to(position)

    def rest(self) -> Batch:
        """Seal and return the open batch."""
        sealed, self._batch = self._batch, self._batch.next()
        return sealed


def _stored(record: Record) -> StoredRecord:
    assert isinstance(record, StoredRecord)
    return record


def read(hostile: Hostile, intake: Intake, count: int) -> Iterator[tuple[Sequence[StoredRecord], list[Batch]]]:
    """Yield slices of new records, each with the batches that were sealed with it."""
    taken, previous = 0, list[StoredRecord]()
    while taken < count:
        records = hostile.slice(hostile.chance.choice((1, 2, 7, 40, 250)))
        again = previous[-3:] if hostile.chance.random() < 0.1 else []  # a fetch may begin below the position
        yield records, list(intake.take([*again, *records]))
        if hostile.chance.random() < 0.1:
            intake.skip_to(hostile.leave_gap())
        taken, previous = taken + len(records), list(records)


def assert_accounted(batches: Sequence[Batch], published: Sequence[StoredRecord]) -> None:
    """Assert that each record is one row or dead letter of one batch, and that consecutive spans cover all offsets."""
    offsets = [place for batch in batches for place in _offsets(batch)]
    assert sorted(offsets) == [record.offset for record in published]
    spans = [batch.spans[PARTITION] for batch in batches]
    assert [span.start for span in spans[1:]] == [span.next for span in spans[:-1]]
    for batch, span in zip(batches, spans, strict=True):
        assert span.next - span.start == batch.records + span.gaps
        assert all(span.start <= offset < span.next for offset in _offsets(batch))


def _offsets(batch: Batch) -> list[int]:
    rows = [row.record.offset for rows in batch.rows.values() for row in rows]
    return rows + [letter.record.offset for letter in batch.dead_letters]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_hostile_record_becomes_one_row_or_one_dead_letter(
    kind: Kind, fuzz_records: int, fuzz_seed: int, verdicts: Counter[str]
) -> None:
    """With slices and batches of any size, no error is raised, the verdict is the exact lane's, and each record counts
    once.
    """
    chance, left = random.Random(f"{fuzz_seed}/{kind.name}"), fuzz_records // len(KINDS)
    seen: Counter[str] = Counter()
    while left > 0:
        hostile, intake = Hostile(kind, chance), Intake(kind, chance)
        published, batches = list[StoredRecord](), list[Batch]()
        for new, sealed in read(hostile, intake, min(left, 5000)):
            published.extend(new)
            batches.extend(sealed)
        assert_accounted([*batches, intake.rest()], published)
        seen += intake.verdicts
        left -= len(published)
    print(f"{kind.name}: {seen.total():,} records, {dict(seen.most_common())}")
    assert seen["row"] > seen.total() / 5, "enough records are valid to test the fast lane"
    assert seen["row"] < seen.total() * 9 / 10, "enough records are invalid"
    verdicts.update(seen)
