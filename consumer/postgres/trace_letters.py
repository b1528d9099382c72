"""Stores dead letters of traces. A trace has at most one dead letter. A newer reason replaces the stored one, and a
dialogue settles the dead letter.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

import msgspec

from consumer.decode.traces import TRACE_PARTITION, offset_of
from consumer.ingest.batch import DeadLetter
from consumer.ingest.erased import GONE
from consumer.postgres.client import Transaction
from consumer.postgres.dead_letters import headers_in_json
from consumer.postgres.queries import load


async def keep(transaction: Transaction, topic: str, letters: Sequence[DeadLetter]) -> None:
    """Store traces that cannot become dialogues as dead letters, with the reasons."""
    if not letters:
        return
    headers = headers_in_json(letter.record for letter in letters)
    rows = [
        (
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            headers.get((record.topic, record.partition, record.offset, record.timestamp), "[]"),
            rejected.reason.value,
            msgspec.json.encode(rejected.detail()).decode(),
            rejected.sqlstate,
        )
        for record, rejected in ((letter.record, letter.rejected) for letter in letters)
    ]
    columns = (list(column) for column in zip(*rows, strict=True))
    await transaction.execute(load("keep_trace_letters"), topic, TRACE_PARTITION, *columns)


async def settle(transaction: Transaction, topic: str, traces: Collection[UUID]) -> None:
    """Settle the dead letters of traces that have become dialogues."""
    if traces:
        await transaction.execute(load("settle_trace_letters"), topic, TRACE_PARTITION, _offsets(traces))


async def empty(transaction: Transaction, topic: str, traces: Collection[UUID]) -> None:
    """Empty the dead letters of traces whose users were erased."""
    if traces:
        rows = await transaction.fetch(load("trace_letters"), topic, TRACE_PARTITION, _offsets(traces))
        await transaction.execute(load("dead_letters_empty"), [row["id"] for row in rows], GONE)


def _offsets(traces: Collection[UUID]) -> list[int]:
    return sorted(map(offset_of, traces))
