"""Marks the traces of staged spans, and derives the result of each record from the results of its spans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from consumer.decode.rows import Row
from consumer.decode.spans import SpanRecord
from consumer.ingest.batch import DeadLetter
from consumer.ingest.erased import place_of
from consumer.postgres.client import Transaction
from consumer.postgres.queries import load
from consumer.postgres.staging import Outcome


class StagedRecords(NamedTuple):
    """The result of each record of spans. A record is a duplicate if all of its spans were already staged.

    :param spans: the number of spans, by outcome and reason
    """

    inserted: Sequence[SpanRecord] = ()
    duplicates: Sequence[SpanRecord] = ()
    ignored: Sequence[SpanRecord] = ()
    dead_letters: Sequence[DeadLetter] = ()
    spans: Mapping[tuple[str, str], int] = {}


def results_of(records: Sequence[SpanRecord], outcome: Outcome) -> StagedRecords:
    """The result for each record, from the result for its spans."""
    new = {place_of(row.record) for row in outcome.inserted}
    refused = {place_of(letter.record): letter for letter in reversed(outcome.dead_letters)}
    inserted: list[SpanRecord] = []
    duplicates: list[SpanRecord] = []
    ignored: list[SpanRecord] = []
    for record in records:
        place = place_of(record.record)
        if place in refused:
            continue
        if not record.speaks:
            ignored.append(record)
        else:
            (inserted if place in new else duplicates).append(record)
    return StagedRecords(inserted, duplicates, ignored, list(refused.values()), _counted(records, outcome))


def _counted(records: Sequence[SpanRecord], outcome: Outcome) -> Mapping[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for result, rows in (("staged", outcome.inserted), ("duplicate", outcome.duplicates)):
        counts.update((result, row.facts[2].value) for row in rows)
    counts.update(("skipped", reason.value) for record in records for reason in record.skipped)
    return counts


async def touch_traces(transaction: Transaction, rows: Iterable[Row]) -> None:
    """Mark the traces of new spans, so that they are folded."""
    has_root: dict[bytes, bool] = {}
    for trace_id, is_root, _ in (row.facts for row in rows):
        has_root[trace_id] = has_root.get(trace_id, False) or is_root
    if has_root:
        ids = [UUID(bytes=trace_id) for trace_id in has_root]
        await transaction.execute(load("touch_traces"), ids, list(has_root.values()))
