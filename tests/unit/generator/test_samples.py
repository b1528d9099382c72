"""Tests that the decoder gives the expected outcome of each of the demo's samples."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from consumer.decode.lanes import decode_all
from consumer.decode.rows import Row
from consumer.events.record import StoredRecord
from consumer.events.rejection import Rejected
from consumer.generator.faults import BadRecord
from consumer.generator.samples import Fate, Sample, samples
from tests.unit.generator.test_events import KINDS

NOW = datetime(2026, 5, 6, 12, 0, tzinfo=UTC)


def verdict(sample: Sample) -> Row | Rejected:
    """Return the outcome of a record in the service."""
    headers = sample.record.headers if isinstance(sample.record, BadRecord) else ()
    record = StoredRecord("t", 0, 1, int(NOW.timestamp() * 1000), None, sample.record.value, headers)
    return decode_all(KINDS[sample.record.kind], [record])[0]


def test_each_sample_has_its_intended_outcome() -> None:
    """They give rows, amendments, duplicates of the previous row, and dead letters with six different reasons or
    faults.
    """
    found = list(samples(700, NOW, seed=1))
    verdicts = [verdict(sample) for sample in found]
    for sample, result in zip(found, verdicts, strict=True):
        assert isinstance(result, Rejected) == (sample.fate is Fate.BAD)
        assert KINDS[sample.record.kind].amends == (sample.fate is Fate.AMENDS)
        assert sample.record.value or getattr(sample.record, "key", None), (
            "no client sends a record without key and value"
        )
    counts = Counter(sample.fate for sample in found)
    assert counts.keys() == set(Fate)
    rows = {
        fate: [r.id for s, r in zip(found, verdicts, strict=True) if s.fate is fate and isinstance(r, Row)]
        for fate in Fate
    }
    assert len(set(rows[Fate.GOOD])) == counts[Fate.GOOD]
    assert set(rows[Fate.TWICE]) <= set(rows[Fate.GOOD])
    assert len({result.reason for result in verdicts if isinstance(result, Rejected)}) > 3


def test_the_answers_were_given_just_before_now() -> None:
    """All answers belong to today, however many there are."""
    for count in (1, 2000):
        times = [
            sample.record.timestamp_ms
            for sample in samples(count, NOW, seed=1)
            if not isinstance(sample.record, BadRecord)
        ]
        assert min(times) > (NOW - timedelta(seconds=30)).timestamp() * 1000
        assert max(times) <= NOW.timestamp() * 1000
