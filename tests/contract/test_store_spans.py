"""Tests the ledger's counts for records of spans, in every store."""

import random
from uuid import UUID

import pytest

from consumer.events.otlp.kinds import SPAN
from consumer.events.record import StoredRecord
from consumer.ingest.ports import Fenced
from tests.support.otlp import record, span, traced
from tests.support.stores import Backend, Line, S, batch_of, claim, write

HEALTH = record(span(UUID(int=7), 1, {"http.route": "/healthz"}))


def records(*values: bytes, first: int = 0) -> list[StoredRecord]:
    """Return records of the topic of spans."""
    return [StoredRecord(*S, first + place, 1_700_000_000_000, None, value) for place, value in enumerate(values)]


def traces(seed: int, count: int = 2) -> list[bytes]:
    """Return records with one trace each."""
    chance = random.Random(seed)
    return [record(*traced(chance)[1]) for _ in range(count)]


async def test_a_record_is_counted_once_however_many_spans_it_has(backend: Backend) -> None:
    """It counts as inserted, duplicate, ignored, or dead letter."""
    store = backend.store("one")
    first, second = traces(1)
    claims = await claim(store, S)
    written = await write(store, batch_of(claims, records(first, HEALTH, second, first, b"no spans")))
    assert [row.record.offset for row in written.inserted[SPAN]] in ([0, 2], [0, 2, 3])
    assert [row.record.offset for row in written.ignored] == [1]
    line = (await backend.ledger())[S]
    assert (line.ignored, line.dead, line.next) == (1, 1, 5)
    assert line.inserted + line.duplicates == 3


async def test_stored_spans_make_a_duplicate(backend: Backend) -> None:
    """Reading a topic again inserts nothing. A record with one new span among stored ones is no duplicate."""
    store = backend.store("one")
    chance = random.Random(2)
    _, spans = traced(chance)
    await write(store, batch_of(await claim(store, S), records(record(*spans[:2]))))
    again = records(record(*spans[:2]), record(*spans), record(*spans), HEALTH, HEALTH, first=1)
    written = await write(store, batch_of(await claim(store, S), again))
    assert written.staged["duplicate", "context"] >= 1
    line = (await backend.ledger())[S]
    assert line == Line(0, 6, inserted=line.inserted, duplicates=line.duplicates, ignored=2)
    assert line.inserted + line.duplicates == 4
    assert line.duplicates >= 1


async def test_events_and_spans_are_written_in_one_batch(backend: Backend) -> None:
    """They are in one transaction: if another replica has claimed the partition, neither is written."""
    store = backend.store("one")
    claims = await claim(store, S)
    batch = batch_of(claims, records(*traces(3)))
    await claim(backend.store("two"), S)
    with pytest.raises(Fenced):
        await write(store, batch)
    assert (await backend.ledger())[S] == Line(0, 0)
    written = await write(store, batch_of(await claim(store, S), records(*traces(3))))
    assert len(written.inserted[SPAN]) == 2
