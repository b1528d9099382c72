"""Tests the ids of every store: one id is one event, whatever its other members are."""

import asyncio
from dataclasses import replace

import pytest

from consumer.events.record import Record
from consumer.ingest.writer import CommitTurn
from tests.support.stores import (
    REAL,
    REFUSED,
    A,
    B,
    Backend,
    Line,
    PostgresBackend,
    batch_of,
    claim,
    records,
    texts,
    write,
)

pytestmark = pytest.mark.timeout(60)

YEAR = 366 * 24 * 3600 * 1000


def at(record: Record, later_ms: int) -> int:
    """Return a record with another timestamp; it is the dialogue's `created_at`."""
    return record.timestamp + later_ms


async def test_an_id_is_one_dialogue_at_any_time(backend: Backend) -> None:
    """Published again with another `created_at` it is a duplicate: written direct, merged, and in one batch."""
    store = backend.store("one")
    [claimed] = await claim(store, A)
    first, second, third = records(A, 0, "a", "b", "c")
    await write(store, batch_of([claimed], [first]))
    later = first._replace(offset=1, timestamp=at(first, YEAR))
    written = await write(store, batch_of([replace(claimed, next_offset=1)], [later]))
    assert [row.record for row in written.duplicates] == [later]
    both = [
        second._replace(offset=2),
        second._replace(offset=3, timestamp=at(second, -YEAR)),
        third._replace(offset=4),
        first._replace(offset=5, timestamp=at(first, 30 * YEAR)),
    ]
    written = await write(store, batch_of([replace(claimed, next_offset=2)], both))
    assert [row.record.offset for row in written.duplicates] == [3, 5]
    assert await texts(backend) == ["a", "b", "c"]
    assert await backend.ledger() == {A: Line(0, 6, inserted=3, duplicates=3)}


async def test_the_first_event_of_an_id_in_a_batch_is_stored(backend: Backend) -> None:
    """This holds after a duplicate too, when rows are merged, and for any order of their times."""
    store = backend.store("one")
    [claimed] = await claim(store, A)
    known = records(A, 0, "known")[0]
    await write(store, batch_of([claimed], [known]))
    [row] = records(A, 1, "first", seed=3)
    other = row._replace(offset=2, value=(row.value or b"").replace(b"first", b"other"), timestamp=at(row, -YEAR))
    again = known._replace(offset=3)
    written = await write(store, batch_of([replace(claimed, next_offset=1)], [row, other, again]))
    assert [duplicate.record.offset for duplicate in written.duplicates] == [2, 3]
    assert await texts(backend) == ["first", "known"]


async def test_a_rejected_row_does_not_use_its_id(backend: Backend) -> None:
    """The same id can be stored later in a correct event, and a duplicate among rejected rows is still a duplicate."""
    store = backend.store("one")
    [claimed] = await claim(store, A)
    refused, good = records(A, 0, "refused", "good")
    duplicate = good._replace(offset=2, timestamp=at(good, YEAR))
    written = await write(store, batch_of([claimed], [refused, good, duplicate]))
    assert (len(written.dead_letters), len(written.duplicates)) == (1, 1)
    corrected = refused._replace(offset=3, value=(refused.value or b"").replace(REFUSED, b"0.75"))
    await write(store, batch_of([replace(claimed, next_offset=3)], [corrected]))
    assert await backend.ledger() == {A: Line(0, 4, inserted=2, duplicates=1, dead=1)}


@pytest.mark.parametrize("place", REAL, indirect=True)
async def test_one_of_two_concurrent_writers_has_the_id(backend: PostgresBackend) -> None:
    """The second waits for the commit of the first and then finds a duplicate, in any month."""
    one, two = backend.store("one"), backend.store("two")
    [first], [second] = await claim(one, A), await claim(two, B)
    [record] = records(A, 0, "a")
    elsewhere = record._replace(partition=B.partition, timestamp=at(record, YEAR))
    earlier = CommitTurn(None)
    writing = asyncio.create_task(write(one, batch_of([first], [record]), CommitTurn(earlier)))
    await asyncio.wait({writing}, timeout=0.5)  # it has copied its row and waits for its turn
    waiting = asyncio.create_task(write(two, batch_of([second], [elsewhere])))
    await asyncio.wait({waiting}, timeout=0.5)
    assert not writing.done()
    assert not waiting.done()
    earlier.over()
    assert len((await writing).duplicates) == 0
    assert [row.record for row in (await waiting).duplicates] == [elsewhere]
    assert await texts(backend) == ["a"]
